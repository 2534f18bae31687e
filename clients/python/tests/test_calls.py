"""Every call of the blocking client, against the real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import Server
from tiny_model_client import InvalidInput, MessageTooLarge, ModelClient, ModelNotFound

OBJECTS = [["object1", 0.3], ["object2", 0.5]]


@pytest.fixture
def image_model(server: Server) -> Iterator[ModelClient]:
    with ModelClient("example_image", port=server.port, timeout=10) as client:
        yield client


@pytest.fixture
def text_model(server: Server) -> Iterator[ModelClient]:
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        yield client


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(200, 150, 3), (200, 150), (7, 5, 4), (1, 1, 1)])
def test_image(image_model: ModelClient, shape: tuple[int, ...], dtype: str) -> None:
    assert image_model.run_image(np.zeros(shape, dtype)) == OBJECTS


def test_image_batch_of_mixed_sizes_and_types(image_model: ModelClient) -> None:
    images = [np.zeros((20, 15, 3), np.uint8), np.zeros((7, 9), np.float32)]
    assert image_model.run_image_batch(images) == [OBJECTS, OBJECTS]


def test_large_image(image_model: ModelClient) -> None:
    # 6 MB: over gRPC's default limit of 4 MB.
    assert image_model.run_image(np.zeros((1080, 1920, 3), np.uint8)) == OBJECTS


def test_image_over_the_server_limit(image_model: ModelClient) -> None:
    with pytest.raises(MessageTooLarge, match="max-message"):
        image_model.run_image(np.zeros((5000, 5000, 3), np.uint8))


def test_input_that_the_model_does_not_take(image_model: ModelClient) -> None:
    with pytest.raises(InvalidInput, match="example_image"):
        image_model.run_text("a")


@pytest.mark.parametrize("text", ["my random text", "", "naïve 日本 🙂", "line\nbreak \x00 zero"])
def test_text(text_model: ModelClient, text: str) -> None:
    assert text_model.run_text(text) == text + "_processed"


def test_text_batch(text_model: ModelClient) -> None:
    assert text_model.run_text_batch(["a", "b", "a"]) == [
        "a_processed",
        "b_processed",
        "a_processed",
    ]
    assert text_model.run_text_batch(str(n) for n in range(2)) == ["0_processed", "1_processed"]


def test_no_members_give_no_results(text_model: ModelClient, image_model: ModelClient) -> None:
    assert text_model.run_text_batch([]) == []
    assert image_model.run_image_batch([]) == []


def test_arguments_are_accepted(text_model: ModelClient) -> None:
    assert text_model.run_text("a", {"threshold": 0.5, "labels": ["é"]}) == "a_processed"
    assert text_model.run_text_batch(["a"], {"top": 5}) == ["a_processed"]


def test_input_shape(image_model: ModelClient, text_model: ModelClient) -> None:
    assert image_model.get_input_shape() == image_model.size == [1080, 1920, 3]
    assert text_model.get_input_shape() is None
    assert text_model.size is None


def test_models(text_model: ModelClient) -> None:
    assert {"example_image", "example_text"} <= set(text_model.list_models())


def test_health(text_model: ModelClient) -> None:
    health = text_model.health_check()
    assert len(health["serving"]) == 2
    assert health["stopped_serving"] == []


def test_unknown_model(server: Server) -> None:
    with ModelClient("no_such_model", port=server.port, timeout=10) as client:
        with pytest.raises(ModelNotFound, match="no_such_model"):
            client.run_text("a")
        with pytest.raises(ModelNotFound, match="no_such_model"):
            _ = client.size
        # The rest works without the model.
        assert "example_text" in client.list_models()


def test_many_threads_share_a_client(text_model: ModelClient) -> None:
    texts = [str(number) for number in range(400)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(text_model.run_text, texts))
    assert results == [text + "_processed" for text in texts]
