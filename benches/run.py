"""Measures `tms` beside servers that do the same without a sandbox, or in Python; see README.md.

Writes benches/runs/DATE-MACHINE/: raw.json with every run, summary.md with the budgets beside the
medians, chart.svg. `--quick` makes one short run of each and only prints.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import load
import machine
import measure
import open_loop
import prepare
import record
import report
import servers
from groups import GROUPS, OPEN, SESSIONS

ALL = [*GROUPS, "open"]


def main() -> None:
    """Prepares, measures, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one short run of each, printed")
    arguments.add_argument(
        "--only", default=",".join(ALL), help=f"groups [default: {','.join(ALL)}]"
    )
    arguments.add_argument("--rounds", type=int, default=5, help="runs of each [default: 5]")
    arguments.add_argument("--seconds", type=float, default=2.0, help="of a run [default: 2]")
    given = arguments.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(ALL):
        sys.exit(f"benches/run.py: no group {', '.join(unknown)}; there are {', '.join(ALL)}")
    load.find()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    groups = {}
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as folder:
        prepare.prepare(Path(folder))
        for name in (name for name in ALL if name in chosen):
            groups[name] = group(name, Path(folder), rounds, seconds)
            print(report.summary({name: groups[name]}), flush=True)
    if not given.quick:
        record.write(groups)


def group(name: str, folder: Path, rounds: int, seconds: float) -> dict:
    """Everything about a group, for the record."""
    cases = OPEN if name == "open" else GROUPS[name]
    began = time.monotonic()
    found: dict = {
        "name": name,
        "machine": machine.describe(),
        "rounds": rounds,
        "seconds": seconds,
    }
    if name == "floor":
        found["calibration"] = measure.printed([str(servers.BENCH), "calibrate"])
    started = servers.start({server for case in cases for server in case.servers}, folder)
    try:
        found["commands"] = commands(started, folder, name, seconds)
        frames = folder / "frames"
        if name == "open":
            runs = open_loop.run(started, frames, rounds, seconds)
        else:
            runs = measure.group(name, cases, started, frames, rounds, seconds)
    finally:
        servers.stop(started)
    return {**found, "took": round(time.monotonic() - began, 1), "runs": runs}


def commands(
    started: dict[str, servers.Server], folder: Path, group: str, seconds: float
) -> dict[str, str]:
    """The commands, with variables for what differs and no path of this machine."""
    known = {name: server.command for name, server in started.items()}
    if group == "open":
        known["load"] = open_loop.command("URL", Path("FRAME"), seconds, 1, 0)
    else:
        generator = load.command("URL", Path("FRAME"), 0, 0, seconds)
        known["load"] = ["h2load", *generator[1:]]
    if group == "native":
        known |= {f"session {n}": servers.session(n, seconds) for n in SESSIONS}
    return {name: plain(" ".join(command), folder) for name, command in known.items()}


def plain(command: str, folder: Path) -> str:
    """A command as typed in the repository."""
    for what, shown in {
        f"{servers.BUILT}/": "target/release/",
        str(folder): "DIR",
        sys.executable: ".venv/bin/python",
        f"{servers.ROOT}/": "",
        "-c 0 -m 0": "-c CONNECTIONS -m STREAMS",
        "--rate 1.0": "--rate RATE",
        "content-type: application/grpc": "'content-type: application/grpc'",
        "te: trailers": "'te: trailers'",
    }.items():
        command = command.replace(what, shown)
    return command


if __name__ == "__main__":
    main()
