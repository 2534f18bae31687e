"""The SDK's pixel operations: in a guest, natively, and in Python as one writes them.

Writes benches/runs/DATE-MACHINE/pixels.json with every run and pixels.md with the medians.
`--quick` makes one round and only prints.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

import machine
import servers
from record import keep

sys.path.insert(0, str(Path(__file__).parent / "python_server"))
import boxes

GUEST = servers.ROOT / "tests/guests/pixel_ops"
SIZES = [(150, 200), (1080, 1920)]
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
# Natively, memory is kept between calls, as a guest keeps its own: arrays of 25 MB are page faults
# otherwise, or not, as the C library feels at the moment.
KEPT = dict(os.environ) | {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
WHAT = {
    "read": "all pixels, copied",
    "resize": "resize to 224x224, antialiased",
    "area": "the same, means of areas",
    "bilinear": "the same, of four neighbours",
    "crop": "centre crop of 144x144",
    "nchw": "normalise, planes",
    "nhwc": "normalise, pixels",
    "bgr": "blue first, as floats",
    "letterbox": "letterbox to 640x640, normalise, planes",
    "softmax": "softmax of 64 x 1000 scores",
    "top_k": "the 5 best of 64 x 1000 scores",
    "nms": "non-maximum suppression of 1000 boxes",
}


def main() -> None:
    """Measures, prints, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one round, printed")
    arguments.add_argument("--rounds", type=int, default=7, help="runs of each [default: 7]")
    given = arguments.parse_args()
    rounds = 1 if given.quick else given.rounds
    record: dict = {"machine": machine.describe(), "rounds": rounds, "runs": []}
    subprocess.run([servers.TMS, "build", GUEST], check=True, stdout=subprocess.DEVNULL)
    for _ in range(rounds):
        record["runs"] += one_round()
    summary = report(record)
    print(summary)
    if not given.quick:
        keep("pixels", record, summary)


def one_round() -> list[dict]:
    """Every operation in Rust, and right after it in Python."""
    command = [servers.BENCH, "pixels", "--rounds", "1"]
    done = subprocess.run(
        command, check=True, cwd=servers.ROOT, env=KEPT, stdout=subprocess.PIPE, text=True
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    known = {f"{width}x{height}": operations(height, width) for height, width in SIZES}
    for run in runs:
        run["python_us"] = timed(known[run["size"]][run["op"]])
    return runs


def timed(operation: Callable[[], object]) -> float:
    """The median of a call's times, in µs of this thread: as `tms-bench pixels` measures."""
    operation()
    times: list[int] = []
    while len(times) < 3 or sum(times) < 25_000_000:
        began = time.thread_time_ns()
        operation()
        times.append(time.thread_time_ns() - began)
    return median(times) / 1e3


def operations(height: int, width: int) -> dict[str, Callable[[], object]]:
    """The operations on a picture of this size."""
    pixels = ((np.arange(height * width * 3, dtype=np.uint32) * 31) >> 3).astype(np.uint8)
    pixels = pixels.reshape(height, width, 3)
    state = np.random.default_rng(1)
    scores = state.uniform(-10, 10, (64, 1000)).astype(np.float32)
    corners = state.uniform(0, 600, (1000, 2)).astype(np.float32)
    found = np.concatenate([corners, corners + state.uniform(10, 100, (1000, 2))], axis=1)
    found = found.astype(np.float32)
    ranks = scores.reshape(-1)[:1000]

    def resized(how: Image.Resampling, size: tuple[int, int] = (224, 224)) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, how), np.float32)

    def bilinear() -> np.ndarray:
        x, y = width / 224, height / 224
        grid = (x, 0, 0, 0, y, 0)
        image = Image.fromarray(pixels)
        moved = image.transform((224, 224), Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR)
        return np.asarray(moved, np.float32)

    def crop() -> np.ndarray:
        top, left = (height - 144) // 2, (width - 144) // 2
        return pixels[top : top + 144, left : left + 144].astype(np.float32)

    def nhwc() -> np.ndarray:
        return (pixels - MEAN) / STD

    def planes(of: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(((of - MEAN) / STD).transpose(2, 0, 1))

    def letterbox() -> np.ndarray:
        scale = min(640 / height, 640 / width)
        inner = (round(width * scale), round(height * scale))
        box = np.full((640, 640, 3), 114, np.float32)
        top, left = (640 - inner[1]) // 2, (640 - inner[0]) // 2
        box[top : top + inner[1], left : left + inner[0]] = resized(
            Image.Resampling.BILINEAR, inner
        )
        return planes(box)

    def softmax() -> np.ndarray:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def top_k() -> np.ndarray:
        best = np.argpartition(-scores, 5, axis=1)[:, :5]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return {
        "read": pixels.copy,
        "resize": lambda: resized(Image.Resampling.BILINEAR),
        "area": lambda: resized(Image.Resampling.BOX),
        "bilinear": bilinear,
        "crop": crop,
        "nchw": lambda: planes(pixels),
        "nhwc": nhwc,
        "bgr": lambda: pixels[:, :, ::-1].astype(np.float32),
        "letterbox": letterbox,
        "softmax": softmax,
        "top_k": top_k,
        "nms": lambda: boxes.distinct(found, ranks, 0.5),
    }


def report(record: dict) -> str:
    """The medians as markdown."""
    about = record["machine"]
    lines = [
        f"# Pixels: {about['date']}, {about['cpu']}, {about['cores']} cores",
        "",
        f"{record['rounds']} rounds; medians in µs of one thread. The guest's call is a whole one:"
        " it reads the pixels from the host and answers. Python: Pillow and numpy.",
        "",
        "| operation | picture | guest | without limits | native | Python"
        " | guest's speed, of native | limits cost | faster than Python |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    by_case = defaultdict(list)
    for run in record["runs"]:
        by_case[run["op"], run["size"]].append(run)
    for (name, size), runs in by_case.items():
        if name in ("softmax", "top_k", "nms"):
            if size != "200x150":
                continue
            size = ""
        keys = ("on_us", "off_us", "native_us", "python_us")
        on, off, native, python = (median(run[key] for run in runs) for key in keys)
        limits = median(run["on_us"] / run["off_us"] for run in runs)
        share = median(run["native_us"] / run["on_us"] for run in runs)
        lines.append(
            f"| {WHAT[name]} | {size} | {on:.0f} | {off:.0f} | {native:.0f} | {python:.0f}"
            f" | {share:.2f} | {100 * (limits - 1):.0f} % | {python / on:.1f} x |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
