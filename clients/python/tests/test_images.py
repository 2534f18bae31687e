"""Images for images, alone and several at once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

import tiny_model_client as tmc
from conftest import Server
from scripted import ScriptedServer
from tiny_model_client import AsyncModelClient, ModelClient, ModelClientError, Sequence
from tiny_model_client._proto import server as pb
from tiny_model_client.request import image as request_of

IMAGES = [
    np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    np.arange(18, dtype=np.float64).reshape(2, 3, 3),
]


def message(image: Any) -> pb.NumpyImage:
    return request_of("any", image, None).image


def check(actual: Any, expected: Any) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("image", IMAGES, ids=["uint8", "float32", "float64"])
def test_image_to_image(scripted: ScriptedServer, image: Any) -> None:
    scripted.replies["RunImageToImage"] = pb.ImageResponse(data="1", image=message(image))
    sequence = Sequence("a", start=True)
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        result = client.run_image_to_image(IMAGES[0], {"a": 1}, sequence=sequence)
        check(result, image)
        result[0, 0] = 9  # The array is the caller's own.

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            check(await client.run_image_to_image(IMAGES[0], {"a": 1}, sequence=sequence), image)

    asyncio.run(run())
    expected = request_of("any", IMAGES[0], {"a": 1}, sequence)
    sent = [pb.ImageArgs.FromString(request) for request in scripted.requests if request]
    assert sent == [expected, expected]


def test_batch(scripted: ScriptedServer) -> None:
    reply = pb.BatchImageResponse(data="[1, 2, 3]", images=[message(image) for image in IMAGES])
    scripted.replies["RunBatchImageToImage"] = reply
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        results = client.run_image_to_image_batch(image for image in IMAGES)
        for result, image in zip(results, IMAGES):
            check(result, image)
        assert client.run_image_to_image_batch([]) == []
        with pytest.raises(ModelClientError, match="one image an input"):
            client.run_image_to_image_batch(IMAGES[:2])

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            results = await client.run_image_to_image_batch(IMAGES, {"a": 1})
            for result, image in zip(results, IMAGES):
                check(result, image)
            assert await client.run_image_to_image_batch([]) == []

    asyncio.run(run())
    assert scripted.calls["RunBatchImageToImage"] == 3


def test_failures(scripted: ScriptedServer) -> None:
    scripted.replies["RunImageToImage"] = pb.ImageResponse(data="1")
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(ModelClientError, match="no image"):
            client.run_image_to_image(IMAGES[0])
        scripted.replies["RunImageToImage"] = (grpc.StatusCode.INTERNAL, "it failed")
        with pytest.raises(tmc.ModelFailed, match="it failed"):
            client.run_image_to_image(IMAGES[0])
        with pytest.raises(tmc.InvalidType, match="int16"):
            client.run_image_to_image(np.zeros((2, 2), np.int16))


def test_a_model_without_images(server: Server) -> None:
    with ModelClient("example_image", port=server.port, timeout=10) as client:
        with pytest.raises(tmc.InvalidInput, match="its result has no image"):
            client.run_image_to_image(IMAGES[0])
        with pytest.raises(tmc.InvalidInput, match="its result has no image"):
            client.run_image_to_image_batch(IMAGES)
