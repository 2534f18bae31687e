"""What the blocking and the asyncio client share: settings, channel options, whose turn it is."""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

import grpc

from ._proto import METHODS
from ._proto import server as pb
from .errors import ModelClientError, connection_timeout, from_rpc
from .request import MAX_MESSAGE_BYTES, Sequence
from .result import parse
from .tls import TLS

HEALTH_SERVICE = "TinyModelServer"
"""The service name under which the server reports its health."""

HEALTH_TIMEOUT = 10.0
"""Seconds after which a worker that does not answer a health check counts as stopped."""

EXTRA_CHANNELS_TIMEOUT = 10.0
"""Seconds to spend on more channels once the first stands: one suffices to work with."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between two attempts to reach a server: doubled each time, up to the second figure."""

MAX_CHANNELS = 64
"""No more channels than this, however many workers the server has."""

Channel = TypeVar("Channel")


@dataclass(frozen=True)
class Worker(Generic[Channel]):
    """A connection and the server's worker at its other end."""

    pid: int
    channel: Channel
    calls: dict[str, Callable[..., Any]]
    """The callables of the channel, by the names of METHODS."""


class BaseClient(Generic[Channel]):
    """The part of a client that does no input and output."""

    def __init__(
        self,
        model: str,
        ip: str,
        port: int | str,
        timeout: float,
        call_timeout: float | None,
        tls: TLS | bool,
    ) -> None:
        self.model = model
        self.timeout = timeout
        self.call_timeout = call_timeout
        self.address = _address(ip, port)
        self._options = _channel_options(ip)
        self._credentials: grpc.ChannelCredentials | None = None
        if tls:
            chosen = TLS() if tls is True else tls
            self._credentials = chosen.credentials()
            self._options += chosen.options()
        self._workers: list[Worker[Channel]] = []
        self._closed = False
        self._lock = threading.Lock()
        self._turn = 0

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.model!r} at {self.address}, {len(self._workers)} workers>"

    def _next_worker(self, sequence: Sequence | None = None) -> Worker[Channel]:
        """Round-robin, but one worker for all calls of a sequence; callable from any thread."""
        with self._lock:
            if self._closed:
                raise ModelClientError("the client is closed")
            if not self._workers:
                raise ModelClientError("the client is not connected: call connect() first")
            if sequence is not None:
                # Its calls keep their order on one connection.
                return self._workers[hash(sequence.id) % len(self._workers)]
            self._turn = (self._turn + 1) % len(self._workers)
            return self._workers[self._turn]

    def _use(self, workers: list[Worker[Channel]]) -> None:
        """Takes the channels into service, in random order.

        Otherwise a thousand short-lived clients would send their first call to the same worker.
        """
        random.shuffle(workers)
        with self._lock:
            self._workers = workers

    def _take_workers(self) -> list[Worker[Channel]]:
        """Closes the client to new calls; the caller closes the channels."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
            return workers

    def _raise_unless_worth_retrying(
        self, error: grpc.RpcError, deadline: float, pause: float
    ) -> None:
        """Decides whether to ask a server for its pid again, after a pause."""
        failure = from_rpc(error)
        if failure.code == grpc.StatusCode.UNAVAILABLE and seconds_left(deadline) > pause:
            return
        if failure.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise connection_timeout(self.address, self.timeout, str(failure)) from error
        if failure.code == grpc.StatusCode.UNIMPLEMENTED:
            message = f"what answers at {self.address} is no Tiny Model Server: {failure}"
            raise ModelClientError(message, failure.code) from error
        raise failure from error


def seconds_left(deadline: float) -> float:
    """From now to a moment of the monotonic clock, 0 if it has passed."""
    return max(0.0, deadline - time.monotonic())


def make_calls(channel: Any) -> dict[str, Callable[..., Any]]:
    """A callable for every method of the wire."""
    return {
        name: getattr(channel, method.kind)(
            method.path,
            request_serializer=method.serialize,
            response_deserializer=method.deserialize,
        )
        for name, method in METHODS.items()
    }


def attempts(workers: int) -> int:
    """How many connections to open, at most, in search of all workers.

    The server hands connections to its workers in turn, so `workers` of them would do were nobody
    else connecting. Where the kernel distributes them at random some workers stay hidden for long;
    a client that does not find them all works with those that it found.
    """
    return 4 * workers + 8


def number(reply: pb.Response, name: str) -> int:
    """A number of a reply such as {"pid": 7}."""
    value = parse(reply.data)
    if not isinstance(value, dict) or not isinstance(value.get(name), int):
        raise ModelClientError(f"the server's reply has no number {name!r}: {reply.data[:100]}")
    return int(value[name])


def _address(ip: str, port: int | str) -> str:
    if ip.startswith("unix:"):
        return ip
    # An IPv6 address needs brackets, or its end would be taken for the port.
    return f"[{ip}]:{port}" if ":" in ip and not ip.startswith("[") else f"{ip}:{port}"


def _channel_options(ip: str) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # Channels to one address share a connection unless told otherwise, and a connection
        # belongs to one worker.
        ("grpc.use_local_subchannel_pool", 1),
        # A server that starts, or starts again, is found within a second; by default the pauses
        # between two attempts grow to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if _is_loopback(ip):
        # gRPC follows http_proxy even to this machine itself.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _is_loopback(ip: str) -> bool:
    try:
        return ip == "localhost" or ipaddress.ip_address(ip.strip("[]")).is_loopback
    except ValueError:
        return False
