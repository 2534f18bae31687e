"""One row through a small network: as tests/guests/mlp_row."""

from pathlib import Path

import numpy as np

from models import ModelInterface
from sessions import session


class Model(ModelInterface):
    """The network, and nothing around it."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Loads the network."""
        self.session = session(folder / "model.onnx", threads)

    def run(self, data: np.ndarray, args: dict) -> list:
        """The outputs for an "image" of one line of floats."""
        (output,) = self.session.run(["output"], {"input": data})
        return output[0].tolist()
