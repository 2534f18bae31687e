"""dns: all addresses of a name, as they come and go; 127.0.0.2 and so on share a port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest

import tiny_model_client as tmc
from conftest import wait_for
from scripted import ScriptedServer
from tiny_model_client import TLS
from tiny_model_client._proto import server as pb

Connect = Callable[..., Any]
Start = Callable[..., ScriptedServer]

NAME = "tms.test"
FIRST, SECOND, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"

if sys.platform != "linux":
    pytest.skip("only Linux has more than one loopback address", allow_module_level=True)


class Resolver:
    """What the name resolves to, and how often somebody has asked."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.asked = 0
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if not str(host).endswith(NAME):
            return self._real(host, port, *more, **options)
        self.asked += 1
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (address, port)) for address in self.hosts]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """A resolver in place of the system's; the client asks it often."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for module in ("client", "aio"):
        monkeypatch.setattr(f"tiny_model_client.{module}.RESOLVE_PAUSE", 0.05)
    return resolver


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESOLVE_EVERY", "RESOLVE_SOON"):
        monkeypatch.setattr(f"tiny_model_client._base.{name}", 0.05)


def addresses(client: Any) -> list[str]:
    return sorted(server.address for server in client.servers if server.state == "ready")


def called(client: Any, servers: list[ScriptedServer], count: int = 12) -> list[int]:
    before = [server.calls.get("RunText", 0) for server in servers]
    for _ in range(count):
        assert client.run_text("a") == 1
    return [server.calls.get("RunText", 0) - old for server, old in zip(servers, before)]


def test_addresses_come_and_go(
    connect: Connect, start_scripted: Start, resolver: Resolver, often: None
) -> None:
    first = start_scripted(host=FIRST)
    servers = [first, *(start_scripted(host=host, port=first.port) for host in (SECOND, THIRD))]
    first.replies["RunStream"] = [pb.Response(data="1", more=True), None]
    resolver.hosts = [FIRST]
    client = connect(f"dns:{NAME}:{first.port}")
    assert called(client, servers) == [12, 0, 0]
    parts = client.run_stream("a")
    assert next(parts) == 1
    resolver.hosts = [FIRST, SECOND, SECOND]
    wait_for(lambda: addresses(client) == [first.address, servers[1].address])
    assert called(client, servers) == [6, 6, 0]
    resolver.hosts = [SECOND, THIRD]
    wait_for(lambda: addresses(client) == [servers[1].address, servers[2].address])
    assert called(client, servers) == [0, 6, 6]
    # The call that was under way has not been cut off.
    assert not first.left.is_set()
    parts.close()
    assert first.left.wait(10)
    # A resolver that fails takes nobody away.
    resolver.hosts, asked = [], resolver.asked
    wait_for(lambda: resolver.asked > asked + 2)
    assert called(client, servers) == [0, 6, 6]


def test_asked_again_when_a_server_fails(
    connect: Connect, start_scripted: Start, resolver: Resolver
) -> None:
    first = start_scripted(host=FIRST)
    servers = [first, start_scripted(host=SECOND, port=first.port)]
    resolver.hosts = [FIRST]
    client = connect(f"dns:{NAME}", first.port)
    assert called(client, servers) == [12, 0]
    assert resolver.asked == 1
    first.stop()
    resolver.hosts = [SECOND]
    with pytest.raises(tmc.ServerUnavailable):
        client.run_text("a")
    wait_for(lambda: addresses(client) == [servers[1].address])
    assert called(client, servers) == [0, 12]


def test_beside_others(connect: Connect, start_scripted: Start, resolver: Resolver) -> None:
    first = start_scripted(host=FIRST)
    servers = [first, start_scripted(host=SECOND, port=first.port), start_scripted()]
    resolver.hosts = [FIRST, SECOND]
    # One that is named twice, by itself and by the name, is one server.
    client = connect([f"dns:{NAME}:{first.port}", servers[1].address, servers[2].address])
    wait_for(lambda: len(addresses(client)) == 3)
    assert called(client, servers) == [4, 4, 4]


def test_no_such_name(connect: Connect, resolver: Resolver) -> None:
    with pytest.raises(tmc.ConnectionTimeout, match=f"dns:{NAME}:50000.*no such name"):
        connect(f"dns:{NAME}", timeout=0.5)


def test_a_name_that_resolves_late(
    connect: Connect, start_scripted: Start, resolver: Resolver
) -> None:
    server = start_scripted()
    client = connect([server.address, f"dns:{NAME}:{server.port}"])
    second = start_scripted(host=SECOND, port=server.port)
    assert called(client, [server, second]) == [12, 0]
    resolver.hosts = [SECOND]
    wait_for(lambda: len(addresses(client)) == 2)
    assert called(client, [server, second]) == [6, 6]


def openssl(folder: Path, *arguments: str) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there: it makes the certificate")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)


def test_tls_is_for_the_name(
    connect: Connect, start_scripted: Start, resolver: Resolver, tmp_path: Path
) -> None:
    openssl(
        tmp_path,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", "key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=x"),
        *("-addext", f"subjectAltName=DNS:{NAME}"),
    )
    pair = (tmp_path / "key.pem").read_bytes(), (tmp_path / "ca.pem").read_bytes()
    server = start_scripted(host=FIRST, credentials=grpc.ssl_server_credentials([pair]))
    resolver.hosts = [FIRST]
    ca = tmp_path / "ca.pem"
    assert called(connect(f"dns:{NAME}:{server.port}", tls=TLS(ca=ca)), [server]) == [12]
    other = f"dns:other.{NAME}:{server.port}"
    assert called(connect(other, tls=TLS(ca=ca, name=NAME)), [server]) == [12]
    for wrong in (other, [server.address, other]):
        with pytest.raises(tmc.ConnectionTimeout):
            connect(wrong, tls=TLS(ca=ca), timeout=1)
