"""Films that once went wrong or nearly: a still end, wide pixels, a face at the edge, noise before the speech."""

from __future__ import annotations

from fractions import Fraction
from importlib import resources
from pathlib import Path

import av
import numpy as np
import pytest
import whole_runs

import planted
from latentsync.audio.activity import speech_activity
from latentsync.media import AudioReader, read_audio, write_wav
from latentsync.media.information import probe
from latentsync.pipeline import Lipsync

SPEECH = Path(str(resources.files("latentsync") / "assets" / "sample" / "speech.wav"))


def test_a_film_that_stands_still_at_its_end_is_edited_to_its_end(model: Lipsync, tmp_path: Path) -> None:
    moving = [planted.picture(whole_runs.SIZE, [(60 + n, 60, 80)]) for n in range(10)]
    video = planted.film(tmp_path / "freeze.mp4", [*moving, *[moving[-1]] * 30])
    result = model(video, whole_runs.sound(tmp_path / "s.wav", 1.6), tmp_path / "o.mp4")
    assert (result.num_frames, result.num_edited) == (40, 40)
    assert whole_runs.times(tmp_path / "o.mp4") == whole_runs.times(video)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_pixels_that_are_not_square_stay_so(model: Lipsync, tmp_path: Path, suffix: str) -> None:
    video = tmp_path / f"wide{suffix}"
    with av.open(str(video), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *whole_runs.SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        for rgb in whole_runs.arrays(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        file.mux(stream.encode(None))
    result = model(video, whole_runs.sound(tmp_path / "s.wav", 0.2), tmp_path / f"o{suffix}")
    made = probe(result.out_path).video
    assert made is not None and (made.sample_aspect, made.width, made.height) == (Fraction(64, 45), 160, 120)
    assert result.num_edited == 5


@pytest.mark.parametrize("x", [10, 150])
def test_a_face_at_the_edge_is_edited_inside_the_picture(model: Lipsync, tmp_path: Path, x: int) -> None:
    video = planted.film(tmp_path / "edge.mp4", [planted.picture(whole_runs.SIZE, [(x, 60, 80)])] * 5)
    result = model(video, whole_runs.sound(tmp_path / "s.wav", 0.2), tmp_path / "o.mp4")
    assert result.num_frames == 5 and result.num_edited + result.num_without_face == 5
    assert whole_runs.pictures(tmp_path / "o.mp4")[0].shape == (120, 160, 3)


def test_speech_is_found_after_noise(model: Lipsync, tmp_path: Path) -> None:
    """Pink noise of −20 dB, then a real voice."""
    spectrum = np.fft.rfft(np.random.default_rng(5).normal(0, 1, 48000))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)))
    noise = (pink / pink.std() * 0.06).astype(np.float32)
    write_wav(tmp_path / "s.wav", np.concatenate([noise, read_audio(SPEECH)[:48000]]))
    spans = speech_activity(AudioReader(tmp_path / "s.wav").blocks()).spans
    assert any(2.9 < start < 3.7 and end > start + 1 for start, end in spans)
    result = model(whole_runs.film(tmp_path / "v.mp4"), tmp_path / "s.wav", tmp_path / "o.mp4", length="video")
    assert not any("no speech is heard" in warning for warning in result.warnings)
