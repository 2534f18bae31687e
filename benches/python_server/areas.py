"""A picture and its parts at other sizes: each new pixel is the mean of all that it covers."""

import numpy as np


class Areas:
    """Sums over all rectangles that start in the corner, from which any other sum follows."""

    def __init__(self, pixels: np.ndarray) -> None:
        height, width, channels = pixels.shape
        self.size = (height, width)
        # In 32 bits sums may wrap around; what is subtracted then wraps back.
        self.table = np.zeros((height + 1, width + 1, channels), np.uint32)
        inner = self.table[1:, 1:]
        np.cumsum(pixels, axis=0, dtype=np.uint32, out=inner)
        np.cumsum(inner, axis=1, out=inner)

    def resized(self, height: int, width: int) -> np.ndarray:
        """The whole picture as a network takes it, `[1, 3, height, width]`."""
        top, bottom = edges(np.array([0]), np.array([self.size[0]]), height)
        left, right = edges(np.array([0]), np.array([self.size[1]]), width)
        lines = self.table[bottom[0]] - self.table[top[0]]
        sums = lines[:, right[0]] - lines[:, left[0]]
        areas = (bottom - top).T * (right - left)
        return normalised(sums[None], areas[None])

    def crops(self, boxes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that lie in the picture, and their parts of it, `[boxes, 3, side, side]`."""
        height, width = self.size
        # Boxes count pixels from 1, and their fractions are cut off.
        whole = boxes.astype(np.int64)
        start = np.maximum(whole[:, :2], 1) - 1
        end = np.minimum(whole[:, 2:], [width, height])
        inside = (start < end).all(axis=1)
        boxes, start, end = boxes[inside], start[inside], end[inside]
        left, right = edges(start[:, 0], end[:, 0], side)
        top, bottom = edges(start[:, 1], end[:, 1], side)
        left, right = left[:, None, :], right[:, None, :]
        top, bottom = top[:, :, None], bottom[:, :, None]
        table = self.table
        sums = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        return boxes, normalised(sums, (bottom - top) * (right - left))


def edges(start: np.ndarray, end: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `count` new pixels begins and ends between `start` and `end`."""
    length, places = (end - start)[:, None], np.arange(count)
    first = places * length // count
    last = -(-(places + 1) * length // count)
    return start[:, None] + first, start[:, None] + last


def normalised(sums: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Means of about -1 to 1, channels first."""
    means = sums / areas[..., None].astype(np.float32)
    values = ((means - 127.5) / 128).astype(np.float32, copy=False)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
