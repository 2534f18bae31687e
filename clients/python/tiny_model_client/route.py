"""The way of one call: the server that it is at, and those that it could not reach."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Generic

import grpc

from .errors import ModelClientError
from .pool import Pool, gone
from .request import Sequence
from .servers import Channel, Server, Worker

NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed")
"""What gRPC says of a call that it had no connection for."""

Watch = Callable[[Any, Callable[[], None]], Callable[[], object]]
"""Takes a streaming call, and what to do once when it is over; gives what says so earlier."""


class Route(Generic[Channel]):
    """Used by one call: `next` for each server, then `release`, and `failed` or `ended`."""

    __slots__ = (
        "_connected",
        "_deadline",
        "_lost",
        "_method",
        "_over",
        "_pool",
        "_sequence",
        "_timeout",
        "_tried",
        "_watch",
        "server",
        "worker",
    )

    server: Server[Channel]
    worker: Worker[Channel]

    def __init__(
        self,
        pool: Pool[Channel],
        method: str,
        timeout: float | None,
        sequence: Sequence | None,
        connected: Callable[[Channel], bool],
        lost: Callable[[Server[Channel]], None],
        watch: Watch,
    ) -> None:
        self._pool = pool
        self._method = method
        self._timeout = timeout
        self._sequence = sequence
        self._connected = connected
        self._lost = lost
        self._watch = watch
        self._over: Callable[[], object] | None = None
        self._tried: list[Server[Channel]] = []
        self._deadline: float | None = None
        if timeout is not None and pool.several:
            self._deadline = time.monotonic() + timeout

    @property
    def moves(self) -> bool:
        """Whether the call may go to another server if it does not reach the first."""
        return self._pool.several and (self._sequence is None or self._sequence.start)

    def next(self) -> tuple[Callable[..., Any], float | None]:
        """What makes the call at the next server, and its timeout."""
        self.server, self.worker = self._pool.choose(self._sequence, self._tried)
        if self._pool.several and self._sequence is not None and not self._sequence.start:
            self._check_place(self._sequence)
        if self._tried and self._deadline is not None:
            self._timeout = max(0.0, self._deadline - time.monotonic())
        return self.worker.calls[self._method], self._timeout

    def start(self, message: Any) -> Any:
        """A call of gRPC's under way, which releases its server when it is over."""
        self.over()
        make, timeout = self.next()
        try:
            call = make(message, timeout=timeout)
        except BaseException as error:
            self.release()
            if isinstance(error, ValueError):
                # What gRPC raises for a channel that another thread has just closed.
                raise ModelClientError(str(error)) from error
            raise
        self._over = self._watch(call, partial(self._pool.release, self.server, self.worker))
        return call

    def over(self) -> None:
        """Nobody reads what `start` gave any more."""
        if self._over is not None:
            self._over()
            self._over = None

    def release(self) -> None:
        """The call at this server has ended."""
        self._pool.release(self.server, self.worker)

    def ended(self) -> None:
        """The call has succeeded."""
        if self._pool.several:
            self._pool.answered(self.server)
            if self._sequence is not None and self._sequence.end:
                self._pool.forget(self._sequence)

    def failed(self, error: Any) -> bool:
        """Notes a failure; True where the call has reached no server and is to try the next."""
        pool = self._pool
        if not pool.several:
            return False
        code = error.code()
        # A failed call's place in a sequence stays known: should it go on, then there.
        if code is grpc.StatusCode.UNAVAILABLE and self._is_lost():
            if pool.lose(self.server, self.worker):
                self._lost(self.server)
            if not self.moves or not (error.details() or "").startswith(NEVER_SENT):
                return False
            self._tried.append(self.server)
            in_time = self._deadline is None or time.monotonic() < self._deadline
            return in_time and pool.has_other(self._tried)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            pool.failed(self.server)
        elif code is not grpc.StatusCode.CANCELLED:
            pool.answered(self.server)
        return False

    def _is_lost(self) -> bool:
        """Tells a failed connection from a server that says UNAVAILABLE, in whatever words."""
        return self.worker.lost or not self._connected(self.worker.channel)

    def _check_place(self, sequence: Sequence) -> None:
        """Fails where a sequence's server does not answer: what answers next may be another."""
        if self.server.state == "lost" and not self._connected(self.worker.channel):
            self.release()
            raise gone(sequence, self.server)
