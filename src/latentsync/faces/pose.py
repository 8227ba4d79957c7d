"""Rough head pose from the mesh: enough to know when a face is turned too far to be edited."""

from __future__ import annotations

import math

import numpy as np

from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT

_CHEEK_LEFT, _CHEEK_RIGHT, _NOSE_TIP = 234, 454, 1
_NOSE_DEPTH = 1.56
"""How far the nose tip stands before the cheek points (which lie at the ears), over half their distance; fitted on 400
frames of 40 rendered heads."""


def yaw_deg(landmarks: np.ndarray) -> float:
    """How far the face is turned to a side, degrees, 0 = towards the camera, positive = nose towards larger x.

    The nose tip of a head that turns by y moves by depth·sin y between cheeks that lie at ±half·cos y:
    offset / (cheek distance / 2) = depth·tan y. Source: that geometry. On rendered heads the error is 1 degree (median)
    up to 30; beyond, the far side of the mesh is a guess and the answer too small: 31 for 36, 44 for 52, 53 for 75.
    """
    left, right, tip = (np.asarray(landmarks[i], dtype=np.float64) for i in (_CHEEK_LEFT, _CHEEK_RIGHT, _NOSE_TIP))
    eyes = np.asarray(landmarks[EYE_RIGHT], dtype=np.float64) - np.asarray(landmarks[EYE_LEFT], dtype=np.float64)
    across = eyes / max(float(np.linalg.norm(eyes)), 1e-6)
    half = max(float((right - left) @ across) / 2, 1e-6)
    offset = float((tip - (left + right) / 2) @ across)
    return math.degrees(math.atan(offset / half / _NOSE_DEPTH))
