"""Says what a picture shows: EfficientNet-Lite0, as models/efficientnet_lite0."""

from pathlib import Path

import numpy as np
from PIL import Image

from models import ModelInterface
from sessions import session

SHORTER, SIDE = 256, 224


class Model(ModelInterface):
    """The classifier."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Loads network and labels."""
        self.session = session(folder / "model.onnx", threads)
        self.labels = (folder / "labels.txt").read_text().splitlines()

    def run(self, data: np.ndarray, args: dict) -> list:
        """The labels of the highest probabilities."""
        (answers,) = self.session.run(["probs"], {"input": prepare(data)})
        probabilities = answers[0]
        top = args.get("top", 5)
        best = np.argpartition(probabilities, -top)[-top:]
        best = best[np.argsort(-probabilities[best])]
        return [[self.labels[place], float(probabilities[place])] for place in best]


def prepare(pixels: np.ndarray) -> np.ndarray:
    """The shorter side to 256, the middle 224x224, about -1 to 1, channels first."""
    picture = Image.fromarray(pixels)
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    scale = SHORTER / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    # Only the middle is computed: the box is where it lies in the picture as it came.
    sides = (left, top, left + SIDE, top + SIDE)
    factors = (picture.width / width, picture.height / height) * 2
    box = tuple(side * factor for side, factor in zip(sides, factors, strict=True))
    middle = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
    values = np.asarray(middle, np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray((values - 127) / 128)[None]
