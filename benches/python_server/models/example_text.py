"""The smallest text model: gives the text back with a suffix."""

from models import ModelInterface


class Model(ModelInterface):
    """As models/example_text."""

    def run(self, data: str, args: dict) -> str:
        """The text with `_processed` behind it."""
        return data + "_processed"
