"""HTTP by clients that are not ours: curl, and Connect's library, which speaks gRPC-Web, too."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo
from connectrpc.protocol import ProtocolType
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from served import MODELS, Server, need

USED = ("example_text", "efficientnet_lite0", "g2p")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    for model in USED:
        need(MODELS / model / "model.wasm")
        (models / model).symlink_to(MODELS / model)
    with Server(models, "--http", "127.0.0.1:0") as server:
        yield server


@pytest.fixture(scope="module")
def url(served: Server) -> str:
    """Where HTTP is spoken."""
    found = re.search(r"http://127\.0\.0\.1:\d+", served.log())
    assert found, served.log()
    return found[0]


def curl(*arguments: str | Path, data: str | bytes | None = None) -> tuple[int, dict]:
    """The status, and the answer in JSON."""
    if not shutil.which("curl"):
        pytest.skip("curl is not there")
    command = ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *map(str, arguments)]
    given = data.encode() if isinstance(data, str) else data
    said = subprocess.run(command, check=True, capture_output=True, input=given).stdout.decode()
    body, _, status = said.rpartition("\n")
    return int(status), json.loads(body)


def test_curl_with_a_text(url: str) -> None:
    request = json.dumps({"model": "example_text", "text": "é"})
    as_json = ["-H", "content-type: application/json", "-d", request]
    assert curl(f"{url}/server.Server/RunText", *as_json) == (200, {"data": '"é_processed"'})


def test_curl_with_a_picture(url: str) -> None:
    """A large body, from a file: curl asks first whether it may send it."""
    from PIL import Image

    picture = Image.open(MODELS / "efficientnet_lite0" / "tests" / "chelsea.png").convert("RGB")
    width, height = picture.size
    pixels = base64.b64encode(picture.tobytes()).decode()
    image = {"height": height, "width": width, "channels": 3, "dtype": "uint8", "data": pixels}
    request = json.dumps({"model": "efficientnet_lite0", "image": image})
    headers = ["-H", "content-type: application/json", "--data-binary", "@-"]
    status, answer = curl(f"{url}/server.Server/RunImage", *headers, data=request)
    assert status == 200
    assert "cat" in answer["data"]


def test_curl_hears_what_is_wrong(url: str) -> None:
    wrong = ["-H", "content-type: application/json", "-d", '{"modle": "a"}']
    status, answer = curl(f"{url}/server.Server/RunText", *wrong)
    assert (status, answer["code"]) == (400, "invalid_argument")
    assert "modle" in answer["message"]
    # What curl says by itself.
    assert curl(f"{url}/server.Server/RunText", "-d", "{}")[0] == 415
    assert curl(url)[0] == 405


@pytest.mark.parametrize(
    ("protocol", "proto_json"),
    [
        (ProtocolType.CONNECT, False),
        (ProtocolType.CONNECT, True),
        (ProtocolType.GRPC_WEB, False),
    ],
)
def test_connects_own_library(
    url: str, pb: ModuleType, protocol: ProtocolType, proto_json: bool
) -> None:
    client = ConnectClientSync(url, protocol=protocol, proto_json=proto_json)

    def call(**fields: str) -> str:
        request, method = pb.TextArgs(**fields), known(pb, "RunText", pb.TextArgs)
        return client.execute_unary(request=request, method=method, timeout_ms=60_000).data

    # Long enough that the library compresses it.
    text = "é" * 5000
    assert json.loads(call(model="example_text", text=text)) == f"{text}_processed"
    with pytest.raises(ConnectError) as raised:
        call(model="nothing")
    assert raised.value.code is Code.NOT_FOUND
    with pytest.raises(ConnectError) as raised:
        call(model="example_text", args="{")
    detail = error_details_pb2.BadRequest()
    assert raised.value.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "args"


def test_a_stream_by_grpc_web(url: str, pb: ModuleType) -> None:
    client = ConnectClientSync(url, protocol=ProtocolType.GRPC_WEB)
    method = known(pb, "RunStream", pb.RunArgs)
    request = pb.RunArgs(model="g2p", text="hello")
    parts = list(client.execute_server_stream(request=request, method=method))
    sounds = [json.loads(part.data)["phoneme"] for part in parts if part.more]
    assert sounds == ["HH", "EH1", "L", "OW0"]


def known(pb: ModuleType, name: str, takes: type) -> MethodInfo:
    """A call of the server, as the library has it."""
    return MethodInfo(
        name=name,
        service_name="server.Server",
        input=takes,
        output=pb.Response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
    )


def test_details_of_errors_by_grpcs_own_library(served: Server, pb: ModuleType) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = grpc.services("server.proto").ServerStub(channel)
        image = pb.NumpyImage(height=1, width=1, channels=1, dtype="int16")
        with pytest.raises(grpc.RpcError) as raised:
            stub.RunImage(pb.ImageArgs(model="efficientnet_lite0", image=image))
        # It compares them with the status itself.
        status = rpc_status.from_call(raised.value)
        detail = error_details_pb2.BadRequest()
        assert status.details[0].Unpack(detail)
        assert detail.field_violations[0].field == "image.dtype"
