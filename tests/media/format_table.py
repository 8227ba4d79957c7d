"""Round trips of films of many kinds, compared property by property.

`PYTHONPATH=tests python tests/media/format_table.py > docs/formats.md` writes the page; `test_format_table.py` holds it
to what happens today.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from latentsync.media.information import MediaInfo, probe
from latentsync.media.reader import VideoReader
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import make_film, number_of, tone, vary

os.environ.setdefault("SVT_LOG", "1")
NUM_FRAMES, SIZE = 12, (128, 80)
PICTURES = {
    (".m4v",): {"libx264": ("yuv420p", "yuv444p")},
    (".mp4", ".mov", ".mkv"): {
        "libx264": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"),
        "libx265": ("yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p"),
    },
    (".mov", ".mkv"): {"prores_ks": ("yuv422p10le", "yuv444p10le", "yuva444p10le")},
    (".mp4", ".mkv", ".webm"): {"libvpx-vp9": ("yuv420p", "yuv444p"), "libsvtav1": ("yuv420p", "yuv420p10le")},
    (".webm", ".mkv"): {"libvpx": ("yuv420p",)},
    (".mkv",): {"ffv1": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuva420p", "bgra", "gray"),
                "mpeg2video": ("yuv420p", "yuv422p"), "mjpeg": ("yuvj420p", "yuvj444p")},
    (".avi",): {"libx264": ("yuv420p",), "mpeg4": ("yuv420p",), "ffv1": ("yuv420p", "yuv422p"), "mjpeg": ("yuvj420p",)},
    (".ts",): {"libx264": ("yuv420p",), "mpeg2video": ("yuv420p",), "libx265": ("yuv420p10le",)},
}  # fmt: skip
RATES: tuple[Fraction | None, ...] = (
    Fraction(25), Fraction(30000, 1001), Fraction(24), Fraction(60), None, Fraction(24000, 1001), Fraction(50),
)  # fmt: skip
"""None = a variable one."""
AAC, AC3 = ("aac", 48000, "stereo"), ("ac3", 48000, "5.1")
SOUNDS: dict[str, tuple[tuple[str, int, str] | None, ...]] = {
    ".mp4": (AAC, None, ("aac", 44100, "mono"), AC3, ("libmp3lame", 44100, "stereo"), ("libopus", 48000, "5.1"),
             ("flac", 96000, "stereo"), ("alac", 48000, "stereo")),
    ".mov": (AAC, ("pcm_s16le", 48000, "stereo"), ("pcm_s24le", 48000, "5.1"), None, AC3),
    ".m4v": (AAC, AC3, None, ("alac", 44100, "mono")),
    ".mkv": (AAC, ("libopus", 48000, "stereo"), ("flac", 44100, "stereo"), ("libopus", 48000, "mono"), None,
             ("pcm_s24le", 96000, "stereo"), ("libmp3lame", 22050, "mono"), AC3),
    ".webm": (("libopus", 48000, "stereo"), ("libopus", 48000, "mono"), None, ("libopus", 48000, "5.1")),
    ".avi": (("pcm_s16le", 44100, "stereo"), ("libmp3lame", 48000, "stereo"), None),
    ".ts": (AAC, ("mp2", 48000, "stereo"), AC3),
}  # fmt: skip
OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "12"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "10"},
    "libvpx": {"deadline": "realtime", "b": "4M"},
    "libsvtav1": {"preset": "10"},
    "mpeg4": {"qscale": "2"},
    "mpeg2video": {"b": "6M"},
}
ONE_TICK = ("mpeg2video", "mpeg4", "mjpeg")
"""Encoders that take no finer clock than their frames."""
EACH = 3
"""Rates and sounds that each kind of picture is tried with."""


@dataclass(frozen=True)
class Case:
    """One kind of film. `fps` None = variable; `sound`: encoder, Hz, layout; None = without."""

    suffix: str
    codec: str
    pixel_format: str
    fps: Fraction | None
    sound: tuple[str, int, str] | None

    @property
    def cells(self) -> tuple[str, ...]:
        rate = "varies" if self.fps is None else f"{float(self.fps):.5g}"
        sound = "none" if self.sound is None else f"{self.sound[0]} {self.sound[1] / 1000:g} kHz {self.sound[2]}"
        return self.suffix, self.codec, self.pixel_format, rate, sound


def cases() -> Iterator[Case]:
    """All of them, each kind of picture with rates and sounds in turn."""
    rates = cycle(RATES)
    sounds = {suffix: cycle(kinds) for suffix, kinds in SOUNDS.items()}
    for suffixes, codecs in PICTURES.items():
        for suffix in suffixes:
            for codec, formats in codecs.items():
                for pixel_format in formats:
                    for _ in range(EACH):
                        fps = next(rates)
                        if fps is None and (suffix in (".avi", ".ts") or codec == "mpeg2video"):
                            fps = next(rates)  # one rate is all that these have
                        if codec in ("mpeg2video", "mpeg4") and fps == 60:
                            fps = Fraction(50)
                        yield Case(suffix, codec, pixel_format, fps, next(sounds[suffix]))


def make(case: Case, folder: Path, number: int) -> Path:
    """The film, made with PyAV."""
    rate, layout = (48000, "stereo") if case.sound is None else case.sound[1:]
    fps = case.fps or Fraction(25)
    times = vary(NUM_FRAMES) if case.fps is None else None
    seconds = float(times[-1] if times else NUM_FRAMES / fps) + 0.04
    sound = tone(seconds, rate, len(av.AudioLayout(layout).channels)) if case.sound else None
    in_frames = times is None and (case.suffix == ".avi" or case.codec in ONE_TICK)
    options = {"bf": "0"} if case.suffix == ".avi" and case.codec == "libx264" else OPTIONS.get(case.codec)
    return make_film(
        folder / f"{number}{case.suffix}", NUM_FRAMES, fps, times, SIZE, case.codec, case.pixel_format, options,
        time_base=1 / fps if in_frames else None, sound=sound, sound_codec=case.sound[0] if case.sound else "aac",
        sound_rate_hz=rate, sound_layout=layout,
    )  # fmt: skip


def round_trip(source: Path, out: Path) -> tuple[MediaInfo, MediaInfo]:
    """Read and written as a run does that edits nothing."""
    before = probe(source)
    assert before.video is not None
    audio = None if before.audio is None else AudioPlan(source)
    with VideoReader(source) as reader, VideoWriter(out, reader.info, audio=audio) as writer:
        for frame in reader:
            writer.write(frame)
    return before, probe(out)


def changes(source: Path, out: Path, before: MediaInfo, after: MediaInfo) -> list[str]:
    """What is not as it was, in words."""
    a, b = before.video, after.video
    assert a is not None and b is not None
    pairs: list[tuple[str, object, object]] = [
        ("codec", a.codec.removeprefix("lib"), b.codec.removeprefix("lib")),
        ("pixels", a.pix_fmt, b.pix_fmt),
        ("size", (a.width, a.height), (b.width, b.height)),
        ("pixel shape", a.sample_aspect, b.sample_aspect),
    ]
    if before.audio is not None:
        assert after.audio is not None
        x, y = before.audio, after.audio
        pairs += [("sound", x.codec, y.codec), ("Hz", x.rate_hz, y.rate_hz), ("channels", x.layout, y.layout)]
    told = [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
    with VideoReader(source) as old, VideoReader(out) as new:
        frames = list(zip(old, new, strict=True))
        first = frames[0][0].time_s - frames[0][1].time_s
        late = max(abs(x.time_s - y.time_s - first) for x, y in frames)
        if [number_of(y.picture.rgb()) for _, y in frames] != list(range(NUM_FRAMES)):
            told.append("frames")
        if late > Fraction(1, 1000):
            told.append(f"times by up to {float(late * 1000):.1f} ms")
        if abs(first) > Fraction(1, 1000):
            told.append(f"start by {float(-first * 1000):+.0f} ms")
        squares = [np.square(x.picture.rgb().astype(float) - y.picture.rgb()).mean() for x, y in frames]
        if 10 * np.log10(255**2 / max(float(np.mean(squares)), 1e-9)) < 34:
            told.append("picture below 34 dB")
    return told


def rows(only: slice = slice(None)) -> Iterator[str]:
    """Lines of the table."""
    with TemporaryDirectory() as folder:
        for number, case in list(zip(count(), cases()))[only]:
            source = make(case, Path(folder), number)
            suffix = ".mp4" if case.suffix == ".ts" else case.suffix
            out = Path(folder) / f"{number}_out{suffix}"
            found = changes(source, out, *round_trip(source, out))
            yield f"| {' | '.join(case.cells)} | {suffix} | {', '.join(found) or 'as it was'} |"
            source.unlink()
            out.unlink()


HEAD = f"""# Formats

Films of {{num}} kinds, read and written as a run does that edits nothing, and compared: codec, pixel format, size,
pixel shape, order and times of {NUM_FRAMES} numbered frames, the picture (at least 34 dB), and the sound's codec, rate
and channels. Codecs that a container cannot hold, or that nobody encodes any more, become its own
(`media/codecs.py`). `.ts` is read, not written. Written by `PYTHONPATH=tests python tests/media/format_table.py`;
`tests/media/test_format_table.py` fails where a line is not true any more.

| from | encoder | pixels | fps | sound | to | changed |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    lines = list(rows())
    return HEAD.format(num=len(lines)) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
