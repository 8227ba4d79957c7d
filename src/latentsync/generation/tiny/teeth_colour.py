"""Teeth no greener than the person's own.

Where a network draws more of a mouth than its references show, it adds the difference between lips and teeth as it
knows it from other people in other light. Under warm light that difference has too little red in it: teeth and the dark
behind them come out green. How little red there may be is read off the references: anywhere around the mouth, which
holds a beard too, and, where it is known where lips are, more strictly of what lies between them.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.generation.tiny.references import ChunkReferences

MOUTH = (136 / 256, 219 / 256, 70 / 256, 186 / 256)
"""Top, bottom, left and right of the mouth in an aligned crop, shares of its side."""
FACE = (90 / 256, 240 / 256, 48 / 256, 208 / 256)
"""The same of skin, lips and beard around it."""
EDGE = 8 / 256
"""Width over which the correction begins, share of the side."""
BLACK = 0.02
"""Added to red and green before their ratio is taken: that of black is noise."""
DARK = 0.12
"""Mean level below which a pixel of a reference says nothing about colour."""
SEEN = 0.93
"""A reference with a hundredth of its mouth less red than this, times the skin's red over green, shows something as
neutral as teeth: then that is the limit. Of 16 filmed people 15 had 0.80 to 0.90, one 0.92."""
UNSEEN, WARM = 0.9, 1.15
"""Where nothing such is seen: so much of the skin's red over green, and no more than the second in any light."""
BETWEEN_PX, BETWEEN_SHARE = 150, 0.05
"""An open mouth of at least so many pixels of 256 × 256 between the lips tells how red teeth are at least: this share
of it is less red. In the open still of 16 filmed people that is 1.12 to 1.47, in all their frames 1.12 to 1.52; where
it is above the skin's own (one of them) there are no teeth in it."""
GROWN, SOFT = 9 / 256, 2 / 256
"""What lies between the lips is grown by an ellipse of this diameter, and its edge blurred by this deviation."""
REMEMBERED = 4
"""Tracks whose limit is kept."""


class TeethColourGuard:
    """The least red over green of each track's references, found once, and drawn mouths held to it."""

    def __init__(self) -> None:
        self._known: deque[tuple[Float, tuple[float, float | None]]] = deque(maxlen=REMEMBERED)

    def hold(self, decoded: Float, window: tuple[slice, slice], references: ChunkReferences) -> None:
        """Change decoded crops in place.

        Args:
            decoded: (F, H, W, 3) float32 in [0, 1], the window's pixels.
            window: rows and columns of the pictures that these are.
        """
        least, between = self._of(references)
        side = references.pictures.shape[1]
        share = _share(side)[window]
        rows, columns = (np.flatnonzero(share.any(axis=axis)) for axis in (1, 0))
        if not (len(rows) and len(columns)):
            return
        inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        mouths = decoded[:, inside[0], inside[1]]
        with_red(mouths, least, share[inside])
        openings = references.openings() if between is not None and between > least else None
        if between is not None and openings is not None:
            for mouth, lips in zip(mouths, openings, strict=True):
                opened = _between(lips, side)[window][inside]
                with_red(mouth, between, share[inside] * cv2.GaussianBlur(opened, (0, 0), SOFT * side))

    def _of(self, references: ChunkReferences) -> tuple[float, float | None]:
        """Anywhere, and between the lips, where that is known."""
        for known, limits in self._known:
            if known is references.pictures:
                return limits
        pictures = references.pictures
        own = None if references.lips is None else least_red_between(pictures[-1], references.lips.own[-1])
        limits = least_red(pictures), own
        self._known.append((pictures, limits))
        return limits


def least_red_between(picture: Float, lips: Float) -> float | None:
    """The least red over green of an open mouth's teeth, or None: it shows too little of them; see `BETWEEN_PX`.

    Args: picture: (R, R, 3) in [0, 1]. lips: (40, 2) in it, crop sides.
    """
    side = len(picture)
    opened = np.zeros((side, side), np.uint8)
    cv2.fillPoly(opened, [_pixels(lips[len(lips) // 2 :], side)], 1)
    seen = cv2.GaussianBlur(picture, (0, 0), side / 256)[opened > 0]
    seen = seen[seen.mean(axis=1) > DARK]
    if len(seen) < BETWEEN_PX * (side / 256) ** 2:
        return None
    own = float(np.quantile(_red_over_green(seen), BETWEEN_SHARE))
    return own if own <= float(np.median(_red_over_green(picture[_part(FACE, side)].reshape(-1, 3)))) else None


def least_red(pictures: Float) -> float:
    """The least red over green that a mouth may have, from reference crops (n, R, R, 3) in [0, 1]; see `SEEN`."""
    side = pictures.shape[1]
    face, mouth = _part(FACE, side), _part(MOUTH, side)
    around = np.ones(pictures.shape[1:3], bool)
    around[mouth] = False
    skin = float(np.median(_red_over_green(pictures[0][face][around[face]])))
    own = np.inf
    for picture in pictures:
        smooth = cv2.GaussianBlur(picture, (0, 0), side / 256)[mouth].reshape(-1, 3)
        bright = smooth[smooth.mean(axis=1) > DARK]
        if len(bright):
            own = min(own, float(np.percentile(_red_over_green(bright), 1)))
    return own if own <= SEEN * skin else min(UNSEEN * skin, WARM)


def with_red(pictures: Float, least: float, share: Float) -> None:
    """Raise red and lower green, in place, where red over green is below `least`; brightness (0.3 R + 0.6 G) stays.

    Args: pictures (…, H, W, 3) float32 in [0, 1]. share: (H, W) how much of it.
    """
    red, green = pictures[..., 0], pictures[..., 1]
    missing = np.maximum(least * (green + BLACK) - red - BLACK, 0) * (share / (2 + least))
    np.clip(red + 2 * missing, 0, 1, out=red)
    np.clip(green - missing, 0, 1, out=green)


def _between(inner: Float, side: int) -> Float:
    """(side, side) float32: 1 between the lips (20, 2) and near by."""
    out = np.zeros((side, side), np.float32)
    cv2.fillPoly(out, [_pixels(inner, side)], 1.0)
    grown = max(1, round(GROWN * side))
    return np.asarray(cv2.dilate(out, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown))), np.float32)


def _pixels(places: Float, side: int) -> np.ndarray:
    return np.rint(places * np.float32(side) - np.float32(0.5)).astype(np.int32)


def _red_over_green(pixels: Float) -> Float:
    return np.asarray((pixels[:, 0] + BLACK) / (pixels[:, 1] + BLACK))


def _part(shares: tuple[float, float, float, float], side: int) -> tuple[slice, slice]:
    top, bottom, left, right = (round(share * side) for share in shares)
    return slice(top, bottom), slice(left, right)


@lru_cache(maxsize=4)
def _share(side: int) -> Float:
    """(side, side) float32: 1 in the mouth, falling to 0 at its borders."""
    rows, columns = _part(MOUTH, side)
    y, x = np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32)
    down, across = (
        np.minimum(at - part.start + 1, part.stop - at) for at, part in ((y[:, None], rows), (x[None], columns))
    )
    return np.clip(np.minimum(down, across) / np.float32(EDGE * side), 0, 1).astype(np.float32)
