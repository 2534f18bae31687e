"""One module a model, each with a class `Model`."""

import abc
from pathlib import Path
from typing import Any


class ModelInterface(abc.ABC):
    """What a model's author writes."""

    def __init__(self, folder: Path, threads: int) -> None:
        """What it needs lies in its folder; inference may use so many threads."""
        self.folder = folder
        self.threads = threads

    def get_input_shape(self) -> list[int] | None:
        """The shape of the image that it wants; none where it takes any."""
        return None

    @abc.abstractmethod
    def run(self, data: Any, args: dict) -> Any:
        """The answer to a text or an image: anything that JSON can hold."""

    def run_batch(self, data: list, args: dict) -> list:
        """The answers to several."""
        return [self.run(one, args) for one in data]
