"""Results in parts, and sessions: what comes, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import numpy as np
import pytest

import tiny_model_client as tmc
from conftest import Server
from scripted import ScriptedServer
from tiny_model_client import AsyncModelClient, ModelClient
from tiny_model_client._proto import server as pb

LEAVING = 10  # Seconds for the server to learn that its caller has left.


def part(data: Any) -> pb.Response:
    """A part that another one follows."""
    return pb.Response(data=str(data), more=True)


def last(data: Any = "") -> pb.Response:
    """The end of an answer, with a part or without one."""
    return pb.Response(data=str(data))


def connect(scripted: ScriptedServer) -> ModelClient:
    return ModelClient("any", port=scripted.port, timeout=10)


def connect_async(scripted: ScriptedServer) -> AsyncModelClient:
    return AsyncModelClient("any", port=scripted.port, timeout=10)


def sent(scripted: ScriptedServer) -> list[pb.RunArgs]:
    """The requests of streams and sessions; connecting sends messages without fields."""
    return [pb.RunArgs.FromString(request) for request in scripted.requests if request]


# Streams


@pytest.mark.parametrize(
    ("replies", "parts"),
    [
        ([part(1), part(2), last()], [1, 2]),
        ([part(1), last(2)], [1, 2]),
        ([last(1)], [1]),
        ([part("null"), last("null")], [None, None]),
        ([last()], []),
    ],
)
def test_stream(scripted: ScriptedServer, replies: Any, parts: list[Any]) -> None:
    scripted.replies["RunStream"] = replies
    with connect(scripted) as client:
        assert list(client.run_stream("é", {"a": 1})) == parts

    async def run() -> None:
        async with connect_async(scripted) as client:
            assert [part async for part in client.run_stream("é", {"a": 1})] == parts

    asyncio.run(run())
    expected = pb.RunArgs(text="é", model="any", args='{"a": 1}')
    assert sent(scripted) == [expected, expected]


def test_parts_may_be_more_than_json(scripted: ScriptedServer) -> None:
    tensor = pb.NamedTensor(name="x", datatype="UINT8", shape=[1], data=b"\7")
    file = pb.Encoded(data=b"abc", media_type="image/png")
    scripted.replies["RunStream"] = [
        pb.Response(data="null", tensors=[tensor], more=True),
        pb.Response(data="1", encoded=file),
    ]
    with connect(scripted) as client:
        first, second = client.run_stream("a")
    assert first.tensors["x"].tolist() == [7]
    assert (first.json, first.encoded) == (None, None)
    assert (second.json, second.encoded) == (1, tmc.Encoded(b"abc", "image/png"))


def test_parts_come_when_they_are_made(scripted: ScriptedServer) -> None:
    scripted.replies["RunStream"] = [part(1), None]
    with connect(scripted) as client:
        assert next(client.run_stream("a")) == 1


@pytest.mark.parametrize("how", ["break", "close", "forget", "timeout", "close client"])
def test_leaving_a_stream_ends_it(scripted: ScriptedServer, how: str) -> None:
    scripted.replies["RunStream"] = [part(1), None]
    with connect(scripted) as client:
        parts = client.run_stream("a", timeout=1 if how == "timeout" else None)
        if how == "break":
            for _ in parts:
                break
            del parts
        elif how == "close":
            assert next(parts) == 1
            parts.close()
            assert list(parts) == []
        elif how == "forget":
            while "RunStream" not in scripted.calls:
                time.sleep(0.01)
            del parts
        elif how == "timeout":
            with pytest.raises(tmc.DeadlineExceeded):
                list(parts)
        else:
            assert next(parts) == 1
            client.close()
            with pytest.raises(tmc.ModelClientError):
                next(parts)
        assert scripted.left.wait(LEAVING)


@pytest.mark.parametrize("how", ["break", "aclose", "timeout", "cancel"])
def test_leaving_an_async_stream_ends_it(scripted: ScriptedServer, how: str) -> None:
    scripted.replies["RunStream"] = [part(1), None]

    async def run() -> None:
        async with connect_async(scripted) as client:
            parts = client.run_stream("a", timeout=1 if how == "timeout" else None)
            if how == "break":
                async for _ in parts:
                    break
                del parts
            elif how == "aclose":
                assert await parts.__anext__() == 1
                await parts.aclose()
            elif how == "timeout":
                with pytest.raises(tmc.DeadlineExceeded):
                    _ = [part async for part in parts]
            else:
                assert await parts.__anext__() == 1
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(parts.__anext__(), 0.1)
            assert await asyncio.to_thread(scripted.left.wait, LEAVING)

    asyncio.run(run())


@pytest.mark.parametrize("before", [[], [part(1)]])
def test_an_error_ends_a_stream(scripted: ScriptedServer, before: list[Any]) -> None:
    scripted.replies["RunStream"] = [*before, (grpc.StatusCode.INTERNAL, "it failed")]
    taken: list[Any] = []
    with connect(scripted) as client:
        with pytest.raises(tmc.ModelFailed, match="it failed"):
            taken.extend(client.run_stream("a"))

    async def run() -> None:
        async with connect_async(scripted) as client:
            with pytest.raises(tmc.ModelFailed, match="it failed"):
                async for part in client.run_stream("a"):
                    taken.append(part)

    asyncio.run(run())
    assert taken == [1] * 2 * len(before)


def test_a_stream_of_a_closed_client(scripted: ScriptedServer) -> None:
    client = connect(scripted)
    client.close()
    with pytest.raises(tmc.ModelClientError, match="closed"):
        client.run_stream("a")
    with pytest.raises(tmc.ModelClientError, match="closed"):
        client.session()


def test_input_is_checked_before_it_is_sent(scripted: ScriptedServer) -> None:
    with connect(scripted) as client, client.session() as session:
        for run in (client.run_stream, session.run):
            with pytest.raises(tmc.InvalidType, match="Encoded"):
                run(b"abc")
    assert "RunStream" not in scripted.calls
    assert sent(scripted) == []


# Sessions


def test_session(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = [part(1), part(2), last(), last(3), part(4), last(), last()]
    with connect(scripted) as client, client.session() as session:
        assert list(session.run("a")) == [1, 2]
        assert session.answer(np.zeros((1, 2), np.uint8), {"b": 1}) == 3
        assert session.answer({"x": np.zeros(1)}) == 4
        assert session.answer(tmc.Encoded(b"c", "image/png")) is None
    assert scripted.calls["RunSession"] == 1
    kinds = [request.WhichOneof("input") for request in sent(scripted)]
    assert kinds == ["text", "image", "tensors", "encoded"]
    assert {request.model for request in sent(scripted)} == {"any"}


def test_async_session(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = [part(1), part(2), last(), last(3), last()]

    async def run() -> None:
        async with connect_async(scripted) as client, client.session() as session:
            assert [part async for part in session.run("a")] == [1, 2]
            assert await session.answer("b", {"b": 1}) == 3
            assert await session.answer("c") is None

    asyncio.run(run())
    assert scripted.calls["RunSession"] == 1
    assert [request.text for request in sent(scripted)] == ["a", "b", "c"]


def test_parts_that_nobody_takes_are_thrown_away(scripted: ScriptedServer) -> None:
    replies = (part(1), part(2), last(3), part(4), last(), last(5), last(6))
    scripted.replies["RunSession"] = [*replies]
    with connect(scripted) as client, client.session() as session:
        first = session.run("a")
        assert next(first) == 1
        session.run("b")
        assert session.answer("c") == 5
        # It has no more parts: they were those of the answers before.
        assert list(first) == []
        assert list(session.run("d")) == [6]

    async def run() -> None:
        async with connect_async(scripted) as client, client.session() as session:
            first = session.run("a")
            assert await first.__anext__() == 1
            session.run("b")
            assert await session.answer("c") == 5
            assert [part async for part in first] == []
            assert [part async for part in session.run("d")] == [6]

    asyncio.run(run())
    assert [request.text for request in sent(scripted)] == ["a", "b", "c", "d"] * 2


def test_requests_may_be_sent_ahead(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = [part(1), last(2), last(3)]
    with connect(scripted) as client, client.session() as session:
        first, second = session.run("a"), session.run("b")
        assert (list(first), list(second)) == ([1, 2], [3])


def test_an_error_ends_a_session(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = [last(1), (grpc.StatusCode.INTERNAL, "it failed")]
    with connect(scripted) as client, client.session() as session:
        assert session.answer("a") == 1
        for _ in range(2):
            with pytest.raises(tmc.ModelFailed, match="it failed"):
                session.answer("b")

    async def run() -> None:
        async with connect_async(scripted) as client, client.session() as session:
            assert await session.answer("a") == 1
            for _ in range(2):
                with pytest.raises(tmc.ModelFailed, match="it failed"):
                    await session.answer("b")

    asyncio.run(run())


def test_a_session_that_the_server_ends(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = [last(1)]
    with connect(scripted) as client, client.session() as session:
        assert session.answer("a") == 1
        with pytest.raises(tmc.ModelClientError, match="the server has ended the session"):
            session.answer("b")

    async def run() -> None:
        async with connect_async(scripted) as client, client.session() as session:
            assert await session.answer("a") == 1
            with pytest.raises(tmc.ModelClientError, match="the server has ended the session"):
                await session.answer("b")

    asyncio.run(run())


@pytest.mark.parametrize("how", ["between parts", "error", "timeout"])
def test_leaving_a_session_ends_it(scripted: ScriptedServer, how: str) -> None:
    scripted.replies["RunSession"] = [last(1), part(2), None]
    with connect(scripted) as client:
        if how == "between parts":
            with client.session() as session:
                assert session.answer("a") == 1
                assert next(session.run("b")) == 2
        elif how == "error":
            with pytest.raises(ZeroDivisionError), client.session() as session:
                assert [session.answer("a"), next(session.run("b"))] == [1, 2]
                _ = 1 / 0
        else:
            with client.session(timeout=1) as session:
                assert session.answer("a") == 1
                with pytest.raises(tmc.DeadlineExceeded):
                    session.answer("b")
        assert scripted.left.wait(LEAVING)
        session.close()
        with pytest.raises(tmc.ModelClientError, match="closed"):
            session.run("c")


@pytest.mark.parametrize("how", ["between parts", "error", "timeout", "cancel"])
def test_leaving_an_async_session_ends_it(scripted: ScriptedServer, how: str) -> None:
    scripted.replies["RunSession"] = [last(1), part(2), None]

    async def use(client: AsyncModelClient) -> None:
        async with client.session(timeout=1 if how == "timeout" else None) as session:
            assert await session.answer("a") == 1
            assert await session.run("b").__anext__() == 2
            if how == "error":
                _ = 1 / 0
            elif how != "between parts":
                await session.answer("c")

    async def run() -> None:
        async with connect_async(scripted) as client:
            if how == "between parts":
                await use(client)
            elif how == "error":
                with pytest.raises(ZeroDivisionError):
                    await use(client)
            elif how == "timeout":
                with pytest.raises(tmc.DeadlineExceeded):
                    await use(client)
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(use(client), 0.5)
            assert await asyncio.to_thread(scripted.left.wait, LEAVING)

    asyncio.run(run())


def test_a_session_without_requests(scripted: ScriptedServer) -> None:
    scripted.replies["RunSession"] = []
    with connect(scripted) as client, client.session():
        pass

    async def run() -> None:
        async with connect_async(scripted) as client, client.session():
            pass

    asyncio.run(run())


# The real server


def test_any_model_answers_in_one_part(server: Server) -> None:
    with ModelClient("example_text", port=server.port, timeout=10) as client:
        assert list(client.run_stream("a")) == ["a_processed"]
        with client.session() as session:
            assert [session.answer(text) for text in "abc"] == [f"{c}_processed" for c in "abc"]
        with pytest.raises(tmc.InvalidInput, match="image"):
            list(client.run_stream(np.zeros((2, 2), np.uint8)))
    with ModelClient("no_such_model", port=server.port, timeout=10) as client:
        with pytest.raises(tmc.ModelNotFound):
            list(client.run_stream("a"))
        with client.session() as session, pytest.raises(tmc.ModelNotFound):
            session.answer("a")


def test_any_model_answers_in_one_part_with_asyncio(server: Server) -> None:
    async def run() -> None:
        async with AsyncModelClient("example_text", port=server.port, timeout=10) as client:
            assert [part async for part in client.run_stream("a")] == ["a_processed"]
            async with client.session() as session:
                answers = [await session.answer(text) for text in "abc"]
                assert answers == [f"{c}_processed" for c in "abc"]

    asyncio.run(run())
