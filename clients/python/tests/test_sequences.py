"""Sequences: what is sent, and that all calls of one go to the same worker."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import tiny_model_client as tmc
from conftest import Server, turn
from scripted import ScriptedServer
from tiny_model_client import AsyncModelClient, ModelClient, Sequence
from tiny_model_client._proto import server as pb

START, NEXT, END = Sequence("é", start=True), Sequence("é"), Sequence("é", end=True)
SENT = [
    pb.Sequence(id="é", start=True),
    pb.Sequence(id="é"),
    pb.Sequence(id="é"),
    pb.Sequence(id="é", end=True),
]
KINDS: tuple[Any, ...] = (pb.TextArgs, pb.ImageArgs, pb.EncodedArgs, pb.RunArgs)
PIXELS = np.zeros((2, 2), np.uint8)


@pytest.fixture
def answering(scripted: ScriptedServer) -> ScriptedServer:
    for method in ("RunText", "RunImage", "RunEncoded"):
        scripted.replies[method] = pb.Response(data="1")
    scripted.replies["RunStream"] = [pb.Response(data="1")]
    return scripted


def sent(scripted: ScriptedServer) -> list[pb.Sequence]:
    requests = [request for request in scripted.requests if request]
    return [kind.FromString(request).sequence for kind, request in zip(KINDS, requests)]


def test_every_call_takes_a_sequence(answering: ScriptedServer) -> None:
    with ModelClient("any", port=answering.port, timeout=10) as client:
        client.run_text("a", sequence=START)
        client.run_image(PIXELS, sequence=NEXT)
        client.run_encoded(b"a", "image/png", sequence=NEXT)
        list(client.run_stream("a", sequence=END))
    assert sent(answering) == SENT


def test_every_async_call_takes_a_sequence(answering: ScriptedServer) -> None:
    async def run() -> None:
        async with AsyncModelClient("any", port=answering.port, timeout=10) as client:
            await client.run_text("a", sequence=START)
            await client.run_image(PIXELS, sequence=NEXT)
            await client.run_encoded(b"a", "image/png", sequence=NEXT)
            _ = [part async for part in client.run_stream("a", sequence=END)]

    asyncio.run(run())
    assert sent(answering) == SENT


def test_without_one_there_is_none(answering: ScriptedServer) -> None:
    with ModelClient("any", port=answering.port, timeout=10) as client:
        client.run_text("a")
    assert not pb.TextArgs.FromString(answering.requests[-1]).HasField("sequence")


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        ("a", tmc.InvalidType),
        (Sequence(7), tmc.InvalidType),  # type: ignore[arg-type]
        (Sequence(""), tmc.InvalidInput),
        (Sequence("\ud800"), tmc.InvalidInput),
    ],
)
def test_what_is_no_sequence(
    answering: ScriptedServer, sequence: Any, kind: type[Exception]
) -> None:
    with ModelClient("any", port=answering.port, timeout=10) as client:
        with pytest.raises(kind):
            client.run_text("a", sequence=sequence)
    assert "RunText" not in answering.calls


def test_a_sequence_has_one_worker(server: Server) -> None:
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        ids = [str(number) for number in range(100)]
        workers = [turn(client, Sequence(id, start=True)) for id in ids]
        assert [turn(client, Sequence(id)) for id in ids] == workers
        assert set(workers) == set(client.health_check()["serving"])
        # Models without state take no notice.
        assert client.run_text("a", sequence=NEXT) == "a_processed"
        with pytest.raises(tmc.InvalidInput, match="128"):
            client.run_text("a", sequence=Sequence("x" * 129))
