"""What a case is: a request, the load, the servers that answer it, and the budgets."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """A figure that a case has to reach: a share of the other's rate, or time added to its p50."""

    metric: str
    """`ratio` of the rates, at least; or `added` to the p50 in µs, at most."""
    limit: float

    def met(self, figure: float) -> bool:
        """Whether a figure keeps to it."""
        return figure >= self.limit if self.metric == "ratio" else figure <= self.limit

    def __str__(self) -> str:
        return f"≥ {self.limit:g}" if self.metric == "ratio" else f"≤ {self.limit:.0f} µs"

    def of(self, ours: dict, other: dict) -> float:
        """The figure of two runs side by side."""
        return ratio(ours, other) if self.metric == "ratio" else added(ours, other)


@dataclass(frozen=True)
class Case:
    """One request, in so many connections with so many calls in flight on each."""

    name: str
    call: str
    """`RunText`, `RunImage` or `ModelInfer`."""
    what: str
    """What is sent, as `tms-bench frames` names it."""
    model: str
    connections: int
    streams: int
    against: dict[str, Budget | None] = field(default_factory=dict)
    """The servers that `tms` is compared with."""
    length: float = 1
    """So many times as long a run: where calls take long."""
    ours: str = "tms"

    @property
    def frame(self) -> str:
        """The file of the request."""
        return f"{self.what}-{self.model}.bin"

    @property
    def servers(self) -> list[str]:
        """All that are measured, ours first."""
        return [self.ours, *self.against]

    @property
    def load(self) -> str:
        """The load in short."""
        return f"{self.connections}x{self.streams}"


def ratio(ours: dict, other: dict) -> float:
    """Our rate as a share of the other's."""
    return ours["rate"] / other["rate"]


def added(ours: dict, other: dict) -> float:
    """What our p50 is longer by, in µs."""
    return ours["p50_us"] - other["p50_us"]
