"""Pieces of markdown tables."""

from statistics import median


def row(cells: list[str]) -> str:
    """A line."""
    return "| " + " | ".join(cells) + " |"


def spread(figures: list[float], form: str) -> str:
    """The median, and the lowest and highest where there are several."""
    shown = form.format(median(figures))
    if len(figures) > 1:
        shown += f" [{form.format(min(figures))}, {form.format(max(figures))}]"
    return shown
