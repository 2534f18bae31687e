"""One server as the client sees it: its workers, how it behaves, and whether it gets calls."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Generic, Literal, TypeVar

from .addresses import Target
from .load import Load

FAILURES = 5
"""Failures in a row that put a server out for a while."""

FIRST_BAN, LONGEST_BAN = 1.0, 30.0
"""Seconds that it is out for: doubled each time, up to the second figure."""

State = Literal["connecting", "ready", "lost", "ejected"]

Channel = TypeVar("Channel")


@dataclass(frozen=True)
class ServerInfo:
    """A server of a client at one moment, for people who look for a fault."""

    address: str
    """Where the client connects to."""
    state: State
    """"connecting": it has never answered. "ready": it gets calls. "lost": its connection has
    failed, and it is asked again until it answers. "ejected": it has failed too often, and is out
    for a while."""
    workers: tuple[int, ...]
    """The pids of its workers, sorted."""
    in_flight: int
    """Calls of this client that it has not answered yet, open streams and sessions among them."""
    weight: float | None
    """Its share of the calls, with 1 as the mean; None unless the client balances by weights."""
    error: str | None
    """Why the last attempt to connect failed; None when it did not."""


@dataclass(eq=False)
class Worker(Generic[Channel]):
    """A connection and the server's worker at its other end."""

    pid: int
    channel: Channel
    calls: dict[str, Callable[..., Any]]
    """The callables of the channel, by the names of METHODS."""
    in_flight: int = 0
    lost: bool = False
    """Its connection has failed."""
    retired: bool = False
    """It takes no new calls; its channel is closed when the last call has ended."""


class Server(Generic[Channel]):
    """What is known of one server; guarded by the lock of the pool that it belongs to."""

    def __init__(self, target: Target, address: str) -> None:
        self.target = target
        self.address = address
        self.workers: list[Worker[Channel]] = []
        self.state: State = "connecting"
        self.error: str | None = None
        self.tried = False
        self.hopeless: Exception | None = None
        """Set where what answers is not a server that could become ready."""
        self.gone = False
        """Its name does not resolve to it any more, or the client is closed."""
        self.listened_to = False
        """Whether something waits for its reports."""
        self.in_flight = 0
        self.load = Load()
        self.weight = 1.0
        self.credit = random.random()
        self.banned_until = 0.0
        self._by_pid: list[Worker[Channel]] = []
        self._turn = 0
        self._streak = 0
        self._ban = FIRST_BAN
        self._seed = digest(address)

    def use(self, workers: Iterable[Worker[Channel]]) -> list[Worker[Channel]]:
        """Takes workers into service, in random order, and gives those that this retires.

        Otherwise a thousand short-lived clients would send their first call to the same worker.
        """
        old, self.workers = self.workers, list(workers)
        random.shuffle(self.workers)
        self._by_pid = sorted(self.workers, key=lambda worker: worker.pid)
        self.state, self.error, self.hopeless, self._streak = "ready", None, None, 0
        self.credit = random.random()
        self.load = Load()
        return [worker for worker in old if worker not in self.workers]

    def next_worker(self) -> Worker[Channel]:
        """Round-robin."""
        self._turn = (self._turn + 1) % len(self.workers)
        return self.workers[self._turn]

    def worker_of(self, key: int) -> Worker[Channel]:
        """The same one for the same key, also in other processes that know the same workers."""
        return self._by_pid[key % len(self._by_pid)]

    def rank(self, key: int) -> int:
        """The server with the highest rank has the key: each loses its own keys only when it goes.

        (Rendezvous hashing, with the last steps of splitmix64.)
        """
        mixed = key ^ self._seed
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        return mixed ^ (mixed >> 31)

    def answered(self) -> None:
        """A call has come back, with a result or with an error that is about the request."""
        self._streak = max(self._streak, 0) + 1
        if self._streak >= FAILURES:
            self._ban = FIRST_BAN

    def failed(self, now: float) -> bool:
        """A call has failed for a reason that may be the server's; whether that puts it out."""
        if self.state != "ready":
            return False
        self._streak = min(self._streak, 0) - 1
        if self._streak > -FAILURES:
            return False
        self.state, self.banned_until = "ejected", now + self._ban
        self._ban = min(2 * self._ban, LONGEST_BAN)
        return True

    def try_again(self) -> None:
        """The time is over: one more failure puts it out for longer, an answer clears it."""
        self.state, self._streak = "ready", 1 - FAILURES

    def info(self, weighs: bool) -> ServerInfo:
        """For `client.servers`."""
        pids = tuple(worker.pid for worker in self._by_pid)
        weight = round(self.weight, 6) if weighs else None
        return ServerInfo(self.address, self.state, pids, self.in_flight, weight, self.error)


def digest(text: str) -> int:
    """64 bits, the same in every process."""
    data = text.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
