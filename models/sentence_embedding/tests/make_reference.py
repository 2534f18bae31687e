"""Makes reference.json, the pieces of texts as the tokenizer's own library has them, and
embeddings.json, the vectors that ONNX Runtime gives.

    pip install numpy onnxruntime tokenizers && python make_reference.py
"""

import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

TEXTS = [
    "A cat sits on the windowsill.",
    "",
    "   \t\n  ",
    'Héllo, WÖRLD!  naïve café — it\'s "ok"…',
    "unaffable supercalifragilisticexpialidocious antidisestablishmentarianism",
    "你好,世界。こんにちは 안녕하세요 مرحبا Привет, мир",
    "😀 👩‍👩‍👧‍👦 ½ ﬁ \uff21 ™ ①",
    "cafe\u0301 and caf\u00e9; \u0130stanbul; stra\u00dfe",
    "a\u200bb\u00adc\x00d\x07e\ufffdf",
    "e-mail: someone+tag@example.com, https://example.com/a?b=c&d=%20",
    "[CLS] hello [MASK] world [SEP] [UNK]",
    "1,234.56 $99 C++ #hashtag @name ~`^_|\\<>",
    "x" * 101 + " " + "y" * 100,
    "the quick brown fox " * 100,
]

tokenizer = Tokenizer.from_file("../tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(256)
cases = [{"text": text, "pieces": tokenizer.encode(text).ids} for text in TEXTS]
with open("reference.json", "w") as file:
    json.dump(cases, file, separators=(",", ":"))
    file.write("\n")

# Vectors of a padded batch, as the mean of the pieces' states with length 1.
SENTENCES = [
    "A cat sits on the windowsill.",
    "A kitten is resting by the window.",
    "The rocket lifted off at dawn.",
    "Interest rates rose again this quarter.",
]
tokenizer.enable_padding()
encoded = tokenizer.encode_batch(SENTENCES)
inputs = {
    "input_ids": np.array([text.ids for text in encoded], np.int64),
    "attention_mask": np.array([text.attention_mask for text in encoded], np.int64),
    "token_type_ids": np.array([text.type_ids for text in encoded], np.int64),
}
session = onnxruntime.InferenceSession("../model.onnx", providers=["CPUExecutionProvider"])
(states,) = session.run(["last_hidden_state"], inputs)
means = (states * inputs["attention_mask"][..., None]).sum(axis=1)
means /= np.linalg.norm(means, axis=1, keepdims=True)
embeddings = np.round(means.astype(np.float64), 5).tolist()
with open("embeddings.json", "w") as file:
    json.dump({"texts": SENTENCES, "embeddings": embeddings}, file, separators=(",", ":"))
    file.write("\n")
