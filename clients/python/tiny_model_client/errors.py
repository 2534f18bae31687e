"""What can go wrong, one class for whose fault it is; the one place that reads gRPC statuses."""

from __future__ import annotations

import grpc


class ModelClientError(Exception):
    """Base of all errors of this package.

    `str(error)` is the server's message, or the client's own where no server was asked.
    `error.code` is the gRPC status, or None where the client found the mistake itself.
    """

    code: grpc.StatusCode | None

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code


class ModelNotFound(ModelClientError):
    """The server serves no model of this name (NOT_FOUND)."""


class InvalidInput(ModelClientError, ValueError):
    """The input cannot be right, says the client, the server or the model (INVALID_ARGUMENT)."""


class MessageTooLarge(InvalidInput):
    """The input or the result is larger than one message may be."""


class InvalidType(ModelClientError, TypeError):
    """The input is of a type that cannot be sent, such as an int16 image."""


class PermissionDenied(ModelClientError):
    """The server does not let this caller do that (PERMISSION_DENIED)."""


class Overloaded(ModelClientError):
    """Too much is waiting at the server; try again later (RESOURCE_EXHAUSTED)."""


class DeadlineExceeded(ModelClientError, TimeoutError):
    """The answer did not come in time (DEADLINE_EXCEEDED)."""


class ModelFailed(ModelClientError):
    """The model crashed, ran into a limit or returned nonsense (INTERNAL)."""


class ServerUnavailable(ModelClientError, ConnectionError):
    """The server does not answer, or is about to stop (UNAVAILABLE)."""


class ConnectionTimeout(ServerUnavailable):
    """No server answered within the client's `timeout`."""


_CLASSES: dict[grpc.StatusCode, type[ModelClientError]] = {
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: MessageTooLarge,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: ModelFailed,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
}


def from_rpc(error: grpc.RpcError) -> ModelClientError:
    """The typed error for a failed call."""
    code: grpc.StatusCode = error.code()
    details: str = error.details() or f"the call failed with {code.name}"
    kind = _CLASSES.get(code, ModelClientError)
    if kind is Overloaded and ("larger than the limit" in details or "larger than max" in details):
        # gRPC asks for one status for a full queue and for a message over a limit; the second
        # wording is that of gRPC's own library.
        kind = MessageTooLarge
    return kind(details, code)


def connection_timeout(address: str, timeout: float, cause: str) -> ConnectionTimeout:
    """What to say when no server was found."""
    return ConnectionTimeout(
        f"no Tiny Model Server answered at {address} within {timeout:g} s ({cause}). Check that "
        "the server runs (it prints a line that starts with 'ready:'), that ip and port are the "
        "ones in that line, that the server was started with --host if it is on another machine, "
        "and that no firewall or proxy (http_proxy) is in the way.",
        grpc.StatusCode.UNAVAILABLE,
    )
