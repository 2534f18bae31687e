"""One run of the load generator: h2load's rate and times, and what CPU it took of whom."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cpu

HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]


@dataclass
class Run:
    """What one run measured."""

    calls: int
    rate: float
    p50_us: int
    p99_us: int
    reply_bytes: float
    """Data of a reply, with its five bytes of prefix. An error has none: it is all headers."""
    cpu_us: float
    """CPU time of the server a call, of all its processes."""
    generator_us: float
    """CPU time of the load generator a call."""
    others: float
    """Share of the machine's CPU that neither the server nor the generator had."""
    idle: float
    """Share of the machine's CPU that nobody had."""
    unused: int
    """Processes of the server that had nothing to do: no connection came to them."""


def find() -> str:
    """The load generator's path, or the end of the program."""
    path = shutil.which("h2load")
    if path is None:
        sys.exit("benches/run.py: h2load is missing: apt-get install -y nghttp2-client")
    return path


def command(
    url: str, frame: Path, connections: int, streams: int, seconds: float, *more: str
) -> list[str]:
    """h2load's command line."""
    shape = ["-c", str(connections), "-m", str(streams)]
    duration = ["-D", f"{round(seconds * 1000)}ms"]
    return [find(), *duration, *shape, "-d", str(frame), *HEADERS, *more, url]


def measure(
    pid: int,
    url: str,
    frame: Path,
    connections: int,
    streams: int,
    seconds: float,
    settle: Callable[[int], None] = cpu.settle,
) -> Run:
    """Loads the server `pid` for so many seconds, after a warm-up that does not count."""
    load = (url, frame, connections, streams)
    warm_up(pid, *load, settle)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests"
        account = cpu.Account(pid)
        done = subprocess.run(
            command(*load, seconds, f"--log-file={log}"),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        spent = account.close()
        settle(pid)
        return read(done.stdout, log, *spent)


def warm_up(
    pid: int,
    url: str,
    frame: Path,
    connections: int,
    streams: int,
    settle: Callable[[int], None],
) -> None:
    """Fills caches for a moment, then gives each caller an instance.

    The end of the first breaks off what is in flight, and `tms` throws the instances of such calls
    away; the second ends when all its calls are answered, so that theirs stay.
    """
    moment = command(url, frame, connections, streams, 0.3)
    few = ["-n", str(2 * connections * streams)]
    counted = [moment[0], *few, *moment[3:]]
    for one in (moment, counted):
        subprocess.run(one, check=True, stdout=subprocess.DEVNULL)
        settle(pid)


def read(text: str, log: Path, server: list[float], generator: float, busy: float) -> Run:
    """The figures in what h2load printed and logged. Fails unless all requests succeeded."""
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    data = re.search(r"\((\d+)\) data", text)
    took = re.search(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s", text)
    if not counts or not data or not took:
        raise RuntimeError(f"h2load printed something else:\n{text}")
    calls, succeeded, failed, errored = map(int, counts.groups())
    if calls == 0:
        sys.exit("benches/run.py: no call ended in time: give more --seconds")
    if succeeded != calls or failed or errored:
        raise RuntimeError(f"requests failed:\n{text}")
    # A line a request: when it started, its HTTP status, and its microseconds.
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    seconds = float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[took[2]]
    spent, available = sum(server), seconds * cpu.CORES
    return Run(
        calls=calls,
        rate=float(took[3]),
        p50_us=times[len(times) // 2],
        p99_us=times[len(times) * 99 // 100],
        reply_bytes=int(data[1]) / calls,
        cpu_us=spent / calls * 1e6,
        generator_us=generator / calls * 1e6,
        others=max(0.0, busy - spent - generator) / available,
        idle=max(0.0, 1 - busy / available),
        # A process that starts others and waits for them is the first.
        unused=sum(one < 0.02 * spent for one in server[1:]),
    )
