"""The repository's own Python client against a model that does all that the interface has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_model_client as tmc


@pytest.fixture
def port(server) -> int:
    return int(server.address.rpartition(":")[2])


@pytest.fixture
def model(port, commands) -> Iterator[tmc.ModelClient]:
    with tmc.ModelClient(commands, port=port, call_timeout=60) as model:
        yield model


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 2), (5, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_an_image_for_an_image(model, shape, dtype):
    sent = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    many = model.run_image_to_image_batch([sent, sent + 1])
    with_json = model.run_image(sent)
    assert isinstance(with_json.json, float)
    pairs = [
        (model.run_image_to_image(sent), sent),
        (many[0], sent),
        (many[1], sent + 1),
        (with_json.image, sent),
    ]
    for image, expected in pairs:
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, expected)


def test_a_file(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"abc")
    result = model.run_encoded(tmp_path / "a.png")
    assert result.json == {"media_type": "image/png", "length": 3, "sum": 294}
    assert result.encoded == tmc.Encoded(b"abc", "image/png")
    with pytest.raises(tmc.InvalidInput, match="text/plain"):
        model.run_encoded(b"abc", "text/plain")


def test_a_stream(model):
    parts = list(model.run_stream("emit:3"))
    assert [part.json for part in parts] == [0, 1, 2]
    assert [part.tensors["x"].tolist() for part in parts] == [[0, 0], [1, 1], [2, 2]]
    taken = []
    with pytest.raises(tmc.ModelFailed, match="said so"):
        taken.extend(model.run_stream("fail_late:model"))
    assert taken == ["a part"]


def test_tensors_come_back(model):
    sent = {
        "a": np.arange(6, dtype=np.int64).reshape(2, 3),
        "b": np.array(True),
        "c": np.array([b"a\0", "é"], object),
        "d": np.zeros((0, 2), np.float16),
    }
    [part] = model.run_stream(sent)
    assert list(part.tensors) == list(sent)
    np.testing.assert_array_equal(part.tensors["a"], sent["a"])
    assert part.tensors["b"] == sent["b"]
    assert part.tensors["c"].tolist() == [b"a\0", "é".encode()]
    assert part.tensors["d"].shape == (0, 2)


def test_leaving_streams(model):
    # More of them than there may be at once, were they not ended.
    for _ in range(100):
        for part in model.run_stream("slowly:2:3600000"):
            assert part.json == 0
            break
    assert model.run_text("upper:a") == "A"


def test_sessions(model):
    # More of them than may be open at once, were they not ended.
    for _ in range(100):
        with model.session() as session:
            assert [session.answer("count") for _ in range(3)] == [1, 2, 3]
    with model.session() as session:
        parts = session.run("emit:3")
        assert next(parts).json == 0
        assert session.answer("count") == 1
        assert session.answer(np.full((2, 2), 7, np.uint8)).json == 7
        with pytest.raises(tmc.InvalidInput, match="said so"):
            session.answer("fail:caller")


def test_sequences(model):
    a, b = tmc.Sequence("client a"), tmc.Sequence("client b")
    for sequence in (a, b):
        start = tmc.Sequence(sequence.id, start=True)
        assert model.run_text("count", sequence=start) == 1
    assert model.run_text("count", sequence=a) == 2
    assert list(model.run_stream("count", sequence=a)) == [3]
    assert model.run_text("count", sequence=tmc.Sequence("client a", end=True)) == 4
    assert model.run_text("count", sequence=tmc.Sequence("client b", end=True)) == 2
    with pytest.raises(tmc.InvalidInput, match="there is no sequence `client a`"):
        model.run_text("count", sequence=a)


def test_with_asyncio(port, commands):
    async def run() -> None:
        async with tmc.AsyncModelClient(commands, port=port, call_timeout=60) as model:
            pixels = np.zeros((3, 4), np.uint8)
            np.testing.assert_array_equal(await model.run_image_to_image(pixels), pixels)
            assert len(await model.run_image_to_image_batch([pixels] * 3)) == 3
            assert (await model.run_encoded(b"abc", "image/png")).json["length"] == 3
            assert [part.json async for part in model.run_stream("emit:3")] == [0, 1, 2]
            for _ in range(100):
                async for part in model.run_stream("slowly:2:3600000"):
                    assert part.json == 0
                    break
            for _ in range(100):
                async with model.session() as session:
                    assert [await session.answer("count") for _ in range(3)] == [1, 2, 3]
            calls = [model.run_text("count", sequence=tmc.Sequence("async", start=True))]
            calls += [model.run_text("count", sequence=tmc.Sequence("async")) for _ in range(20)]
            assert await asyncio.gather(*calls) == list(range(1, 22))

    asyncio.run(run())
