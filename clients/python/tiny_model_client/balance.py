"""Which of several servers the next call goes to: three policies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from .errors import InvalidInput
from .load import Load

Balance = Literal["round_robin", "weighted", "two_choices"]

WEIGH_EVERY = 1.0
"""Seconds between two computations of the weights."""

LEAST, MOST = 0.01, 10.0
"""The bounds of a weight, as parts of the mean: no server is left without calls, and so without a
new report, and none is flooded by one report."""


class Candidate(Protocol):
    """What a policy knows of a server."""

    in_flight: int
    load: Load
    weight: float
    credit: float


class Policy:
    """Chooses; the caller sees to it that one thread does so at a time."""

    weighs = False
    """Whether it needs the servers' reports."""

    def pick(self, servers: Sequence[Any], now: float) -> Any:
        """One of the servers, of which there is at least one."""
        raise NotImplementedError


class RoundRobin(Policy):
    """Each in its turn."""

    def __init__(self) -> None:
        # At random, or a thousand short-lived clients would begin at the same server.
        self._turn = random.randrange(1 << 16)

    def pick(self, servers: Sequence[Candidate], now: float) -> Candidate:
        """The next one."""
        self._turn += 1
        return servers[self._turn % len(servers)]


class Weighted(Policy):
    """In proportion to the servers' weights, as evenly over time as these allow."""

    weighs = True

    def __init__(self) -> None:
        self._weighed: Sequence[Candidate] = ()
        self._next = 0.0

    def pick(self, servers: Sequence[Candidate], now: float) -> Candidate:
        """The one that is furthest behind its share."""
        if servers is not self._weighed or now >= self._next:
            self._weigh(servers, now)
        total = 0.0
        best = servers[0]
        for server in servers:
            server.credit += server.weight
            total += server.weight
            if server.credit > best.credit:
                best = server
        best.credit -= total
        return best

    def _weigh(self, servers: Sequence[Candidate], now: float) -> None:
        known = {id(server): server.load.weight(now) for server in servers}
        reported = [weight for weight in known.values() if weight is not None]
        mean = sum(reported) / len(reported) if reported else 1.0
        for server in servers:
            weight = known[id(server)]
            # Who says nothing gets what the others get on average.
            server.weight = 1.0 if weight is None else min(max(weight / mean, LEAST), MOST)
        self._weighed = servers
        self._next = now + WEIGH_EVERY


class TwoChoices(Policy):
    """Of two at random, the one with fewer of this client's calls in flight."""

    def pick(self, servers: Sequence[Candidate], now: float) -> Candidate:
        """The less busy of two; the only one where there are no two."""
        count = len(servers)
        if count == 1:
            return servers[0]
        first = int(random.random() * count)
        second = int(random.random() * (count - 1))
        one, other = servers[first], servers[second + (second >= first)]
        return other if other.in_flight < one.in_flight else one


_POLICIES: dict[str, type[Policy]] = {
    "round_robin": RoundRobin,
    "weighted": Weighted,
    "two_choices": TwoChoices,
}


def policy(balance: str) -> Policy:
    """The policy of that name."""
    if not isinstance(balance, str) or balance not in _POLICIES:
        raise InvalidInput(f"balance is one of {', '.join(_POLICIES)}, not {balance!r}")
    return _POLICIES[balance]()
