"""Messages and methods of the wire, built from `protocol.binpb` when the package is imported.

There is no generated Python here, for two reasons. Generated code runs only under the protobuf
releases that it was made for, which would tie the user's other packages. And the descriptors live
in a pool of their own, so this package can be imported beside another one that brings its own
`server.proto` or `grpc.health.v1`; in protobuf's default pool that is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_pool = DescriptorPool()
_files = FileDescriptorSet.FromString(Path(__file__).with_name("protocol.binpb").read_bytes())
for _file in _files.file:
    _pool.Add(_file)


_within: list[Any] = []
"""Classes that no module holds: protobuf 4.22 forgets those that nobody holds, and then crashes."""


class Method(NamedTuple):
    """What gRPC has to know to call one method."""

    path: str
    kind: str
    """The channel's method that makes its callable, such as unary_unary."""
    serialize: Callable[[Any], bytes]
    """Bytes are messages that have been written already."""
    deserialize: Callable[[bytes], Any]


def messages(file: str) -> dict[str, Any]:
    """What a module of one .proto file holds: its descriptor and its message classes."""
    descriptor = _pool.FindFileByName(file)
    types = descriptor.message_types_by_name
    return {"DESCRIPTOR": descriptor, **{name: _class(types[name]) for name in types}}


def _class(descriptor: Any) -> Any:
    """A message's class; those of the messages within it are kept, too."""
    _within.extend(_class(nested) for nested in descriptor.nested_types)
    return GetMessageClass(descriptor)


def _methods() -> dict[str, Method]:
    methods = {}
    for file in _files.file:
        services = _pool.FindFileByName(file.name).services_by_name
        for service in file.service:
            for method in service.method:
                found = services[service.name].methods_by_name[method.name]
                methods[method.name] = Method(
                    f"/{services[service.name].full_name}/{method.name}",
                    f"{_style(method.client_streaming)}_{_style(method.server_streaming)}",
                    _serialize,
                    GetMessageClass(found.output_type).FromString,
                )
    return methods


def _serialize(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data


def _style(streaming: bool) -> str:
    return "stream" if streaming else "unary"


METHODS = _methods()
"""All methods of all services, by their names, which are unique among them."""
