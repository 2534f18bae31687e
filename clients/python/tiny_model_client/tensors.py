"""Tensors: from numpy arrays to the bytes of the wire, and back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInput, InvalidType, ModelClientError

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

NAMES = {datatype: np.dtype(dtype).name for datatype, dtype in DTYPES.items()}
"""What numpy calls the datatypes; those of BF16 arrays are the package ml_dtypes'."""
NAMES.update(BF16="bfloat16", BYTES="object")

_DATATYPES: dict[Any, str] = {np.dtype(dtype): datatype for datatype, dtype in DTYPES.items()}
"""By numpy's types, and by their names for all that are written otherwise, such as big-endian ones:
numpy takes longer to say a type's name than all else takes for a small array."""
_DATATYPES.update((name, datatype) for datatype, name in NAMES.items() if datatype != "BYTES")


def arrays(inputs: Any) -> Mapping[Any, Any]:
    """Named tensors that say of what type they are; Python's lists and numbers do not."""
    if not isinstance(inputs, Mapping):
        raise InvalidType(f"inputs are a dict of named arrays, not {type(inputs).__name__}")
    for name, value in inputs.items():
        if not hasattr(value, "__array__"):
            raise InvalidType(
                f"tensor {name!r} is a numpy array, not {type(value).__name__}: its type would be "
                "a guess"
            )
    return inputs


def encode(name: Any, value: Any) -> tuple[str, tuple[int, ...], bytes | memoryview]:
    """A tensor's datatype, shape and bytes; copies nothing that lies in memory as on the wire."""
    if not isinstance(name, str):
        raise InvalidType(f"a tensor's name is a str, not {type(name).__name__}")
    utf8(name)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
            # numpy's own strings lose the zero bytes at their ends.
            array = np.asarray(value, dtype=object)
    except ValueError as error:
        raise InvalidInput(f"tensor {name!r} is not an array: {error}") from error
    if array.dtype.kind in "OSU":
        return "BYTES", array.shape, b"".join(_element(name, element) for element in array.flat)
    datatype = _DATATYPES.get(array.dtype) or _DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise InvalidType(f"tensor {name!r} of type {array.dtype} cannot be sent")
    little_endian = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return datatype, array.shape, little_endian.reshape(-1).view(np.uint8).data


def decode(datatype: str, shape: Iterable[int], data: bytes) -> npt.NDArray[Any]:
    """A tensor as an array of its own, which the caller may write into."""
    if datatype == "BYTES":
        elements = _split_bytes(data)
        # Filled one by one: np.array() would drop trailing zero bytes, or guess a deeper shape.
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return _reshape(array, shape)
    if datatype == "BF16":
        halves = numbers(data, "<u2", shape)
        bfloat16 = _bfloat16()
        if bfloat16 is not None:
            return halves.view(bfloat16)
        # A bfloat16 is the upper half of a float32.
        return np.asarray((halves.astype(np.uint32) << 16).view(np.float32))
    if datatype not in DTYPES:
        raise ModelClientError(f"the server sent a tensor of an unknown type: {datatype!r}")
    return numbers(data, DTYPES[datatype], shape)


def numbers(data: bytes, dtype: str, shape: Iterable[int]) -> npt.NDArray[Any]:
    """An array from its bytes."""
    if len(data) % np.dtype(dtype).itemsize:
        raise ModelClientError("the server sent a tensor whose bytes do not fit its type")
    # bytearray copies, so that the caller may write into the array.
    return _reshape(np.frombuffer(bytearray(data), dtype=dtype), shape)


def utf8(value: str) -> bytes:
    """A text as it is sent."""
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the text is not valid Unicode: {error}") from error


@functools.cache
def _bfloat16() -> Any:
    """The type of bfloat16 arrays; None where ml_dtypes is not installed."""
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return None
    return np.dtype(bfloat16)


def _element(name: str, value: Any) -> bytes:
    """An element of a BYTES tensor: its length in front, four bytes little-endian."""
    if isinstance(value, str):
        value = utf8(value)
    if not isinstance(value, bytes):
        raise InvalidType(f"tensor {name!r} has an element that is neither bytes nor a str")
    return len(value).to_bytes(4, "little") + value


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
