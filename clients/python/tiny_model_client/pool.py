"""All servers of a client: which are fit, which one a call gets, and where sequences began.

Does no input and output, so that its lock is never held for long.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Callable, Generic

import grpc

from ._proto.orca_load_report import OrcaLoadReport
from .addresses import Target
from .balance import Policy
from .errors import ModelClientError, ServerUnavailable
from .load import weight
from .request import Sequence
from .servers import Channel, Server, ServerInfo, Worker, digest

MAX_SEQUENCES = 10_000
"""Sequences that are remembered; beyond that the one idle for longest is forgotten."""

Place = tuple[Server[Channel], Worker[Channel]]


class Pool(Generic[Channel]):
    """Safe to use from any thread."""

    def __init__(
        self, targets: tuple[Target, ...], policy: Policy, close: Callable[[Channel], None]
    ) -> None:
        self.several = len(targets) > 1 or targets[0].resolves
        """Whether there may be a choice; with one server nothing is ever put out."""
        self.unresolved: dict[Target, str | None] = {
            target: None for target in targets if target.resolves
        }
        """The names that have not resolved to anything yet, and why."""
        self.servers: list[Server[Channel]] = [
            Server(target, target.name) for target in targets if not target.resolves
        ]
        self.weighs = self.several and policy.weighs
        self._policy = policy
        self._close = close
        self._lock = threading.Lock()
        self._closed = False
        self._connected = False
        self._ready: tuple[Server[Channel], ...] = ()
        self._review_at = float("inf")
        self._leaving: list[Worker[Channel]] = []
        self._sequences: OrderedDict[str, Place[Channel]] = OrderedDict()

    def check_open(self) -> None:
        """Fails where no call can be made."""
        if self._closed:
            raise ModelClientError("the client is closed")
        if not self._connected:
            raise ModelClientError("the client is not connected: call connect() first")

    # Calls

    def choose(
        self, sequence: Sequence | None, tried: Iterable[Server[Channel]] = ()
    ) -> Place[Channel]:
        """Where a call goes; `tried` are the servers that it could not reach. `release` follows."""
        with self._lock:
            self.check_open()
            if not self.several:
                server = self.servers[0]
                worker = (
                    server.next_worker()
                    if sequence is None
                    else server.worker_of(digest(sequence.id))
                )
            elif sequence is None:
                server = self._policy.pick(*self._fit(tried))
                worker = server.next_worker()
            else:
                server, worker = self._place(sequence, tried)
            server.in_flight += 1
            worker.in_flight += 1
            return server, worker

    def release(self, server: Server[Channel], worker: Worker[Channel]) -> None:
        """A call has ended."""
        with self._lock:
            server.in_flight -= 1
            worker.in_flight -= 1
            over = worker in self._leaving and worker.in_flight == 0
            if over:
                self._leaving.remove(worker)
        if over:
            self._close(worker.channel)

    def has_other(self, tried: Iterable[Server[Channel]]) -> bool:
        """Whether there is a server that a call could go to beside those."""
        with self._lock:
            return any(server.workers and server not in tried for server in self.servers)

    def answered(self, server: Server[Channel]) -> None:
        """Notes a sign of life."""
        with self._lock:
            server.answered()

    def failed(self, server: Server[Channel]) -> None:
        """Notes a failure that may be the server's."""
        now = time.monotonic()
        with self._lock:
            if server.failed(now):
                self._review(now)

    def lose(self, server: Server[Channel], worker: Worker[Channel]) -> bool:
        """Puts out a server whose connection has failed; False where that is no news."""
        with self._lock:
            worker.lost = True
            # What a worker of the past says does not count against those of now.
            if server.gone or server.state == "lost" or worker not in server.workers:
                return False
            server.state = "lost"
            self._review(time.monotonic())
            return True

    def reported(self, server: Server[Channel], report: OrcaLoadReport | None) -> None:
        """Notes a server's load."""
        if (found := weight(report)) is not None:
            with self._lock:
                server.load.take(found, time.monotonic())

    def begin_listening(self, server: Server[Channel]) -> bool:
        """Whether the server's reports are to be asked for, which one asker does."""
        with self._lock:
            begins = self.weighs and not server.listened_to
            server.listened_to = server.listened_to or begins
            return begins

    def listens_to(self, server: Server[Channel]) -> Worker[Channel] | None:
        """The worker to ask for the server's reports; None while there is none."""
        with self._lock:
            return server.workers[0] if server.state == "ready" and not server.gone else None

    def forget(self, sequence: Sequence) -> None:
        """A sequence has ended."""
        with self._lock:
            self._sequences.pop(sequence.id, None)

    # Membership

    def joined(self, server: Server[Channel], workers: Iterable[Worker[Channel]]) -> bool:
        """Takes a server that has answered into service; False where nobody wants it any more."""
        with self._lock:
            if server.gone or self._closed:
                return False
            server.tried = self._connected = True
            old = server.use(workers)
            self._review(time.monotonic())
        self._retire(old)
        return True

    def missed(self, server: Server[Channel], error: Exception) -> None:
        """An attempt to connect has failed."""
        hopeless = None
        if isinstance(error, ModelClientError) and not isinstance(error, ServerUnavailable):
            # A new one: the error's own traceback would keep the client alive.
            hopeless = type(error)(str(error), error.code)
        with self._lock:
            server.tried = True
            server.error = str(error)
            server.hopeless = hopeless

    def resolved(self, target: Target, addresses: Iterable[str]) -> list[Server[Channel]]:
        """What a name resolves to now; gives the servers that are new."""
        wanted = set(addresses)
        if not wanted:
            return []  # The DNS may be at fault; nobody wants no server.
        with self._lock:
            if self._closed:
                return []
            self.unresolved.pop(target, None)
            vanished = [
                server
                for server in self.servers
                if server.target == target and server.address not in wanted
            ]
            known = {server.address for server in self.servers}
            new: list[Server[Channel]] = [
                Server(target, address) for address in sorted(wanted - known)
            ]
            for server in vanished:
                server.gone = True
            self.servers = [server for server in self.servers if not server.gone] + new
            self._review(time.monotonic())
        self._retire([worker for server in vanished for worker in server.workers])
        return new

    def unresolvable(self, target: Target, error: Exception) -> None:
        """A name could not be resolved; the servers that it had stay."""
        with self._lock:
            if target in self.unresolved:
                self.unresolved[target] = str(error)

    def ready(self) -> bool:
        """Whether a call can be made."""
        with self._lock:
            return bool(self._ready)

    def any_lost(self) -> bool:
        """Whether a server from the DNS does not answer: there may be another in its place."""
        with self._lock:
            return bool(self.unresolved) or any(
                server.target.resolves and server.state in ("lost", "connecting")
                for server in self.servers
            )

    def all_tried(self) -> bool:
        """Whether each server has answered or failed to."""
        with self._lock:
            return not self.unresolved and all(server.tried for server in self.servers)

    def hopeless(self) -> Exception | None:
        """Why waiting is of no use, where that is so for every server."""
        with self._lock:
            reasons = [server.hopeless for server in self.servers]
        return reasons[0] if reasons and not self.unresolved and all(reasons) else None

    def errors(self) -> str:
        """Why servers could not be reached."""
        with self._lock:
            causes = [(server.address, server.error) for server in self.servers]
            causes += [(target.name, error) for target, error in self.unresolved.items()]
            texts = [f"{name}: {error}" for name, error in causes if error is not None]
        return "; ".join(texts) or "no answer"

    def infos(self) -> tuple[ServerInfo, ...]:
        """For `client.servers`."""
        with self._lock:
            if time.monotonic() >= self._review_at:
                self._review(time.monotonic())
            return tuple(server.info(self.weighs) for server in self.servers)

    def workers(self) -> list[tuple[str, list[Worker[Channel]]]]:
        """All workers, by their servers' addresses."""
        with self._lock:
            return [(server.address, list(server.workers)) for server in self.servers]

    def shut(self) -> list[Channel]:
        """Ends it, and gives the channels to close."""
        with self._lock:
            self._closed = True
            workers = [worker for server in self.servers for worker in server.workers]
            workers += self._leaving
            for server in self.servers:
                server.gone = True
            self.servers, self._ready, self._leaving = [], (), []
            self._sequences.clear()
            return [worker.channel for worker in workers]

    # With the lock held

    def _fit(self, tried: Iterable[Server[Channel]]) -> tuple[tuple[Server[Channel], ...], float]:
        """The servers that are in, or all where none is; and the time, which nobody asks twice."""
        now = time.monotonic()
        if now >= self._review_at:
            self._review(now)
        fit = self._ready
        if tried:
            fit = tuple(server for server in fit if server not in tried)
        if not fit:
            fit = tuple(server for server in self.servers if server.workers and server not in tried)
        if not fit:
            raise ServerUnavailable(
                "none of the client's servers answers", grpc.StatusCode.UNAVAILABLE
            )
        return fit, now

    def _review(self, now: float) -> None:
        """Finds out which servers are in."""
        self._review_at = float("inf")
        for server in self.servers:
            if server.state == "ejected":
                if now >= server.banned_until:
                    server.try_again()
                else:
                    self._review_at = min(self._review_at, server.banned_until)
        self._ready = tuple(server for server in self.servers if server.state == "ready")

    def _place(self, sequence: Sequence, tried: Iterable[Server[Channel]]) -> Place[Channel]:
        """The server and the worker of a sequence: where it began, or where it begins."""
        key = digest(sequence.id)
        place = None if sequence.start else self._sequences.get(sequence.id)
        if place is not None:
            server, worker = place
            if server.gone or worker.lost or worker.retired:
                raise gone(sequence, server)
        else:
            # One that another process has begun is where all agree that it belongs.
            fit = self._fit(tried)[0] if sequence.start else self.servers
            server = max(fit, key=lambda server: server.rank(key))
            if not server.workers:
                raise gone(sequence, server)
            worker = server.worker_of(key)
            self._sequences[sequence.id] = server, worker
            if len(self._sequences) > MAX_SEQUENCES:
                self._sequences.popitem(last=False)
        self._sequences.move_to_end(sequence.id)
        return server, worker

    # Without it

    def _retire(self, workers: list[Worker[Channel]]) -> None:
        with self._lock:
            for worker in workers:
                worker.retired = True
            idle = [worker for worker in workers if worker.in_flight == 0]
            self._leaving += [worker for worker in workers if worker.in_flight > 0]
        for worker in idle:
            self._close(worker.channel)


def gone(sequence: Sequence, server: Server[Any]) -> ServerUnavailable:
    """What a call of a sequence fails with that cannot go on."""
    return ServerUnavailable(
        f"the sequence {sequence.id!r} is at the server {server.address}, which is gone: start it "
        "again",
        grpc.StatusCode.UNAVAILABLE,
    )
