"""The short-range face detector: boxes and six keypoints in a small picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.core.values import Bytes
from latentsync.faces.quiet import without_delegate_note

_INPUT_PX = 128
_STRIDES = ((8, 2), (16, 6))
"""(stride, anchors per cell) of the two grids of the published 128 px network: 16·16·2 + 8·8·6 = 896 anchors."""

_SAME_FACE_IOU = 0.3


class Network:
    """One TensorFlow Lite network on the CPU. Its results do not depend on the number of threads."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with without_delegate_note():
            self._interpreter: Any = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, array: np.ndarray) -> list[np.ndarray]:
        """Run on (1, H, W, 3) float32 and return the outputs in the file's order."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(array, dtype=np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found by the detector, in pixels of the picture it looked at.

    Attributes:
        box: (4,) float64 x0, y0, x1, y1.
        keypoints: (6, 2) float64: eye on the left of the picture, eye on the right, nose, mouth, ear left, ear right.
        score: in [0, 1].
    """

    box: np.ndarray
    keypoints: np.ndarray
    score: float

    def mapped(self, scale: float, shift: tuple[float, float]) -> Detection:
        """The same face in a picture where p becomes scale·(p + ½) − ½ + shift (half-pixel centres)."""
        move = (scale - 1) / 2 + np.asarray(shift)
        return Detection(self.box * scale + np.tile(move, 2), self.keypoints * scale + move, self.score)


class FaceDetector:
    """Finds faces whose side is at least about a tenth of the picture's."""

    def __init__(self, path: Path, threads: int = 1, min_score: float = 0.5) -> None:
        self._network = Network(path, threads)
        self._anchors = _anchors()
        self._min_score = min_score

    def __call__(self, picture: Bytes) -> list[Detection]:
        """All faces of a (h, w, 3) uint8 RGB picture, best first, in its own pixels."""
        canvas, scale, shift = _letterbox(picture)
        outputs = [out.reshape(len(self._anchors), -1) for out in self._network(canvas[None])]
        values = next(out for out in outputs if out.shape[1] == 16).astype(np.float64)
        logits = next(out for out in outputs if out.shape[1] == 1)[:, 0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        keep = scores >= self._min_score
        values, scores, anchors = values[keep] / _INPUT_PX, scores[keep], self._anchors[keep]
        centres, half = values[:, :2] + anchors, values[:, 2:4] / 2
        boxes = np.concatenate([centres - half, centres + half], axis=1) * _INPUT_PX
        keypoints = (values[:, 4:].reshape(-1, 6, 2) + anchors[:, None]) * _INPUT_PX
        faces = _merge(boxes, keypoints, scores)
        return [face.mapped(scale, shift) for face in faces]


def _anchors() -> np.ndarray:
    """(896, 2) anchor centres in [0, 1]: cell centres, row by row, repeated for each anchor of a cell."""
    out = []
    for stride, repeats in _STRIDES:
        side = _INPUT_PX // stride
        x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
        out.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(out)


def _letterbox(picture: Bytes) -> tuple[np.ndarray, float, tuple[float, float]]:
    """(128, 128, 3) float32 in [−1, 1], centred on black, and the way back: scale and shift of `Detection.mapped`."""
    height, width = picture.shape[:2]
    scale = max(height, width) / _INPUT_PX
    inner_w, inner_h = max(1, round(width / scale)), max(1, round(height / scale))
    x, y = (_INPUT_PX - inner_w) // 2, (_INPUT_PX - inner_h) // 2
    canvas = np.full((_INPUT_PX, _INPUT_PX, 3), -1.0, dtype=np.float32)
    # a strided view copied first: some decoders pad rows, and OpenCV wants contiguous memory
    inner = cv2.resize(np.ascontiguousarray(picture), (inner_w, inner_h), interpolation=cv2.INTER_AREA)
    canvas[y : y + inner_h, x : x + inner_w] = inner.astype(np.float32) / 127.5 - 1
    return canvas, scale, (-x * scale, -y * scale)


def _merge(boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray) -> list[Detection]:
    """Overlapping answers become one, averaged by score (steadier than keeping the best alone)."""
    faces = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = overlap(boxes[left[0]], boxes[left]) > _SAME_FACE_IOU
        same[0] = True
        group, left = left[same], left[~same]
        weights = scores[group] / scores[group].sum()
        box = np.einsum("n,nk->k", weights, boxes[group])
        faces.append(Detection(box, np.einsum("n,nkc->kc", weights, keypoints[group]), float(scores[group[0]])))
    return faces


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with many (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    own = float(np.prod(np.clip(box[2:] - box[:2], 0, None)))
    return inner / np.maximum(own + areas - inner, 1e-9)
