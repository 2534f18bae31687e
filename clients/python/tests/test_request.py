"""From numpy and Pillow to messages: the pixels arrive as they were meant, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiny_model_client import Encoded, InvalidInput, InvalidType, MessageTooLarge
from tiny_model_client import request as requests
from tiny_model_client._proto import server as pb
from tiny_model_client.result import single
from tiny_model_client.tensors import DTYPES as TENSOR_DTYPES

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def encode(image: Any) -> pb.NumpyImage:
    return requests.image("m", image, None).image


def decode(image: pb.NumpyImage) -> Any:
    """As the server reads it."""
    array = np.frombuffer(image.data, np.dtype(image.dtype).newbyteorder("<"))
    return array.reshape(image.height, image.width, image.channels)


def decode_tensor(tensor: pb.NamedTensor) -> Any:
    """As the client reads the server's."""
    return single(pb.Response(tensors=[tensor])).tensors[tensor.name]


@pytest.mark.parametrize(
    "image",
    [
        PIXELS,
        np.asfortranarray(PIXELS),
        np.repeat(PIXELS, 2, axis=1)[:, ::2],
        PIXELS[::-1][::-1],
        np.transpose(np.ascontiguousarray(np.transpose(PIXELS, (2, 1, 0))), (2, 1, 0)),
        PIXELS.astype(np.float32),
        PIXELS.astype(">f8"),
        Image.fromarray(PIXELS),
    ],
    ids=["C", "Fortran", "strided", "negative", "transposed", "float32", "big-endian", "Pillow"],
)
def test_pixels_in_any_order(image: Any) -> None:
    message = encode(image)
    assert (message.height, message.width, message.channels) == (2, 3, 3)
    assert np.array_equal(decode(message), PIXELS)


def test_two_dimensions_are_one_channel() -> None:
    message = encode(PIXELS[:, :, 0])
    assert (message.height, message.width, message.channels) == (2, 3, 1)
    assert np.array_equal(decode(message)[:, :, 0], PIXELS[:, :, 0])


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        ("L", 1, "uint8"),
        ("RGB", 3, "uint8"),
        ("RGBA", 4, "uint8"),
        ("F", 1, "float32"),
        ("1", 1, "uint8"),
        ("P", 3, "uint8"),
        ("LA", 4, "uint8"),
        ("CMYK", 3, "uint8"),
        ("YCbCr", 3, "uint8"),
    ],
)
def test_modes_of_pillow(mode: str, channels: int, dtype: str) -> None:
    message = encode(Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode))
    assert (message.height, message.width, message.channels) == (4, 5, channels)
    assert message.dtype == dtype
    # White stays white, whatever number the mode has for it.
    assert decode(message).min() == 255


def test_transparent_palette() -> None:
    palette = Image.new("P", (5, 4))
    palette.info["transparency"] = 0
    assert encode(palette).channels == 4


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 2), np.int16), np.zeros((2, 2), bool), Image.new("I", (2, 2)), "cat.jpg", None],
)
def test_types_that_cannot_be_sent(image: Any) -> None:
    with pytest.raises(InvalidType, match="uint8, float32, float64"):
        encode(image)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4), (), (0, 5), (5, 0, 3), (5, 5, 0)])
def test_shapes_that_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        encode(np.zeros(shape, np.uint8))


def tensor(value: Any) -> pb.NamedTensor:
    message: pb.NamedTensor = requests.run("m", {"x": value}, None).tensors.tensors[0]
    return message


@pytest.mark.parametrize("datatype", [*TENSOR_DTYPES, "BF16"])
def test_tensors_of_every_type(datatype: str) -> None:
    dtype = TENSOR_DTYPES.get(datatype) or pytest.importorskip("ml_dtypes").bfloat16
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    for given in (array, np.asfortranarray(array), array[::-1][::-1]):
        message = tensor(given)
        assert (message.name, message.datatype) == ("x", datatype)
        np.testing.assert_array_equal(decode_tensor(message), array.astype(np.float64))


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (np.array([b"a\0", "é", b""], object), [b"a\0", "é".encode(), b""]),
        (np.array(["a", "bc"]), [b"a", b"bc"]),
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (["a\0", "bc"], [b"a\0", b"bc"]),
        ([b"a\0"], [b"a\0"]),
        (b"a\0", b"a\0"),
        ([["a"], ["b"]], [[b"a"], [b"b"]]),
    ],
)
def test_tensors_of_bytes(value: Any, elements: Any) -> None:
    message = tensor(value)
    assert message.datatype == "BYTES"
    assert decode_tensor(message).tolist() == elements


def test_tensors_of_any_shape() -> None:
    assert tensor(np.float32(1.5)).shape == []
    assert tensor(np.zeros((2, 0, 3))).shape == [2, 0, 3]
    big_endian = np.array([1, 2], ">i4")
    assert decode_tensor(tensor(big_endian)).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"x": np.zeros(1, complex)}, InvalidType),
        ({"x": [None]}, InvalidType),
        ({"x": ["a", 1, None]}, InvalidType),
        ({"x": [[1], [1, 2]]}, InvalidInput),
        ({"x": ["\ud800"]}, InvalidInput),
        ({7: np.zeros(1)}, InvalidType),
    ],
)
def test_what_is_no_tensor(tensors: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        requests.run("m", tensors, None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", "text"),
        (PIXELS, "image"),
        (Image.fromarray(PIXELS), "image"),
        (Encoded(b"", "image/png"), "encoded"),
        ({}, "tensors"),
    ],
)
def test_input_of_any_kind(value: Any, kind: str) -> None:
    message = requests.run("m", value, {"a": 1})
    assert (message.WhichOneof("input"), message.model, message.args) == (kind, "m", '{"a": 1}')


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), Path("a.png"), None, 7, [1, 2]])
def test_input_of_no_kind(value: Any) -> None:
    with pytest.raises((InvalidType, InvalidInput)):
        requests.run("m", value, None)


def test_more_than_a_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_MESSAGE_BYTES", 20)
    assert len(requests.image_batch("m", [PIXELS], None).images) == 1
    with pytest.raises(MessageTooLarge, match="36 bytes"):
        requests.image_batch("m", [PIXELS, PIXELS], None)
    with pytest.raises(MessageTooLarge, match="24 bytes"):
        requests.run("m", {"x": np.zeros(12, np.uint8), "y": np.zeros(12, np.uint8)}, None)


@pytest.mark.parametrize(
    ("args", "json"), [(None, ""), ({}, ""), ({"a": [1, "é"]}, '{"a": [1, "\\u00e9"]}')]
)
def test_args(args: Any, json: str) -> None:
    assert requests.text("m", "t", args).args == json
