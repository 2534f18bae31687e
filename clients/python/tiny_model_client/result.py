"""Results: from the server's reply to JSON values, images, tensors and files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._proto import server as pb
from .encoded import Encoded
from .errors import ModelClientError

DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Datatypes of the Open Inference Protocol that numpy knows, little-endian as on the wire.

BF16 and BYTES are handled apart: numpy has neither.
"""

_IMAGE_DTYPES = {"uint8": "u1", "float32": "<f4", "float64": "<f8"}


@dataclass
class Result:
    """A result that is more than JSON."""

    json: Any
    """The JSON part; None where the model gave none."""
    image: npt.NDArray[Any] | None = None
    """The image, [height, width] or [height, width, channels]."""
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """The other tensors by name. BF16 comes as float32, BYTES as an object array of bytes."""
    encoded: Encoded | None = None
    """The file."""


def parse(text: str) -> Any:
    """The JSON of a reply."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelClientError(f"the server's reply is not JSON: {error}") from error


def single(reply: pb.Response) -> Any:
    """The result of one input: its JSON value, or a Result where there is more."""
    return _combine(parse(reply.data), reply)


def batch(reply: pb.Response) -> list[Any]:
    """The results of a batch call, one an input."""
    values = parse(reply.data)
    if not reply.batch:
        return values if isinstance(values, list) else [values]
    if not isinstance(values, list) or len(values) != len(reply.batch):
        raise ModelClientError("the server's reply has not one result an input")
    return [_combine(value, parts) for value, parts in zip(values, reply.batch)]


def image(reply: pb.ImageResponse) -> npt.NDArray[Any]:
    """The image that was asked for."""
    if not reply.HasField("image"):
        raise ModelClientError("the server's reply has no image")
    return _image(reply.image)


def images(reply: pb.BatchImageResponse, count: int) -> list[npt.NDArray[Any]]:
    """The images that were asked for, one an input."""
    if len(reply.images) != count:
        raise ModelClientError("the server's reply has not one image an input")
    return [_image(image) for image in reply.images]


def is_part(reply: pb.Response) -> bool:
    """False for the end of an answer that ends without another part."""
    return reply.more or reply.data != ""


def _combine(value: Any, parts: pb.Response | pb.Parts) -> Any:
    has_image, has_file = parts.HasField("image"), parts.HasField("encoded")
    if not has_image and not has_file and not parts.tensors:
        return value
    return Result(
        value,
        _image(parts.image) if has_image else None,
        _tensors(parts.tensors),
        Encoded(parts.encoded.data, parts.encoded.media_type) if has_file else None,
    )


def _image(image: pb.NumpyImage) -> npt.NDArray[Any]:
    if image.dtype not in _IMAGE_DTYPES:
        raise ModelClientError(f"the server sent an image of an unknown type: {image.dtype!r}")
    shape = [image.height, image.width] + ([] if image.channels == 1 else [image.channels])
    return _array(image.data, _IMAGE_DTYPES[image.dtype], shape)


def _tensors(tensors: Iterable[pb.NamedTensor]) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: _tensor(tensor) for tensor in tensors}


def _tensor(tensor: pb.NamedTensor) -> npt.NDArray[Any]:
    if tensor.datatype == "BYTES":
        elements = _split_bytes(tensor.data)
        # Filled one by one: np.array() would drop trailing zero bytes, or guess a deeper shape.
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return _reshape(array, tensor.shape)
    if tensor.datatype == "BF16":
        # A bfloat16 is the upper half of a float32.
        halves = _array(tensor.data, "<u2", tensor.shape)
        return np.asarray((halves.astype(np.uint32) << 16).view(np.float32))
    if tensor.datatype not in DTYPES:
        raise ModelClientError(f"the server sent a tensor of an unknown type: {tensor.datatype!r}")
    return _array(tensor.data, DTYPES[tensor.datatype], tensor.shape)


def _array(data: bytes, dtype: str, shape: Iterable[int]) -> npt.NDArray[Any]:
    if len(data) % np.dtype(dtype).itemsize:
        raise ModelClientError("the server sent a tensor whose bytes do not fit its type")
    # bytearray copies, so that the caller may write into the array.
    return _reshape(np.frombuffer(bytearray(data), dtype=dtype), shape)


def _reshape(array: npt.NDArray[Any], shape: Iterable[int]) -> npt.NDArray[Any]:
    try:
        return array.reshape(tuple(shape))
    except ValueError as error:
        raise ModelClientError("the server sent a tensor that does not fit its shape") from error


def _split_bytes(data: bytes) -> list[bytes]:
    """The elements of a BYTES tensor: each has its length in front, four bytes little-endian."""
    elements = []
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if end > len(data):
            raise ModelClientError("the server sent a BYTES tensor that ends within an element")
        elements.append(data[start + 4 : end])
        start = end
    return elements
