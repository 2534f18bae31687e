"""Requests: from the caller's images, texts and arguments to the messages of the wire."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ._proto import server as pb
from .errors import InvalidInput, InvalidType, MessageTooLarge

MAX_MESSAGE_BYTES = 1_000_000_000
"""The largest message that the client sends or takes; the server has a limit of its own."""

DTYPES = ("uint8", "float32", "float64")
"""The types of pixels that the wire knows."""

# Modes of Pillow whose pixels are what they look like; others (palettes, CMYK, ...) are converted.
_PLAIN_MODES = ("L", "RGB", "RGBA", "F")
_CONVERTED_MODES = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA"}


def image(model: str, image: Any, args: Mapping[str, Any] | None) -> pb.ImageArgs:
    """A call with one image."""
    return pb.ImageArgs(image=_image(image), model=model, args=_args(args))


def image_batch(
    model: str, images: Iterable[Any], args: Mapping[str, Any] | None
) -> pb.BatchImageArgs:
    """A call with several images."""
    request = pb.BatchImageArgs(model=model, args=_args(args))
    total = 0
    for member in images:
        message = _image(member)
        total += len(message.data)
        _check_size(total)
        request.images.append(message)
    return request


def text(model: str, text: Any, args: Mapping[str, Any] | None) -> pb.TextArgs:
    """A call with one text."""
    return pb.TextArgs(text=_text(text), model=model, args=_args(args))


def text_batch(
    model: str, texts: Iterable[Any], args: Mapping[str, Any] | None
) -> pb.BatchTextArgs:
    """A call with several texts."""
    if isinstance(texts, (str, bytes)):
        raise InvalidType("run_text_batch takes a list of texts; for one text call run_text")
    return pb.BatchTextArgs(
        texts=[_text(member) for member in texts], model=model, args=_args(args)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidType(f"a text is a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the text is not valid Unicode: {error}") from error
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
    _check_size(array.nbytes)
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


def _check_size(size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"{size} bytes of pixels do not fit one message of {MAX_MESSAGE_BYTES} bytes"
        )
