"""Requests: from the caller's data and arguments to the messages of the wire."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import tensors
from ._proto import server as pb
from .encoded import Encoded
from .errors import InvalidInput, InvalidType, MessageTooLarge

MAX_MESSAGE_BYTES = 1_000_000_000
"""The largest message that the client sends or takes; the server has a limit of its own."""

DTYPES = ("uint8", "float32", "float64")
"""The types of pixels that the wire knows."""

# Modes of Pillow whose pixels are what they look like; others (palettes, CMYK, ...) are converted.
_PLAIN_MODES = ("L", "RGB", "RGBA", "F")
_CONVERTED_MODES = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA"}


@dataclass(frozen=True)
class Sequence:
    """The place of a call in a sequence: calls with the same id meet one instance of the model.

    Only models that keep state take notice. The first call says that it starts, which throws away
    what was left of an earlier sequence of the same id; the last one says that it ends.
    """

    id: str
    """Of the caller's choice, at most 128 bytes. Whoever knows it can take part."""
    start: bool = False
    end: bool = False


def image(
    model: str, image: Any, args: Mapping[str, Any] | None, sequence: Sequence | None = None
) -> pb.ImageArgs:
    """A call with one image."""
    return pb.ImageArgs(
        image=_image(image), model=model, args=_args(args), sequence=place(sequence)
    )


def image_batch(
    model: str, images: Iterable[Any], args: Mapping[str, Any] | None
) -> pb.BatchImageArgs:
    """A call with several images."""
    request = pb.BatchImageArgs(model=model, args=_args(args))
    total = 0
    for member in images:
        message = _image(member)
        total += len(message.data)
        check_size(total)
        request.images.append(message)
    return request


def text(
    model: str, text: Any, args: Mapping[str, Any] | None, sequence: Sequence | None = None
) -> pb.TextArgs:
    """A call with one text."""
    return pb.TextArgs(text=_text(text), model=model, args=_args(args), sequence=place(sequence))


def text_batch(
    model: str, texts: Iterable[Any], args: Mapping[str, Any] | None
) -> pb.BatchTextArgs:
    """A call with several texts."""
    if isinstance(texts, (str, bytes)):
        raise InvalidType("run_text_batch takes a list of texts; for one text call run_text")
    return pb.BatchTextArgs(
        texts=[_text(member) for member in texts], model=model, args=_args(args)
    )


def encoded(
    model: str,
    data: Any,
    media_type: str | None,
    args: Mapping[str, Any] | None,
    sequence: Sequence | None = None,
) -> pb.EncodedArgs:
    """A call with one file."""
    if isinstance(data, (str, os.PathLike)):
        data = Encoded.read(data, media_type)
    elif isinstance(data, (bytes, bytearray, memoryview)):
        if not media_type:
            raise InvalidInput("bytes do not tell what they are: give a media_type")
        data = Encoded(bytes(data), media_type)
    elif not isinstance(data, Encoded):
        raise InvalidType(f"a file is bytes, a path or Encoded, not {type(data).__name__}")
    elif media_type:
        data = Encoded(data.data, media_type)
    return pb.EncodedArgs(
        encoded=_encoded(data), model=model, args=_args(args), sequence=place(sequence)
    )


def run(
    model: str, input: Any, args: Mapping[str, Any] | None, sequence: Sequence | None = None
) -> pb.RunArgs:
    """A request of any kind."""
    message = pb.RunArgs(model=model, args=_args(args), sequence=place(sequence))
    if isinstance(input, str):
        message.text = _text(input)
    elif isinstance(input, Encoded):
        message.encoded.CopyFrom(_encoded(input))
    elif isinstance(input, Mapping):
        message.tensors.CopyFrom(_tensors(input))
    elif isinstance(input, (bytes, bytearray, memoryview, os.PathLike)):
        raise InvalidType("a file is sent as Encoded(data, media_type) or Encoded.read(path)")
    else:
        message.image.CopyFrom(_image(input))
    return message


def place(sequence: Any) -> pb.Sequence | None:
    """A call's place in a sequence, if it has one."""
    if sequence is None:
        return None
    if not isinstance(sequence, Sequence) or not isinstance(sequence.id, str):
        raise InvalidType(
            "a sequence is given as Sequence(id, start=..., end=...), with a str as id"
        )
    if not sequence.id:
        raise InvalidInput("a sequence has an id that is not empty")
    return pb.Sequence(id=_text(sequence.id), start=sequence.start, end=sequence.end)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidType(f"a text is a str, not {type(value).__name__}")
    tensors.utf8(value)
    return value


def _args(args: Mapping[str, Any] | None) -> str:
    if not args:
        return ""
    try:
        return json.dumps(args, allow_nan=False)
    except TypeError as error:
        raise InvalidType(f"args cannot be written as JSON: {error}") from error
    except ValueError as error:
        raise InvalidInput(f"args cannot be written as JSON: {error}") from error


def _image(value: Any) -> pb.NumpyImage:
    array = np.asarray(_plain_pixels(value))
    if array.dtype.name not in DTYPES:
        raise InvalidType(
            f"an image of type {array.dtype} cannot be sent; convert it to {', '.join(DTYPES)}"
        )
    if array.ndim not in (2, 3):
        raise InvalidInput(
            "an image has the shape [height, width] or [height, width, channels], "
            f"not {list(array.shape)}"
        )
    if array.size == 0:
        raise InvalidInput(f"an image of shape {list(array.shape)} has no pixels")
    check_size(array.nbytes)
    # tobytes() is row-major whatever the array's own memory order.
    return pb.NumpyImage(
        height=array.shape[0],
        width=array.shape[1],
        channels=1 if array.ndim == 2 else array.shape[2],
        data=array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
        dtype=array.dtype.name,
    )


def _plain_pixels(value: Any) -> Any:
    """Pillow's images in a mode whose numbers are colours; anything else as it is."""
    # Who holds one of Pillow's images has imported Pillow: no need to depend on it.
    pillow = sys.modules.get("PIL.Image")
    if pillow is None or not isinstance(value, pillow.Image):
        return value
    if value.mode in _PLAIN_MODES or value.mode.startswith("I"):
        # 16 and 32 bits an integer: refused by type, as no conversion keeps what they mean.
        return value
    transparent = value.mode == "P" and "transparency" in value.info
    return value.convert(_CONVERTED_MODES.get(value.mode, "RGBA" if transparent else "RGB"))


def _encoded(file: Encoded) -> pb.Encoded:
    check_size(len(file.data))
    return pb.Encoded(data=file.data, media_type=file.media_type)


def _tensors(named: Mapping[Any, Any]) -> pb.Tensors:
    message = pb.Tensors()
    total = 0
    for name, value in named.items():
        datatype, shape, data = tensors.encode(name, value)
        total += len(data)
        check_size(total)
        message.tensors.add(name=name, datatype=datatype, shape=shape, data=bytes(data))
    return message


def check_size(size: int) -> None:
    """Fails where there is more than a message holds."""
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"{size} bytes of data do not fit one message of {MAX_MESSAGE_BYTES} bytes"
        )
