"""The tables of a run: medians, spread, and the budgets beside them."""

from statistics import median

import floor
import open_report
from cases import Budget, Case
from groups import GROUPS, SESSIONS
from tables import row, spread

TITLES = {
    "floor": "The echo alone",
    "native": "Beside the same without a sandbox",
    "python": "Beside the Python server",
    "mlp": "A small network, 64 callers",
    "classification": "Classification",
    "embedding": "A sentence's embedding",
    "faces": "Faces: a cascade of three networks",
    "open": "At a rate",
}
HEAD = [
    "call", "load", "server", "calls a second", "p50, µs", "p99, µs", "server CPU a call, µs",
    "`tms` against it", "budget", "",
]  # fmt: skip


def summary(groups: dict[str, dict]) -> str:
    """Groups as markdown, in the order in which they are run."""
    about = next(iter(groups.values()))["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"# {about['date'][:10]}, {about['cpu']}, {about['cores']} cores",
        "",
        f"{about['memory_gib']} GiB, Linux {about['kernel']}; {versions}.",
        "",
        "Figures are medians; in brackets the lowest and highest run. Ratios are of neighbours in"
        " time, then the median of those. `python` is the Python server with a process for every"
        " other core, `python-cores` with one a core, `python-pool` with two threads in each of"
        " those.",
    ]
    for name, title in TITLES.items():
        if name in groups:
            lines += [
                "",
                f"## {title}",
                "",
                opening(groups[name]),
                "",
                *section(name, groups[name]),
            ]
    return "\n".join(lines) + "\n"


def opening(group: dict) -> str:
    """How a group was run."""
    others = [run["others"] for run in group["runs"] if "others" in run]
    busy = f"; other processes had {median(others):.0%} of the CPU" if others else ""
    return (
        f"`benches/run.py --only {group['name']}`, {group['machine']['date']}: {group['rounds']}"
        f" rounds of {group['seconds']:g} s, {group['took']:.0f} s in all; load average at the"
        f" start {group['machine']['load_at_start'][0]:.1f}{busy}."
    )


def section(name: str, group: dict) -> list[str]:
    """A group's tables."""
    runs = group["runs"]
    if name == "open":
        return open_report.lines(runs)
    lines: list[str] = []
    measured = {run["case"] for run in runs}
    lines += [row(HEAD), row(["---"] * len(HEAD))]
    for case in GROUPS[name]:
        if case.name in measured:
            lines += case_rows(case, runs)
    if name == "native":
        lines += ["", "| the network alone | runs a second | p50, µs |", "| --- | --- | --- |"]
        lines += [session_row(callers, runs) for callers in SESSIONS]
    if name == "floor":
        lines += ["", *floor.lines(group)]
    return lines


def case_rows(case: Case, runs: list[dict]) -> list[str]:
    """A line for each server."""
    by_server: dict[str, list[dict]] = {}
    for run in runs:
        if run["case"] == case.name:
            by_server.setdefault(run["server"], []).append(run)
    ours = case.ours
    order = [ours, *(name for name in case.against if name in by_server and name != ours)]
    lines = []
    for name in order:
        own = by_server[name]
        first = [case.name, case.load] if name == ours else ["", ""]
        against = [""] * 3
        if name != ours:
            against = compared(by_server[ours], own, case.against[name])
        lines.append(row([*first, name, *figures(own), *against]))
    return lines


def figures(runs: list[dict]) -> list[str]:
    """Rate, times, CPU."""
    rates = [run["rate"] for run in runs]
    return [
        spread(rates, "{:,.0f}" if median(rates) >= 10 else "{:.1f}"),
        spread([run["p50_us"] for run in runs], "{:,.0f}"),
        spread([run["p99_us"] for run in runs], "{:,.0f}"),
        spread([run["cpu_us"] for run in runs], "{:,.0f}"),
    ]


def compared(ours: list[dict], others: list[dict], budget: Budget | None) -> list[str]:
    """Ratio or difference, the budget, and whether the median keeps to it."""
    measured = budget or Budget("ratio", 0)
    found = [measured.of(*pair) for pair in zip(ours, others, strict=True)]
    shown = spread(found, "{:.2f}") if measured.metric == "ratio" else spread(found, "{:+.0f} µs")
    if budget is None:
        return [shown, "", ""]
    return [shown, str(budget), "met" if budget.met(median(found)) else "**missed**"]


def session_row(callers: int, runs: list[dict]) -> str:
    """The line of the network alone."""
    own = [run for run in runs if run["case"] == f"session, {callers} callers"]
    shown = [spread([run[key] for run in own], "{:,.0f}") for key in ("rate", "p50_us")]
    return row([f"{callers} at once", *shown])
