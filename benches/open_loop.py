"""Calls at a rate, whatever the server does: how long they wait when it is nearly or quite full.

The most that each server does is found in a closed loop with the same generator; then calls come
at shares of that. A call's time counts from when it was due.
"""

import time
from pathlib import Path

import answers
import cpu
import servers
from cases import Case
from groups import OPEN
from measure import printed

SHARES = [0.25, 0.5, 0.75, 0.9, 1.1]
# Enough that every worker and process has two.
CONNECTIONS = max(4, 2 * cpu.CORES)


def run(
    started: dict[str, servers.Server], frames: Path, rounds: int, seconds: float
) -> list[dict]:
    """All runs; the servers take turns at each share."""
    runs = []
    for case in OPEN:
        answers.check(case, started, frames)
    for number in range(rounds):
        for case in OPEN:
            names = case.servers if number % 2 == 0 else case.servers[::-1]
            most = {}
            for name in names:
                runs.append(one(case, started[name], frames, seconds, None, number))
                most[name] = runs[-1]["rate"]
            for share in SHARES:
                for name in names:
                    rate = most[name] * share
                    found = one(case, started[name], frames, seconds, rate, number)
                    runs.append({**found, "share": share, "offered": round(rate, 1)})
        print(f"open: round {number + 1} of {rounds}", flush=True)
    return runs


def one(
    case: Case,
    server: servers.Server,
    frames: Path,
    seconds: float,
    rate: float | None,
    seed: int,
) -> dict:
    """One run of the generator."""
    account = cpu.Account(server.pid)
    url, frame = server.url(case.call), frames / case.frame
    found = printed(command(url, frame, seconds * case.length, rate, seed))
    spent, generator, _ = account.close()
    cpu.settle(server.pid)
    figures = {
        "cpu_us": sum(spent) / found["all"] * 1e6,
        "generator_us": generator / found["all"] * 1e6,
    }
    rounded = {
        name: round(figure, 3) if isinstance(figure, float) else figure
        for name, figure in (found | figures).items()
    }
    at = time.strftime("%H:%M:%S", time.gmtime())
    return {"case": case.name, "server": server.name, "at": at, **rounded}


def command(url: str, frame: Path, seconds: float, rate: float | None, seed: int) -> list[str]:
    """The generator's command line; without a rate it is a closed loop."""
    shape = ["--connections", str(CONNECTIONS), "--homes", str(cpu.CORES), "--seed", str(seed)]
    pace = ["--streams", "4"] if rate is None else ["--rate", f"{rate:.1f}"]
    return [str(servers.BENCH), "load", url, str(frame), *shape, *pace, "--seconds", str(seconds)]
