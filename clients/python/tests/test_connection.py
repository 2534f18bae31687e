"""Connecting: finding all workers, waiting for a server, losing it, closing."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import grpc
import pytest

from conftest import Server, turn
from scripted import ScriptedServer
from tiny_model_client import (
    ConnectionTimeout,
    ModelClient,
    ModelClientError,
    ServerUnavailable,
)
from tiny_model_client._base import attempts
from tiny_model_client._proto import server as pb


def listen() -> socket.socket:
    """A socket on a free port of the loopback interface."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_one_channel_a_worker(start_server: Callable[..., Server]) -> None:
    server = start_server(workers=3)
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        assert len(set(client.health_check()["serving"])) == 3
        turns = [turn(client) for _ in range(6)]
    assert len(set(turns[:3])) == 3
    assert turns[:3] == turns[3:]


def test_unix_socket(start_server: Callable[..., Server], tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'tms.sock'}"
    start_server("--listen", address, workers=2)
    with ModelClient("example_text", address, timeout=10) as client:
        assert client.address == address
        assert len(set(client.health_check()["serving"])) == 2
        assert client.run_text("a") == "a_processed"
    with pytest.raises(ConnectionTimeout, match=r"nothing\.sock"):
        ModelClient("example_text", f"unix:{tmp_path / 'nothing.sock'}", timeout=0.2)


def test_waits_for_a_server_that_is_still_starting(start_server: Callable[..., Server]) -> None:
    listener = listen()
    port = listener.getsockname()[1]
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(ModelClient, "example_text", "127.0.0.1", port, 60)
        # Once the client has been turned away it knows that there is no server yet.
        connection, _ = listener.accept()
        connection.close()
        listener.close()
        start_server(port=port)
        with connecting.result() as client:
            assert client.run_text("a") == "a_processed"


def test_server_that_says_it_is_not_ready(scripted: ScriptedServer) -> None:
    scripted.replies["GetPID"] = (grpc.StatusCode.UNAVAILABLE, "still loading the models")
    with pytest.raises(ConnectionTimeout, match="still loading the models"):
        ModelClient("any", port=scripted.port, timeout=0.5)
    assert 2 <= scripted.calls["GetPID"] <= 5


def test_no_server() -> None:
    listener = listen()
    port = listener.getsockname()[1]
    listener.close()
    start = time.monotonic()
    with pytest.raises(ConnectionTimeout, match=f"localhost:{port}.*Check that") as caught:
        ModelClient("example_text", port=port, timeout=1)
    assert time.monotonic() - start < 5
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_something_else_at_the_port(scripted: ScriptedServer) -> None:
    scripted.replies["GetPID"] = (grpc.StatusCode.UNIMPLEMENTED, "unknown service server.Server")
    with pytest.raises(ModelClientError, match="is no Tiny Model Server"):
        ModelClient("any", port=scripted.port, timeout=60)
    assert scripted.calls["GetPID"] == 1


def test_workers_that_cannot_be_found(scripted: ScriptedServer) -> None:
    scripted.replies["GetNumParallelWorkers"] = pb.Response(data='{"num_workers": 4}')
    with ModelClient("any", port=scripted.port, timeout=60) as client:
        assert client.health_check() == {"serving": [], "stopped_serving": [1]}
    assert scripted.calls["GetPID"] == 1 + attempts(4)


def test_stop_server(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        assert client.stop_server() == {"stopping": True}
        assert server.wait() == 0
        with pytest.raises(ServerUnavailable):
            client.run_text("a")
        health = client.health_check()
        assert health["serving"] == []
        assert len(health["stopped_serving"]) == 2


def test_client_survives_a_restart(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        assert client.run_text("a") == "a_processed"
        assert server.stop() == 0
        start_server(port=server.port)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert client.run_text("b") == "b_processed"
                break
            except ServerUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_ipv6(server: Server) -> None:
    with ModelClient("example_text", "::1", server.port, timeout=10) as client:
        assert client.address == f"[::1]:{server.port}"
        assert client.run_text("a") == "a_processed"


def test_closed_client(scripted: ScriptedServer) -> None:
    client = ModelClient("any", port=scripted.port, timeout=10)
    client.close()
    client.close()
    with pytest.raises(ModelClientError, match="closed"):
        client.run_text("a")
    with pytest.raises(ModelClientError, match="closed"):
        client.health_check()
