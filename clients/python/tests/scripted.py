"""A gRPC server that answers as a test says: for answers that the real one seldom gives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, Union

import grpc

from tiny_model_client._proto import METHODS
from tiny_model_client._proto import server as pb
from tiny_model_client._proto.orca_load_report import OrcaLoadReport

# Each method's name, by its path on the wire.
_NAMES = {method.path: name for name, method in METHODS.items()}

Reply = Optional[
    Union[
        pb.Response,
        pb.ImageResponse,
        pb.BatchImageResponse,
        OrcaLoadReport,
        bytes,
        "tuple[grpc.StatusCode, str]",
    ]
]


def _serialize(reply: Any) -> bytes:
    message: bytes = reply if isinstance(reply, bytes) else reply.SerializeToString()
    return message


class ScriptedServer(grpc.GenericRpcHandler):
    """Answers each method as `replies` says, counts the calls and keeps the requests.

    An entry is a reply, or a status and its message, or None: no answer until the caller gives up.
    Streams have a list of them: all for the one request of RunStream, and up to one without `more`
    for each of RunSession's; after the last one the call ends. `left` is set where a caller leaves
    a stream before that. Bytes go out as they are.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        pid: int = 1,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.replies: dict[str, Reply | list[Reply]] = {
            "GetPID": pb.Response(data=f'{{"pid": {pid}}}'),
            "StreamCoreMetrics": [(grpc.StatusCode.UNIMPLEMENTED, "no reports")],
            "GetNumParallelWorkers": pb.Response(data='{"num_workers": 1}'),
        }
        self.calls: dict[str, int] = {}
        self.requests: list[bytes] = []
        self.left = threading.Event()
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), handlers=[self])
        address = f"{host}:{port}"
        self.port = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port(address, credentials)
        )
        self.address = f"{host}:{self.port}"
        self._server.start()

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop(grace=None).wait()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, Any]:
        """Called by gRPC for each call."""
        name = _NAMES[handler_call_details.method]

        def one(request: bytes, context: grpc.ServicerContext) -> Any:
            self._count(name)
            self.requests.append(request)
            return self._give(self.replies[name], context)

        def several(given: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._count(name)
            requests: Iterable[bytes] = [given] if isinstance(given, bytes) else given
            replies = self.replies[name]
            assert isinstance(replies, list)
            rest = iter(replies)
            ended = threading.Event()
            context.add_callback(lambda: None if ended.is_set() else self.left.set())
            for request in requests:
                self.requests.append(request)
                for reply in rest:
                    if isinstance(reply, tuple):
                        ended.set()
                    message = self._give(reply, context)
                    yield message
                    if not getattr(message, "more", True):
                        break
                else:
                    break
            ended.set()

        makers: dict[str, Any] = {
            "unary_unary": (grpc.unary_unary_rpc_method_handler, one),
            "unary_stream": (grpc.unary_stream_rpc_method_handler, several),
            "stream_stream": (grpc.stream_stream_rpc_method_handler, several),
        }
        make, answer = makers[METHODS[name].kind]
        handler: grpc.RpcMethodHandler[bytes, Any] = make(answer, response_serializer=_serialize)
        return handler

    def _count(self, name: str) -> None:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1

    def _give(self, reply: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(reply, tuple):
            context.abort(*reply)
        if reply is None:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait()
            context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
        return reply
