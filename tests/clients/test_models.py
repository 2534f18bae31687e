"""The bare graphs of models/ on the data they were made for, beside scikit-learn's own answers."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as triton
from sklearn import datasets


def predict(client: triton.InferenceServerClient, model: str, rows: np.ndarray) -> tuple:
    rows = np.ascontiguousarray(rows, np.float32)
    tensor = triton.InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    answer = client.infer(model, [tensor])
    return answer.as_numpy("label"), answer.as_numpy("probabilities")


@pytest.mark.parametrize(
    ("model", "load"),
    [
        ("digits_forest", datasets.load_digits),
        ("digits_mlp", datasets.load_digits),
        ("breast_cancer_xgb", datasets.load_breast_cancer),
    ],
)
def test_labels_are_right(client, model, load):
    rows, truth = load(return_X_y=True)
    labels, probabilities = predict(client, model, rows)
    assert labels.shape == truth.shape
    # The training rows are among them, so nearly all must be right.
    assert (labels == truth).mean() > 0.95
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), labels)


def test_one_row_and_many_give_the_same(client):
    rows, _ = datasets.load_digits(return_X_y=True)
    together, _ = predict(client, "digits_forest", rows[:20])
    alone = [predict(client, "digits_forest", row[None])[0][0] for row in rows[:20]]
    np.testing.assert_array_equal(together, alone)
