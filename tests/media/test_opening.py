"""What is no media says what it is, wherever it is passed as a picture or a sound."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
from small_films import make_late

from latentsync.core.errors import MediaError
from latentsync.media.audio import AudioReader
from latentsync.media.information import probe
from latentsync.media.reader import VideoReader
from synth_media import make_film, make_sound, tone, truncate

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "7" * 64 + "\nsize 12345\n"
WRONG = {
    "lfs": (LFS, "Git LFS pointer"),
    "page": ("\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "xml": ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "empty": ("", "the file is empty"),
    "zeros": ("\0" * 5000, "nothing but zeros"),
    "text": ("this is not a film\n" * 50, "not a video or sound file"),
}


@pytest.mark.parametrize("suffix", [".mp4", ".wav"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_media_says_what_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    path.write_text(WRONG[kind][0])
    for read in (probe, VideoReader, AudioReader):
        with pytest.raises(MediaError, match=WRONG[kind][1]) as given:
            read(path)
        assert str(path) in str(given.value) and "\n" not in str(given.value)


def test_a_recording_that_was_not_finished_lacks_its_index(tmp_path: Path) -> None:
    path = truncate(make_film(tmp_path / "half.mp4", 50), 0.6)
    with pytest.raises(MediaError, match="moov"):
        probe(path)
    damaged = truncate(make_film(tmp_path / "film.mkv", 50), 0.01)
    with pytest.raises(MediaError, match="cut off"):
        probe(damaged)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(MediaError, match="a pipe"):
        probe(tmp_path / "pipe.wav")


def test_sound_that_begins_late_in_a_transport_stream_is_known(tmp_path: Path) -> None:
    media = probe(make_late(tmp_path / "late.ts", 8))
    assert media.audio is not None and media.audio.rate_hz == 16000
    assert abs(media.audio.start_s - 8) < Fraction(1, 20)


def test_a_still_picture_is_one_frame_long(tmp_path: Path) -> None:
    video = probe(make_film(tmp_path / "a.png", 1, codec="png", pixel_format="rgb24")).video
    assert video is not None and video.duration_s == 1 / video.fps


def test_a_sound_file_is_opened_as_before(tmp_path: Path) -> None:
    media = probe(make_sound(tmp_path / "a.wav", tone(0.5)))
    assert media.audio is not None and media.audio.duration_s == Fraction(1, 2)
