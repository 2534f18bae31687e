"""Results: from the server's reply to JSON values, images, tensors and files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from ._proto import server as pb
from .encoded import Encoded
from .errors import ModelClientError
from .tensors import decode, numbers

_IMAGE_DTYPES = {"uint8": "u1", "float32": "<f4", "float64": "<f8"}


@dataclass
class Result:
    """A result that is more than JSON."""

    json: Any
    """The JSON part; None where the model gave none."""
    image: npt.NDArray[Any] | None = None
    """The image, [height, width] or [height, width, channels]."""
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """The other tensors by name.

    BYTES come as an object array of bytes, and BF16 as bfloat16 where the package ml_dtypes is
    installed, as float32 elsewhere.
    """
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


def tensors(reply: pb.Response) -> dict[str, npt.NDArray[Any]]:
    """All of a part but its JSON, each under the name that the model gave it."""
    named = _tensors(reply.tensors)
    if reply.HasField("image"):
        named["image"] = _image(reply.image)
    if reply.HasField("encoded"):
        named["encoded"] = decode("UINT8", [len(reply.encoded.data)], reply.encoded.data)
    return named


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
    return numbers(image.data, _IMAGE_DTYPES[image.dtype], shape)


def _tensors(tensors: Iterable[pb.NamedTensor]) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: decode(tensor.datatype, tensor.shape, tensor.data) for tensor in tensors}
