"""Boxes of a picture, `[boxes, 4]`: left, top, right, bottom."""

import numpy as np


def distinct(
    boxes: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    border: float = 0,
    smaller: bool = False,
) -> np.ndarray:
    """The places of the best of those that overlap by more than `threshold`, best first.

    Overlap is shared area as a part of both together, or of the smaller one's.
    """
    left, top, right, bottom = boxes.T
    areas = (right - left + border) * (bottom - top + border)
    rest = np.argsort(-scores, kind="stable")
    kept = []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]) + border
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]) + border
        both = np.maximum(width, 0) * np.maximum(height, 0)
        if smaller:
            overlap = both / np.minimum(areas[best], areas[rest])
        else:
            overlap = both / (areas[best] + areas[rest] - both)
        rest = rest[overlap <= threshold]
    return np.array(kept, np.int64)


def corrected(boxes: np.ndarray, shifts: np.ndarray, border: float) -> np.ndarray:
    """Boxes moved by parts of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(border)
    return boxes + shifts * np.tile(sides, 2)


def square(boxes: np.ndarray) -> np.ndarray:
    """Boxes made square about their centres, as large as their longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corners = boxes[:, :2] + sides / 2 - side / 2
    return np.concatenate([corners, corners + side], axis=1).astype(np.float32, copy=False)
