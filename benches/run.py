"""Measures `tms` beside servers that do the same without a sandbox; see README.md.

Writes benches/runs/DATE-MACHINE/: raw.json with every run, summary.md with the budgets beside the
medians. `--quick` makes one short run of each and only prints.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import load
import machine
import report
import servers
from cases import CASES, SESSIONS, Case


def main() -> None:
    """Prepares, measures, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one short run of each, printed")
    arguments.add_argument("--rounds", type=int, default=7, help="runs of each [default: 7]")
    arguments.add_argument("--seconds", type=float, default=2.0, help="of a run [default: 2]")
    given = arguments.parse_args()
    load.find()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    record: dict = {"machine": machine.describe(), "rounds": rounds, "seconds": seconds}
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as folder:
        servers.prepare(Path(folder))
        started = servers.start(Path(folder))
        try:
            record["commands"] = commands(started, Path(folder), seconds)
            print(*record["commands"].values(), sep="\n", flush=True)
            check(started)
            record["runs"] = measure(started, Path(folder) / "frames", rounds, seconds)
        finally:
            for server in started.values():
                server.stop()
    summary = report.summary(record)
    print(summary)
    if not given.quick:
        write(record, summary)


def check(started: dict[str, servers.Server]) -> None:
    """Each case answers, and both sides alike. h2load itself knows no gRPC status."""
    for case in CASES:
        ours, other = (started[s].answer(case.call, case.model) for s in ("tms", case.other))
        if ours != other:
            raise SystemExit(f"{case.name}: tms answers {ours} and {case.other} {other}")


def measure(
    started: dict[str, servers.Server], frames: Path, rounds: int, seconds: float
) -> list[dict]:
    """All runs. What is compared runs one after the other, and who is first takes turns."""
    runs = []
    for number in range(rounds):
        for case in CASES:
            sides = ["tms", case.other]
            pair = [
                one(case, started[name], frames, seconds)
                for name in (sides if number % 2 == 0 else sides[::-1])
            ]
            # A reply with an error has no data, so alike data means that all calls were served.
            sizes = [run["reply_bytes"] for run in pair]
            if min(sizes) < 0.98 * max(sizes) or min(sizes) < 5:
                raise SystemExit(f"{case.name}: not all calls were served: {pair}")
            runs += pair
        for callers in SESSIONS:
            command = servers.session(callers, seconds)
            done = subprocess.run(
                command,
                check=True,
                cwd=servers.ROOT,
                env=servers.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            runs.append({"case": f"session, {callers} callers", **json.loads(done.stdout)})
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    return runs


def one(case: Case, server: servers.Server, frames: Path, seconds: float) -> dict:
    """One run, for the record."""
    url, frame = server.url(case.call), frames / case.frame
    run = load.measure(server.pid, url, frame, case.connections, case.streams, seconds)
    at = time.strftime("%H:%M:%S", time.gmtime())
    figures = {name: round(figure, 3) for name, figure in asdict(run).items()}
    return {"case": case.name, "server": server.name, "at": at, **figures}


def commands(started: dict[str, servers.Server], folder: Path, seconds: float) -> dict[str, str]:
    """The commands, with variables for what differs and no path of this machine."""
    generator = load.command("URL", Path("FRAME"), 0, 0, seconds)
    known = {name: server.command for name, server in started.items()}
    known |= {f"session {n}": servers.session(n, seconds) for n in SESSIONS}
    known["load"] = ["h2load", *generator[1:]]
    return {name: plain(" ".join(command), folder) for name, command in known.items()}


def plain(command: str, folder: Path) -> str:
    """A command as typed in the repository."""
    command = command.replace(f"{servers.BUILT}/", "target/release/").replace(str(folder), "DIR")
    command = command.replace("-c 0 -m 0", "-c CONNECTIONS -m STREAMS")
    return command.replace(
        "content-type: application/grpc", "'content-type: application/grpc'"
    ).replace("te: trailers", "'te: trailers'")


def write(record: dict, summary: str) -> None:
    """Keeps the run, named after the day and the machine."""
    name = f"{record['machine']['date'][:10]}-{machine.slug()}"
    folder = servers.ROOT / "benches/runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    # A run a line: readable, and small.
    lines = ",\n  ".join(json.dumps(run) for run in record.pop("runs"))
    head = json.dumps(record, indent=1, ensure_ascii=False).removesuffix("\n}")
    (folder / "raw.json").write_text(f'{head},\n "runs": [\n  {lines}\n ]\n}}\n')
    (folder / "summary.md").write_text(summary)
    print(f"written to {folder.relative_to(servers.ROOT)}/")


if __name__ == "__main__":
    main()
