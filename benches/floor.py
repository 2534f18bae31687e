"""Whether this machine lets the echo do what it did before: if not, no other rate here will either.

The figures to compare with are those that the budgets were set by: a bare tonic echo (thin LTO,
which the benches' build has not) on 2 cores of another day, with h2load on the same ones.
"""

from statistics import median

import cpu

# Calls a second, or µs of the p50.
BEFORE = {
    "smallest text": ("rate", 73_000, 82_000),
    "smallest text, alone": ("p50_us", 31, 36),
    "200x150": ("rate", 20_000, 26_000),
    "1080p": ("rate", 325, 380),
}
WITHIN = 0.2


def lines(group: dict) -> list[str]:
    """What was found, a line of markdown each."""
    found = group["calibration"]
    about = [
        f"a copy of memory {found['copy_gb_s']:.1f} GB/s (1080p is 6.2 MB)",
        f"a system call {found['syscall_ns']:.0f} ns",
        f"waking a thread {found['thread_wake_us']:.1f} µs",
        f"a byte to another thread and back {found['loopback_us']:.1f} µs",
        f"the same between two of tokio's runtimes {found['epoll_us']:.1f} µs",
    ]
    judged = [judge(name, group["runs"], found) for name in BEFORE]
    return [*judged, f"- This machine at the start: {'; '.join(about)}."]


def judge(name: str, runs: list[dict], calibration: dict) -> str:
    """Whether a figure is within reach of what it was, and if not why."""
    metric, low, high = BEFORE[name]
    own = [run for run in runs if run["case"] == name]

    def middle(key: str) -> float:
        return median(run[key] for run in own)

    figure = middle(metric)
    unit = "/s" if metric == "rate" else " µs"
    said = f"- {name}: {figure:,.0f}{unit}, before {low:,} to {high:,}{unit}: "
    if figure >= low * (1 - WITHIN) if metric == "rate" else figure <= high * (1 + WITHIN):
        return said + "reached."
    server, generator = middle("cpu_us"), middle("generator_us")
    others, idle = middle("others"), middle("idle")
    reasons = []
    if metric == "rate":
        most = cpu.CORES / (server + generator) * 1e6
        reasons.append(
            f"a call takes {server:.0f} µs of the echo and {generator:.0f} µs of h2load, so that"
            f" {cpu.CORES} cores do {most:,.0f}/s at most"
        )
        if most >= low * (1 - WITHIN):
            reasons.append("with all of them at work all the time that would be within reach")
    else:
        reasons.append(
            f"a byte between two idle runtimes and back takes {calibration['epoll_us']:.0f} µs"
            f" here, and waking a thread {calibration['thread_wake_us']:.0f} µs; the work of echo"
            f" and h2load, with that of waking up, is {server + generator:.0f} µs"
        )
    reasons.append(f"other processes had {others:.0%} of the CPU, nobody {idle:.0%}")
    return said + "**not reached**: " + "; ".join(reasons) + "."
