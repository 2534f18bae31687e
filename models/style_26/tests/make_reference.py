"""Makes painted.png and blended.png of chelsea.png: what ONNX Runtime gives, cut to the picture.

    pip install numpy onnxruntime pillow && python make_reference.py
"""

import numpy as np
import onnxruntime
from PIL import Image


def paint(pixels, weights):
    height, width, _ = pixels.shape
    style = np.zeros(26, np.float32)
    for number, weight in weights.items():
        style[number] = weight
    image = np.float32(pixels / 255).transpose(2, 0, 1)[None]
    (planes,) = SESSION.run(["stylized"], {"image": image, "style_weights": style})
    painted = planes[0, :, :height, :width].transpose(1, 2, 0)
    return Image.fromarray(np.uint8(painted * 255 + 0.5))


SESSION = onnxruntime.InferenceSession("../model.onnx", providers=["CPUExecutionProvider"])
PICTURE = np.asarray(Image.open("chelsea.png").convert("RGB"))
paint(PICTURE, {7: 1}).save("painted.png", optimize=True)
# Neither side is a multiple of four.
paint(PICTURE[20:83, 60:151], {3: 0.25, 12: 0.75}).save("blended.png", optimize=True)
