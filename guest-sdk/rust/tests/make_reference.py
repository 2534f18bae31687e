"""Makes reference.json: what Pillow and numpy make of the picture and numbers of reference.rs.

    pip install numpy pillow && python make_reference.py

`area` and `bilinear` are written from their definitions, pixel by pixel, in double precision.
"""

import json
import math

import numpy as np
from PIL import Image

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
HEIGHT, WIDTH = 37, 53
y, x, c = np.mgrid[:HEIGHT, :WIDTH, :3]
PIXELS = ((y * 7919 + x * 10473 + c * 129971 + y * x * 31) % 256).astype(np.uint8)


def pillow(height, width):
    resized = Image.fromarray(PIXELS).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float64)


def area(height, width):
    means = np.empty((height, width, 3))
    for row in range(height):
        for column in range(width):
            top, bottom = row * HEIGHT // height, math.ceil((row + 1) * HEIGHT / height)
            left, right = column * WIDTH // width, math.ceil((column + 1) * WIDTH / width)
            means[row, column] = PIXELS[top:bottom, left:right].mean(axis=(0, 1))
    return means


def bilinear(height, width):
    """The nearest two in each direction, pixels' centres at one half."""

    def weights(target, source):
        matrix = np.zeros((target, source))
        for row in range(target):
            at = min(max((row + 0.5) * source / target - 0.5, 0), source - 1)
            first = min(int(at), source - 2)
            matrix[row, first : first + 2] = 1 - (at - first), at - first
        return matrix

    down, across = weights(height, HEIGHT), weights(width, WIDTH)
    return np.einsum("ij,jkc,lk->ilc", down, PIXELS.astype(np.float64), across)


def letterbox(height, width, fill):
    scale = min(height / HEIGHT, width / WIDTH)
    rows, columns = round(HEIGHT * scale), round(WIDTH * scale)
    canvas = np.full((height, width, 3), float(fill))
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = pillow(rows, columns)
    return canvas


def cropped():
    """The shorter side to 24, the middle 16x20."""
    whole = pillow(24, round(WIDTH * 24 / HEIGHT))
    top, left = (whole.shape[0] - 16) // 2, (whole.shape[1] - 20) // 2
    return (whole[top : top + 16, left : left + 20] - MEAN) / STD


def nms(boxes, scores, threshold, smaller, border):
    areas = (boxes[:, 2:] - boxes[:, :2] + border).prod(axis=1)
    kept = []
    for one in np.argsort(-scores, kind="stable"):
        first = np.maximum(boxes[one, :2], boxes[kept, :2])
        last = np.minimum(boxes[one, 2:], boxes[kept, 2:])
        both = np.clip(last - first + border, 0, None).prod(axis=1)
        others = areas[kept]
        whole = np.minimum(areas[one], others) if smaller else areas[one] + others - both
        if (both / whole <= threshold).all():
            kept.append(int(one))
    return kept


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def flat(values, digits=4):
    return np.round(np.asarray(values, np.float64), digits).ravel().tolist()


random = np.random.default_rng(1)
corners = random.uniform(0, 100, (80, 2))
boxes = np.round(np.concatenate([corners, corners + random.uniform(5, 50, (80, 2))], 1), 2)
# Some are equal, so that the order of equals counts.
scores = np.round(random.uniform(0, 1, 80), 1)
logits = np.round(random.normal(0, 6, 101), 3)
planes = (letterbox(24, 30, 114) - MEAN) / STD
reference = {
    "pillow_smaller": flat(pillow(9, 11)),
    "pillow_larger": flat(pillow(41, 60)),
    "area_smaller": flat(area(9, 11)),
    "area_mixed": flat(area(40, 12)),
    "bilinear": flat(bilinear(15, 14)),
    "cropped_nchw": flat(cropped().transpose(2, 0, 1), 5),
    "letterbox_nchw": flat(planes.transpose(2, 0, 1), 5),
    # Mean and deviation are in the order that comes out.
    "letterbox_nhwc_bgr": flat((letterbox(24, 30, 114)[..., ::-1] - MEAN) / STD, 5),
    "boxes": boxes.tolist(),
    "scores": scores.tolist(),
    "nms_union": nms(boxes.astype(np.float32), scores, 0.4, False, 0),
    "nms_minimum": nms(boxes.astype(np.float32), scores, 0.6, True, 1),
    "logits": logits.tolist(),
    "softmax": [float(f"{value:.8g}") for value in softmax(logits)],
    "top": np.argsort(-logits, kind="stable")[:10].tolist(),
}
with open("reference.json", "w") as file:
    json.dump(reference, file, separators=(",", ":"))
    file.write("\n")
