"""The table of the open loop."""

from statistics import median

from groups import OPEN
from open_loop import CONNECTIONS, SHARES
from tables import row, spread

HEAD = [
    "call", "server", "of its most", "due a second", "answered a second", "p50, µs", "p99, µs",
    "sent late, p50, µs", "sent late, p99, µs", "refused", "unanswered", "server CPU a call, µs",
]  # fmt: skip


def lines(runs: list[dict]) -> list[str]:
    """A line for each server and share; the first is the closed loop that finds the most."""
    return [
        f"{CONNECTIONS} connections; `closed` is 4 calls in flight on each. Times count from when a"
        " call was due. `sent late` is the part of them before it was sent: the generator waited"
        " for a core, or the server took no more calls on the connection.",
        "",
        row(HEAD),
        row(["---"] * len(HEAD)),
        *(
            line(case.name, server, share, runs)
            for case in OPEN
            for server in case.servers
            for share in (None, *SHARES)
        ),
    ]


def line(case: str, server: str, share: float | None, runs: list[dict]) -> str:
    """A server at a share."""
    own = [
        run
        for run in runs
        if (run["case"], run["server"], run.get("share")) == (case, server, share)
    ]

    def shown(key: str) -> str:
        return spread([run[key] for run in own if run[key] is not None] or [0], "{:,.0f}")

    lost = [median(run[key] for run in own) for key in ("failed", "unanswered")]
    return row([
        case,
        server,
        "closed" if share is None else f"{share:.0%}",
        "" if share is None else shown("offered"),
        *map(shown, ("rate", "p50_us", "p99_us")),
        *(["", ""] if share is None else map(shown, ("late_p50_us", "late_p99_us"))),
        *(f"{count:.0f}" for count in lost),
        shown("cpu_us"),
    ])  # fmt: skip
