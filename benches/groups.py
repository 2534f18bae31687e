"""What is measured, against what, and the budgets: groups of cases that can be run alone."""

from dataclasses import replace

from cases import Budget, Case


def at_least(limit: float) -> Budget:
    """A share of the other's rate."""
    return Budget("ratio", limit)


def at_most(limit: float) -> Budget:
    """µs added to the other's p50."""
    return Budget("added", limit)


# The Python server as the original is by default, and with a process a core.
BOTH = {"python": None, "python-cores": None}
# And with two threads in each of those, which is more than the original can be told, and best
# where a network runs.
ALL = BOTH | {"python-pool": None}


def python(default: float, cores: float) -> dict[str, Budget | None]:
    """Budgets against the Python server, with the echo beside them."""
    return {"echo": None, "python": at_least(default), "python-cores": at_least(cores)}


def text(name: str, connections: int, streams: int, against: dict[str, Budget | None]) -> Case:
    """The smallest call."""
    return Case(name, "RunText", "text", "example_text", connections, streams, against)


def image(name: str, what: str, model: str, streams: int, against: dict) -> Case:
    """An image, four connections with so many calls in flight on each."""
    return Case(name, "RunImage", what, model, 4, streams, against)


def alone(name: str, what: str, connections: int, streams: int) -> Case:
    """The echo by itself."""
    model, call = ("example_text", "RunText") if what == "text" else ("example_image", "RunImage")
    return Case(name, call, what, model, connections, streams, ours="echo")


def classification(callers: int, against: dict[str, Budget | None]) -> Case:
    """A picture to the classifier, a connection a caller."""
    name = "classification, alone" if callers == 1 else f"classification, {callers} callers"
    length = 1 if callers < 16 else 2
    return Case(
        name, "RunImage", "picture", "efficientnet_lite0", callers, 1, against, length=length
    )


def embedding(callers: int) -> Case:
    """A sentence, a connection a caller."""
    name = "sentence, alone" if callers == 1 else f"sentence, {callers} callers"
    return Case(name, "RunText", "text", "sentence_embedding", callers, 1, ALL)


def row(name: str, what: str, model: str, against: dict, ours: str = "tms-batching") -> Case:
    """A row to the small network, from 64 callers."""
    call = "ModelInfer" if what == "infer" else "RunImage"
    return Case(name, call, what, model, 64, 1, against, ours=ours)


GROUPS: dict[str, list[Case]] = {
    "floor": [
        alone("smallest text, alone", "text", 1, 1),
        alone("smallest text", "text", 4, 4),
        alone("200x150", "small", 4, 4),
        alone("1080p", "large", 4, 4),
    ],
    "native": [
        text("smallest text, alone", 1, 1, {"echo": at_most(30)}),
        text("smallest text", 4, 4, {"echo": at_least(0.7)}),
        image("200x150, pixels ignored", "small", "example_image", 4, {"echo": at_least(0.85)}),
        image("1080p, pixels ignored", "large", "example_image", 4, {"echo": at_least(0.95)}),
        image("200x150, resized to 224", "small", "pixels", 4, {"resize": at_least(0.7)}),
        # One each: calls that have not ended when time is up do not count, and these take long.
        image("1080p, resized to 224", "large", "pixels", 1, {"resize": at_least(0.7)}),
        classification(1, {"classify": at_most(300)}),
        classification(4, {"classify": at_least(0.9)}),
    ],
    "python": [
        text("smallest text, alone", 1, 1, {"echo": None, **BOTH}),
        text("smallest text", 4, 4, python(10, 6)),
        image("200x150, pixels ignored", "small", "example_image", 4, python(5, 3.5)),
        image("1080p, pixels ignored", "large", "example_image", 4, python(5, 3.5)),
    ],
    "mlp": [
        row("a row, bare graph", "infer", "mlp", {"tms": at_least(3)}),
        row("a row through a guest", "infer", "mlp_row", {"tms": at_least(3)}),
        row("a row as an image, through a guest", "row", "mlp_row", {"tms": None, **ALL}),
    ],
    "classification": [classification(callers, ALL) for callers in (1, 4, 16, 64)],
    "embedding": [embedding(1), embedding(16)],
    "faces": [Case("faces in 1080p", "RunImage", "faces", "mtcnn", 2, 1, ALL, length=4)],
}
# Callers of the classifier's network alone, in the group `native`.
SESSIONS = [1, 4]
# For the open loop, which has connections and a pace of its own.
OPEN = [
    text("smallest text", 4, 4, {"python-cores": None}),
    replace(classification(4, {"python-pool": None}), name="classification", length=2),
]
