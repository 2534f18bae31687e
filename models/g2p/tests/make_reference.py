"""Makes reference.json: words, and what they sound like.

    pip download --no-deps g2p-en==2.1.0 && unzip g2p_en-2.1.0-py3-none-any.whl
    pip install numpy && python make_reference.py g2p_en/checkpoint20.npz

Written from the definition of the networks, with the package's own weights and not with the graphs.
"""

import json
import sys
from pathlib import Path

import numpy as np

WORDS = """
activationist tensor sandbox wasmtime hello extraordinary zebra a x rhythm queue thought dont
internationalization zzzzzzzzzzzzzzzzzzzz
""".split()
MOST = 20

HERE = Path(__file__).parent
weights = np.load(sys.argv[1])
graphemes = (HERE.parent / "graphemes.txt").read_text().splitlines()
phonemes = (HERE.parent / "phonemes.txt").read_text().splitlines()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(net, x, h):
    """One step of a gated recurrent unit; the weights' thirds are reset, update, new."""
    from_x = weights[f"{net}_w_ih"] @ x + weights[f"{net}_b_ih"]
    from_h = weights[f"{net}_w_hh"] @ h + weights[f"{net}_b_hh"]
    (xr, xz, xn), (hr, hz, hn) = np.split(from_x, 3), np.split(from_h, 3)
    reset, update = sigmoid(xr + hr), sigmoid(xz + hz)
    new = np.tanh(xn + reset * hn)
    return (1 - update) * new + update * h


def sounds(word):
    h = np.zeros(weights["enc_w_hh"].shape[1])
    for letter in [*word, "</s>"]:
        h = gru("enc", weights["enc_emb"][graphemes.index(letter)], h)
    last, said = phonemes.index("<s>"), []
    for _ in range(MOST):
        h = gru("dec", weights["dec_emb"][last], h)
        last = int(np.argmax(weights["fc_w"] @ h + weights["fc_b"]))
        if phonemes[last] == "</s>":
            break
        said.append(phonemes[last])
    return said


reference = [{"word": word, "phonemes": sounds(word)} for word in WORDS]
lines = ",\n".join(" " + json.dumps(word) for word in reference)
(HERE / "reference.json").write_text(f"[\n{lines}\n]\n")
