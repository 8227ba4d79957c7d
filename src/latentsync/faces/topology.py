"""Vertex groups of the 468-point face mesh which the scores measure.

Numbers are vertex indices of the public MediaPipe face mesh topology (canonical_face_model, FACEMESH_LIPS and
FACEMESH_FACE_OVAL connections).
"""

from __future__ import annotations

NUM_POINTS = 468

LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 33, 263
"""Outer corners of the eyes; "left" = smaller x when the face is upright."""

INNER_LIP_PAIRS = ((81, 178), (82, 87), (13, 14), (312, 317), (311, 402))
"""(upper, lower) vertices of the inner lip edge, the middle five columns; the corners hardly open."""

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
LIPS = OUTER_LIPS + INNER_LIPS

INNER_LIP_CORNERS = (INNER_LIPS[0], INNER_LIPS[10])
"""Where the inner lips meet, on the side of the left and of the right eye as named above."""

RIGID = (33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 10, 109, 338, 67, 297, 70, 300, 127, 356)
"""Points that speech hardly moves: eye corners, nose ridge and tip, forehead, brow ends, temples."""

NOSE_BASE = (98, 2, 327)
"""Where the nose meets the upper lip: both wings and the middle."""

MIRRORED_LIPS = tuple(20 * (i // 20) + (10 - i) % 20 for i in range(40))
"""Place in `LIPS` of each point's mirror image; both rings run from corner to corner and back."""

MIRRORED_RIGID = (2, 3, 0, 1, *range(4, 11), 12, 11, 14, 13, 16, 15, 18, 17)
"""Place in `RIGID` of each point's mirror image."""

JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
"""The face oval from temple to temple around the chin."""
