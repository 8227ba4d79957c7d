"""Films and sounds of all kinds through the whole pipeline: rates, shapes, channels, lengths."""

from __future__ import annotations

import json
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from whole_runs import SIZE, WAVE, arrays, film, pictures, sound, times

import planted
import synth_media
from latentsync.config.options import SyncOptions
from latentsync.core.errors import EmptyAudioError, MediaError, NoFaceError
from latentsync.media import VideoReader, read_audio
from latentsync.media.information import probe
from latentsync.pipeline import Lipsync
from latentsync.pipeline.plan import one_speech
from latentsync.pipeline.preflight import large_face_words
from latentsync.pipeline.result import Result
from latentsync.pipeline.speech import length_words


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_the_frame_rate_is_kept(model: Lipsync, tmp_path: Path, fps: Fraction) -> None:
    video = planted.film(tmp_path / "a.mp4", arrays(24), fps)
    speech = sound(tmp_path / "s.wav", 0.4)
    result = model(video, speech, tmp_path / "o.mp4")
    made = times(tmp_path / "o.mp4")
    assert result.num_frames == len(made) == len([t for t in times(video) if t < Fraction(2, 5)])
    assert made == times(video)[: len(made)]
    assert result.num_edited == result.num_frames


def test_fast_frames_are_dealt_into_sets_that_hear_their_own_time(model: Lipsync) -> None:
    """At 50 fps each second frame makes a set of its own: the first set is what 25 fps gives."""
    fast = list(model.stream(arrays(8), WAVE, fps=50))
    slow = list(model.stream(arrays(4), WAVE, fps=25, seed=1247))
    # both hear times 0, 0.04, … in frames 0, 2, …; noise is one map for all frames
    assert all((a == b).all() for a, b in zip(fast[::2], slow, strict=True))


def timed_film(path: Path, stamps: list[Fraction]) -> Path:
    """One planted face on frames at those times."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, rgb in zip(stamps, arrays(len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_the_result_tells_what_the_video_loses(model: Lipsync, tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("prores_ks", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuva444p10le"
        for number, rgb in enumerate(arrays(4)):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuva444p10le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    result = model(path, sound(tmp_path / "s.wav", 0.16), tmp_path / "o.mp4")
    assert any("transparency" in warning for warning in result.warnings)
    result = model(path, sound(tmp_path / "s.wav", 0.16), tmp_path / "o.mov")
    assert not any("transparency" in warning for warning in result.warnings)
    assert probe(tmp_path / "o.mov").video.pix_fmt.startswith("yuva444p1")  # type: ignore[union-attr]


def test_variable_rate_survives(model: Lipsync, tmp_path: Path) -> None:
    video = timed_film(tmp_path / "a.mkv", synth_media.vary(12))
    result = model(video, sound(tmp_path / "s.wav", 2.0), tmp_path / "o.mkv", length="video")
    assert times(tmp_path / "o.mkv") == times(video)
    assert result.num_edited == 12


def test_at_a_variable_rate_nothing_of_the_speech_is_cut(model: Lipsync, tmp_path: Path) -> None:
    """1 s at 10 fps, then 1.2 s at 50 fps: the average says nothing about the first second."""
    stamps = [Fraction(n, 10) for n in range(10)] + [1 + Fraction(n, 50) for n in range(60)]
    video = timed_film(tmp_path / "a.mp4", stamps)
    result = model(video, sound(tmp_path / "s.wav", 1.0), tmp_path / "o.mp4", keep_audio="encode")
    assert (result.num_frames, result.duration_s, result.fps) == (10, 1.0, 10)
    made = probe(tmp_path / "o.mp4")
    assert made.video is not None and made.audio is not None
    assert float(made.video.duration_s or 0) == pytest.approx(1.0, abs=0.001)
    assert len(read_audio(tmp_path / "o.mp4")) / 16000 == pytest.approx(1.0, abs=0.025)


def test_a_turned_phone_video_comes_out_upright(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video = synth_media.make_film(tmp_path / "a.mp4", 10, size=(96, 64), turn_stored=1)
    upright = pictures(video)
    assert upright[0].shape == (64, 96, 3)
    with pytest.raises(NoFaceError):  # upright, but nobody in it
        model(video, speech, tmp_path / "o.mp4")
    tall = [np.ascontiguousarray(np.rot90(p, 1)) for p in arrays(10)]
    stored = planted.film(tmp_path / "b.mp4", tall)
    synth_media._say_rotation(stored, 1, (tall[0].shape[1], tall[0].shape[0]))
    result = model(stored, speech, tmp_path / "o.mp4")
    assert result.num_edited == 10
    assert pictures(tmp_path / "o.mp4")[0].shape[:2] == SIZE[::-1]


def test_sound_of_six_channels_is_kept(model: Lipsync, tmp_path: Path) -> None:
    speech = sound(tmp_path / "s.m4a", 0.4, 6, "aac")
    model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as file:
        assert file.streams.audio[0].codec_context.layout.name == "5.1"


def test_a_video_without_sound_is_fine_and_a_sound_file_without_sound_is_not(
    model: Lipsync, tmp_path: Path, speech: Path
) -> None:
    video = film(tmp_path / "a.mp4")
    assert model(video, speech, tmp_path / "o.mp4").num_edited == 10
    with pytest.raises(MediaError, match=r"a\.mp4.*no sound"):
        model(video, video, tmp_path / "p.mp4")
    with pytest.raises(MediaError, match=r"speech\.wav.*no picture"):
        model(speech, speech, tmp_path / "p.mp4")
    empty = tmp_path / "e.wav"
    with wave.open(str(empty), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    with pytest.raises((EmptyAudioError, MediaError), match=r"e\.wav"):
        model(video, empty, tmp_path / "p.mp4")
    assert not (tmp_path / "p.mp4").exists()


@pytest.mark.parametrize(
    ("length", "seconds", "frames"),
    [
        ("audio", 0.2, 5), ("audio", 0.8, 20), ("video", 0.2, 10), ("video", 0.8, 10), ("loop", 0.8, 20),
        ("ping_pong", 0.8, 20), ("hold", 0.8, 20), ("hold", 0.2, 10),
    ],
)  # fmt: skip
def test_the_result_is_as_long_as_asked(
    model: Lipsync, tmp_path: Path, length: str, seconds: float, frames: int
) -> None:
    speech = sound(tmp_path / "s.wav", seconds)
    result = model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", length=length)
    assert result.num_frames == len(times(tmp_path / "o.mp4")) == frames
    assert any("cut" in text for text in result.warnings) == (length == "video" and seconds > 0.4)


def test_a_run_warns_of_lengths_and_of_a_large_face_as_inspect_does(model: Lipsync, tmp_path: Path) -> None:
    files = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 1.2), tmp_path / "o.mp4"
    told = model(*files).warnings
    assert sum("runs on backwards and forwards (see --length" in text for text in told) == 1
    assert not any("backwards" in text for text in model(*files, length="hold").warnings)
    assert length_words(Fraction(4), Fraction(1))[0].endswith("(--length video keeps it).")
    assert length_words(Fraction(1, 25), Fraction(9)) == []  # a picture
    assert large_face_words(1.2, 256) == []
    assert large_face_words(2.0, 256) == [
        "the face is 2.0 times larger than the model's 256 px: expect a softer mouth."
    ]


@pytest.mark.parametrize("length", ["hold", "loop", "ping_pong"])
@pytest.mark.parametrize(("end_s", "seconds", "frames"), [(5, 0.2, 10), (5, 0.8, 20), ("0.2", 0.32, 8)])
def test_an_end_beyond_the_video_does_not_lengthen_it(
    model: Lipsync, tmp_path: Path, length: str, end_s: int | str, seconds: float, frames: int
) -> None:
    """The part to fill up is what there is of it: to the end of the video, or of the speech if that is later."""
    speech = sound(tmp_path / "s.wav", seconds)
    made = model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", length=length, end_s=Fraction(end_s))
    assert made.num_frames == len(times(tmp_path / "o.mp4")) == frames
    assert ("the video ends at 0.4 s, before --end 5" in made.warnings) == (end_s == 5)


def test_one_frame_is_enough(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    result = model(film(tmp_path / "a.mp4", 1), speech, tmp_path / "o.mp4", length="video")
    assert (result.num_frames, result.num_edited) == (1, 1)
    assert model(film(tmp_path / "a.mp4", 1), speech, tmp_path / "o.mp4").num_frames == 10


def test_a_part_of_the_video_can_be_taken(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    pictures_ = arrays(5, []) + arrays(10)
    video = planted.film(tmp_path / "a.mp4", pictures_)
    result = model(video, speech, tmp_path / "o.mp4", start_s=Fraction(1, 5), length="video")
    assert (result.num_frames, result.num_edited) == (10, 10)


def test_paths_with_spaces_and_other_letters(model: Lipsync, tmp_path: Path) -> None:
    folder = tmp_path / "mein Film – 映画"
    folder.mkdir()
    result = model(film(folder / "ein Gesicht.mp4"), sound(folder / "söund file.wav", 0.2), folder / "ergebnis ü.mp4")
    assert result.out_path.exists()
    assert isinstance(result, Result)
    assert json.dumps(result.as_dict())


@pytest.mark.parametrize(("seconds", "num_frames"), [(1.0, 25), (1.009, 26), (0.961, 25), (0.96, 24)])
@pytest.mark.parametrize("length", ["audio", "hold"])
def test_no_sample_of_the_speech_is_cut(
    model: Lipsync, tmp_path: Path, seconds: float, num_frames: int, length: str
) -> None:
    speech = sound(tmp_path / "s.wav", seconds)
    result = model(film(tmp_path / "a.mp4", 3), speech, tmp_path / "o.avi", length=length, keep_audio="encode")
    assert result.num_frames == num_frames
    assert len(read_audio(tmp_path / "o.avi")) >= round(seconds * 16000)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_films_own_sound_adds_no_frame(tmp_path: Path, suffix: str) -> None:
    """AAC fills its last packet: 2 s come as 2.005 s."""
    video = synth_media.make_film(tmp_path / f"a{suffix}", 50, sound=synth_media.tone(2.0))
    with VideoReader(video) as reader:
        script = one_speech(video, reader, SyncOptions())
        assert len(list(script.frames)) == 50


def test_rounded_rates_add_no_frame(tmp_path: Path) -> None:
    """101 frames at 59.94 are 80880.8 samples at 48 kHz: sound of 80881 is as long."""
    rate = Fraction(60000, 1001)
    video = synth_media.make_film(tmp_path / "a.mp4", 101, rate, time_base=Fraction(1, 60000))
    speech = sound(tmp_path / "s.wav", 80881 / 48000)
    with VideoReader(video) as reader:
        assert len(list(one_speech(speech, reader, SyncOptions()).frames)) == 101


def test_speech_cut_to_a_video_of_unknown_length_is_told(model: Lipsync, tmp_path: Path) -> None:
    """A photo, whose file tells no length."""
    cv2.imwrite(str(tmp_path / "photo.png"), arrays(1)[0][..., ::-1])
    speech = sound(tmp_path / "s.wav", 1.0)
    result = model(tmp_path / "photo.png", speech, tmp_path / "o.mp4", length="video")
    assert result.num_frames == 1
    assert "the speech is 0.96 s longer than the video and was cut" in result.warnings
    whole = model(tmp_path / "photo.png", speech, tmp_path / "o.mp4")
    assert whole.num_frames == 25 and not any("was cut" in text for text in whole.warnings)
