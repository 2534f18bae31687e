"""Files: from bytes and paths to messages, and what they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_model_client as tmc
from conftest import Server
from scripted import ScriptedServer
from tiny_model_client import AsyncModelClient, Encoded, ModelClient, Sequence
from tiny_model_client import request as requests
from tiny_model_client._proto import server as pb

PNG = Encoded(b"\x89PNG", "image/png")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(PNG.data)
    return path


def test_every_way_to_give_a_file(scripted: ScriptedServer, picture: Path) -> None:
    scripted.replies["RunEncoded"] = pb.Response(data="1")
    ways: list[tuple[Any, ...]] = [
        (picture,),
        (str(picture),),
        (picture, "image/png"),
        (PNG.data, "image/png"),
        (bytearray(PNG.data), "image/png"),
        (PNG,),
        (Encoded(PNG.data, "image/x"), "image/png"),
    ]
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        for way in ways:
            assert client.run_encoded(*way) == 1

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            for way in ways:
                assert await client.run_encoded(*way) == 1

    asyncio.run(run())
    expected = pb.Encoded(data=PNG.data, media_type="image/png")
    sent = [pb.EncodedArgs.FromString(request) for request in scripted.requests if request]
    assert sent == [pb.EncodedArgs(encoded=expected, model="any")] * 2 * len(ways)


def test_arguments_and_sequence() -> None:
    sequence = Sequence("a", end=True)
    message = requests.encoded("m", b"", "image/png", {"a": 1}, sequence)
    assert message.args == '{"a": 1}'
    assert message.sequence == pb.Sequence(id="a", end=True)
    assert message.HasField("encoded")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.b.JPEG", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.bmp", "image/bmp"),
        ("a.wav", "audio/wav"),
        ("a.mp3", "audio/mpeg"),
    ],
)
def test_a_name_tells_the_type(tmp_path: Path, name: str, media_type: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    assert Encoded.read(tmp_path / name) == Encoded(b"abc", media_type)


@pytest.mark.parametrize("name", ["picture", "picture.nonsense", "picture.png.gz"])
def test_a_name_that_tells_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    with pytest.raises(tmc.InvalidInput, match="media_type"):
        Encoded.read(tmp_path / name)
    assert Encoded.read(tmp_path / name, "image/png") == Encoded(b"abc", "image/png")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"abc", tmc.InvalidInput),
        (None, tmc.InvalidType),
        (7, tmc.InvalidType),
        (np.zeros((2, 2), np.uint8), tmc.InvalidType),
        ("no_such_file.png", FileNotFoundError),
    ],
)
def test_what_is_no_file(scripted: ScriptedServer, data: Any, kind: type[Exception]) -> None:
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(kind):
            client.run_encoded(data)

    async def run() -> None:
        async with AsyncModelClient("any", port=scripted.port, timeout=10) as client:
            with pytest.raises(kind):
                await client.run_encoded(data)

    asyncio.run(run())
    assert "RunEncoded" not in scripted.calls


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_MESSAGE_BYTES", 3)
    with pytest.raises(tmc.MessageTooLarge, match="4 bytes"):
        requests.encoded("m", PNG, None, None)


def test_a_model_that_takes_no_file(server: Server, picture: Path) -> None:
    with ModelClient("example_image", port=server.port, timeout=10) as client:
        with pytest.raises(tmc.InvalidInput, match="example_image"):
            client.run_encoded(picture)
        with pytest.raises(tmc.InvalidInput, match="media_type"):
            client.run_encoded(b"abc", "png")
