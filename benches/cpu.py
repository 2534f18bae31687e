"""Who had the machine's CPUs: a server's processes, this program's children, everybody."""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
# Seconds that a server is waited for, and for how long it is looked at.
PATIENCE, LOOK = 60, 0.05


def processes(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            pass  # It ended meanwhile.
    return found


def time_of(pid: int) -> float:
    """Seconds of CPU that the threads of a process had, to the nanosecond."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
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


def settle(pid: int) -> None:
    """Waits until a server does nothing.

    One that does not see its callers leave goes on with their calls: in the next one's time.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        before = sum(map(time_of, processes(pid)))
        time.sleep(LOOK)
        if sum(map(time_of, processes(pid))) - before < 0.05 * LOOK:
            return


class Account:
    """What everybody had since it was opened."""

    def __init__(self, pid: int) -> None:
        self.before = {one: time_of(one) for one in processes(pid)}
        self.busy, self.children = busy_time(), children_time()

    def close(self) -> tuple[list[float], float, float]:
        """Of each of the server's processes, of ended children, and of all; in seconds."""
        server = [time_of(one) - before for one, before in self.before.items()]
        return server, children_time() - self.children, busy_time() - self.busy
