"""Draws the chart of the README out of raw.json: bars, a block a call, as SVG.

Each block has its own scale, so that lengths in it are ratios; the figures stand beside the bars.
"""

import sys
from html import escape
from json import loads
from pathlib import Path
from statistics import median

# Group and case, and what the chart calls it.
BLOCKS = [
    ("python", "smallest text", "smallest text"),
    ("python", "200x150, pixels ignored", "200x150 image, pixels ignored"),
    ("python", "1080p, pixels ignored", "1080p image, pixels ignored"),
    ("classification", "classification, 16 callers", "classification, 16 callers"),
    ("embedding", "sentence, 16 callers", "sentence embedding, 16 callers"),
]
SERVERS = {
    "echo": "bare tonic echo",
    "tms": "tms",
    "python-pool": "Python, two threads a core",
    "python-cores": "Python, a process a core",
    "python": "Python, cores / 2 processes",
}
WIDTH, LEFT, BAR, STEP, TITLE, GAP = 720, 190, 320, 20, 24, 12
STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}
.echo{fill:#afb8c1}.tms{fill:#0969da}.python,.python-cores,.python-pool{fill:#d4a72c}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.echo{fill:#6e7681}.tms{fill:#4493f8}
.python,.python-cores,.python-pool{fill:#bb8009}}
"""


def draw(groups: dict[str, dict]) -> str | None:
    """The chart of what was measured; none where it was not."""
    parts, said, y = [], [], 0
    for group, case, title in BLOCKS:
        rates = measured(groups.get(group, {}).get("runs", []), case)
        if not rates:
            continue
        y += GAP + TITLE
        parts.append(f'<text class="t" x="0" y="{y - 7}">{escape(title)}, calls a second</text>')
        for name, rate in rates.items():
            length = max(1, BAR * rate / max(rates.values()))
            figure = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
            if name == "tms":
                figure += f", {rate / rates['python']:.1f}\u00d7 Python's default"
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{SERVERS[name]}</text>'
                f'<rect class="{name}" x="{LEFT}" y="{y + 3}" width="{length:.0f}" height="14"/>'
                f'<text x="{LEFT + length + 6:.0f}" y="{y + 14}">{figure}</text>'
            )
            y += STEP
        said.append(f"{title}: " + ", ".join(f"{SERVERS[n]} {r:,.0f}" for n, r in rates.items()))
    if not parts:
        return None
    alt = escape("Calls a second. " + "; ".join(said) + ".")
    # A viewer that knows no <style> shows black on what is there.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + GAP}" role="img"'
        f' aria-label="{alt}"><title>{alt}</title><style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def measured(runs: list[dict], case: str) -> dict[str, float]:
    """The median rate of each server in a case."""
    own = [run for run in runs if run["case"] == case]
    by_server = {name: [r["rate"] for r in own if r["server"] == name] for name in SERVERS}
    return {name: median(rates) for name, rates in by_server.items() if rates}


if __name__ == "__main__":
    # chart.py RAW.json > chart.svg
    print(draw(loads(Path(sys.argv[1]).read_text())["groups"]) or "", end="")
