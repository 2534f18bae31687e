"""Results beyond JSON: images and tensors come back as numpy arrays, over a real connection."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from scripted import ScriptedServer
from tiny_model_client import Encoded, ModelClient, ModelClientError, Result
from tiny_model_client._proto import server as pb


def run(scripted: ScriptedServer, reply: pb.Response) -> Any:
    scripted.replies["RunText"] = reply
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        return client.run_text("a")


def test_json_alone_is_the_value_itself(scripted: ScriptedServer) -> None:
    assert run(scripted, pb.Response(data='{"a": [1, null]}')) == {"a": [1, None]}
    assert run(scripted, pb.Response(data="null")) is None


def test_image(scripted: ScriptedServer) -> None:
    image = pb.NumpyImage(height=1, width=2, channels=3, data=bytes(range(6)), dtype="uint8")
    result = run(scripted, pb.Response(data="7", image=image))
    assert isinstance(result, Result)
    assert result.json == 7
    assert result.image is not None
    assert result.image.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    result.image[0, 0, 0] = 9  # The array is the caller's own.


def test_greyscale_float_image(scripted: ScriptedServer) -> None:
    data = np.array([0.5, 1], "<f4").tobytes()
    image = pb.NumpyImage(height=2, width=1, channels=1, data=data, dtype="float32")
    result = run(scripted, pb.Response(data="null", image=image))
    assert result.image.dtype == np.float32
    assert result.image.tolist() == [[0.5], [1.0]]


def test_file(scripted: ScriptedServer) -> None:
    file = pb.Encoded(data=b"abc", media_type="image/png")
    result = run(scripted, pb.Response(data="7", encoded=file))
    assert result == Result(7, encoded=Encoded(b"abc", "image/png"))
    # Their content would flood a terminal.
    assert "abc" not in repr(result)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "expected"),
    [
        ("FP32", [2], np.array([1.5, -2], "<f4").tobytes(), [1.5, -2]),
        ("FP16", [1, 1], np.array([0.5], "<f2").tobytes(), [[0.5]]),
        ("BF16", [2], struct.pack("<2H", 0x3FC0, 0xC000), [1.5, -2.0]),
        ("INT64", [], struct.pack("<q", -5), -5),
        ("BOOL", [2], b"\1\0", [True, False]),
        ("UINT8", [0, 3], b"", []),
        ("BYTES", [2], b"\2\0\0\0hi\1\0\0\0\0", [b"hi", b"\0"]),
        ("BYTES", [1, 1], b"\0\0\0\0", [[b""]]),
    ],
)
def test_tensor(
    scripted: ScriptedServer, datatype: str, shape: list[int], data: bytes, expected: Any
) -> None:
    tensor = pb.NamedTensor(name="scores", datatype=datatype, shape=shape, data=data)
    result = run(scripted, pb.Response(data="null", tensors=[tensor]))
    array = result.tensors["scores"]
    assert list(array.shape) == shape
    assert array.tolist() == expected


def test_batch_with_parts(scripted: ScriptedServer) -> None:
    tensor = pb.NamedTensor(name="t", datatype="UINT8", shape=[1], data=b"\7")
    file = pb.Encoded(data=b"abc", media_type="image/png")
    parts = [pb.Parts(), pb.Parts(tensors=[tensor]), pb.Parts(encoded=file)]
    scripted.replies["RunBatchText"] = pb.Response(data="[1, 2, 3]", batch=parts)
    with ModelClient("any", port=scripted.port, timeout=10) as client:
        plain, rich, filed = client.run_text_batch(["a", "b", "c"])
        assert plain == 1
        assert filed == Result(3, encoded=Encoded(b"abc", "image/png"))
        assert rich.json == 2
        assert rich.tensors["t"].tolist() == [7]
        scripted.replies["RunBatchText"] = pb.Response(data="[1]", batch=parts)
        with pytest.raises(ModelClientError, match="one result an input"):
            client.run_text_batch(["a", "b"])


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [("FP32", [1], b"123"), ("FP32", [2], b"1234"), ("BYTES", [1], b"\7\0\0\0x"), ("X", [1], b"1")],
)
def test_broken_tensor(
    scripted: ScriptedServer, datatype: str, shape: list[int], data: bytes
) -> None:
    tensor = pb.NamedTensor(name="t", datatype=datatype, shape=shape, data=data)
    with pytest.raises(ModelClientError, match="the server sent a"):
        run(scripted, pb.Response(data="null", tensors=[tensor]))
