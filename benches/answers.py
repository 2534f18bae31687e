"""Compares what the servers answer to the very requests that are measured, before any run.

h2load knows no gRPC status; this does.
"""

import json
import math
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tiny_model_client._proto import METHODS
from tritonclient.grpc.service_pb2 import ModelInferResponse

from cases import Case
from servers import Server

PREFIX = 5
LIMITS = [(f"grpc.max_{way}_message_length", 64 << 20) for way in ("send", "receive")]
# Pillow rounds between two steps of a resize and the guest does not; kernels add in other orders.
RELATIVE, ABSOLUTE = 2e-3, 2e-3


def check(case: Case, started: dict[str, Server], frames: Path) -> dict[str, int]:
    """Asks all servers of a case; the size of each one's reply, as h2load counts it."""
    sizes, answers = {}, {}
    for name in case.servers:
        reply = post(started[name], case, (frames / case.frame).read_bytes()[PREFIX:])
        sizes[name], answers[name] = len(reply) + PREFIX, parsed(case, reply)
    ours = answers[case.ours]
    for name, answer in answers.items():
        if not same(ours, answer):
            raise SystemExit(f"{case.name}: {case.ours} answers {ours} and {name} {answer}")
    return sizes


def post(server: Server, case: Case, message: bytes) -> bytes:
    """The reply's message as it came."""
    path = server.url(case.call).removeprefix(f"http://{server.address}")
    with grpc.insecure_channel(server.address, options=LIMITS) as channel:
        try:
            return channel.unary_unary(path)(message, timeout=60)
        except grpc.RpcError as error:
            raise SystemExit(f"{case.name}: {server.name} answers {error}") from None


def parsed(case: Case, reply: bytes) -> Any:
    """What a reply says."""
    if case.call == "ModelInfer":
        message = ModelInferResponse.FromString(reply)
        outputs = zip(message.outputs, message.raw_output_contents, strict=True)
        return {output.name: np.frombuffer(raw, np.float32).tolist() for output, raw in outputs}
    answer = json.loads(METHODS[case.call].deserialize(reply).data)
    if case.model == "mtcnn":
        # Best first, but equally sure of several.
        answer.sort(key=lambda face: face["box"])
    return answer


def same(one: Any, other: Any) -> bool:
    """Whether two answers say the same, numbers within a tolerance."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return one == other
