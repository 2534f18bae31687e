"""Serves the classifier twice, on the CPU and on the first GPU, and compares their answers.

Run by `make gpu-test`; no part of `make test`. Exits with 1 where the answers differ.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_model_client import ModelClient

from served import MODELS, REPOSITORY, Server

TOLERANCE = 2e-3  # Of a probability. A GPU adds in another order, and may use TF32.
CALLS = 100


def main() -> int:
    picture = np.asarray(Image.open(REPOSITORY / "docs" / "pictures" / "chelsea.jpg"))
    answers: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, device in (("on_cpu", "cpu"), ("on_gpu", "cuda:0")):
            (folder / name).mkdir()
            for file in ("model.wasm", "model.onnx"):
                (folder / name / file).symlink_to(MODELS / "efficientnet_lite0" / file)
            (folder / name / "model.toml").write_text(f'device = "{device}"\n')
        # Without `fallback`, a server that is ready has the GPU.
        with Server(folder) as server:
            port = int(server.address.rpartition(":")[2])
            for name in ("on_cpu", "on_gpu"):
                with ModelClient(name, port=port) as client:
                    answers[name] = dict(client.run_image(picture, {"top": 1000}))
                    times = []
                    for _ in range(CALLS):
                        began = time.perf_counter()
                        client.run_image(picture)
                        times.append(time.perf_counter() - began)
                best = max(answers[name], key=answers[name].__getitem__)
                print(f"{name}: {best}, {statistics.median(times) * 1000:.1f} ms a call")
            lines = [line for line in server.log().splitlines() if "serves it on" in line]
            print("\n".join(lines))
    cpu, gpu = answers["on_cpu"], answers["on_gpu"]
    assert cpu.keys() == gpu.keys()
    difference = max(abs(cpu[label] - gpu[label]) for label in cpu)
    agree = difference <= TOLERANCE and max(cpu, key=cpu.get) == max(gpu, key=gpu.get)
    print(
        f"largest difference of a probability: {difference:.1e}; {'agree' if agree else 'DIFFER'}"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
