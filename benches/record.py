"""What is kept of a day's runs: raw.json, a group at a time, and what is made of it."""

import json
from pathlib import Path

import chart
import machine
import report
import servers

FILE = "raw.json"


def folder(date: str) -> Path:
    """Named after the day and the machine."""
    return servers.ROOT / "benches/runs" / f"{date[:10]}-{machine.slug()}"


def write(groups: dict[str, dict]) -> None:
    """Keeps groups; others of the same day stay as they are."""
    date = next(iter(groups.values()))["machine"]["date"]
    at = folder(date)
    at.mkdir(parents=True, exist_ok=True)
    known = json.loads((at / FILE).read_text()).get("groups", {}) if (at / FILE).exists() else {}
    groups = known | groups
    (at / FILE).write_text('{"groups": {\n' + ",\n".join(map(text, groups.items())) + "\n}}\n")
    (at / "summary.md").write_text(report.summary(groups))
    drawn = chart.draw(groups)
    if drawn:
        (at / "chart.svg").write_text(drawn)
    print(f"written to {at.relative_to(servers.ROOT)}/")


def keep(what: str, record: dict, summary: str) -> None:
    """Keeps a program's record and what is made of it, as `what`.json and `what`.md."""
    at = folder(record["machine"]["date"])
    at.mkdir(parents=True, exist_ok=True)
    (at / f"{what}.json").write_text(json.dumps(record, indent=1) + "\n")
    (at / f"{what}.md").write_text(summary)
    print(f"written to {at.relative_to(servers.ROOT)}/")


def text(item: tuple[str, dict]) -> str:
    """A group, with a run a line: readable, and small."""
    name, group = item
    head = {key: value for key, value in group.items() if key != "runs"}
    runs = ",\n  ".join(json.dumps(run) for run in group["runs"])
    opened = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'"{name}": {opened},\n "runs": [\n  {runs}\n ]\n}}'
