"""What a track remembers of its face, so that it notices when somebody else is in its place.

The mesh network finds a face wherever it looks, and slides over to another one that passes before its own. Such a
slide, and a picture in which somebody else sits, show as a sudden change of the mesh; whether the person changed, the
looks say. One person's look may change just as much while the head turns, but slowly: so looks are compared with
the frame before, and no more than that is asked while nothing sudden happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from latentsync.faces.likeness import describe_view, likeness
from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT, Mesh

OTHER_PERSON = 0.33
"""Likeness below which a face that changed suddenly is somebody else. Measured on 198 clips of 40 people: one person,
from a frame to the next, 0.32 and more, 0.45 and more in all but one clip; two people 0.25 (median), 0.35 (90 %)."""

SAME_PERSON = 0.45
"""Likeness from which a new face is one that was covered before; 1 % of the pairs of two people pass (same clips)."""

_SHAPE_JUMP, _PLACE_JUMP = 0.03, 0.06
"""Sudden: the mesh's shape changes by more than this share of the eye distance (same clips: 99 % of the frames below
0.026 in three clips of four), or its place by this share of its width. The heads of tests/faces: 0.05 and 0.15 where
one takes the other's place, and for four frames 0.03 and 0.07 or more where one slides over to the other."""

_LOOKS = 5
_INTERVAL_S = Fraction(2, 5)

_STIFF = np.array([33, 263, 133, 362, 168, 6, 197, 5, 4, 1, 2, 98, 327, 70, 107, 336, 300, 234, 454])
"""Vertices that speech and blinks leave where they are: corners of the eyes, nose, brows, lip predictors."""


def look_of(mesh: Mesh) -> np.ndarray:
    """(324,) float64, see `describe_view`."""
    return describe_view(mesh.view, mesh.frame_to_view, mesh.points)


def jumped(before: Mesh, after: Mesh) -> bool:
    """Whether a mesh changed more from one frame to the next than a head does by turning, most of the time."""
    a, b = before.points[_STIFF], after.points[_STIFF]
    centre_a, centre_b = a.mean(axis=0), b.mean(axis=0)
    if np.hypot(*(centre_b - centre_a)) > _PLACE_JUMP * np.ptp(after.points[:, 0]):
        return True
    za, zb = (a - centre_a) @ (1, 1j), (b - centre_b) @ (1, 1j)
    rest = np.vdot(za, zb) / np.vdot(za, za) * za - zb  # after the best turn and change of size
    eyes = float(np.hypot(*(after.points[EYE_RIGHT] - after.points[EYE_LEFT])))
    return float(np.sqrt(np.mean(np.abs(rest) ** 2))) > _SHAPE_JUMP * eyes


class Memory:
    """The last looks of one face while nobody else was near, a few tenths of a second apart.

    Attributes: mesh: the face when it was last looked at.
    """

    def __init__(self, mesh: Mesh, time_s: Fraction) -> None:
        self._looks: deque[np.ndarray] = deque(maxlen=_LOOKS)
        self.learn(mesh, time_s)

    def due(self, time_s: Fraction) -> bool:
        return time_s - self._learnt_s >= _INTERVAL_S

    def learn(self, mesh: Mesh, time_s: Fraction) -> np.ndarray:
        """Remember how the face looks now; returns the look."""
        self.mesh, self._learnt_s = mesh, time_s
        self._looks.append(look_of(mesh))
        return self._looks[-1]

    def likeness(self, look: np.ndarray) -> float:
        """In [0, 1]: to the most similar look."""
        return max(likeness(look, own) for own in self._looks)

    def resembles(self, other: Memory) -> bool:
        """Two memories of one person."""
        return max(self.likeness(look) for look in other._looks) >= SAME_PERSON

    def is_other(self, before: Mesh, after: Mesh) -> bool:
        """Whether the face of the frame before made way for another one."""
        if not jumped(before, after):
            return False
        look = look_of(after)
        return max([self.likeness(look), likeness(look, look_of(before))]) < OTHER_PERSON


def touches(mesh: Mesh, others: Iterable[Mesh]) -> bool:
    """Whether a face's box overlaps with another's."""
    low, high = mesh.box[:2], mesh.box[2:]
    return any(bool((np.maximum(low, o.box[:2]) < np.minimum(high, o.box[2:])).all()) for o in others)
