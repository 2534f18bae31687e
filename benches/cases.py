"""What is measured, against what, and the budgets."""

from collections.abc import Callable
from dataclasses import dataclass


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
        return f"≥ {self.limit}" if self.metric == "ratio" else f"≤ {self.limit:.0f} µs"

    def of(self, ours: dict, other: dict) -> float:
        """The figure of two runs side by side."""
        figure: Callable[[dict, dict], float] = ratio if self.metric == "ratio" else added
        return figure(ours, other)


@dataclass(frozen=True)
class Case:
    """One request, in so many connections with so many calls in flight on each."""

    name: str
    call: str
    image: str
    model: str
    other: str
    connections: int
    streams: int
    budget: Budget

    @property
    def frame(self) -> str:
        """The file of the request."""
        return "text.bin" if self.call == "RunText" else f"{self.image}-{self.model}.bin"


def ratio(ours: dict, other: dict) -> float:
    """Our rate as a share of the other's."""
    return ours["rate"] / other["rate"]


def added(ours: dict, other: dict) -> float:
    """What our p50 is longer by, in µs."""
    return ours["p50_us"] - other["p50_us"]


def image(name: str, size: str, model: str, other: str, streams: int, limit: float) -> Case:
    """An image, four connections with so many calls in flight on each."""
    return Case(name, "RunImage", size, model, other, 4, streams, Budget("ratio", limit))


def classification(name: str, callers: int, budget: Budget) -> Case:
    """A picture to the classifier, a connection a caller."""
    return Case(name, "RunImage", "picture", "efficientnet_lite0", "classify", callers, 1, budget)


CASES = [
    Case("smallest text, alone", "RunText", "", "example_text", "echo", 1, 1, Budget("added", 30)),
    Case("smallest text", "RunText", "", "example_text", "echo", 4, 4, Budget("ratio", 0.7)),
    image("200x150, pixels ignored", "small", "example_image", "echo", 4, 0.85),
    image("1080p, pixels ignored", "large", "example_image", "echo", 4, 0.95),
    image("200x150, resized to 224", "small", "pixels", "resize", 4, 0.7),
    # One each: calls that have not ended when time is up count for nothing, and these take long.
    image("1080p, resized to 224", "large", "pixels", "resize", 1, 0.7),
    classification("classification, alone", 1, Budget("added", 300)),
    classification("classification", 4, Budget("ratio", 0.9)),
]
# Callers of the network alone.
SESSIONS = [1, 4]
