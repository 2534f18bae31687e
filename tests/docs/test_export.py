"""docs/export.md: what its scikit-learn and XGBoost commands export is served, and answers as the
model itself does. PyTorch and TensorFlow are gigabytes: their commands are run by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from sklearn import datasets

from blocks import blocks
from served import Server

# The heading, the model's folder, and the data that the command trains on.
EXPORTS = [
    ("scikit-learn", "iris", datasets.load_iris),
    ("XGBoost", "cancer", datasets.load_breast_cancer),
]
# Appended to a command's script: what the model itself says.
OWN_ANSWERS = """
import numpy
numpy.savez("answers", label=model.predict(rows), probabilities=model.predict_proba(rows))
EOF
"""


@pytest.mark.parametrize(("heading", "name", "load"), EXPORTS, ids=[e[0] for e in EXPORTS])
def test_an_exported_model_answers_as_the_original(heading, name, load, tmp_path):
    [command] = [b for b in blocks("docs/export.md", heading) if b.language == "sh"]
    # `python3` is the one that has the packages.
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = command.code.removesuffix("EOF\n") + OWN_ANSWERS.lstrip()
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=env, check=True, timeout=300)
    own = np.load(tmp_path / "answers.npz")

    rows = load(return_X_y=True)[0].astype(np.float32)
    tensor = triton.InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    with (
        Server(tmp_path / "my_models") as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        answer = client.infer(name, [tensor])
    # In 32 bits a row on the edge of a split may fall to the other side.
    labels = answer.as_numpy("label")
    assert (labels == own["label"]).mean() > 0.99
    close = np.isclose(answer.as_numpy("probabilities"), own["probabilities"], atol=1e-4)
    assert close.all(axis=1).mean() > 0.98


def test_the_call_in_the_text_works(tmp_path):
    """The document's client against the document's first model, on the document's port or not."""
    [command] = [b for b in blocks("docs/export.md", "scikit-learn") if b.language == "sh"]
    [call] = [
        b
        for b in blocks("docs/export.md", "From a trained model to a served graph")
        if b.language == "python"
    ]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", command.code], cwd=tmp_path, env=env, check=True, timeout=300)
    with Server(tmp_path / "my_models") as server:
        code = call.code.replace("localhost:50000", server.address)
        run = [sys.executable, "-c", code]
        printed = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
    assert printed.stdout.strip() == "[0]"  # Iris setosa.
