"""Client of Tiny Model Server.

Layout:

- `client`: ModelClient, the blocking client; `aio`: AsyncModelClient, its asyncio twin.
- `session`: any number of requests in one call, for both.
- `request` and `result`: from images, texts and files to messages, and back to JSON and the rest.
- `inference`: calls with named tensors, and what a model says of its own. `tensors`: their bytes.
- `encoded`: files as they are. `tls`: whom a client trusts.
- `addresses`: which servers to use. `servers`: one of them; `pool`: all of a client's; `route`: a
  call's way through them. `balance`: which server is next; `load`: what servers say of their load.
- `errors`: the exceptions, and which gRPC status leads to which.
- `_base`: what both clients share. `_proto`: the messages of the wire.
"""

from .aio import AsyncModelClient
from .client import ModelClient
from .encoded import Encoded
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
from .inference import Metadata, TensorInfo
from .request import Sequence
from .result import Result
from .servers import ServerInfo
from .session import AsyncSession, Session
from .tls import TLS

__all__ = [
    "TLS",
    "AsyncModelClient",
    "AsyncSession",
    "ConnectionTimeout",
    "DeadlineExceeded",
    "Encoded",
    "InvalidInput",
    "InvalidType",
    "MessageTooLarge",
    "Metadata",
    "ModelClient",
    "ModelClientError",
    "ModelFailed",
    "ModelNotFound",
    "Overloaded",
    "PermissionDenied",
    "Result",
    "Sequence",
    "ServerInfo",
    "ServerUnavailable",
    "Session",
    "TensorInfo",
]
