"""The asyncio client: the same answers and errors as the blocking one's."""

from __future__ import annotations

import asyncio
from typing import Callable

import numpy as np
import pytest

from conftest import Server
from scripted import ScriptedServer
from tiny_model_client import (
    AsyncModelClient,
    ConnectionTimeout,
    DeadlineExceeded,
    ModelClientError,
    ModelNotFound,
    ServerUnavailable,
)
from tiny_model_client._base import attempts
from tiny_model_client._proto import server as pb

OBJECTS = [["object1", 0.3], ["object2", 0.5]]


def test_every_call(server: Server) -> None:
    async def run() -> None:
        async with AsyncModelClient("example_image", port=server.port, timeout=10) as image_model:
            pixels = np.zeros((20, 15, 3), np.uint8)
            assert await image_model.run_image(pixels) == OBJECTS
            assert await image_model.run_image_batch([pixels, pixels[0]]) == [OBJECTS] * 2
            assert await image_model.run_image_batch([]) == []
            assert await image_model.get_input_shape() == [1080, 1920, 3]
            assert await image_model.size == [1080, 1920, 3]
        async with AsyncModelClient("example_text", port=server.port, timeout=10) as text_model:
            assert await text_model.run_text("é", {"a": 1}) == "é_processed"
            assert await text_model.run_text_batch(["a", "b"]) == ["a_processed", "b_processed"]
            assert await text_model.run_text_batch([]) == []
            assert await text_model.size is None
            assert {"example_image", "example_text"} <= set(await text_model.list_models())
            health = await text_model.health_check()
            assert len(health["serving"]) == 2
            assert health["stopped_serving"] == []

    asyncio.run(run())


def test_many_calls_in_flight(server: Server) -> None:
    async def run() -> None:
        async with AsyncModelClient("example_text", port=server.port, timeout=10) as client:
            texts = [str(number) for number in range(200)]
            results = await asyncio.gather(*(client.run_text(text) for text in texts))
            assert results == [text + "_processed" for text in texts]

    asyncio.run(run())


def test_unknown_model(server: Server) -> None:
    async def run() -> None:
        async with AsyncModelClient("no_such_model", port=server.port, timeout=10) as client:
            with pytest.raises(ModelNotFound, match="no_such_model"):
                await client.run_text("a")

    asyncio.run(run())


def test_call_timeout(scripted: ScriptedServer) -> None:
    scripted.replies["RunText"] = None

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            with pytest.raises(DeadlineExceeded):
                await client.run_text("a", timeout=0.1)

    asyncio.run(run())


def test_stop_server(start_server: Callable[..., Server]) -> None:
    async def run() -> None:
        server = start_server()
        async with AsyncModelClient("example_text", port=server.port, timeout=10) as client:
            assert await client.stop_server() == {"stopping": True}
            assert await asyncio.to_thread(server.wait) == 0
            with pytest.raises(ServerUnavailable):
                await client.run_text("a")
            assert len((await client.health_check())["stopped_serving"]) == 2

    asyncio.run(run())


def test_no_server(scripted: ScriptedServer) -> None:
    scripted.stop()

    async def run() -> None:
        with pytest.raises(ConnectionTimeout, match="Check that"):
            await AsyncModelClient("any", port=scripted.port, timeout=0.5).connect()

    asyncio.run(run())


def test_workers_that_cannot_be_found(scripted: ScriptedServer) -> None:
    scripted.replies["GetNumParallelWorkers"] = pb.Response(data='{"num_workers": 2}')

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            assert await client.health_check() == {"serving": [], "stopped_serving": [1]}

    asyncio.run(run())
    assert scripted.calls["GetPID"] == 1 + attempts(2)


def test_used_before_and_after(scripted: ScriptedServer) -> None:
    async def run() -> None:
        client = AsyncModelClient("any", port=scripted.port, timeout=10)
        with pytest.raises(ModelClientError, match="not connected"):
            await client.run_text("a")
        await client.connect()
        await client.close()
        with pytest.raises(ModelClientError, match="closed"):
            await client.run_text("a")

    asyncio.run(run())
