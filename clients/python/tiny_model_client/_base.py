"""What the blocking and the asyncio client share: settings, channel options, when to give up."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Callable, Generic

import grpc

from ._proto import METHODS
from ._proto import server as pb
from .addresses import Target, is_loopback, targets
from .balance import Balance, policy
from .errors import ModelClientError, ServerUnavailable, connection_timeout, from_rpc
from .pool import Pool
from .request import MAX_MESSAGE_BYTES, Sequence
from .result import parse
from .route import Route
from .servers import Channel, Server, ServerInfo
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
"""No more channels than this to a server, however many workers it has."""

LATECOMERS = 1.0
"""Seconds that other servers have to answer once the first has."""

ATTEMPT_TIMEOUT = 10.0
"""Seconds for one attempt to connect to one of several servers."""

LONGEST_REJOIN_PAUSE = 2.0
"""Seconds between two such attempts, at most; the pauses double up to it from FIRST_PAUSE."""

RESOLVE_EVERY, RESOLVE_SOON, RESOLVE_PAUSE = 30.0, 5.0, 1.0
"""Seconds from one look at the DNS to the next: when all is well, while a server from it does not
answer, and at least."""


class BaseClient(Generic[Channel]):
    """The part of a client that does no input and output."""

    def __init__(
        self,
        model: str,
        ip: str | Iterable[str],
        port: int | str,
        timeout: float,
        call_timeout: float | None,
        tls: TLS | bool,
        balance: Balance,
    ) -> None:
        self.model = model
        self.timeout = timeout
        self.call_timeout = call_timeout
        self._targets = targets(ip, port)
        self.address = ", ".join(target.name for target in self._targets)
        self._tls = TLS() if tls is True else tls or None
        self._credentials = None if self._tls is None else self._tls.credentials()
        self._pool: Pool[Channel] = Pool(self._targets, policy(balance), self._close_channel)
        self._patience: float | None = None

    def __repr__(self) -> str:
        name = type(self).__name__
        workers = sum(len(workers) for _, workers in self._pool.workers())
        return f"<{name} {self.model!r} at {self.address}, {workers} workers>"

    @property
    def servers(self) -> tuple[ServerInfo, ...]:
        """The client's servers at this moment, in the order of `ip`."""
        return self._pool.infos()

    def _route(
        self, method: str, timeout: float | None, sequence: Sequence | None = None
    ) -> Route[Channel]:
        if timeout is None:
            timeout = self.call_timeout
        hooks = self._is_connected, self._lost, self._watch
        return Route(self._pool, method, timeout, sequence, *hooks)

    @staticmethod
    def _is_connected(channel: Any) -> bool:
        """Whether a channel has a connection; asks no server."""
        raise NotImplementedError

    @staticmethod
    def _close_channel(channel: Any) -> None:
        """Closes a channel that has no calls; does not wait."""
        raise NotImplementedError

    @staticmethod
    def _watch(call: Any, release: Callable[[], None]) -> Callable[[], object]:
        """Releases a streaming call's server when the call is over; see route.Watch."""
        raise NotImplementedError

    def _lost(self, server: Server[Channel]) -> None:
        """Has a server asked until it answers again, and its name resolved."""
        raise NotImplementedError

    def _options(self, server: Server[Channel]) -> list[tuple[str, int | str]]:
        """The options of a server's channels."""
        options = channel_options(server.target, server.address)
        target = server.target
        if self._tls is not None:
            options += self._tls.options()
        if target.resolves:
            if self._tls is None:
                options.append(("grpc.default_authority", f"{target.host}:{target.port}"))
            elif self._tls.name is None:
                # The certificate is for the name, not for what it resolves to.
                options.append(("grpc.ssl_target_name_override", target.host))
        return options

    def _check_one(self) -> None:
        """Fails where the client has several servers."""
        self._pool.check_open()
        if self._pool.several:
            raise ModelClientError(
                f"this client has several servers ({self.address}): stop one by a client that has "
                "no other"
            )

    def _wait_for_servers(self, deadline: float) -> float:
        """Seconds to wait for news of the servers before asking again, or 0: they will do.

        One server suffices. The others have a moment to answer, too, or the first one would get
        all calls at first.
        """
        now = time.monotonic()
        if self._pool.ready():
            if self._patience is None:
                self._patience = min(deadline, now + LATECOMERS)
            return 0.0 if self._pool.all_tried() else max(0.0, self._patience - now)
        if (error := self._pool.hopeless()) is not None:
            raise error
        if now >= deadline:
            raise connection_timeout(self.address, self.timeout, self._pool.errors())
        return deadline - now

    def _resolve_pause(self) -> float:
        """Seconds to the next look at the DNS, beside RESOLVE_PAUSE."""
        if self._pool.unresolved:
            return 0.0
        return RESOLVE_SOON if self._pool.any_lost() else RESOLVE_EVERY

    def _health(self, answers: Iterable[tuple[str, int, bool]]) -> dict[str, Any]:
        """health_check's result, from the server, the pid and the answer of each worker."""
        servers: dict[str, dict[str, list[int]]] = {
            address: {"serving": [], "stopped_serving": []} for address, _ in self._pool.workers()
        }
        for address, pid, serves in answers:
            of = servers.setdefault(address, {"serving": [], "stopped_serving": []})
            of["serving" if serves else "stopped_serving"].append(pid)
        return servers if self._pool.several else servers[self.address]

    def _raise_unless_worth_retrying(
        self, server: Server[Channel], error: grpc.RpcError, deadline: float, pause: float
    ) -> None:
        """Decides whether to ask a server for its pid again, after a pause."""
        failure = from_rpc(error)
        if failure.code == grpc.StatusCode.UNAVAILABLE and seconds_left(deadline) > pause:
            return
        if failure.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            if self._pool.several:
                raise ServerUnavailable(str(failure), failure.code) from error
            raise connection_timeout(server.address, self.timeout, str(failure)) from error
        if failure.code == grpc.StatusCode.UNIMPLEMENTED:
            message = f"what answers at {server.address} is no Tiny Model Server: {failure}"
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


def channel_options(target: Target, address: str) -> list[tuple[str, int | str]]:
    """The options of all channels to an address."""
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
    host = address.rpartition(":")[0].strip("[]") if target.resolves else target.host
    if is_loopback(host):
        # gRPC follows http_proxy even to this machine itself.
        options.append(("grpc.enable_http_proxy", 0))
    return options
