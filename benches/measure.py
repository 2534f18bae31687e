"""Runs a group of cases: what is compared runs side by side, and who is first takes turns."""

import json
import os
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import answers
import load
import servers
from cases import Case
from groups import SESSIONS

# Where the kernel deals out connections, a process may get none; so often it is tried again.
TRIES = 20


def group(
    name: str,
    cases: list[Case],
    started: dict[str, servers.Server],
    frames: Path,
    rounds: int,
    seconds: float,
) -> list[dict]:
    """All runs of a group, after a look at the answers."""
    sizes = {case.name: answers.check(case, started, frames) for case in cases}
    runs = []
    for number in range(rounds):
        for case in cases:
            turn = number % len(case.servers)
            for server in case.servers[turn:] + case.servers[:turn]:
                run = one(case, started[server], frames, seconds)
                # A reply with an error has no data.
                if run["reply_bytes"] < 0.98 * sizes[case.name][server]:
                    raise SystemExit(f"{case.name}: not all calls were served: {run}")
                runs.append(run)
        if name == "native":
            runs += [session(callers, seconds) for callers in SESSIONS]
        at = f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}"
        print(f"{name}: {at}", flush=True)
    return runs


def one(case: Case, server: servers.Server, frames: Path, seconds: float) -> dict:
    """One run, for the record."""
    url, frame = server.url(case.call), frames / case.frame
    for _ in range(TRIES):
        shape = (case.connections, case.streams, seconds * case.length)
        run = load.measure(server.pid, url, frame, *shape)
        # The original's client opens connections until each process has one. The children of `tms`
        # take none: those for graphs that are not called have nothing to do.
        if not run.unused or case.connections == 1 or server.name.startswith("tms"):
            break
    at = time.strftime("%H:%M:%S", time.gmtime())
    figures = {name: round(figure, 3) for name, figure in asdict(run).items()}
    return {"case": case.name, "server": server.name, "at": at, **figures}


def session(callers: int, seconds: float) -> dict:
    """The classifier's network alone."""
    return {"case": f"session, {callers} callers", **printed(servers.session(callers, seconds))}


def printed(command: list[str]) -> dict:
    """The JSON object that a command prints."""
    done = subprocess.run(
        command,
        check=True,
        cwd=servers.ROOT,
        env=servers.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)
