"""gRPC's own balancer, fed by the servers' load reports: the busier server gets fewer calls."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from pathlib import Path
from types import ModuleType

import grpc
import pytest

from served import MODELS, Server, need

MODEL = "example_text"
BUSY = "optical_flow"
PATIENCE = 120  # Seconds until the shares have to show.
WEIGHTED = {
    "loadBalancingConfig": [
        {"weighted_round_robin": {"blackoutPeriod": "0.5s", "weightUpdatePeriod": "0.2s"}}
    ]
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for model in (MODEL, BUSY):
        need(MODELS / model / "model.wasm")
        (tmp_path / model).symlink_to(MODELS / model)
    return tmp_path


def stub(channel: grpc.Channel):
    return grpc.services("server.proto").ServerStub(channel)


def answered(server: Server) -> int:
    """How many calls of MODEL a server has answered."""
    address = re.search(r"metrics on (http://\S+)", server.log())
    assert address, server.log()
    with urllib.request.urlopen(address[1]) as page:
        lines = page.read().decode().splitlines()
    start = f'tms_calls_total{{model="{MODEL}",outcome="ok"}} '
    return next(int(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_the_busier_server_gets_fewer_calls(pb: ModuleType, models: Path) -> None:
    flags = ["--metrics", "127.0.0.1:0"]
    with Server(models, *flags) as slow, Server(models, *flags) as fast:
        ended = threading.Event()

        def keep_busy() -> None:
            pixels = bytes(96 * 96 * 2)
            frames = pb.NumpyImage(height=96, width=96, channels=2, data=pixels, dtype="uint8")
            request = pb.ImageArgs(image=frames, model=BUSY)
            with grpc.insecure_channel(slow.address) as channel:
                while not ended.is_set():
                    stub(channel).RunImage(request)

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            target = f"ipv4:{slow.address},{fast.address}"
            options = [("grpc.service_config", json.dumps(WEIGHTED))]
            with grpc.insecure_channel(target, options=options) as channel:
                shares = until_apart(stub(channel), pb, slow, fast)
        finally:
            ended.set()
            busy.join()
    print(f"of 500 calls, the slow server got {shares[0]}, the fast one {shares[1]}")


def until_apart(server, pb: ModuleType, slow: Server, fast: Server) -> tuple[int, int]:
    """Calls until the fast server gets at least three quarters of 500 calls."""
    began = time.monotonic()
    request = pb.TextArgs(model=MODEL, text="a")
    while True:
        before = [answered(place) for place in (slow, fast)]
        for _ in range(500):
            server.RunText(request)
        after = [answered(place) for place in (slow, fast)]
        shares = (after[0] - before[0], after[1] - before[1])
        assert sum(shares) == 500
        if shares[1] >= 375:
            return shares
        assert time.monotonic() - began < PATIENCE, f"the shares are {shares}"
