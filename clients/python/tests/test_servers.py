"""Several servers: joining, failing, coming back, sequences, and what is said of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any, Callable

import grpc
import pytest

import tiny_model_client as tmc
from conftest import Server, wait_for
from scripted import ScriptedServer
from test_connection import listen
from tiny_model_client import AsyncModelClient, ModelClient, Sequence
from tiny_model_client._proto import server as pb

Connect = Callable[..., Any]
Start = Callable[..., ScriptedServer]

BUSY = (grpc.StatusCode.UNAVAILABLE, "busy")
IDS = [f"sequence {number}" for number in range(40)]


def states(client: Any) -> list[str]:
    return [server.state for server in client.servers]


def calls(*servers: ScriptedServer) -> list[int]:
    return [server.calls.get("RunText", 0) for server in servers]


def dead_port() -> int:
    with listen() as listener:
        port: int = listener.getsockname()[1]
        return port


# Joining


def test_one_dead_address(connect: Connect, start_scripted: Start) -> None:
    server, port = start_scripted(), dead_port()
    began = time.monotonic()
    client = connect([server.address, f"127.0.0.1:{port}"], timeout=60)
    assert time.monotonic() - began < 10
    assert [client.run_text("a") for _ in range(10)] == [1] * 10
    assert states(client) == ["ready", "connecting"]
    assert "Connection refused" in client.servers[1].error
    late = start_scripted(port=port)
    wait_for(lambda: states(client) == ["ready", "ready"])
    before = calls(server, late)
    for _ in range(10):
        client.run_text("a")
    assert calls(server, late) == [before[0] + 5, before[1] + 5]


def test_all_dead(connect: Connect) -> None:
    with listen() as one, listen() as other:
        first, second = one.getsockname()[1], other.getsockname()[1]
    with pytest.raises(tmc.ConnectionTimeout, match=rf"{first}.*{second}.*refused.*refused"):
        connect([f"127.0.0.1:{first}", f"127.0.0.1:{second}"], timeout=0.5)


def test_all_something_else(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    for server in servers:
        server.replies["GetPID"] = (grpc.StatusCode.UNIMPLEMENTED, "what?")
    with pytest.raises(tmc.ModelClientError, match="no Tiny Model Server"):
        connect([server.address for server in servers], timeout=60)


def test_clients_keep_no_process_alive(start_scripted: Start) -> None:
    server, port = start_scripted(), dead_port()
    code = (
        "import tiny_model_client as t\n"
        f"c = t.ModelClient('a', ['{server.address}', '127.0.0.1:{port}', 'dns:nobody.invalid'],"
        " timeout=10, balance='weighted')\n"
        "print(c.run_text('a'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("how", ["close", "forget"])
def test_threads_end_with_their_client(start_scripted: Start, how: str) -> None:
    def ours() -> list[threading.Thread]:
        return [it for it in threading.enumerate() if it.name == "tiny_model_client"]

    before = len(ours())
    addresses = [start_scripted().address, f"127.0.0.1:{dead_port()}"]
    client = ModelClient("any", addresses, timeout=10)
    assert len(ours()) > before
    if how == "close":
        client.close()
    del client
    wait_for(lambda: len(ours()) <= before)


# Failing


def test_a_call_that_reached_no_server_goes_to_another(
    connect: Connect, start_scripted: Start
) -> None:
    servers = [start_scripted() for _ in range(3)]
    for server in servers:
        server.replies["RunStream"] = server.replies["RunSession"] = [pb.Response(data="1")]
    client = connect([server.address for server in servers])
    servers[0].stop()
    assert [client.run_text("a") for _ in range(9)] == [1] * 9
    assert states(client) == ["lost", "ready", "ready"]
    assert calls(*servers)[0] == 0
    assert sum(calls(*servers)) == 9


@pytest.mark.parametrize("kind", ["stream", "session"])
def test_streams_that_reached_no_server(connect: Connect, start_scripted: Start, kind: str) -> None:
    def call() -> list[Any]:
        if kind == "stream":
            return list(client.run_stream("a"))
        if isinstance(client, ModelClient):
            with client.session() as session:
                return [session.answer("a")]
        return [client.session_answer("a")]

    servers = [start_scripted(), start_scripted()]
    for server in servers:
        server.replies["RunStream"] = server.replies["RunSession"] = [pb.Response(data="1")]
    client = connect([server.address for server in servers])
    assert [call() for _ in range(4)] == [[1]] * 4
    servers[0].stop()
    assert [call() for _ in range(4)] == [[1]] * 4
    assert states(client) == ["lost", "ready"]
    wait_for(lambda: [server.in_flight for server in client.servers] == [0, 0])


def test_a_call_that_may_have_run_is_not_repeated(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    # As a server says that hands calls on to others: it need not be that this one never ran.
    said = "failed to connect to all addresses; last error: none"
    for server in servers:
        server.replies["RunText"] = (grpc.StatusCode.UNAVAILABLE, said)
    client = connect([server.address for server in servers])
    for _ in range(4):
        with pytest.raises(tmc.ServerUnavailable, match="failed to connect"):
            client.run_text("a")
    assert calls(*servers) == [2, 2]
    assert states(client) == ["ready", "ready"]


def test_a_call_in_flight_when_its_server_ends(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    for server in servers:
        server.replies["RunText"] = None
    client = connect([server.address for server in servers])
    failures: list[Exception] = []

    def call() -> None:
        with pytest.raises(tmc.ModelClientError) as caught:
            client.run_text("a")
        failures.append(caught.value)

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: sum(calls(*servers)) == 1)
    servers[calls(*servers).index(1)].stop()
    thread.join()
    assert len(failures) == 1
    assert sum(calls(*servers)) == 1


def test_all_down(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    client = connect([server.address for server in servers])
    for server in servers:
        server.stop()
    for _ in range(3):
        with pytest.raises(tmc.ServerUnavailable, match="Connection refused"):
            client.run_text("a")
    assert states(client) == ["lost", "lost"]
    start_scripted(port=servers[1].port)
    wait_for(lambda: states(client) == ["lost", "ready"])
    assert client.run_text("a") == 1


def test_killed_under_load_and_restarted(start_server: Callable[..., Server]) -> None:
    servers = [start_server(), start_server()]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    ended = threading.Event()
    failures: list[tuple[float, Exception]] = []
    counts = [0] * 8

    def load(number: int) -> None:
        while not ended.is_set():
            began = time.monotonic()
            try:
                assert client.run_text("a") == "a_processed"
            except Exception as error:
                failures.append((began, error))
            counts[number] += 1

    def more(calls: int) -> None:
        before = list(counts)
        wait_for(lambda: all(new >= old + calls for new, old in zip(counts, before)))

    with ModelClient("example_text", addresses, timeout=10) as client:
        threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        try:
            more(20)
            servers[0].process.kill()
            servers[0].process.wait()
            dead = time.monotonic()
            more(20)
            assert states(client) == ["lost", "ready"]
            old = client.servers[0].workers
            again = start_server(port=servers[0].port)
            wait_for(lambda: states(client) == ["ready", "ready"])
            assert len(client.servers[0].workers) == 2
            assert not set(client.servers[0].workers) & set(old)
            # Only the new one can answer now.
            more(20)
            seen = len(failures)
            servers[1].process.kill()
            servers[1].process.wait()
            second = time.monotonic()
            more(20)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert again.process.poll() is None
    for kill, failed in ((dead, failures[:seen]), (second, failures[seen:])):
        # What was in flight, and what began before gRPC had noticed: a machine may be busy.
        assert len(failed) <= 24
        for began, error in failed:
            assert isinstance(error, tmc.ServerUnavailable)
            # A client may learn of the end a moment later than we do.
            assert began < kill + 0.5, (began - kill, error)


# Ejection


@pytest.mark.parametrize("how", ["unavailable", "deadline"])
def test_five_failures_in_a_row(connect: Connect, start_scripted: Start, how: str) -> None:
    servers = [start_scripted(), start_scripted()]
    servers[0].replies["RunText"] = BUSY if how == "unavailable" else None
    client = connect([server.address for server in servers])

    def failures(count: int) -> int:
        failed = 0
        for _ in range(count):
            try:
                client.run_text("a", timeout=None if how == "unavailable" else 0.05)
            except (tmc.ServerUnavailable, tmc.DeadlineExceeded):
                failed += 1
        return failed

    assert failures(8) == 4
    assert states(client) == ["ready", "ready"]
    assert failures(2) == 1
    assert states(client) == ["ejected", "ready"]
    assert failures(10) == 0
    # Tried again after a second: one more failure puts it out for two.
    wait_for(lambda: states(client) == ["ready", "ready"])
    assert failures(4) == 1
    began = time.monotonic()
    assert states(client) == ["ejected", "ready"]
    servers[0].replies["RunText"] = pb.Response(data="1")
    wait_for(lambda: states(client) == ["ready", "ready"])
    assert time.monotonic() - began > 1.5
    assert failures(20) == 0


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "INTERNAL"]
)
def test_what_ejects_nobody(connect: Connect, start_scripted: Start, code: str) -> None:
    servers = [start_scripted(), start_scripted()]
    servers[0].replies["RunText"] = (grpc.StatusCode[code], "no")
    client = connect([server.address for server in servers])
    for _ in range(20):
        try:
            client.run_text("a")
        except tmc.ModelClientError as error:
            assert str(error) == "no"
    assert calls(*servers) == [10, 10]
    assert states(client) == ["ready", "ready"]


def test_never_all(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    for server in servers:
        server.replies["RunText"] = BUSY
    client = connect([server.address for server in servers])
    for _ in range(20):
        with pytest.raises(tmc.ServerUnavailable, match="busy"):
            client.run_text("a")
    assert states(client) == ["ejected", "ejected"]
    assert min(calls(*servers)) >= 8


def test_never_the_only_one(connect: Connect, start_scripted: Start) -> None:
    server = start_scripted()
    server.replies["RunText"] = BUSY
    client = connect([server.address])
    for _ in range(8):
        with pytest.raises(tmc.ServerUnavailable, match="busy"):
            client.run_text("a")
    assert states(client) == ["ready"]
    assert server.calls["RunText"] == 8


# Sequences


def sequences(server: ScriptedServer) -> list[str]:
    texts = [pb.TextArgs.FromString(request) for request in server.requests if request]
    return [text.sequence.id for text in texts if text.HasField("sequence")]


def start(client: Any) -> None:
    for id in IDS:
        client.run_text("a", sequence=Sequence(id, start=True))


def go_on(client: Any, ids: list[str]) -> list[str]:
    """The sequences that cannot."""
    failed = []
    for id in ids:
        try:
            client.run_text("a", sequence=Sequence(id))
        except tmc.ServerUnavailable:
            failed.append(id)
    return failed


def clear(*servers: ScriptedServer) -> None:
    for server in servers:
        server.requests.clear()


def test_sequences_stay(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted(), start_scripted()]
    addresses = [server.address for server in servers]
    client = connect(addresses)
    start(client)
    began = [sequences(server) for server in servers]
    assert all(began)
    assert sum(map(len, began)) == len(IDS)
    # Another client, with the servers in another order, finds them where they are.
    for other in (client, connect(addresses[::-1])):
        clear(*servers)
        assert go_on(other, IDS) == []
        assert [sequences(server) for server in servers] == began
    # Without a server only its own go elsewhere, when they start.
    servers[0].stop()
    clear(*servers)
    start(client)
    moved = [sequences(server) for server in servers]
    assert moved[0] == []
    assert [set(new) - set(old) for new, old in zip(moved[1:], began[1:])] == [
        set(new) & set(began[0]) for new in moved[1:]
    ]
    # There they stay when it is back.
    again = start_scripted(port=servers[0].port)
    wait_for(lambda: states(client) == ["ready"] * 3)
    clear(*servers)
    assert go_on(client, IDS) == []
    assert [sequences(server) for server in (again, *servers[1:])] == moved
    # Until they end.
    for id in IDS:
        client.run_text("a", sequence=Sequence(id, end=True))
    clear(again, *servers[1:])
    start(client)
    assert [sequences(server) for server in (again, *servers[1:])] == began


@pytest.mark.parametrize("when", ["known", "unknown"])
def test_sequences_do_not_go_on_elsewhere(
    connect: Connect, start_scripted: Start, when: str
) -> None:
    servers = [start_scripted(), start_scripted()]
    client = connect([server.address for server in servers])
    start(client)
    here, there = sequences(servers[0]), sequences(servers[1])
    servers[0].stop()
    clear(*servers)
    if when == "known":
        while states(client) != ["lost", "ready"]:
            client.run_text("a")
    assert go_on(client, IDS) == here
    assert sequences(servers[1]) == there
    # Nor at a new server in its place.
    again = start_scripted(port=servers[0].port)
    wait_for(lambda: states(client) == ["ready", "ready"])
    assert go_on(client, IDS) == here
    assert sequences(again) == []
    start(client)
    assert sequences(again) == here
    assert go_on(client, IDS) == []


def test_sequences_at_a_server_that_is_ejected(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    client = connect([server.address for server in servers])
    start(client)
    began = [sequences(server) for server in servers]
    servers[0].replies["RunText"] = BUSY
    while states(client) == ["ready", "ready"]:
        try:
            client.run_text("a")
        except tmc.ServerUnavailable:
            pass
    servers[0].replies["RunText"] = pb.Response(data="1")
    clear(*servers)
    assert states(client) == ["ejected", "ready"]
    assert go_on(client, IDS[:20]) == []
    client.run_text("a", sequence=Sequence(began[0][0], start=True))
    assert states(client) == ["ejected", "ready"], "this test was too slow"
    assert sequences(servers[0]) == [id for id in IDS[:20] if id in began[0]]
    assert sequences(servers[1])[-1] == began[0][0]


def test_sequences_that_are_remembered_are_bounded(
    connect: Connect, start_scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiny_model_client.pool.MAX_SEQUENCES", 10)
    servers = [start_scripted(), start_scripted()]
    client = connect([server.address for server in servers])
    start(client)
    inner = client if isinstance(client, ModelClient) else client.client
    assert list(inner._pool._sequences) == IDS[-10:]


# What is said of them


def test_health_check(connect: Connect, start_server: Callable[..., Server]) -> None:
    server, port = start_server(), dead_port()
    client = connect([f"127.0.0.1:{server.port}", f"127.0.0.1:{port}"])
    workers = list(client.servers[0].workers)
    assert len(workers) == 2
    health = client.health_check()
    health[f"127.0.0.1:{server.port}"]["serving"].sort()
    assert health == {
        f"127.0.0.1:{server.port}": {"serving": workers, "stopped_serving": []},
        f"127.0.0.1:{port}": {"serving": [], "stopped_serving": []},
    }
    server.stop()
    health = client.health_check()[f"127.0.0.1:{server.port}"]
    assert (health["serving"], sorted(health["stopped_serving"])) == ([], workers)


def test_stop_server(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    client = connect([server.address for server in servers])
    with pytest.raises(tmc.ModelClientError, match="several servers"):
        client.stop_server()
    assert "StopServer" not in {**servers[0].calls, **servers[1].calls}


def test_names(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(pid=7), start_scripted(pid=7)]
    first, second = (server.address for server in servers)
    client = connect([first, second])
    assert f"'example_text' at {first}, {second}, 2 workers" in repr(client)
    assert client.servers == (
        tmc.ServerInfo(first, "ready", (7,), 0, None, None),
        tmc.ServerInfo(second, "ready", (7,), 0, None, None),
    )


def test_closed(start_scripted: Start) -> None:
    addresses = [start_scripted().address, start_scripted().address]
    client = ModelClient("any", addresses, timeout=10)
    client.close()
    assert client.servers == ()
    with pytest.raises(tmc.ModelClientError, match="closed"):
        client.run_text("a")
    assert [server.state for server in AsyncModelClient("any", addresses).servers] == [
        "connecting",
        "connecting",
    ]
