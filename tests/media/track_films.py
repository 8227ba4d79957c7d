"""A film with several sound tracks, each its own tone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from synth_media import numbered_rgb, tone

TRACKS = (("eng", 300.0, False), ("deu", 900.0, True), ("fra", 2000.0, False))
DEFAULT = 1
"""FFmpeg's AV_DISPOSITION_DEFAULT."""


def make_tracks(
    path: Path, tracks: Sequence[tuple[str, float, bool]] = TRACKS, seconds: float = 1.0, codec: str = "aac"
) -> Path:
    """Args: tracks: language, tone in Hz, marked default."""
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        streams = []
        for language, _, is_default in tracks:
            stream = file.add_stream(codec, rate=48000)
            stream.codec_context.layout = "mono"
            stream.metadata["language"] = language
            stream.disposition = DEFAULT if is_default else 0
            streams.append(stream)
        for number in range(round(25 * seconds)):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(numbered_rgb(number), "rgb24")))
        file.mux(picture.encode(None))
        for stream, (_, hz, _) in zip(streams, tracks, strict=True):
            wave = tone(seconds, 48000, 1, hz)
            for start in range(0, wave.shape[1], 4096):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 4096]), "fltp", "mono")
                frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), start
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


def hz_of(wave: np.ndarray, rate_hz: int = 16000) -> float:
    """The strongest tone in (S,) samples."""
    return float(np.abs(np.fft.rfft(wave)).argmax() * rate_hz / len(wave))
