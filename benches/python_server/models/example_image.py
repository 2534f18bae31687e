"""The smallest image model: names two objects whatever it is shown."""

import numpy as np

from models import ModelInterface


class Model(ModelInterface):
    """As models/example_image."""

    def get_input_shape(self) -> list[int]:
        """What it says it wants."""
        return [1080, 1920, 3]

    def run(self, data: np.ndarray, args: dict) -> list:
        """The two objects."""
        return [["object1", 0.3], ["object2", 0.5]]
