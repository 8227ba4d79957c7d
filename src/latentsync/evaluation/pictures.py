"""Pictures for reports, as bytes of a JPEG."""

from __future__ import annotations

import cv2
import numpy as np


def strip_jpeg(source: np.ndarray, result: np.ndarray, count: int = 10, side_px: int = 112) -> bytes:
    """Crops over time, source above result: (F, R, R, 3) uint8 RGB each → JPEG of `count` columns."""
    picks = np.unique(np.linspace(0, min(len(source), len(result)) - 1, count).round().astype(int))
    rows = []
    for clip in (source, result):
        small = [cv2.resize(clip[index], (side_px, side_px), interpolation=cv2.INTER_AREA) for index in picks]
        rows.append(np.concatenate(small, axis=1))
    picture = cv2.cvtColor(np.concatenate(rows, axis=0), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return data.tobytes()
