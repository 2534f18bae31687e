"""gRPC's own library with stubs made from server.proto, as any user can make them."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

PATIENCE = 60  # Seconds for one message.


@pytest.fixture(scope="session")
def stub(server, pb) -> Iterator[SimpleNamespace]:
    with grpc.insecure_channel(server.address) as channel:
        yield grpc.services("server.proto").ServerStub(channel)


@pytest.fixture
def text(pb, commands):
    """Makes a request with a text."""
    return lambda text: pb.RunArgs(text=text, model=commands)


def said(answer) -> tuple:
    return json.loads(answer.data) if answer.data else None, answer.more


def image(pb, array: np.ndarray):
    height, width, *channels = array.shape
    dtype = array.dtype.name
    channels = channels[0] if channels else 1
    data = array.tobytes()
    return pb.NumpyImage(height=height, width=width, channels=channels, data=data, dtype=dtype)


def images() -> list[np.ndarray]:
    shapes_and_types = [
        ((5, 4), np.uint8),
        ((5, 4, 3), np.uint8),
        ((5, 4, 2), np.float32),
        ((5, 4, 7), np.float64),
    ]
    return [np.arange(np.prod(shape)).reshape(shape).astype(t) for shape, t in shapes_and_types]


# Images and files


@pytest.mark.parametrize("array", images(), ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_image_for_an_image(stub, pb, commands, array):
    sent = image(pb, array)
    answer = stub.RunImageToImage(pb.ImageArgs(image=sent, model=commands))
    assert answer.image == sent
    assert isinstance(json.loads(answer.data), float)


def test_images_for_images(stub, pb, commands):
    sent = [image(pb, array) for array in images()]
    answer = stub.RunBatchImageToImage(pb.BatchImageArgs(images=sent, model=commands))
    assert list(answer.images) == sent
    assert len(json.loads(answer.data)) == len(sent)


def test_a_model_without_images(stub, pb):
    args = pb.ImageArgs(image=image(pb, images()[0]), model="example_image")
    with pytest.raises(grpc.RpcError, match="its result has no image") as error:
        stub.RunImageToImage(args)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_file(stub, pb, commands):
    file = pb.Encoded(data=b"abc", media_type="image/png")
    answer = stub.RunEncoded(pb.EncodedArgs(encoded=file, model=commands))
    assert json.loads(answer.data) == {"media_type": "image/png", "length": 3, "sum": 294}
    assert answer.encoded == file


# Streams


def test_a_stream(stub, text):
    answers = list(stub.RunStream(text("emit:3"), timeout=PATIENCE))
    assert [said(answer) for answer in answers] == [(0, True), (1, True), (2, True), (None, False)]
    assert [answer.tensors[0].data for answer in answers[:3]] == [b"\0\0", b"\1\1", b"\2\2"]
    answers = list(stub.RunStream(text("upper:a"), timeout=PATIENCE))
    assert [said(answer) for answer in answers] == [("A", False)]


def test_a_stream_of_every_input(stub, pb, commands, text):
    file = pb.Encoded(data=b"abc", media_type="image/png")
    tensor = pb.NamedTensor(name="x", datatype="INT16", shape=[2], data=b"\1\0\2\0")
    picture = image(pb, images()[2])
    for given, taken in (
        ({"image": picture}, lambda answer: answer.image == picture),
        ({"encoded": file}, lambda answer: answer.encoded == file),
        (
            {"tensors": pb.Tensors(tensors=[tensor])},
            lambda answer: list(answer.tensors) == [tensor],
        ),
        ({"text": "upper:a"}, lambda answer: answer.data == '"A"'),
    ):
        [answer] = stub.RunStream(pb.RunArgs(**given, model=commands), timeout=PATIENCE)
        assert taken(answer), given
        assert not answer.more


def test_an_error_ends_a_stream(stub, text):
    parts = stub.RunStream(text("fail_late:server"), timeout=PATIENCE)
    assert said(next(parts)) == ("a part", True)
    with pytest.raises(grpc.RpcError, match="said so") as error:
        next(parts)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_deadline_of_a_stream(stub, text):
    parts = stub.RunStream(text("slowly:1000:100"), timeout=1)
    taken = []
    with pytest.raises(grpc.RpcError) as error:
        for part in parts:
            taken.append(said(part)[0])
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert taken
    assert taken == list(range(len(taken)))


def test_a_caller_who_leaves_a_stream(stub, text):
    # More of them than there may be at once, were they not ended.
    for _ in range(100):
        parts = stub.RunStream(text("slowly:2:3600000"))
        assert said(next(parts)) == (0, True)
        parts.cancel()
    [answer] = stub.RunStream(text("upper:a"), timeout=PATIENCE)
    assert said(answer) == ("A", False)


def test_compressed_streams(stub, text):
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        answers = stub.RunStream(text("large:3"), timeout=PATIENCE, compression=compression)
        sizes = [[len(tensor.data) for tensor in answer.tensors] for answer in answers]
        assert sizes == [[1 << 20]] * 3 + [[]]


# Sessions


class Session:
    """One call of RunSession, a request at a time."""

    def __init__(self, stub) -> None:
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self.answers = stub.RunSession(iter(self._requests.get, None), timeout=PATIENCE)

    def send(self, request) -> None:
        self._requests.put(request)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)


def test_a_session_meets_one_instance(stub, text):
    with Session(stub) as one, Session(stub) as two:
        for counted in (1, 2, 3):
            for session in (one, two):
                session.send(text("count"))
                assert said(next(session.answers)) == (counted, False)
        one.send(text("emit:2"))
        assert [said(next(one.answers)) for _ in range(3)] == [(0, True), (1, True), (None, False)]
    assert (list(one.answers), list(two.answers)) == ([], [])


def test_requests_of_a_session_may_be_sent_ahead(stub, text):
    answers = stub.RunSession(iter([text("count")] * 50), timeout=PATIENCE)
    assert [said(answer) for answer in answers] == [(n + 1, False) for n in range(50)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"text": "fail:caller"}, "INVALID_ARGUMENT"),
        ({"text": "trap"}, "INTERNAL"),
        ({"text": "count", "model": "example_text"}, "INVALID_ARGUMENT"),
        ({"text": "count", "args": "{"}, "INVALID_ARGUMENT"),
        ({"text": "count", "sequence": {"id": "a", "start": True}}, "INVALID_ARGUMENT"),
    ],
)
def test_an_error_ends_a_session(stub, pb, commands, text, bad, code):
    with Session(stub) as session:
        session.send(text("count"))
        assert said(next(session.answers)) == (1, False)
        session.send(pb.RunArgs(**{"model": commands, **bad}))
        with pytest.raises(grpc.RpcError) as error:
            next(session.answers)
        assert error.value.code() is grpc.StatusCode[code]


def test_callers_who_leave_sessions(stub, text):
    # More of them than may be open at once.
    for _ in range(200):
        with Session(stub) as session:
            session.send(text("count"))
            assert said(next(session.answers)) == (1, False)
            session.answers.cancel()


# Sequences


def test_calls_of_every_kind_are_in_a_sequence(stub, pb, commands):
    def place(**of_call: bool) -> dict:
        return {"model": commands, "sequence": pb.Sequence(id="plain", **of_call)}

    assert json.loads(stub.RunText(pb.TextArgs(text="count", **place(start=True))).data) == 1
    stub.RunImage(pb.ImageArgs(image=image(pb, images()[0]), **place()))
    stub.RunEncoded(pb.EncodedArgs(encoded=pb.Encoded(media_type="image/png"), **place()))
    [answer] = stub.RunStream(pb.RunArgs(text="count", **place()), timeout=PATIENCE)
    assert said(answer) == (2, False)
    assert json.loads(stub.RunText(pb.TextArgs(text="count", **place(end=True))).data) == 3
    with pytest.raises(grpc.RpcError, match="there is no sequence `plain`"):
        stub.RunText(pb.TextArgs(text="count", **place()))
