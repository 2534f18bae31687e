"""Triton's own client against bare graphs: all it can ask of an Open Inference Protocol server."""

from __future__ import annotations

import asyncio
import queue

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

# The small graphs are named by the host's names of the types.
DATATYPES = {
    "bool": ("BOOL", np.bool_), "u8": ("UINT8", np.uint8), "u16": ("UINT16", np.uint16),
    "u32": ("UINT32", np.uint32), "u64": ("UINT64", np.uint64), "i8": ("INT8", np.int8),
    "i16": ("INT16", np.int16), "i32": ("INT32", np.int32), "i64": ("INT64", np.int64),
    "fp16": ("FP16", np.float16), "fp32": ("FP32", np.float32), "fp64": ("FP64", np.float64),
}  # fmt: skip


def tensor(name: str, array: np.ndarray, datatype: str = "FP32") -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def extremes(dtype: type) -> np.ndarray:
    if dtype is np.bool_:
        return np.array([[True, False, True]])
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else np.finfo(dtype)
    return np.array([[info.min, 0, info.max]], dtype)


# The server and its models


def test_server_is_live_ready_and_named(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "tms"
    assert metadata["version"]


def test_models_are_ready_or_not(client):
    assert client.is_model_ready("digits_mlp")
    assert client.is_model_ready("digits_mlp", "1")
    assert client.is_model_ready("efficientnet_lite0")
    # These do not load, and the others do not mind.
    assert not client.is_model_ready("identity_fp8")
    assert not client.is_model_ready("sequence_input")


def test_metadata_of_a_graph(client):
    metadata = client.get_model_metadata("digits_forest", as_json=True)
    assert metadata["name"] == "digits_forest"
    assert metadata["versions"] == ["1"]
    assert metadata["platform"]
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": ["-1", "64"]}]
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": ["-1"]},
        {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "10"]},
    ]


@pytest.mark.parametrize(
    ("model", "version"), [("no_such_model", ""), ("digits_mlp", "2"), ("../digits_mlp", "")]
)
def test_unknown_models_are_not_found(client, model, version):
    for call in (
        lambda: client.get_model_metadata(model, version),
        lambda: client.infer(model, [tensor("input", floats(1, 64))], version),
    ):
        with pytest.raises(InferenceServerException, match="model") as error:
            call()
        assert error.value.status() == "StatusCode.NOT_FOUND"


# Data of every type and shape


@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_comes_back_unchanged(client, name):
    datatype, dtype = DATATYPES[name]
    array = extremes(dtype)
    answer = client.infer(f"identity_{name}", [tensor("x", array, datatype)]).as_numpy("y")
    assert answer.dtype == dtype
    np.testing.assert_array_equal(answer, array)


def test_bf16(client):
    array = np.array([[1.0, -2.5, 3e38, 1.0078125]], ml_dtypes.bfloat16)
    answer = client.infer("identity_bf16", [tensor("x", array, "BF16")]).as_numpy("y")
    np.testing.assert_array_equal(answer, array)


@pytest.mark.parametrize(
    "strings",
    [
        np.array([[b"", b" ", b"a\nb"]], np.object_),
        np.array([["Grüße", "🐈", "שלום"]], np.object_),
        np.array([[b"x" * 100_000]], np.object_),
        np.array([[b"a\x00b", b"\x00", b""]], np.object_),
    ],
    ids=["empty", "unicode", "long", "NUL"],
)
def test_bytes(client, strings):
    answer = client.infer("identity_bytes", [tensor("x", strings, "BYTES")]).as_numpy("y")
    expected = [s.encode() if isinstance(s, str) else s for s in strings.ravel()]
    assert answer.shape == strings.shape
    assert list(answer.ravel()) == expected


def test_bytes_that_onnx_runtime_cannot_hold_are_refused(client):
    with pytest.raises(InferenceServerException, match="UTF-8") as error:
        strings = np.array([[b"\xff"]], np.object_)
        client.infer("identity_bytes", [tensor("x", strings, "BYTES")])
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 2, 1, 3, 2), (0,), (2, 0, 3), ()])
def test_any_shape(client, shape):
    array = floats(*shape) if shape else np.array(1.5, np.float32)
    answer = client.infer("any_rank", [tensor("x", array)]).as_numpy("y")
    assert answer.shape == shape
    np.testing.assert_array_equal(answer, -array)


def test_scalar(client):
    answer = client.infer("scalar", [tensor("x", np.array(3, np.float32))]).as_numpy("y")
    assert answer.shape == ()
    assert answer == 6


def test_a_large_tensor(client):
    array = floats(2000, 2000)  # 16 MB
    np.testing.assert_array_equal(
        client.infer("identity_fp32", [tensor("x", array)]).as_numpy("y"), array
    )


# Inputs and outputs


def test_inputs_go_by_name_not_order(client):
    a, b = floats(2, 3), floats(2, 3) + 1
    for inputs in ([tensor("a", a), tensor("b", b)], [tensor("b", b), tensor("a", a)]):
        answer = client.infer("two_inputs", inputs)
        np.testing.assert_allclose(answer.as_numpy("sum"), a + b)
        np.testing.assert_allclose(answer.as_numpy("product"), a * b, rtol=1e-6)


def test_only_the_outputs_asked_for(client):
    inputs = [tensor("a", floats(2, 3)), tensor("b", floats(2, 3))]
    answer = client.infer("two_inputs", inputs, outputs=[triton.InferRequestedOutput("product")])
    assert [output.name for output in answer.get_response().outputs] == ["product"]
    assert answer.as_numpy("sum") is None


def test_an_input_with_a_default_may_stay_out(client):
    x = floats(2, 3)
    answer = client.infer("optional_input", [tensor("x", x)]).as_numpy("y")
    np.testing.assert_allclose(answer, x * 10)


def test_the_request_id_comes_back(client):
    answer = client.infer("any_rank", [tensor("x", floats(1))], request_id="Grüße-7")
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == (
        "Grüße-7",
        "any_rank",
        "1",
    )


# Mistakes


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([], None, "`x`"),
        ([tensor("z", floats(2, 3))], None, "`z`"),
        ([tensor("x", floats(2, 3)), tensor("x", floats(2, 3))], None, "`x`"),
        ([tensor("x", floats(2))], None, r"\[2\]"),
        ([tensor("x", np.ones((2, 3)), "FP64")], None, "fp64|FP64"),
        ([tensor("x", floats(2, 3))], ["nothing"], "`nothing`"),
    ],
    ids=["no input", "unknown input", "input twice", "rank", "datatype", "unknown output"],
)
def test_mistakes_are_the_callers_and_named(client, inputs, outputs, words):
    outputs = outputs and [triton.InferRequestedOutput(name) for name in outputs]
    with pytest.raises(InferenceServerException, match=words) as error:
        client.infer("identity_fp32", inputs, outputs=outputs)
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_run_that_fails_leaves_the_next_alone(client):
    # Two rows and three fit no broadcast; only the graph's own code finds out.
    with pytest.raises(InferenceServerException):
        client.infer("two_inputs", [tensor("a", floats(2, 3)), tensor("b", floats(3, 3))])
    assert client.infer("two_inputs", [tensor("a", floats(2, 3)), tensor("b", floats(2, 3))])


def test_components_say_what_they_take(client):
    with pytest.raises(InferenceServerException, match="text") as error:
        client.infer("example_text", [tensor("x", floats(1))])
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_what_is_not_in_the_protocol_is_unimplemented(client):
    with pytest.raises(InferenceServerException) as error:
        client.get_model_config("digits_mlp")
    assert error.value.status() == "StatusCode.UNIMPLEMENTED"


# Many at once


def test_a_hundred_in_flight(client):
    results: queue.Queue = queue.Queue()
    for i in range(100):
        client.async_infer(
            "any_rank",
            [tensor("x", np.full((4,), i, np.float32))],
            callback=lambda result, error: results.put((result, error)),
            request_id=str(i),
        )
    for _ in range(100):
        result, error = results.get(timeout=60)
        assert error is None
        expected = -np.full((4,), int(result.get_response().id), np.float32)
        np.testing.assert_array_equal(result.as_numpy("y"), expected)


def test_the_asyncio_client(server):
    async def run() -> list[np.ndarray]:
        async with triton_aio.InferenceServerClient(server.address) as client:
            assert await client.is_server_ready()
            calls = [client.infer("any_rank", [tensor("x", floats(3) + i)]) for i in range(20)]
            return [answer.as_numpy("y") for answer in await asyncio.gather(*calls)]

    for i, answer in enumerate(asyncio.run(run())):
        np.testing.assert_array_equal(answer, -(floats(3) + i))


def test_a_deadline_of_the_caller(client):
    with pytest.raises(InferenceServerException, match=r"(?i)deadline") as error:
        client.infer("slow", [tensor("x", floats(3000, 3000))], client_timeout=0.5)
    assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    # What nobody waits for is ended: the next run does not queue behind it.
    client.infer("slow", [tensor("x", floats(8, 8))], client_timeout=10)
