"""Small media files made in tests: numbered frames, tones, odd rates, late starts, rotation, damage.

The number of a frame is in its picture (a 4 × 3 board of black and white squares, top left) and can be read back after
any usual compression: `number_of(picture)`. Made with PyAV directly, not with the code under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BOARD_COLUMNS, BOARD_ROWS = 4, 3
WIDTH, HEIGHT = 96, 64


def numbered_rgb(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8: a smooth coloured ground that moves with the number, and the number's board."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = number * 0.15
    ground = [
        0.5 + 0.3 * np.sin(x / width * 4 + phase),
        0.5 + 0.3 * np.sin(y / height * 4 - phase),
        0.4 + 0.2 * x / width,
    ]
    picture = np.rint(np.stack(ground, axis=-1) * 255).astype(np.uint8)
    side = height // 4
    for bit in range(BOARD_COLUMNS * BOARD_ROWS):
        row, column = divmod(bit, BOARD_COLUMNS)
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = 255 * (number >> bit & 1)
    return picture


def number_of(rgb: np.ndarray) -> int:
    """The number in an (H, W, 3) uint8 picture."""
    side = rgb.shape[0] // 4
    number = 0
    for bit in range(BOARD_COLUMNS * BOARD_ROWS):
        row, column = divmod(bit, BOARD_COLUMNS)
        middle = rgb[row * side + side // 4 : row * side + 3 * side // 4, column * side + side // 4 :]
        number |= int(middle[:, : side // 2].mean() > 127) << bit
    return number


def tone(seconds: float, rate_hz: int = 48000, num_channels: int = 2, hz: float = 440.0) -> np.ndarray:
    """(channels, S) float32 sine of amplitude 0.5."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(0.5 * np.sin(2 * np.pi * hz * times).astype(np.float32), (num_channels, 1))


def make_film(
    path: Path,
    num_frames: int = 25,
    fps: Fraction | int = 25,
    times_s: Sequence[Fraction] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    time_base: Fraction | None = None,
    tags: dict[str, int] | None = None,
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    sound_rate_hz: int = 48000,
    sound_layout: str | None = None,
    sound_start_s: Fraction = Fraction(0),
    turn_stored: int = 0,
) -> Path:
    """Write numbered frames, and sound beside them.

    Args:
        times_s: of each frame, exact, instead of number / fps.
        size: width and height of the upright picture.
        tags: colour tags by the names of PyAV's codec context.
        sound: (channels, S) float32; None = no sound.
        sound_start_s: where the sound begins.
        turn_stored: quarters clockwise by which players have to turn the stored pictures: they are stored turned back,
            and the container says so (mp4 and mov only).
    """
    fps = Fraction(fps)
    times = [number / fps for number in range(num_frames)] if times_s is None else list(times_s)
    tick = time_base or Fraction(1, 90000)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=fps, options=options or {})
        stored = size if turn_stored % 2 == 0 else size[::-1]
        stream.width, stream.height, stream.pix_fmt = *stored, pixel_format
        stream.codec_context.time_base = tick
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        track = _add_sound(file, sound, sound_codec, sound_rate_hz, sound_layout)
        for number, time_s in enumerate(times):
            rgb = np.ascontiguousarray(np.rot90(numbered_rgb(number, *size), turn_stored))
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixel_format)
            for name in ("colorspace", "color_range"):
                if tags and name in tags:
                    setattr(frame, name, tags[name])
            frame.pts, frame.time_base = round(time_s / tick), tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if track is not None and sound is not None:
            _write_sound(file, track, sound, sound_start_s)
    if turn_stored % 4:
        _say_rotation(path, turn_stored % 4, stored)
    return path


def make_sound(
    path: Path, sound: np.ndarray, codec: str = "pcm_s16le", rate_hz: int = 48000, layout: str | None = None
) -> Path:
    """Write (channels, S) float32 sound alone."""
    with av.open(str(path), "w") as file:
        track = _add_sound(file, sound, codec, rate_hz, layout)
        assert track is not None
        _write_sound(file, track, sound, Fraction(0))
    return path


def vary(num_frames: int, fps: int = 25) -> list[Fraction]:
    """Times of a variable-rate film: every third frame stays twice as long, every fifth a half longer."""
    times, now = [], Fraction(0)
    for number in range(num_frames):
        times.append(now)
        now += Fraction(1, fps) * (Fraction(2) if number % 3 == 2 else Fraction(3, 2) if number % 5 == 4 else 1)
    return times


def truncate(path: Path, share: float) -> Path:
    """Cut a file off after this share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damage(path: Path, share: float, num_bytes: int = 400) -> Path:
    """Overwrite bytes in the middle of a file with noise that is the same every time."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start : start + num_bytes] = np.random.default_rng(7).integers(0, 256, num_bytes, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path


def _add_sound(
    file: av.container.OutputContainer, sound: np.ndarray | None, codec: str, rate_hz: int, layout: str | None
) -> av.AudioStream | None:
    if sound is None:
        return None
    track = file.add_stream(codec, rate=rate_hz)
    track.codec_context.layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[0]]
    return track


def _write_sound(
    file: av.container.OutputContainer, track: av.AudioStream, sound: np.ndarray, start_s: Fraction
) -> None:
    rate = track.codec_context.sample_rate
    layout = track.codec_context.layout.name
    for start in range(0, sound.shape[1], 4096):
        piece = np.ascontiguousarray(sound[:, start : start + 4096], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start + round(start_s * rate)
        file.mux(track.encode(frame))
    file.mux(track.encode(None))


def _say_rotation(path: Path, quarters: int, stored: tuple[int, int]) -> None:
    """Write the turn into the matrix of the first track header (ISO 14496-12, 8.3.2)."""
    one = 0x10000
    width, height = (side * one for side in stored)
    rows = {
        1: (0, one, 0, -one, 0, 0, height, 0),
        2: (-one, 0, 0, 0, -one, 0, width, height),
        3: (0, -one, 0, one, 0, 0, 0, width),
    }[quarters]
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 36] = np.array([*rows, 0x40000000], ">i4").tobytes()
    path.write_bytes(bytes(data))
