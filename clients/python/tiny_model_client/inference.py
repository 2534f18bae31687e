"""The Open Inference Protocol: tensors by name, and what a model says of those that it knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from . import tensors
from ._proto import open_inference as pb
from .errors import InvalidInput, InvalidType, ModelClientError
from .request import Sequence, check_size, place

_RESERVED = {
    "sequence_id": "sequence",
    "sequence_start": "sequence",
    "sequence_end": "sequence",
    "timeout": "timeout",
}
"""Parameters that mean something to the server itself, and what says the same here."""

_RAW = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_LENGTH_DELIMITED = 2


@dataclass(frozen=True)
class TensorInfo:
    """What a model says of one of its tensors."""

    dtype: str
    """numpy's name of the type, such as float32; "object" for bytes."""
    shape: tuple[int | None, ...]
    """None where a dimension may have any size."""


@dataclass(frozen=True)
class Metadata:
    """The tensors that a model takes and gives, by name, in the model's order.

    Models that take no tensors, or any, name none.
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


def request(
    model: str,
    inputs: Any,
    args: Mapping[str, Any] | None,
    outputs: Iterable[str] | None,
    sequence: Sequence | None,
) -> bytes:
    """A call with named tensors, written already: see _write."""
    message = pb.ModelInferRequest(model_name=model)
    contents = []
    total = 0
    for name, value in tensors.arrays(inputs).items():
        datatype, shape, data = tensors.encode(name, value)
        total += len(data)
        check_size(total)
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        contents.append(data)
    for name in _wanted(outputs):
        message.outputs.add(name=name)
    _set_parameters(message, args)
    if (at := place(sequence)) is not None:
        message.parameters["sequence_id"].string_param = at.id
        message.parameters["sequence_start"].bool_param = at.start
        message.parameters["sequence_end"].bool_param = at.end
    return _write(message, contents)


def named(reply: pb.ModelInferResponse) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a reply."""
    contents = reply.raw_output_contents
    if len(contents) != len(reply.outputs):
        raise ModelClientError("the server's reply has not the bytes of each output")
    return {
        output.name: tensors.decode(output.datatype, output.shape, data)
        for output, data in zip(reply.outputs, contents)
    }


def question(model: str) -> pb.ModelMetadataRequest:
    """A call for a model's metadata."""
    return pb.ModelMetadataRequest(name=model)


def metadata(reply: pb.ModelMetadataResponse) -> Metadata:
    """What a model says of its tensors."""
    return Metadata(_infos(reply.inputs), _infos(reply.outputs))


def _infos(
    described: Iterable[pb.ModelMetadataResponse.TensorMetadata],
) -> dict[str, TensorInfo]:
    return {
        tensor.name: TensorInfo(
            # A type that a later server may have goes by the server's name.
            tensors.NAMES.get(tensor.datatype, tensor.datatype),
            tuple(None if size < 0 else size for size in tensor.shape),
        )
        for tensor in described
    }


def _wanted(outputs: Any) -> Iterator[str]:
    if outputs is None:
        return
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Iterable):
        raise InvalidType(f"outputs are a list of names, not {type(outputs).__name__}")
    name = None
    for name in outputs:
        if not isinstance(name, str):
            raise InvalidType(f"an output's name is a str, not {type(name).__name__}")
        tensors.utf8(name)
        yield name
    if name is None:
        raise InvalidInput("outputs are at least one name, or None for all")


def _set_parameters(message: pb.ModelInferRequest, args: Any) -> None:
    if args is None:
        return
    if not isinstance(args, Mapping):
        raise InvalidType(f"args are a dict, not {type(args).__name__}")
    for name, value in args.items():
        if not isinstance(name, str):
            raise InvalidType(f"an argument's name is a str, not {type(name).__name__}")
        if name in _RESERVED:
            raise InvalidInput(
                f"the protocol keeps the name {name!r} for itself: say {_RESERVED[name]}=, or "
                "call infer_stream"
            )
        tensors.utf8(name)
        _set_parameter(message.parameters[name], name, value)


def _set_parameter(parameter: pb.InferParameter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        if -(2**63) <= value < 2**63:
            parameter.int64_param = value
        elif 0 < value < 2**64:
            parameter.uint64_param = value
        else:
            raise InvalidInput(f"the argument {name!r} does not fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"the argument {name!r} is not finite")
        parameter.double_param = value
    elif isinstance(value, str):
        tensors.utf8(value)
        parameter.string_param = value
    else:
        raise InvalidType(
            f"the argument {name!r} is a bool, an int, a float or a str, not "
            f"{type(value).__name__}; infer_stream takes all that JSON has"
        )


def _write(message: pb.ModelInferRequest, contents: Iterable[bytes | memoryview]) -> bytes:
    """A message and the raw contents behind it, copied once.

    Protobuf takes nothing but bytes for them, which it copies twice: an array would be copied three
    times.
    """
    pieces: list[bytes | memoryview] = [message.SerializeToString()]
    for data in contents:
        pieces += (_varint(_RAW << 3 | _LENGTH_DELIMITED), _varint(len(data)), data)
    return b"".join(pieces)


def _varint(value: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
