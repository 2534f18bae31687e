"""Finds faces: MTCNN's cascade of three networks, as models/mtcnn."""

from pathlib import Path

import numpy as np

from areas import Areas
from boxes import corrected, distinct, square
from models import ModelInterface
from sessions import session

MIN_FACE, WINDOW, FACTOR, STRIDE = 40, 12, 0.709, 2
PROPOSED, SURE = 0.6, 0.7


class Model(ModelInterface):
    """The cascade."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Loads the three networks."""
        names = ("pnet", "rnet", "onet")
        self.pnet, self.rnet, self.onet = (session(folder / f"{n}.onnx", threads) for n in names)

    def run(self, data: np.ndarray, args: dict) -> list:
        """The faces, best first."""
        picture = Areas(data)
        boxes = self.proposed(picture, args.get("min_face", MIN_FACE))
        boxes = self.refined(picture, boxes)
        boxes, scores, points = self.finished(picture, boxes)
        faces = zip(boxes.tolist(), scores.tolist(), points.tolist(), strict=True)
        return [{"box": box, "score": score, "landmarks": p} for box, score, p in faces]

    def proposed(self, picture: Areas, min_face: float) -> np.ndarray:
        """The first network looks at the picture in many sizes."""
        height, width = picture.size
        scale = WINDOW / min_face
        found = []
        while min(height, width) * scale >= WINDOW:
            level = picture.resized(int(height * scale + 1), int(width * scale + 1))
            scores, shifts = self.pnet.run(["prob", "reg"], {"input": level})
            y, x = np.nonzero(scores[0, 1] >= PROPOSED)
            # In single precision, as the networks were trained: an edge may be another pixel's.
            corners = STRIDE * np.stack([x, y, x, y], 1) + [1, 1, WINDOW, WINDOW]
            boxes = np.floor(corners.astype(np.float32) / np.float32(scale))
            here = (boxes, scores[0, 1, y, x], shifts[0, :, y, x])
            kept = distinct(boxes, here[1], 0.5)
            found.append([part[kept] for part in here])
            scale *= FACTOR
        if not found:
            return np.empty((0, 4), np.float32)
        boxes, scores, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = distinct(boxes, scores, 0.7)
        return square(corrected(boxes[kept], shifts[kept], border=0))

    def refined(self, picture: Areas, boxes: np.ndarray) -> np.ndarray:
        """The second refuses most boxes and corrects the others."""
        boxes, crops = picture.crops(boxes, 24)
        if not len(boxes):
            return boxes
        scores, shifts = self.rnet.run(["prob", "reg"], {"input": crops})
        likely = scores[:, 1] > SURE
        boxes, scores, shifts = boxes[likely], scores[likely, 1], shifts[likely]
        kept = distinct(boxes, scores, 0.7)
        return square(corrected(boxes[kept], shifts[kept], border=1))

    def finished(self, picture: Areas, boxes: np.ndarray) -> tuple[np.ndarray, ...]:
        """The third finds the faces' points."""
        boxes, crops = picture.crops(boxes, 48)
        if not len(boxes):
            return boxes, boxes[:, 0], boxes
        outputs = ["prob", "reg", "landmarks"]
        scores, shifts, points = self.onet.run(outputs, {"input": crops})
        likely = scores[:, 1] > SURE
        boxes, scores, shifts = boxes[likely], scores[likely, 1], shifts[likely]
        # Five times x, then five times y, as parts of the box.
        points = points[likely].reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        points = boxes[:, None, :2] + points * sides[:, None] - 1
        boxes = corrected(boxes, shifts, border=1)
        kept = distinct(boxes, scores, 0.7, border=1, smaller=True)
        return boxes[kept], scores[kept], points[kept]
