"""What becomes of arrays on the way to the wire and back, and what is refused on the way."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest

import tiny_model_client as tmc
from scripted import ScriptedServer
from tiny_model_client import ModelClient, Sequence, inference, request, tensors
from tiny_model_client._proto import open_inference as pb
from tiny_model_client._proto import server as server_pb

X = {"x": np.array([1, 2], np.int32)}


def written(
    inputs: Any = X, args: Any = None, outputs: Any = None, sequence: Any = None
) -> pb.ModelInferRequest:
    data = inference.request("m", inputs, args, outputs, sequence)
    message: pb.ModelInferRequest = pb.ModelInferRequest.FromString(data)
    return message


def reply(value: int) -> pb.ModelInferResponse:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="UINT8", shape=[1])
    return pb.ModelInferResponse(outputs=[output], raw_output_contents=[bytes([value])])


# To the wire


@pytest.mark.parametrize("sizes", [[1], [127], [128], [20_000], [0], [], [3, 0, 70_000]])
def test_what_is_written_is_what_protobuf_writes(sizes: list[int]) -> None:
    inputs = {str(n): np.arange(size, dtype=np.uint8) for n, size in enumerate(sizes)}
    expected = pb.ModelInferRequest(
        model_name="m",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, datatype="UINT8", shape=array.shape)
            for name, array in inputs.items()
        ],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y")],
        raw_input_contents=[array.tobytes() for array in inputs.values()],
    )
    assert written(inputs, outputs=["y"]) == expected


def test_arrays_in_the_order_of_the_wire_are_not_copied() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for given in (array, array[1:], array[1, 2:]):
        data = tensors.encode("x", given)[2]
        assert np.shares_memory(np.frombuffer(data, np.uint8), given)
    for copied in (array.T, array[:, ::2], array.astype(">f4")):
        data = tensors.encode("x", copied)[2]
        assert not np.shares_memory(np.frombuffer(data, np.uint8), copied)
        assert data.tobytes() == copied.astype("<f4").tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("code", ["<i8", ">i8", "l", "q"])
def test_a_type_has_many_spellings(code: str) -> None:
    datatype, shape, data = tensors.encode("x", np.array([1], code))
    assert (datatype, shape, bytes(data)) == ("INT64", (1,), b"\1" + bytes(7))


def test_a_request_is_not_of_what_becomes_of_the_array() -> None:
    array = np.array([1, 2], np.uint8)
    data = inference.request("m", {"x": array}, None, None, None)
    array[:] = 0
    assert pb.ModelInferRequest.FromString(data).raw_input_contents == [b"\1\2"]


def test_parameters() -> None:
    args = {"b": True, "i": -7, "u": 2**63, "d": 0.5, "s": "é"}
    parameters = written(args=args, sequence=Sequence("é", end=True)).parameters
    assert {
        name: (choice := value.WhichOneof("parameter_choice"), getattr(value, choice))
        for name, value in parameters.items()
    } == {
        "b": ("bool_param", True),
        "i": ("int64_param", -7),
        "u": ("uint64_param", 2**63),
        "d": ("double_param", 0.5),
        "s": ("string_param", "é"),
        "sequence_id": ("string_param", "é"),
        "sequence_start": ("bool_param", False),
        "sequence_end": ("bool_param", True),
    }
    assert not written(args={}).parameters


# Back


def test_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"\xc0\x3f\x00\xc0"
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = tensors.decode("BF16", [2], data)
    assert (array.dtype, array.tolist()) == (bfloat16, [1.5, -2])
    monkeypatch.setattr(tensors, "_bfloat16", lambda: None)
    without = tensors.decode("BF16", [2], data)
    assert (without.dtype.name, without.tolist()) == ("float32", [1.5, -2])


@pytest.mark.parametrize("datatype", [*tensors.NAMES])
def test_arrays_are_the_callers_own(datatype: str) -> None:
    data, new = (b"\1\0\0\0a", b"b") if datatype == "BYTES" else (bytes(8), 1)
    size = 1 if datatype == "BYTES" else 8 // np.dtype(tensors.DTYPES.get(datatype, "<u2")).itemsize
    array = tensors.decode(datatype, [size], data)
    array[0] = new
    assert array[0] == new


def test_a_reply_that_makes_no_sense(scripted: ScriptedServer, connect: Callable[..., Any]) -> None:
    short = reply(1)
    del short.raw_output_contents[:]
    unknown, wrong = reply(1), reply(1)
    unknown.outputs[0].datatype = "X"
    wrong.outputs[0].shape[:] = [2]
    client = connect(port=scripted.port)
    for answer, words in (
        (short, "bytes of each"),
        (unknown, "unknown type"),
        (wrong, "its shape"),
    ):
        scripted.replies["ModelInfer"] = answer.SerializeToString()
        with pytest.raises(tmc.ModelClientError, match=words):
            client.infer(X)


def test_a_type_of_a_later_server() -> None:
    tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP8", shape=[-1, 2])
    said = inference.metadata(pb.ModelMetadataResponse(inputs=[tensor]))
    assert said == tmc.Metadata({"x": tmc.TensorInfo("FP8", (None, 2))}, {})


# What is refused


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [1.0, 2.0]},
        {"x": (1, 2)},
        {"x": 1},
        {"x": 1.0},
        {"x": True},
        {"x": "a"},
        {"x": b"a"},
        {"x": None},
        {"x": np.zeros(1, complex)},
        {"x": np.zeros(1, "M8[s]")},
        {"x": np.zeros(1, "i4,f4")},
        {"x": np.array([None])},
        {"x": np.array(["a", 1], object)},
        {7: np.zeros(1)},
        [np.zeros(1)],
        np.zeros(1),
        "a",
        None,
    ],
    ids=repr,
)
def test_inputs_of_the_wrong_type(
    scripted: ScriptedServer, connect: Callable[..., Any], inputs: Any
) -> None:
    client = connect(port=scripted.port)
    with pytest.raises(tmc.InvalidType):
        client.infer(inputs)
    with pytest.raises(tmc.InvalidType):
        list(client.infer_stream(inputs))
    assert not {"ModelInfer", "RunStream"} & set(scripted.calls)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"inputs": {"\ud800": np.zeros(1)}}, tmc.InvalidInput),
        ({"inputs": {"x": np.array(["\ud800"], object)}}, tmc.InvalidInput),
        ({"args": {"x": float("nan")}}, tmc.InvalidInput),
        ({"args": {"x": float("-inf")}}, tmc.InvalidInput),
        ({"args": {"x": 2**64}}, tmc.InvalidInput),
        ({"args": {"x": -(2**63) - 1}}, tmc.InvalidInput),
        ({"args": {"x": "\ud800"}}, tmc.InvalidInput),
        ({"args": {"\ud800": 1}}, tmc.InvalidInput),
        ({"args": {"x": [1]}}, tmc.InvalidType),
        ({"args": {"x": None}}, tmc.InvalidType),
        ({"args": {7: 1}}, tmc.InvalidType),
        ({"args": [1]}, tmc.InvalidType),
        ({"args": {"sequence_id": "a"}}, tmc.InvalidInput),
        ({"args": {"timeout": 5}}, tmc.InvalidInput),
        ({"outputs": []}, tmc.InvalidInput),
        ({"outputs": ["\ud800"]}, tmc.InvalidInput),
        ({"outputs": "y"}, tmc.InvalidType),
        ({"outputs": [7]}, tmc.InvalidType),
        ({"outputs": 7}, tmc.InvalidType),
        ({"sequence": "a"}, tmc.InvalidType),
        ({"sequence": Sequence("")}, tmc.InvalidInput),
    ],
    ids=repr,
)
def test_other_mistakes(
    scripted: ScriptedServer, connect: Callable[..., Any], options: Any, kind: type[Exception]
) -> None:
    client = connect(port=scripted.port)
    with pytest.raises(kind) as error:
        client.infer(**{"inputs": X, **options})
    assert type(error.value) is kind
    assert "ModelInfer" not in scripted.calls


def test_more_than_a_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "MAX_MESSAGE_BYTES", 15)
    written({"x": np.zeros(15, np.uint8)})
    with pytest.raises(tmc.MessageTooLarge, match="16 bytes"):
        written({"x": np.zeros(8, np.uint8), "y": np.zeros(8, np.uint8)})


# Several servers


def answering(start_scripted: Callable[..., ScriptedServer], count: int) -> list[ScriptedServer]:
    servers = [start_scripted() for _ in range(count)]
    for number, server in enumerate(servers):
        server.replies["ModelInfer"] = reply(number).SerializeToString()
        server.replies["ModelMetadata"] = pb.ModelMetadataResponse().SerializeToString()
        server.replies["RunStream"] = [server_pb.Response(data=str(number))]
    return servers


def test_calls_take_turns(
    connect: Callable[..., Any], start_scripted: Callable[..., ScriptedServer]
) -> None:
    servers = answering(start_scripted, 2)
    client = connect([server.address for server in servers])
    for _ in range(6):
        client.infer(X)
    for _ in range(6):
        assert list(client.infer_stream(X)) == [{}]
    for _ in range(6):
        client.metadata()
    for method in ("ModelInfer", "RunStream", "ModelMetadata"):
        assert [server.calls[method] for server in servers] == [3, 3]


def test_a_call_that_reached_no_server_goes_to_another(
    connect: Callable[..., Any], start_scripted: Callable[..., ScriptedServer]
) -> None:
    servers = answering(start_scripted, 2)
    client = connect([server.address for server in servers])
    servers[0].stop()
    assert [client.infer(X)["y"].tolist() for _ in range(4)] == [[1]] * 4
    assert [server.state for server in client.servers] == ["lost", "ready"]


def test_a_sequence_stays_with_its_server(
    connect: Callable[..., Any], start_scripted: Callable[..., ScriptedServer]
) -> None:
    servers = answering(start_scripted, 3)
    client = connect([server.address for server in servers])
    ids = [f"sequence {number}" for number in range(20)]
    began = [client.infer(X, sequence=Sequence(id, start=True))["y"].tolist() for id in ids]
    assert len({tuple(where) for where in began}) > 1
    for _ in range(2):
        assert [client.infer(X, sequence=Sequence(id))["y"].tolist() for id in ids] == began


def test_a_closed_client(scripted: ScriptedServer) -> None:
    client = ModelClient("m", port=scripted.port, timeout=10)
    client.close()
    for call in (client.infer, client.infer_stream):
        with pytest.raises(tmc.ModelClientError, match="closed"):
            call(X)
