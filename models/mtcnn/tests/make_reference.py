"""Makes reference.json: parts of people_collage.png as the networks take them, and the faces in it.

    pip install numpy pillow onnxruntime && python make_reference.py

Written from the definition of each step, window by window and in double precision, not for speed.
"""

import json
import math

import numpy as np
import onnxruntime
from PIL import Image

MIN_FACE, FACTOR, STRIDE = 40, 0.709, 2


def area(pixels, height, width):
    """The mean of all pixels that a new one touches, as `[3, height, width]` of about -1 to 1."""
    rows, columns, _ = pixels.shape
    means = np.empty((3, height, width))
    for y in range(height):
        for x in range(width):
            top, bottom = y * rows // height, math.ceil((y + 1) * rows / height)
            left, right = x * columns // width, math.ceil((x + 1) * columns / width)
            means[:, y, x] = pixels[top:bottom, left:right].mean(axis=(0, 1))
    return (means - 127.5) / 128


def crop(pixels, box, side):
    """The part under a box, cut at the picture's edges; pixels count from 1."""
    rows, columns, _ = pixels.shape
    left, top, right, bottom = (int(value) for value in box)
    part = pixels[max(top, 1) - 1 : min(bottom, rows), max(left, 1) - 1 : min(right, columns)]
    return area(part, side, side) if part.size else None


def overlap(a, b, border, smaller):
    width = min(a[2], b[2]) - max(a[0], b[0]) + border
    height = min(a[3], b[3]) - max(a[1], b[1]) + border
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + border) * (box[3] - box[1] + border) for box in (a, b)]
    return both / (min(areas) if smaller else sum(areas) - both)


def distinct(found, threshold, border=0, smaller=False):
    """Best first; each is a dictionary with a box and a score."""
    kept = []
    for one in sorted(found, key=lambda one: -one["score"]):
        if all(overlap(one["box"], k["box"], border, smaller) <= threshold for k in kept):
            kept.append(one)
    return kept


def corrected(one, border):
    left, top, right, bottom = one["box"]
    width, height = right - left + border, bottom - top + border
    sizes = np.array([width, height, width, height], np.float32)
    return one["box"] + one["reg"] * sizes


def square(box):
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    left += (right - left - side) / 2
    top += (bottom - top - side) / 2
    return np.array([left, top, left + side, top + side], np.float32)


def run(name, values, outputs):
    return dict(zip(outputs, SESSIONS[name].run(outputs, {"input": np.float32(values)})))


def propose(pixels):
    rows, columns, _ = pixels.shape
    found, scale, shorter = [], 12 / MIN_FACE, min(rows, columns) * 12 / MIN_FACE
    while shorter >= 12:
        level = area(pixels, int(rows * scale + 1), int(columns * scale + 1))
        answer = run("pnet", level[None], ["prob", "reg"])
        here = []
        for y, x in zip(*np.where(answer["prob"][0, 1] >= 0.6)):
            # In single precision, as the networks were trained: an edge may be another pixel's.
            corners = np.float32([STRIDE * x + 1, STRIDE * y + 1, STRIDE * x + 12, STRIDE * y + 12])
            box = np.floor(corners / np.float32(scale))
            score, reg = answer["prob"][0, 1, y, x], answer["reg"][0, :, y, x]
            here.append({"box": box, "score": score, "reg": reg})
        found += distinct(here, 0.5)
        scale *= FACTOR
        shorter *= FACTOR
    return [{"box": square(corrected(one, 0))} for one in distinct(found, 0.7)]


def judge(pixels, found, name, side, outputs):
    crops = [(one, crop(pixels, one["box"], side)) for one in found]
    crops = [(one, part) for one, part in crops if part is not None]
    answer = run(name, np.stack([part for _, part in crops]), outputs)
    rows = [dict(zip(outputs, row)) for row in zip(*(answer[output] for output in outputs))]
    kept = [
        {"box": one["box"], "score": row["prob"][1], **row}
        for (one, _), row in zip(crops, rows)
        if row["prob"][1] > 0.7
    ]
    return kept


def detect(pixels):
    found = judge(pixels, propose(pixels), "rnet", 24, ["prob", "reg"])
    found = [{"box": square(corrected(one, 1))} for one in distinct(found, 0.7)]
    found = judge(pixels, found, "onet", 48, ["prob", "reg", "landmarks"])
    for one in found:
        left, top, right, bottom = one["box"]
        xs = left + one["landmarks"][:5] * (right - left + 1) - 1
        ys = top + one["landmarks"][5:] * (bottom - top + 1) - 1
        one["points"] = np.stack([xs, ys], 1)
        one["box"] = corrected(one, 1)
    return distinct(found, 0.7, border=1, smaller=True)


def rounded(values, digits):
    return np.round(np.float64(values), digits).ravel().tolist()


SESSIONS = {
    name: onnxruntime.InferenceSession(f"../{name}.onnx", providers=["CPUExecutionProvider"])
    for name in ("pnet", "rnet", "onet")
}
PIXELS = np.asarray(Image.open("people_collage.png").convert("RGB"), np.float64)
# Cut at an edge; smaller than what it is resized to.
BOXES = [[-20.5, 400.0, 60.2, 520.0], [700.4, 330.6, 716.9, 347.1]]
faces = [
    {
        "box": rounded(one["box"], 2),
        "score": rounded(one["score"], 5)[0],
        "landmarks": np.round(np.float64(one["points"]), 2).tolist(),
    }
    for one in detect(PIXELS)
]
reference = {
    "level": {"height": 14, "width": 24, "values": rounded(area(PIXELS, 14, 24), 5)},
    "crops": [{"box": box, "values": rounded(crop(PIXELS, box, 24), 5)} for box in BOXES],
    "faces": faces,
}
with open("reference.json", "w") as file:
    json.dump(reference, file, separators=(",", ":"))
    file.write("\n")
