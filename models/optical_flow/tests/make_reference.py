"""Makes the frames in this folder of a picture, and the flows that OpenCV finds between them.

    pip install opencv-python-headless && python make_reference.py PICTURE

A flow is a 16-bit PNG of every fourth row and column: 256 * dx + 32768 is red, 256 * dy + 32768 green.
"""

import sys

import cv2
import numpy as np

TOP, LEFT, HEIGHT, WIDTH = 40, 110, 200, 256
STEP = 4


def frame(picture, movement):
    """The part of the picture that is in the frame, after `movement`: a 2x3 matrix."""
    moved = cv2.warpAffine(picture, movement, picture.shape[::-1], flags=cv2.INTER_CUBIC)
    return moved[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]


def shift(x, y):
    return np.float64([[1, 0, x], [0, 1, y]])


def turn(degrees, scale):
    """About the middle of the frame."""
    return cv2.getRotationMatrix2D((LEFT + WIDTH / 2, TOP + HEIGHT / 2), degrees, scale)


def flow(first, second, scale, levels, window, iterations, poly_n, poly_sigma):
    return cv2.calcOpticalFlowFarneback(
        first, second, None, scale, levels, window, iterations, poly_n, poly_sigma, 0
    )


def write(name, values):
    fixed = np.round(values[::STEP, ::STEP] * 256 + 32768).clip(0, 65535).astype(np.uint16)
    # OpenCV writes blue first.
    cv2.imwrite(name, np.dstack([np.zeros_like(fixed[..., 0]), fixed[..., 1], fixed[..., 0]]))


PICTURE = cv2.imread(sys.argv[1], cv2.IMREAD_GRAYSCALE)
FIRST = frame(PICTURE, shift(0, 0))
SHIFTED = frame(PICTURE, shift(6.3, -3.6))
SCALED = frame(PICTURE, turn(1.5, 1.04))
for name, values in {"first": FIRST, "shifted": SHIFTED, "scaled": SCALED}.items():
    cv2.imwrite(f"{name}.png", values, [cv2.IMWRITE_PNG_COMPRESSION, 9])
write("shifted_flow.png", flow(FIRST, SHIFTED, 0.5, 3, 15, 3, 5, 1.2))
write("scaled_flow.png", flow(FIRST, SCALED, 0.5, 3, 15, 3, 5, 1.2))
# Sizes that do not divide one another, a window of an even number, other weights.
write("other_flow.png", flow(FIRST, SCALED, 0.77, 5, 20, 2, 7, 1.5))
