"""Triton's own client: streams with any number of responses, sequences, compressed messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import time
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

PATIENCE = 60  # Seconds for one response.


@pytest.fixture(autouse=True)
def _needs_the_model(commands):
    """All of this is about one model."""


def command(text: str) -> list[triton.InferInput]:
    tensor = triton.InferInput("command", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], np.object_))
    return [tensor]


def parameter(result: triton.InferResult, name: str) -> object:
    value = result.get_response().parameters.get(name)
    return value and getattr(value, value.WhichOneof("parameter_choice"))


def said(result: triton.InferResult) -> object:
    """The model's JSON; None where there is none."""
    text = parameter(result, "json")
    return None if text is None else json.loads(text)


class Stream:
    """A stream of requests, and its responses as they come."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self.client = client
        self._responses: queue.Queue = queue.Queue()

    def start(self, **options: object) -> None:
        self.client.start_stream(
            lambda result, error: self._responses.put((result, error)), **options
        )

    def send(self, text: str, id: str = "", **options: object) -> None:
        self.client.async_stream_infer("commands", command(text), request_id=id, **options)

    def next(self) -> triton.InferResult:
        result, error = self._responses.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return result

    def next_told(self) -> tuple:
        """The id, the JSON, the outputs' names, and whether it is the last response."""
        result = self.next()
        response = result.get_response()
        names = [output.name for output in response.outputs]
        return response.id, said(result), names, parameter(result, "triton_final_response") is True

    def is_empty(self) -> bool:
        return self._responses.empty()


@pytest.fixture
def stream(server) -> Iterator[Stream]:
    # A client of Triton's has one stream at a time.
    with triton.InferenceServerClient(server.address) as client:
        yield Stream(client)


# Streams


def test_a_request_has_any_number_of_responses(stream):
    stream.start()
    stream.send("emit:3", "Grüße-1", enable_empty_final_response=True)
    for part in range(3):
        result = stream.next()
        response = result.get_response()
        assert (response.id, response.model_name, said(result)) == ("Grüße-1", "commands", part)
        np.testing.assert_array_equal(result.as_numpy("x"), np.array([part, part], np.uint8))
        assert parameter(result, "triton_final_response") is not True
    result = stream.next()
    assert result.get_response().id == "Grüße-1"
    assert parameter(result, "triton_final_response") is True
    assert said(result) is None
    assert result.as_numpy("x") is None


def test_an_empty_last_response_is_for_those_who_ask(stream):
    stream.start()
    stream.send("emit:2", "one")
    stream.send("emit:0", "two")
    stream.send("emit:0", "three", enable_empty_final_response=True)
    stream.send("upper:a", "four")
    assert [stream.next_told() for _ in range(4)] == [
        ("one", 0, ["x"], False),
        ("one", 1, ["x"], False),
        ("three", None, [], True),
        ("four", "A", [], True),
    ]


def test_responses_come_when_they_are_made(stream):
    stream.start()
    # The second one takes longer than a test may.
    stream.send("slowly:2:3600000")
    assert said(stream.next()) == 0
    stream.client.stop_stream(cancel_requests=True)


def test_an_error_does_not_end_the_stream(stream):
    stream.start()
    stream.send("fail:caller", "one")
    stream.send("fail_late:model", "two")
    stream.client.async_stream_infer("no_such_model", command("upper:a"), request_id="three")
    stream.send("trap_late", "four")
    stream.send("upper:a", "five")
    with pytest.raises(InferenceServerException, match="said so"):
        stream.next()
    assert stream.next_told() == ("two", "a part", [], False)
    with pytest.raises(InferenceServerException, match="said so"):
        stream.next()
    with pytest.raises(InferenceServerException, match="no_such_model"):
        stream.next()
    assert stream.next_told() == ("four", "a part", [], False)
    with pytest.raises(InferenceServerException, match="trapped"):
        stream.next()
    assert stream.next_told() == ("five", "A", [], True)


def test_a_stream_that_is_stopped_answers_what_was_sent(stream):
    stream.start()
    for number in range(20):
        stream.send(f"upper:a{number}")
    stream.client.stop_stream()
    assert [said(stream.next()) for _ in range(20)] == [f"A{number}" for number in range(20)]
    # Another one may follow.
    stream.start()
    stream.send("upper:b")
    assert said(stream.next()) == "B"


def test_a_stream_that_is_cancelled_ends_soon(stream):
    stream.start()
    stream.send("slowly:1000:100")
    assert said(stream.next()) == 0
    began = time.monotonic()
    stream.client.stop_stream(cancel_requests=True)
    assert time.monotonic() - began < 10
    with pytest.raises(InferenceServerException) as error:
        while True:
            stream.next()
    assert error.value.status() == "StatusCode.CANCELLED"


def test_a_deadline_for_all_of_a_stream(stream):
    stream.start(stream_timeout=1)
    stream.send("slowly:1000:100")
    parts = 0
    with pytest.raises(InferenceServerException, match=r"(?i)deadline|did not answer within"):
        while True:
            stream.next()
            parts += 1
    assert 0 < parts < 100


def test_a_graph_answers_once(stream):
    stream.start()
    tensor = triton.InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1, 2], np.float32))
    stream.client.async_stream_infer("any_rank", [tensor], enable_empty_final_response=True)
    stream.send("upper:a")
    result = stream.next()
    np.testing.assert_array_equal(result.as_numpy("y"), [-1, -2])
    assert parameter(result, "triton_final_response") is True
    assert said(stream.next()) == "A"


def test_many_streams_at_once(server):
    def parts(stream: Stream) -> list[object]:
        return [said(stream.next()) for _ in range(10)]

    with contextlib.ExitStack() as stack:
        connect = triton.InferenceServerClient
        streams = [Stream(stack.enter_context(connect(server.address))) for _ in range(8)]
        for stream in streams:
            stream.start()
            stream.send("emit:10")
        assert [parts(stream) for stream in streams] == [list(range(10))] * len(streams)


def test_the_asyncio_client(server):
    async def requests():
        for number, text in enumerate(["emit:2", "fail:caller", "upper:a"]):
            yield {
                "model_name": "commands",
                "inputs": command(text),
                "request_id": str(number),
            }

    async def run() -> list[tuple]:
        async with triton_aio.InferenceServerClient(server.address) as client:
            return [
                (None, str(error)) if error else (result.get_response().id, said(result))
                async for result, error in client.stream_infer(requests())
            ]

    answers = asyncio.run(run())
    assert answers[:2] == [("0", 0), ("0", 1)]
    assert answers[2][0] is None
    assert "said so" in answers[2][1]
    assert answers[3:] == [("2", "A")]


def test_parts_need_a_stream(client):
    with pytest.raises(InferenceServerException, match="ModelStreamInfer") as error:
        client.infer("commands", command("emit:1"))
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


# Sequences


def count(client: triton.InferenceServerClient, id: int | str, **place: bool) -> object:
    return said(client.infer("commands", command("count"), sequence_id=id, **place))


@pytest.mark.parametrize("id", [7, 2**63 - 1, "Grüße"], ids=str)
def test_calls_of_a_sequence_meet_one_instance(client, id):
    other = f"not {id}"
    assert count(client, id, sequence_start=True) == 1
    assert count(client, other, sequence_start=True) == 1
    assert count(client, id) == 2
    assert count(client, other) == 2
    assert count(client, id, sequence_end=True) == 3
    with pytest.raises(InferenceServerException, match="there is no sequence") as error:
        count(client, id)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert count(client, other, sequence_end=True) == 3


def test_a_start_begins_anew(client):
    assert count(client, 9, sequence_start=True) == 1
    assert count(client, 9) == 2
    assert count(client, 9, sequence_start=True) == 1
    assert count(client, 9, sequence_end=True) == 2


def test_calls_without_an_id_are_in_none(client):
    for id in (0, ""):
        place = {"sequence_id": id, "sequence_start": True}
        assert said(client.infer("commands", command("context"), **place))["sequence"] is None


def test_the_model_knows_its_place(client):
    answer = client.infer(
        "commands",
        command("context"),
        request_id="a request",
        sequence_id=11,
        sequence_start=True,
        sequence_end=True,
    )
    context = said(answer)
    assert context["sequence"] == {"id": "11", "start": True, "end": True}
    assert context["request_id"] == "a request"


def test_sequences_in_a_stream(stream):
    stream.start()
    for place in ({"sequence_start": True}, {}, {"sequence_end": True}):
        for id in (21, "twenty-two"):
            stream.send("count", str(id), sequence_id=id, **place)
    stream.send("count", "23", sequence_id=23)
    for counted in (1, 2, 3):
        for id in ("21", "twenty-two"):
            assert stream.next_told() == (id, counted, [], True)
    with pytest.raises(InferenceServerException, match="there is no sequence `23`"):
        stream.next()


def test_a_sequence_by_stream_and_by_calls(stream, client):
    stream.start()
    stream.send("count", sequence_id=31, sequence_start=True)
    assert said(stream.next()) == 1
    assert count(client, 31) == 2
    stream.send("count", sequence_id=31, sequence_end=True)
    assert said(stream.next()) == 3


# Compressed messages


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_messages(client, stream, algorithm):
    array = np.arange(100_000, dtype=np.int32) % 7
    tensor = triton.InferInput("x", list(array.shape), "INT32")
    tensor.set_data_from_numpy(array)
    answer = client.infer("commands", [tensor], compression_algorithm=algorithm)
    np.testing.assert_array_equal(answer.as_numpy("x"), array)
    stream.start(compression_algorithm=algorithm)
    for _ in range(3):
        stream.client.async_stream_infer("commands", [tensor])
        np.testing.assert_array_equal(stream.next().as_numpy("x"), array)
    stream.send("emit:2")
    assert [said(stream.next()) for _ in range(2)] == [0, 1]
