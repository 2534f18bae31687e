"""Client of Tiny Model Server.

Layout:

- `client`: ModelClient, the blocking client; `aio`: AsyncModelClient, its asyncio twin.
- `request` and `result`: from images and texts to messages, and back to JSON, images and tensors.
- `errors`: the exceptions, and which gRPC status leads to which.
- `_base`: what both clients share. `_proto`: the messages of the wire.
"""

from .aio import AsyncModelClient
from .client import ModelClient
from .errors import (
    ConnectionTimeout,
    DeadlineExceeded,
    InvalidInput,
    InvalidType,
    MessageTooLarge,
    ModelClientError,
    ModelFailed,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ServerUnavailable,
)
from .result import Result

__all__ = [
    "AsyncModelClient",
    "ConnectionTimeout",
    "DeadlineExceeded",
    "InvalidInput",
    "InvalidType",
    "MessageTooLarge",
    "ModelClient",
    "ModelClientError",
    "ModelFailed",
    "ModelNotFound",
    "Overloaded",
    "PermissionDenied",
    "Result",
    "ServerUnavailable",
]
