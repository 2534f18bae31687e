"""A gRPC server that answers as a test says: for answers that the real one seldom gives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tiny_model_client._proto import METHODS
from tiny_model_client._proto import server as pb

# Each method's name, by its path on the wire.
_NAMES = {method.path: name for name, method in METHODS.items()}


class ScriptedServer(grpc.GenericRpcHandler):
    """Answers each method as `replies` says, and counts the calls.

    An entry is a reply, or a status and its message, or None: no answer until the caller gives up.
    """

    def __init__(self) -> None:
        self.replies: dict[str, pb.Response | tuple[grpc.StatusCode, str] | None] = {
            "GetPID": pb.Response(data='{"pid": 1}'),
            "GetNumParallelWorkers": pb.Response(data='{"num_workers": 1}'),
        }
        self.calls: dict[str, int] = {}
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        """Ends the server."""
        self._server.stop(grace=None).wait()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, Any]:
        """Called by gRPC for each call."""
        name = _NAMES[handler_call_details.method]

        def answer(_: bytes, context: grpc.ServicerContext) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            reply = self.replies[name]
            if isinstance(reply, tuple):
                context.abort(*reply)
            if reply is None:
                gone = threading.Event()
                if context.add_callback(gone.set):
                    gone.wait()
            return reply

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=lambda reply: reply.SerializeToString()
        )
