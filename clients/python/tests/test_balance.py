"""Which server a call goes to: shares by turns, by reported load, by calls in flight."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Callable

import grpc
import pytest

from conftest import Server, wait_for
from scripted import ScriptedServer
from tiny_model_client import AsyncModelClient, load
from tiny_model_client._proto import server as pb
from tiny_model_client._proto.orca_load_report import OrcaLoadReport

Connect = Callable[..., Any]
Start = Callable[..., ScriptedServer]


def report(utilization: float, **more: float) -> OrcaLoadReport:
    fields: dict[str, Any] = {"application_utilization": utilization, "rps_fractional": 100.0}
    return OrcaLoadReport(**{**fields, **more})


def reports(server: ScriptedServer, *given: OrcaLoadReport | bytes) -> None:
    """Has a server report these, and then nothing more until the client leaves."""
    server.replies["StreamCoreMetrics"] = [*given, None]


def shares(servers: list[ScriptedServer], call: Callable[[], object], count: int) -> list[int]:
    """How many of the calls each server gets."""
    names = ("RunText", "RunStream")
    before = [sum(server.calls.get(name, 0) for name in names) for server in servers]
    for _ in range(count):
        call()
    after = [sum(server.calls.get(name, 0) for name in names) for server in servers]
    return [new - old for new, old in zip(after, before)]


def weights(client: Any) -> list[float]:
    return [server.weight for server in client.servers]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports count from the first on."""
    monkeypatch.setattr(load, "BLACKOUT", 0.0)


def test_round_robin(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted() for _ in range(3)]
    client = connect([server.address for server in servers])
    assert [server.state for server in client.servers] == ["ready"] * 3
    assert shares(servers, lambda: client.run_text("a"), 30) == [10, 10, 10]
    assert weights(client) == [None] * 3


def test_one_that_is_slow_to_answer_at_first_gets_its_share(
    connect: Connect, start_scripted: Start
) -> None:
    servers = [start_scripted(), start_scripted()]
    servers[1].replies["GetPID"] = (grpc.StatusCode.UNAVAILABLE, "not yet")
    client = connect([server.address for server in servers])
    assert shares(servers, lambda: client.run_text("a"), 10) == [10, 0]
    assert [server.state for server in client.servers] == ["ready", "connecting"]
    assert client.servers[1].error == "not yet"
    servers[1].replies["GetPID"] = pb.Response(data='{"pid": 1}')
    wait_for(lambda: client.servers[1].state == "ready")
    assert client.servers[1].error is None
    assert shares(servers, lambda: client.run_text("a"), 10) == [5, 5]


def test_weighted(connect: Connect, start_scripted: Start, at_once: None) -> None:
    servers = [start_scripted(), start_scripted()]
    reports(servers[0], report(0.1))
    reports(servers[1], report(0.9))
    client = connect([server.address for server in servers], balance="weighted")

    def call() -> Any:
        return client.run_text("a")

    wait_for(lambda: call() and weights(client) == [1.8, 0.2])
    first, second = shares(servers, call, 200)
    assert 178 <= first <= 182
    assert first + second == 200
    # Evenly over time.
    assert all(8 <= shares(servers, call, 10)[0] <= 10 for _ in range(5))


def test_weights_by_errors_and_cpu(connect: Connect, start_scripted: Start, at_once: None) -> None:
    servers = [start_scripted(), start_scripted()]
    reports(servers[0], report(0, cpu_utilization=0.5))
    reports(servers[1], report(0.5, cpu_utilization=0.1, eps=100.0))  # As if at 1.5.
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and weights(client) == [1.5, 0.5])


def test_reports_count_only_after_a_while(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    reports(servers[0], report(0.1))
    reports(servers[1], report(0.9))
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: all("StreamCoreMetrics" in server.calls for server in servers))
    assert shares(servers, lambda: client.run_text("a"), 20) == [10, 10]


def test_old_reports_count_no_more(
    connect: Connect, start_scripted: Start, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [start_scripted(), start_scripted()]
    reports(servers[0], report(0.1))
    reports(servers[1], report(0.9))
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and weights(client) == [1.8, 0.2])
    monkeypatch.setattr(load, "EXPIRATION", 0.0)
    wait_for(lambda: client.run_text("a") and weights(client) == [1.0, 1.0])


def test_who_reports_nothing_gets_the_mean(
    connect: Connect, start_scripted: Start, at_once: None
) -> None:
    servers = [start_scripted() for _ in range(3)]
    reports(servers[0], report(0.1))
    reports(servers[1], report(0.9))
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and weights(client) == [1.8, 0.2, 1.0])


SENSELESS = [
    report(math.nan),
    report(-1.0),
    report(math.inf),
    report(1e300),
    report(0.0),
    report(0.5, rps_fractional=math.nan),
    report(0.5, rps_fractional=-1.0),
    report(0.5, rps_fractional=0.0),
    report(0.5, rps_fractional=1e300),
    report(5e-324),  # Which divided by gives infinity.
    report(0.5, rps_fractional=5e-324, eps=1e9),
    report(0.5, eps=math.nan),
    report(0.5, eps=-1.0),
    report(0.5, eps=math.inf),
    OrcaLoadReport(),
]


def test_senseless_reports_say_nothing(
    connect: Connect, start_scripted: Start, at_once: None
) -> None:
    assert [load.weight(nonsense) for nonsense in SENSELESS] == [None] * len(SENSELESS)
    servers = [start_scripted(), start_scripted()]
    reports(servers[0], *SENSELESS, report(0.25), *SENSELESS)
    reports(servers[1], report(0.75))
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and weights(client) == [1.5, 0.5])


def test_what_is_no_report_harms_no_call(
    connect: Connect, start_scripted: Start, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "LISTEN_PAUSE", 0.01)
    servers = [start_scripted(), start_scripted()]
    servers[0].replies["StreamCoreMetrics"] = [b"\xff" * 4000]
    client = connect([server.address for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and servers[0].calls.get("StreamCoreMetrics", 0) > 3)
    assert weights(client) == [1.0, 1.0]
    assert shares(servers, lambda: client.run_text("a"), 20) == [10, 10]


def test_real_servers_report(start_server: Callable[..., Server], connect: Connect) -> None:
    servers = [start_server(workers=1), start_server(workers=1)]
    client = connect([f"127.0.0.1:{server.port}" for server in servers], balance="weighted")
    wait_for(lambda: client.run_text("a") and weights(client) != [1.0, 1.0], load.BLACKOUT + 20)


def test_a_loop_that_ends_before_the_client(start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    for server in servers:
        reports(server, report(0.5))

    async def run() -> Any:
        addresses = [server.address for server in servers]
        client = AsyncModelClient("any", addresses, timeout=10, balance="weighted")
        await client.connect()
        while not all("StreamCoreMetrics" in server.calls for server in servers):
            await asyncio.sleep(0.01)
        return await client.run_text("a")

    assert asyncio.run(run()) == 1


def test_two_choices(connect: Connect, start_scripted: Start) -> None:
    servers = [start_scripted(), start_scripted()]
    for server in servers:
        server.replies["RunStream"] = [pb.Response(data="1", more=True), None]
    client = connect([server.address for server in servers], balance="two_choices")
    parts = client.run_stream("a")
    assert next(parts) == 1
    busy = servers[0].calls.get("RunStream", 0)
    assert [server.in_flight for server in client.servers] == [busy, 1 - busy]
    assert shares(servers, lambda: client.run_text("a"), 30) == [30 * (1 - busy), 30 * busy]
    parts.close()
    wait_for(lambda: [server.in_flight for server in client.servers] == [0, 0])
    assert all(shares(servers, lambda: client.run_text("a"), 60))
