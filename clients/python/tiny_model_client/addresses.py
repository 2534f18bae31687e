"""Which servers a client is told to use: reads `ip` and `port`, and asks the DNS."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput, InvalidType

FORMS = "host, host:port, [IPv6]:port, unix:/path or dns:name"


@dataclass(frozen=True)
class Target:
    """One entry of `ip`."""

    name: str
    """For people, and for gRPC where it is one server: "10.0.0.7:50000", "unix:/path"."""
    host: str
    port: int
    resolves: bool = False
    """Whether each address that the host's name resolves to is a server of its own."""


def targets(ip: str | Iterable[str], port: int | str) -> tuple[Target, ...]:
    """All entries; InvalidInput where there is none, a bad one or the same one twice."""
    texts = [ip] if isinstance(ip, str) else _several(ip)
    found = tuple(_target(text, port) for text in texts)
    if not found:
        raise InvalidInput("the list of servers is empty")
    names = [target.name for target in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{name} is in the list of servers twice")
    return found


def addresses(target: Target, infos: Iterable[tuple[Any, ...]]) -> list[str]:
    """What gRPC connects to, from the answer of `getaddrinfo`; each address once."""
    return list(dict.fromkeys(_join(str(info[4][0]), target.port) for info in infos))


def ask(target: Target) -> list[str]:
    """What a name resolves to now; an OSError where that cannot be learned. Blocks."""
    return addresses(target, socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))


def is_loopback(host: str) -> bool:
    """Whether that is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _several(ip: Any) -> list[str]:
    try:
        return list(ip)
    except TypeError:
        raise _no_text(ip) from None


def _target(text: Any, default: int | str) -> Target:
    if not isinstance(text, str):
        raise _no_text(text)
    if text.startswith("unix:"):
        if text == "unix:":
            raise _bad(text)
        return Target(text, "", 0)
    resolves = text.startswith("dns:")
    host, given = _split(text[len("dns:") :] if resolves else text)
    if not _is_host(host):
        raise _bad(text)
    port = _port(default if given is None else given)
    name = _join(host, port)
    return Target(f"dns:{name}" if resolves else name, host, port, resolves)


def _split(text: str) -> tuple[str, str | None]:
    """The host, and the port if there is one."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _bad(text)
        return host, rest[1:] if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None  # An IPv6 address without brackets, or no port.


def _is_host(host: str) -> bool:
    if ":" not in host:
        return re.fullmatch(r"[^\s/@,\[\]]+", host) is not None
    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _port(port: int | str) -> int:
    text = str(port)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise InvalidInput(f"{text!r} is no port: it is a number from 1 to 65535")
    return int(text)


def _join(host: str, port: int) -> str:
    # An IPv6 address needs brackets, or its end would be taken for the port.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad(text: str) -> InvalidInput:
    return InvalidInput(f"{text!r} is no server's address, which is one of {FORMS}")


def _no_text(value: Any) -> InvalidType:
    return InvalidType(f"a server's address is a str or a list of them, not {value!r}")
