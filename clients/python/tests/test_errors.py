"""Failures: each gRPC status becomes its exception, with the server's message."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest

import tiny_model_client as tmc
from scripted import ScriptedServer
from tiny_model_client._proto import server as pb


@pytest.mark.parametrize(
    ("code", "kind", "also"),
    [
        ("NOT_FOUND", tmc.ModelNotFound, Exception),
        ("INVALID_ARGUMENT", tmc.InvalidInput, ValueError),
        ("OUT_OF_RANGE", tmc.MessageTooLarge, tmc.InvalidInput),
        ("PERMISSION_DENIED", tmc.PermissionDenied, Exception),
        ("RESOURCE_EXHAUSTED", tmc.Overloaded, Exception),
        ("DEADLINE_EXCEEDED", tmc.DeadlineExceeded, TimeoutError),
        ("INTERNAL", tmc.ModelFailed, Exception),
        ("UNAVAILABLE", tmc.ServerUnavailable, ConnectionError),
        ("DATA_LOSS", tmc.ModelClientError, Exception),
    ],
)
def test_status(
    scripted: ScriptedServer, code: str, kind: type[Exception], also: type[Exception]
) -> None:
    scripted.replies["RunText"] = (grpc.StatusCode[code], "what the server says")
    with tmc.ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(tmc.ModelClientError) as caught:
            client.run_text("a")
    assert type(caught.value) is kind
    assert isinstance(caught.value, also)
    assert str(caught.value) == "what the server says"
    assert caught.value.code is grpc.StatusCode[code]
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    # As multiprocessing hands it on.
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.code) == (str(caught.value), caught.value.code)


def test_call_timeout(scripted: ScriptedServer) -> None:
    scripted.replies["RunText"] = None
    with tmc.ModelClient("any", port=scripted.port, timeout=10, call_timeout=60) as client:
        with pytest.raises(tmc.DeadlineExceeded):
            client.run_text("a", timeout=0.1)
        client.call_timeout = 0.1
        with pytest.raises(tmc.DeadlineExceeded):
            client.run_text("a")


def test_message_over_the_server_library_limit(scripted: ScriptedServer) -> None:
    # The scripted server is gRPC's own, whose limit is 4 MB.
    scripted.replies["RunText"] = pb.Response(data="1")
    with tmc.ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(tmc.MessageTooLarge):
            client.run_text("a" * 5_000_000)


@pytest.mark.parametrize(
    ("text", "kind"),
    [(b"bytes", tmc.InvalidType), (None, tmc.InvalidType), ("\ud800", tmc.InvalidInput)],
)
def test_what_is_no_text(scripted: ScriptedServer, text: Any, kind: type[Exception]) -> None:
    with tmc.ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(kind):
            client.run_text(text)
        with pytest.raises(kind):
            client.run_text_batch(["a", text])
        with pytest.raises(tmc.InvalidType, match="run_text"):
            client.run_text_batch("one text")
    assert "RunText" not in scripted.calls


@pytest.mark.parametrize(
    ("args", "kind"),
    [({"a": object()}, tmc.InvalidType), ({"a": float("nan")}, tmc.InvalidInput)],
)
def test_args_that_are_no_json(scripted: ScriptedServer, args: Any, kind: type[Exception]) -> None:
    with tmc.ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(kind, match="args cannot be written as JSON"):
            client.run_text("a", args)


@pytest.mark.parametrize("data", ["not json", "[1, 2"])
def test_reply_that_is_no_json(scripted: ScriptedServer, data: str) -> None:
    scripted.replies["RunText"] = pb.Response(data=data)
    with tmc.ModelClient("any", port=scripted.port, timeout=10) as client:
        with pytest.raises(tmc.ModelClientError, match="not JSON"):
            client.run_text("a")


def test_pid_that_is_none(scripted: ScriptedServer) -> None:
    scripted.replies["GetPID"] = pb.Response(data='{"error": "no"}')
    with pytest.raises(tmc.ModelClientError, match="no number 'pid'"):
        tmc.ModelClient("any", port=scripted.port, timeout=10)
