"""Puts the requests and the models that are served into a folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import network
from servers import BENCH, ROOT, TMS

MODELS = [
    *(ROOT / "models" / name for name in ("example_text", "example_image", "efficientnet_lite0")),
    *(ROOT / "models" / name for name in ("sentence_embedding", "mtcnn")),
    *(ROOT / "tests/guests" / name for name in ("pixels", "mlp_row")),
]
# What `tms` and the Python server read of a model's folder.
FILES = ["model.wasm", "model.toml", "*.onnx", "labels.txt", "tokenizer.json"]
BATCHING = "batch = true\nmax_batch = 32\n"


def prepare(folder: Path) -> None:
    """`frames/`, `models/`, and `batching/` with those of the network once more, batched."""
    missing = [path for path in (TMS, BENCH) if not path.exists()]
    if missing:
        sys.exit(f"benches/run.py: run make build first: no {missing[0].name}")
    subprocess.run([TMS, "build", *MODELS], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    subprocess.run([BENCH, "frames", folder / "frames"], check=True, cwd=ROOT)
    for model in MODELS:
        copy = folder / "models" / model.name
        copy.mkdir(parents=True)
        for file in (file for pattern in FILES for file in model.glob(pattern)):
            shutil.copy(file, copy)
    if not (folder / "models/sentence_embedding/model.onnx").exists():
        sys.exit("benches/run.py: run make setup first: no models/sentence_embedding/model.onnx")
    (folder / "models/mlp").mkdir()
    for name in ("mlp", "mlp_row"):
        network.write(folder / "models" / name / "model.onnx")
        shutil.copytree(folder / "models" / name, folder / "batching" / name)
        (folder / "batching" / name / "model.toml").write_text(BATCHING)
