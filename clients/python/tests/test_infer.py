"""Named tensors to real models and back, with both clients."""

from __future__ import annotations

import asyncio
import json
import time
import wave
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
import pytest

import tiny_model_client as tmc
from conftest import MODELS, Server
from tiny_model_client import (
    AsyncModelClient,
    Metadata,
    ModelClient,
    Sequence,
    TensorInfo,
    inference,
)

Model = Callable[[str], Any]
Array = npt.NDArray[Any]

RECORDING = MODELS / "silero_vad" / "tests" / "goforward_16k.wav"
REFERENCE = RECORDING.with_name("reference.json")
CHUNK = 512  # Samples that silero-vad answers for at a time.

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.fixture
def model(connect: Callable[..., Any], tensor_server: Server) -> Model:
    """Makes clients of one of the models: `model("echo")`."""
    return lambda name: connect(port=tensor_server.port, model=name, call_timeout=60)


@pytest.fixture
def blocking(tensor_server: Server) -> Iterator[Callable[[str], ModelClient]]:
    """The same, blocking clients alone."""
    clients: list[ModelClient] = []

    def make(name: str) -> ModelClient:
        clients.append(ModelClient(name, port=tensor_server.port, timeout=10, call_timeout=60))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def digits(rows: int) -> Array:
    """As the models of digits take them: 64 pixels of 0 to 16."""
    return np.random.default_rng(1).integers(0, 17, (rows, 64)).astype(np.float32)


def recording() -> Array:
    with wave.open(str(RECORDING)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def expected_speech() -> Any:
    return json.loads(REFERENCE.read_text())["probabilities"]


def extremes(dtype: str) -> Array:
    if dtype == "bool":
        return np.array([[True, False, True], [False, False, True]])
    info: Any = np.finfo(dtype) if dtype in FLOATS else np.iinfo(dtype)
    return np.array([[info.min, 0, info.max], [1, 2, 3]], dtype)


def command(text: str) -> dict[str, Array]:
    return {"command": np.array([text])}


def counting(sequence: Sequence) -> dict[str, Any]:
    return {"inputs": command("count"), "sequence": sequence}


# Models


@pytest.mark.parametrize("name", ["digits_forest", "digits_mlp"])
def test_a_bare_graph(model: Model, name: str) -> None:
    client, rows = model(name), digits(5)
    together = client.infer({"input": rows})
    described = client.metadata().outputs
    assert set(together) == set(described)
    for output, info in described.items():
        assert together[output].dtype == info.dtype
        assert together[output].shape == (5, *info.shape[1:])
        alone = [client.infer({"input": rows[n : n + 1]})[output][0] for n in range(5)]
        np.testing.assert_allclose(alone, together[output], rtol=1e-5, atol=1e-6)
    assert len({row.tobytes() for row in together[max(described)]}) > 1


def test_what_the_forest_says(model: Model) -> None:
    answer = model("digits_forest").infer({"input": digits(20)})
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(answer["probabilities"].argmax(axis=1), answer["label"])


def test_only_the_outputs_asked_for(model: Model) -> None:
    client, inputs = model("digits_forest"), {"input": digits(2)}
    assert set(client.infer(inputs)) == {"label", "probabilities"}
    assert set(client.infer(inputs, outputs=["label"])) == {"label"}
    assert set(client.infer(inputs, outputs=(n for n in ["label", "probabilities"]))) == {
        "label",
        "probabilities",
    }


def test_texts_to_vectors(blocking: Callable[[str], ModelClient], model: Model) -> None:
    texts = ["A cat sleeps.", "Ein Bär schläft."]
    vectors = model("sentence_embedding").infer({"text": np.array(texts)})["embedding"]
    assert (vectors.dtype, vectors.shape) == (np.float32, (2, 384))
    by_text = [blocking("sentence_embedding").run_text(text) for text in texts]
    np.testing.assert_allclose(vectors, by_text, atol=2e-2)
    assert (vectors[0] @ by_text[0], vectors[1] @ by_text[1]) == pytest.approx((1, 1), abs=1e-2)
    assert vectors[0] @ vectors[1] < 0.95


def test_sums_of_every_type(model: Model) -> None:
    inputs = {
        dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in ["bool", *INTEGERS, *FLOATS]
    }
    expected = {f"{name}_sum": array.astype(float).sum() for name, array in inputs.items()}
    inputs["words"] = np.array([b"ab", "é", "a\0"], object)
    expected["words_sum"] = 6.0  # The lengths.
    answer = model("tensor_sum").infer(inputs)
    assert {name: array.tolist() for name, array in answer.items()} == expected
    assert {array.dtype.name for array in answer.values()} == {"float64"}


# Data


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type_comes_back(model: Model, dtype: str) -> None:
    array = extremes(dtype)
    inputs = {
        "rows": array,
        "columns": np.asfortranarray(array),
        "every other": np.repeat(array, 2, axis=1)[:, ::2],
        "backwards": np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "read only": np.frombuffer(array.tobytes(), dtype).reshape(2, 3),
        "scalar": array[0, 2],
        "no dimensions": np.array(array[0, 2]),
        "empty": np.zeros((2, 0, 3), dtype),
        "deep": array.reshape(1, 2, 1, 3, 1),
    }
    answer = model("echo").infer(inputs)
    assert list(answer) == list(inputs)
    for name, sent in inputs.items():
        assert (name, answer[name].dtype) == (name, np.dtype(dtype))
        assert answer[name].shape == sent.shape
        np.testing.assert_array_equal(answer[name], sent)
        assert answer[name].flags.writeable


def test_bytes_come_back(model: Model) -> None:
    inputs = {
        "objects": np.array([[b"a\0", "é"], [b"", b"\xff"]], object),
        "S": np.array([b"a", b"bcd"]),
        "U": np.array(["a", "日本"]),
        "scalar": np.array("a\0", object),
        "one of numpy's": np.str_("a\0"),
        "empty": np.zeros((0, 2), object),
    }
    answer = model("echo").infer(inputs)
    assert {array.dtype for array in answer.values()} == {np.dtype(object)}
    assert answer["empty"].shape == (0, 2)
    assert {name: array.tolist() for name, array in answer.items()} == {
        "objects": [[b"a\0", "é".encode()], [b"", b"\xff"]],
        "S": [b"a", b"bcd"],
        "U": [b"a", "日本".encode()],
        "scalar": b"a\0",
        "one of numpy's": b"a\0",
        "empty": [],
    }


@pytest.mark.parametrize("name", ["echo", "identity_bf16"])
def test_bfloat16_comes_back(model: Model, name: str) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.array([[1.0, -2.5, 3e38, 1.0078125]], bfloat16)
    [answer] = model(name).infer({"x": array}).values()
    assert answer.dtype == bfloat16
    np.testing.assert_array_equal(answer, array)


def test_a_large_tensor(model: Model) -> None:
    array = np.random.default_rng(1).standard_normal((2000, 2000), np.float32)  # 16 MB
    np.testing.assert_array_equal(model("echo").infer({"x": array})["x"], array)


def test_inputs_go_by_name(model: Model) -> None:
    a, b = digits(2)[:, :3], digits(3)[1:, 3:6]
    client = model("two_inputs")
    for inputs in ({"a": a, "b": b}, {"b": b, "a": a}):
        answer = client.infer(inputs)
        np.testing.assert_allclose(answer["sum"], a + b)
        np.testing.assert_allclose(answer["product"], a * b)


def test_what_says_that_it_is_an_array(model: Model) -> None:
    class Column:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.array([1, 2], np.int16)

    [answer] = model("echo").infer({"x": Column()}).values()
    assert (answer.dtype, answer.tolist()) == (np.int16, [1, 2])


ARGS = {
    "args": True,
    "count": -(2**63),
    "large": 2**64 - 1,
    "share": 0.1,
    "whole": 2.0,
    "name": "é",
    "off": False,
}


def test_arguments_arrive_as_they_are(blocking: Callable[[str], ModelClient]) -> None:
    # `infer` leaves out the JSON, which is how the model says what arguments it got.
    client = blocking("echo")
    message = inference.request("echo", {"x": np.zeros(1)}, ARGS, None, None)
    said = json.loads(client._call("ModelInfer", message, None).parameters["json"].string_param)
    assert said == ARGS
    assert {name: type(value) for name, value in said.items()} == {
        name: type(value) for name, value in ARGS.items()
    }
    assert list(client.infer({"x": np.zeros(1)}, ARGS)) == ["x"]


def test_metadata(model: Model) -> None:
    assert model("digits_forest").metadata() == Metadata(
        {"input": TensorInfo("float32", (None, 64))},
        {"label": TensorInfo("int64", (None,)), "probabilities": TensorInfo("float32", (None, 10))},
    )
    assert model("sentence_embedding").metadata() == Metadata(
        {"text": TensorInfo("object", (None,))}, {"embedding": TensorInfo("float32", (None, 384))}
    )
    voice = model("silero_vad").metadata()
    assert {name: info.dtype for name, info in voice.inputs.items()} == {
        "audio": "float32",
        "pcm": "int16",
    }
    assert model("scalar").metadata().inputs["x"].shape == ()
    assert model("identity_bf16").metadata().outputs["y"].dtype == "bfloat16"
    assert model("echo").metadata() == Metadata({}, {})


# Sequences and sessions


def test_a_recording_in_pieces(model: Model) -> None:
    client, samples, expected = model("silero_vad"), recording(), expected_speech()
    whole = client.infer({"pcm": samples})["probability"]
    np.testing.assert_allclose(whole, expected, atol=2e-3)
    cuts = np.array_split(samples, 7)
    places = [Sequence("voice", start=n == 0, end=n == 6) for n in range(7)]
    # Another one at the same time does not disturb it.
    other = Sequence("silence", start=True)
    heard = []
    for piece, place in zip(cuts, places):
        heard.append(client.infer({"pcm": piece}, sequence=place)["probability"])
        client.infer({"pcm": np.zeros_like(piece)}, sequence=other)
        other = Sequence("silence")
    np.testing.assert_allclose(np.concatenate(heard), expected, atol=2e-3)
    with pytest.raises(tmc.InvalidInput, match="there is no sequence `voice`"):
        client.infer({"pcm": samples[:CHUNK]}, sequence=Sequence("voice"))


def test_a_recording_in_a_session(tensor_server: Server) -> None:
    cuts, expected = np.array_split(recording(), 7), expected_speech()

    def check(heard: list[Any]) -> None:
        probabilities = [result.tensors["probability"] for result in heard]
        np.testing.assert_allclose(np.concatenate(probabilities), expected, atol=2e-3)

    with ModelClient("silero_vad", port=tensor_server.port, timeout=10) as client:
        with client.session() as session:
            check([part for piece in cuts for part in session.run({"pcm": piece})])

    async def run() -> None:
        async with AsyncModelClient("silero_vad", port=tensor_server.port, timeout=10) as client:
            async with client.session() as session:
                check([await session.answer({"pcm": piece}) for piece in cuts])

    asyncio.run(run())


# Results in parts


def test_parts(model: Model) -> None:
    parts = list(model("commands").infer_stream(command("emit:3")))
    assert [part["x"].tolist() for part in parts] == [[0, 0], [1, 1], [2, 2]]
    assert all(part["x"].flags.writeable for part in parts)


def test_a_part_without_tensors_is_an_empty_dict(model: Model) -> None:
    parts = list(model("commands").infer_stream(command("large:1")))
    assert [list(part) for part in parts] == [["x"], []]


def test_models_that_know_no_parts_answer_in_one(model: Model) -> None:
    inputs = {"input": digits(2)}
    client = model("digits_forest")
    [part] = client.infer_stream(inputs)
    whole = client.infer(inputs)
    assert set(part) == set(whole)
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name])


@pytest.mark.parametrize("name", ["image", "encoded", "x"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_parts_are_named_as_the_model_names_them(
    model: Model, name: str, shape: tuple[int, ...]
) -> None:
    # What goes by these names has a place of its own in the messages.
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    [part] = model("echo").infer_stream({name: array, "y": array}, {"any": ["thing"]})
    assert set(part) == {name, "y"}
    np.testing.assert_array_equal(part[name], array)


def test_leaving_parts(model: Model) -> None:
    client = model("commands")
    # More of them than there may be at once, were they not ended.
    for _ in range(100):
        for part in client.infer_stream(command("slowly:2:3600000")):
            assert part["x"].tolist() == [0, 0]
            break
    assert len(list(client.infer_stream(command("emit:2")))) == 2


def test_a_failure_between_parts(model: Model) -> None:
    client = model("commands")
    for whose, kind in (("caller", tmc.InvalidInput), ("model", tmc.ModelFailed)):
        parts = client.infer_stream(command(f"fail_late:{whose}"))
        assert next(parts) == {}
        with pytest.raises(kind, match="said so"):
            next(parts)


def test_sequences_of_both_kinds(blocking: Callable[[str], ModelClient]) -> None:
    client = blocking("commands")
    start, on = Sequence("both", start=True), Sequence("both")
    assert client.infer(**counting(start)) == {}
    assert list(client.infer_stream(**counting(on))) == [{}]
    assert list(client.run_stream(command("count"), sequence=on)) == [3]


# Mistakes


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({}, None, "`input`"),
        ({"z": digits(1)}, None, "`z`"),
        ({"input": digits(1)[0]}, None, r"\[64\]"),
        ({"input": digits(1)[:, :3]}, None, "64"),
        ({"input": digits(1).astype(float)}, None, "(?i)fp64"),
        ({"input": digits(1)}, ["nothing"], "`nothing`"),
    ],
    ids=["none", "unknown", "rank", "size", "type", "output"],
)
def test_mistakes_that_the_server_finds(
    model: Model, inputs: Any, outputs: Any, words: str
) -> None:
    with pytest.raises(tmc.InvalidInput, match=words) as error:
        model("digits_forest").infer(inputs, outputs=outputs)
    assert error.value.code is not None


def test_errors_are_those_of_other_calls(model: Model) -> None:
    client = model("commands")
    with pytest.raises(tmc.ModelFailed, match="trapped"):
        client.infer(command("trap"))
    with pytest.raises(tmc.InvalidInput, match="said so"):
        client.infer(command("fail:caller"))
    with pytest.raises(tmc.InvalidInput, match="ModelStreamInfer"):
        client.infer(command("emit:2"))
    with pytest.raises(tmc.InvalidInput, match="`text`"):
        model("sentence_embedding").infer({"x": np.zeros(1)})
    nobody = model("no_such_model")
    for call in (
        lambda: nobody.infer({"x": np.zeros(1)}),
        lambda: list(nobody.infer_stream({"x": np.zeros(1)})),
        nobody.metadata,
    ):
        with pytest.raises(tmc.ModelNotFound, match="no_such_model"):
            call()


def test_a_timeout_of_the_call(model: Model) -> None:
    client, began = model("commands"), time.monotonic()
    with pytest.raises(tmc.DeadlineExceeded):
        client.infer(command("sleep:3600000"), timeout=0.5)
    with pytest.raises(tmc.DeadlineExceeded):
        list(client.infer_stream(command("slowly:2:3600000"), timeout=0.5))
    assert time.monotonic() - began < 20  # The model's own limit is 30 s, the client's 60 s.


def test_more_than_the_server_takes(model: Model) -> None:
    with pytest.raises(tmc.MessageTooLarge, match="max-message"):
        model("echo").infer({"x": np.zeros(75_000_000, np.uint8)})


# Several servers


@pytest.fixture(scope="module")
def two_servers(binary: Any, tensor_server: Server, tensor_models: Any) -> Iterator[list[str]]:
    other = Server(binary, port=0, workers=1, models=tensor_models)
    yield [f"127.0.0.1:{server.port}" for server in (tensor_server, other)]
    assert other.stop() == 0, other.log()


def test_sequences_over_two_servers(connect: Callable[..., Any], two_servers: list[str]) -> None:
    client = connect(two_servers, model="silero_vad", call_timeout=60)
    samples = recording()[: 40 * CHUNK]
    expected = expected_speech()[:40]
    heard: dict[str, list[Any]] = {f"voice {n}": [] for n in range(8)}
    for n, piece in enumerate(np.array_split(samples, 4)):
        for id, parts in heard.items():
            place = Sequence(id, start=n == 0, end=n == 3)
            parts.append(client.infer({"pcm": piece}, sequence=place)["probability"])
    for parts in heard.values():
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=2e-3)
    for _ in range(4):
        assert client.metadata().inputs["pcm"].dtype == "int16"
