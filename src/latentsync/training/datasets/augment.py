"""Changes of look and sound that leave the timing alone: drawn once for a clip, the same for all of its frames."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.core.rates import SPEECH_RATE_HZ


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationRange:
    """How far a look may go. All zero = the clip as it is. Chosen by eye on studio clips.

    Attributes:
        gain: brightness ± this share.
        tint: each colour ± this share on top, None = half of `gain`. What must not be learnt by heart from a few
            people in the same light, the colour of teeth, needs more.
        gamma: exponent between 1 / (1 + this) and 1 + this.
        blur_px: largest standard deviation of a Gaussian, in pixels of the picture given, on one clip in three.
        jpeg: share of clips compressed as JPEG of quality 25 to 90.
        scale: size ± this share.
        rotation_deg: ± this.
        shift: ± this share of the side.
        flip: share of clips that are mirrored.
        warp: standard deviation of a smooth distortion that makes other faces of a few people's, as a share of the
            side: wider mouths, longer chins, thinner lips. `Augmentation.affine` does not tell of it.
    """

    gain: float = 0.3
    gamma: float = 0.3
    blur_px: float = 1.2
    jpeg: float = 0.3
    scale: float = 0.06
    rotation_deg: float = 4.0
    shift: float = 0.03
    flip: float = 0.5
    warp: float = 0.0
    tint: float | None = None

    def __post_init__(self) -> None:
        for each, most in zip(fields(self), (0.9, 3, 20, 1, 0.5, 45, 0.5, 1, 0.1, 0.9), strict=True):
            value = getattr(self, each.name)
            if value is not None and not 0 <= value <= most:
                raise ConfigError(f"task.look.{each.name}", value, f"choose 0 to {most}")


WARP_KEY_FRAMES = 4
"""Displacements along each side from which a distortion is interpolated."""

NO_AUGMENTATION = AugmentationRange(gain=0, gamma=0, blur_px=0, jpeg=0, scale=0, rotation_deg=0, shift=0, flip=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """One look. `affine` tells where points of the picture go; colours and compression are `paint`'s."""

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur_px: float = 0.0
    jpeg_quality: int | None = None
    scale: float = 1.0
    rotation_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    warp: tuple[float, ...] = ()

    def affine(self, side: int) -> np.ndarray:
        """(2, 3) float32: pixels of a square picture to pixels of its new look (pixel centres at integers)."""
        middle = (side - 1) / 2
        turn = np.deg2rad(self.rotation_deg)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * self.scale
        if self.flip:
            matrix = matrix @ np.diag([-1.0, 1.0])
        move = middle + np.array(self.shift) * side - matrix @ np.array([middle, middle])
        return np.concatenate([matrix, move[:, None]], axis=1).astype(np.float32)

    def moves(self) -> bool:
        """Does anything change its place?"""
        return bool(self.warp) or self.flip or self.scale != 1 or self.rotation_deg != 0 or self.shift != (0, 0)

    def sources(self, side: int) -> np.ndarray:
        """(side, side, 2) float32: which pixel (x, y) of the picture each pixel of its new look shows."""
        back = cv2.invertAffineTransform(self.affine(side))
        y, x = np.mgrid[:side, :side].astype(np.float32)
        places = np.stack([x, y, np.ones_like(x)], axis=-1) @ back.T.astype(np.float32)
        if self.warp:
            key_frames = np.array(self.warp, np.float32).reshape(WARP_KEY_FRAMES, WARP_KEY_FRAMES, 2) * side
            places += cv2.resize(key_frames, (side, side), interpolation=cv2.INTER_CUBIC)
        return np.asarray(places, np.float32)


def draw_augmentation(rng: np.random.Generator, limits: AugmentationRange) -> Augmentation:
    """A look within `limits`; always takes the same number of draws, so that other draws of `rng` stay in place."""
    both = rng.uniform(-1, 1, 9)
    chance = rng.random(4)
    # drawn from their own generator: looks without distortion stay what they were
    key_frames = np.random.default_rng(int(chance[3] * 2**53)).normal(0, limits.warp, 2 * WARP_KEY_FRAMES**2)
    tint = limits.gain / 2 if limits.tint is None else limits.tint
    gains = (1 + limits.gain * both[0]) * (1 + tint * both[1:4])
    return Augmentation(
        gains=(float(gains[0]), float(gains[1]), float(gains[2])),
        gamma=float((1 + limits.gamma) ** both[4]),
        blur_px=float(limits.blur_px * chance[0] * 3) if chance[0] < 1 / 3 else 0.0,
        jpeg_quality=int(25 + 65 * chance[1] / limits.jpeg) if chance[1] < limits.jpeg else None,
        scale=float(1 + limits.scale * both[5]),
        rotation_deg=float(limits.rotation_deg * both[6]),
        shift=(float(limits.shift * both[7]), float(limits.shift * both[8])),
        flip=bool(chance[2] < limits.flip),
        warp=tuple(map(float, key_frames)) if limits.warp else (),
    )


def augment(frames: np.ndarray, look: Augmentation, lower_half: bool = False) -> np.ndarray:
    """Square frames (F, R, R, 3) uint8 → (F, R, R, 3) uint8, or with `lower_half` rows R/2 … R − 1 of that."""
    side = frames.shape[1]
    top = side // 2 if lower_half else 0
    matrix = look.affine(side).astype(np.float64)
    matrix[1, 2] -= top
    table = _table(look)
    sources = look.sources(side)[top:] if look.warp else None
    out = np.empty((len(frames), side - top, side, 3), np.uint8)
    for index, frame in enumerate(frames):
        if sources is not None:
            picture = cv2.remap(frame, sources, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        elif look.moves():
            size = (side, side - top)
            picture = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        else:
            picture = np.ascontiguousarray(frame[top:])
        out[index] = _paint(picture, look, table)
    return out


def _table(look: Augmentation) -> np.ndarray | None:
    """(1, 256, 3) uint8 of gains and gamma, None where they change nothing."""
    if look.gains == (1.0, 1.0, 1.0) and look.gamma == 1.0:
        return None
    levels = (np.arange(256) / 255)[:, None] ** look.gamma * np.array(look.gains)
    return np.rint(levels.clip(0, 1) * 255).astype(np.uint8)[None]


def _paint(picture: np.ndarray, look: Augmentation, table: np.ndarray | None) -> np.ndarray:
    if table is not None:
        picture = cv2.LUT(picture, table)
    if look.blur_px > 0.1:
        picture = cv2.GaussianBlur(picture, (0, 0), look.blur_px)
    if look.jpeg_quality is not None:
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.jpeg_quality])
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return picture


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundRange:
    """How far the sound may be changed.

    Attributes:
        gain_db: ± this.
        noise: share of clips with noise of a drawn colour, `least_snr_db` to 40 dB below the speech.
        least_snr_db: loudest noise.
        tilt_db: the spectrum rises or falls by up to this much for each factor of two in frequency, about 1 kHz.
    """

    gain_db: float = 9.0
    noise: float = 0.6
    least_snr_db: float = 8.0
    tilt_db: float = 2.0

    def __post_init__(self) -> None:
        for name, least, most in (("gain_db", 0, 40), ("noise", 0, 1), ("least_snr_db", -10, 40), ("tilt_db", 0, 12)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"task.sound.{name}", getattr(self, name), f"choose {least} to {most}")


NO_SOUND_CHANGE = SoundRange(gain_db=0, noise=0, tilt_db=0)


def change_sound(wave: np.ndarray, rng: np.random.Generator, limits: SoundRange) -> np.ndarray:
    """(S,) float32 in [−1, 1] → the same length; every change has no delay."""
    if limits == NO_SOUND_CHANGE:
        return np.asarray(wave, np.float32)
    gain_db, tilt_db, colour = rng.uniform(-1, 1, 3) * (limits.gain_db, limits.tilt_db, 6.0)
    snr_db, noisy = rng.uniform(limits.least_snr_db, 40), rng.random() < limits.noise
    changed = _tilted(wave, tilt_db) if abs(tilt_db) > 0.05 else np.asarray(wave, np.float64)
    if noisy:
        noise = _tilted(rng.standard_normal(len(wave)), colour)
        level = np.sqrt(np.mean(np.square(changed))) * 10 ** (-snr_db / 20)
        changed = changed + noise * (level / max(float(np.sqrt(np.mean(np.square(noise)))), 1e-9))
    return np.clip(changed * 10 ** (gain_db / 20), -1, 1).astype(np.float32)


def add_room(wave: np.ndarray, rng: np.random.Generator, length_s: float, level: float) -> np.ndarray:
    """(S,) float32 with the echo of a small room, which dies away over `length_s`; the direct sound is not delayed."""
    tail = int(SPEECH_RATE_HZ * length_s)
    echo = rng.standard_normal(tail) * np.exp(-np.arange(tail) / (tail / 6)) * level
    echo[0] = 1
    size = 2 ** int(np.ceil(np.log2(len(wave) + tail)))
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(echo, size), size)[: len(wave)].astype(np.float32)


def _tilted(wave: np.ndarray, tilt_db: float) -> np.ndarray:
    """Gain of `tilt_db` an octave about 1 kHz, held below 125 Hz; zero phase."""
    spectrum = np.fft.rfft(wave)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / SPEECH_RATE_HZ), 125.0) / 1000)
    return np.fft.irfft(spectrum * 10 ** (tilt_db * octaves / 20), len(wave))
