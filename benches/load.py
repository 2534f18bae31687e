"""One run of the load generator: h2load's rate and times, and what the server's CPUs spent."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
# A second before a run would be a run itself; this fills caches and makes instances.
WARM_UP = 0.3
TICK = os.sysconf("SC_CLK_TCK")


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
    """CPU time of the server a call."""
    others: float
    """Share of the machine's CPU that neither the server nor the generator had."""


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


def measure(pid: int, url: str, frame: Path, connections: int, streams: int, seconds: float) -> Run:
    """Loads the server `pid` for so many seconds, after a warm-up that does not count."""
    load = (url, frame, connections, streams)
    subprocess.run(command(*load, min(seconds, WARM_UP)), check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "requests"
        cpu, busy, spent = cpu_time(pid), busy_time(), children_time()
        done = subprocess.run(
            command(*load, seconds, f"--log-file={log}"),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        cpu = cpu_time(pid) - cpu
        busy = busy_time() - busy
        spent = children_time() - spent
        return read(done.stdout, log, cpu, busy, busy - cpu - spent)


def read(text: str, log: Path, cpu: float, busy: float, others: float) -> Run:
    """The figures in what h2load printed and logged. Fails unless all requests succeeded."""
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    data = re.search(r"\((\d+)\) data", text)
    took = re.search(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s", text)
    if not counts or not data or not took:
        raise RuntimeError(f"h2load printed something else:\n{text}")
    calls, succeeded, failed, errored = map(int, counts.groups())
    if calls == 0 or succeeded != calls or failed or errored:
        raise RuntimeError(f"requests failed:\n{text}")
    # A line a request: when it started, its HTTP status, and its microseconds.
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    seconds = float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[took[2]]
    return Run(
        calls=calls,
        rate=float(took[3]),
        p50_us=times[len(times) // 2],
        p99_us=times[len(times) * 99 // 100],
        reply_bytes=int(data[1]) / calls,
        cpu_us=cpu / calls * 1e6,
        others=max(0.0, others) / (seconds * (os.cpu_count() or 1)),
    )


def cpu_time(pid: int) -> float:
    """Seconds of CPU that the threads of a process had, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass  # A thread that ended meanwhile.
    return total / 1e9


def busy_time() -> float:
    """Seconds that the machine's CPUs did not idle, those that the hypervisor took included."""
    user, nice, system, _idle, _wait, irq, soft, steal = (
        int(n) for n in Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / TICK


def children_time() -> float:
    """Seconds of CPU that ended children of this process had."""
    times = os.times()
    return times.children_user + times.children_system
