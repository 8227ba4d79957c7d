"""An open mouth for a person who is only seen with closed lips: what lies inside is lent by a rendered head.

The lips are the person's own, drawn apart as `tiny.lip_warp` moves them; between them lies the inside of a synthetic
head's mouth (teeth, tongue and the dark behind), warped to fit. Its colour follows the person's skin, since
teeth are seen in the same light; its sharpness is that of the person's picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import cv2
import numpy as np
from safetensors.numpy import load

from latentsync.core.errors import WeightsError
from latentsync.core.values import Float
from latentsync.generation.tiny.lip_warp import NUM_POINTS, ReferenceLips, warped_places

SHOWN = 0.03
"""Lip opening, in distances of the outer eye corners, from which on a person's own open mouth is taken: less shows
no teeth. Two of 17 filmed people reach 0.04 in three seconds of speech, the others 0.05 to 0.19."""
PARTED, MOVED = 0.06, 0.02
"""An opening less than the first, and less than the second from the most closed one, is a mouth that stays as it is:
the mesh tells 0 to 0.046 of closed lips, by the person."""
SKIN = (100 / 256, 130 / 256, 70 / 256, 186 / 256)
"""Top, bottom, left and right of the nose and the cheeks in an aligned crop, shares of its side."""
TEETH_RED, TEETH_BLUE = 0.90, 1.05
"""Red over green and blue over green of bright teeth, over those of the skin: means of 15 filmed people (red 0.77 to
1.05)."""
TEETH_LEVEL, SKIN_LEVEL, FOLLOWS = 0.54, 0.55, 0.4
"""Mean level of their teeth, that of their skin, and the power by which the first follows the second: people with dark
skin have teeth as bright as others'."""
SOFT = 1.0 / 256
"""Blur of the inside's edge, crop sides."""
BLURS = (0.0, 0.6, 0.9, 1.3, 1.8, 2.5)
"""Standard deviations among which the one is sought that makes what is lent as sharp as the picture, pixels of 256."""
DETAIL = (slice(90, 240), slice(48, 208))
"""Rows and columns of 256 in which the sharpness of a picture is measured."""


@dataclass(frozen=True, slots=True)
class Interiors:
    """Insides of open mouths.

    Attributes:
        pictures: (n, h, w, 3) uint8, as large as in a crop of 256 × 256.
        lips: (n, 40, 2) in them, pixels (centres at integers).
        change: (n, 80) of the lips from those of the closed mouth, see `ReferenceLips.targets`.
        teeth: (n, 3) colour of the brightest part, in [0, 1].
        detail: (n,) see `detail_of`, of the picture that each is cut from.
        side: (n,) natural logarithm of the light on the left cheek over that on the right one.
    """

    pictures: np.ndarray
    lips: Float
    change: Float
    teeth: Float
    detail: Float
    side: Float

    @classmethod
    def of(cls, tensors: dict[str, np.ndarray]) -> Interiors:
        """From named arrays. Raises: WeightsError: others than these, or of another shape."""
        if set(tensors) != set(cls.__slots__):
            raise WeightsError(f"insides of mouths: {sorted(tensors)}, not {sorted(cls.__slots__)}")
        made = cls(**tensors)
        count = len(made.pictures)
        shapes = {"lips": (count, NUM_POINTS, 2), "change": (count, 2 * NUM_POINTS), "teeth": (count, 3)}
        for name, shape in {**shapes, "detail": (count,), "side": (count,)}.items():
            if getattr(made, name).shape != shape:
                raise WeightsError(f"insides of mouths: {name} is {getattr(made, name).shape}, not {shape}")
        return made

    def nearest(self, picture: Float) -> int:
        """The one whose light comes from the same side. Args: picture: (R, R, 3) in [0, 1]."""
        return int(np.argmin(np.abs(self.side - light_of(picture))))


def hardly_opens(closed: float, wide: float) -> bool:
    """Does a person keep the mouth closed? Args: openings of the most closed and of the most open mouth."""
    return wide < SHOWN or (wide < PARTED and wide - closed < MOVED)


@lru_cache(maxsize=1)
def interiors() -> Interiors:
    """Those that ship. They come from `recipes/tiny/interiors.py`."""
    return Interiors.of(load((files("latentsync") / "assets" / "interiors.safetensors").read_bytes()))


def opened(
    picture: np.ndarray,
    mouths: ReferenceLips,
    bank: Interiors,
    which: int,
    tint: tuple[float, float, float] = (1, 1, 1),
) -> tuple[np.ndarray, ReferenceLips]:
    """A still picture with its mouth open.

    Args:
        picture: (R, R, 3) with closed lips, uint8 or float32 in [0, 1].
        mouths: its lips, of this picture alone.
        tint: times what is lent, each colour.
    Returns: the picture, of the same kind, and the lips of both pictures, the closed one first.
    """
    resolution = len(picture)
    colours = picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 1)
    lips = mouths.targets(bank.change[which][None])[0, 0]
    places = _pixel_centres(resolution)
    out = _looked_up(colours, warped_places(places, mouths.own[0], lips) * np.float32(resolution) - np.float32(0.5))
    lent = bank.pictures[which].astype(np.float32) / np.float32(255)
    lent = _as_sharp(lent, float(bank.detail[which]), detail_of(colours), resolution)
    lent *= teeth_of(colours) * np.array(tint, np.float32) / np.maximum(bank.teeth[which], np.float32(0.05))
    # the patch is laid about the middle of the crop's lips, so that the field's ring lies around both
    middle = lips.mean(axis=0)
    about = (bank.lips[which] - bank.lips[which].mean(axis=0)) / np.float32(256) + middle
    found = (warped_places(places, about.astype(np.float32), lips) - middle) * np.float32(256) + bank.lips[which].mean(
        axis=0
    )
    inside = np.zeros((resolution, resolution), np.float32)
    corners = np.rint((lips[NUM_POINTS // 2 :] * resolution - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(inside, [corners], 1.0, shift=4)
    share = cv2.GaussianBlur(inside, (0, 0), max(SOFT * resolution, 0.3))[..., None]
    out = np.clip(out + share * (_looked_up(lent, found) - out), 0, 1)
    both = ReferenceLips(
        np.stack([mouths.own[0], lips]), np.repeat(mouths.first[:1], 2, 0), np.repeat(mouths.axes[:1], 2, 0)
    )
    return np.rint(out * 255).astype(np.uint8) if picture.dtype == np.uint8 else out, both


def teeth_of(picture: Float) -> Float:
    """(3,) how bright teeth would look in a picture (R, R, 3) in [0, 1]."""
    skin = np.maximum(np.median(picture[_part(len(picture))].reshape(-1, 3), axis=0), np.float32(1e-3))
    colour = np.array([TEETH_RED * skin[0] / skin[1], 1.0, TEETH_BLUE * skin[2] / skin[1]], np.float32)
    level = TEETH_LEVEL * (float(skin.mean()) / SKIN_LEVEL) ** FOLLOWS
    return np.asarray(np.clip(colour * np.float32(level) / colour.mean(), 0, 1), np.float32)


def detail_of(picture: Float) -> float:
    """How much of the fine structure of a picture (R, R, 3) in [0, 1] is of the finest kind."""
    grey = picture.mean(axis=2)
    if len(grey) != 256:
        grey = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA)
    fine, middle = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.8, 1.6))
    return float((grey - fine)[DETAIL].std() / max(float((fine - middle)[DETAIL].std()), 1e-6))


def light_of(picture: Float) -> float:
    """Natural logarithm of the left cheek's mean level over the right one's. Args: picture: (R, R, 3) in [0, 1]."""
    cheeks = picture[_part(len(picture))].mean(axis=(0, 2))
    third = len(cheeks) // 3
    return float(np.log((cheeks[:third].mean() + 0.02) / (cheeks[-third:].mean() + 0.02)))


def _as_sharp(lent: Float, own: float, wanted: float, resolution: int) -> Float:
    """Blurred until its detail, `own` to begin with, is about as `wanted`; a Gaussian of σ leaves about
    exp(−σ²·1.2) of the finest kind beside the next."""
    left = [own * float(np.exp(-1.2 * sigma**2)) for sigma in BLURS]
    sigma = BLURS[int(np.argmin(np.abs(np.array(left) - wanted)))]
    return lent if sigma == 0 else np.asarray(cv2.GaussianBlur(lent, (0, 0), sigma))


def _looked_up(picture: Float, pixels: Float) -> Float:
    return np.asarray(cv2.remap(picture, pixels, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def _pixel_centres(resolution: int) -> Float:
    rows, columns = np.mgrid[:resolution, :resolution].astype(np.float32)
    return (np.stack([columns, rows], axis=-1) + np.float32(0.5)) / np.float32(resolution)


def _part(side: int) -> tuple[slice, slice]:
    top, bottom, left, right = (round(share * side) for share in SKIN)
    return slice(top, bottom), slice(left, right)
