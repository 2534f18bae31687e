"""What a sentence means, as 384 numbers: all-MiniLM-L6-v2, as models/sentence_embedding."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models import ModelInterface
from sessions import session

# So many pieces of a text count.
MOST = 256


class Model(ModelInterface):
    """The embedder."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Loads network and tokenizer."""
        self.session = session(folder / "model.onnx", threads)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MOST)
        self.tokenizer.enable_padding()

    def run(self, data: str, args: dict) -> list:
        """A vector of length 1."""
        return self.run_batch([data], args)[0]

    def run_batch(self, data: list[str], args: dict) -> list:
        """All texts in one run, filled up to the longest."""
        encoded = self.tokenizer.encode_batch(data)
        mask = np.array([text.attention_mask for text in encoded])
        inputs = {
            "input_ids": np.array([text.ids for text in encoded]),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        (states,) = self.session.run(["last_hidden_state"], inputs)
        means = np.einsum("btd,bt->bd", states, mask.astype(np.float32))
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means.tolist()
