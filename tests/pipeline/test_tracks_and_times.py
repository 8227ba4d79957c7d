"""Sound tracks, timecode and the start of a speech through whole runs."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import whole_runs

import micro_model
import planted
import synth_media
from latentsync.config.plan import load_plan
from latentsync.core.errors import ConfigError, EmptyAudioError, MediaError
from latentsync.media import read_audio, write_wav
from latentsync.media.information import probe
from latentsync.pipeline import Lipsync
from latentsync.pipeline.preflight import look


def many_tracks(path: Path) -> Path:
    """0.8 s of three tones: eng 300 Hz, deu 900 Hz (default), fra 2000 Hz."""
    with av.open(str(path), "w") as file:
        for number, language in enumerate(("eng", "deu", "fra")):
            stream = file.add_stream("pcm_s16le", rate=16000)
            stream.codec_context.layout = "mono"
            stream.metadata["language"] = language
            stream.disposition = int(number == 1)
        for number, hz in enumerate((300, 900, 2000)):
            wave = (synth_media.tone(0.8, 16000, 1, hz) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            file.mux(file.streams.audio[number].encode(frame))
    return path


def hz_of(path: Path) -> float:
    wave = read_audio(path)
    return float(np.abs(np.fft.rfft(wave)).argmax() * 16000 / len(wave))


@pytest.mark.parametrize(("track", "hz"), [(None, 900), ("fr", 2000), (0, 300)])
def test_the_chosen_track_is_spoken_and_all_are_named(
    model: Lipsync, tmp_path: Path, track: str | int | None, hz: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "latentsync")
    video, speech = whole_runs.film(tmp_path / "v.mp4"), many_tracks(tmp_path / "s.mkv")
    model(video, speech, tmp_path / "o.mp4", length="video", audio_track=track)
    assert hz_of(tmp_path / "o.mp4") == pytest.approx(hz, abs=10)
    assert "of 0 (eng, mono), 1 (deu, mono, default), 2 (fra, mono)" in caplog.text


def test_a_plan_chooses_a_track_for_each_speech(model: Lipsync, tmp_path: Path) -> None:
    video, speech = whole_runs.film(tmp_path / "v.mp4", 20), many_tracks(tmp_path / "s.mkv")
    path = tmp_path / "p.csv"
    path.write_text(f"audio,start,end,audio_track\n{speech},0,0.4,fra\n{speech},0.4,0.8,0\n")
    model(video, out=tmp_path / "o.mkv", plan=path)
    wave = read_audio(tmp_path / "o.mkv")
    halves = [np.abs(np.fft.rfft(half)).argmax() * 16000 / 6000 for half in (wave[200:6200], wave[6600:12600])]
    assert halves == pytest.approx([2000, 300], abs=10)


def test_a_track_that_is_not_there_leaves_nothing(model: Lipsync, tmp_path: Path) -> None:
    video, speech = whole_runs.film(tmp_path / "v.mp4"), many_tracks(tmp_path / "s.mkv")
    with pytest.raises(MediaError, match="no sound track 'spa'"):
        model(video, speech, tmp_path / "o.mp4", audio_track="spa")
    assert not (tmp_path / "o.mp4").exists()
    with pytest.raises(ConfigError):
        model(video, speech, tmp_path / "o.mp4", audio_track=-1)


def test_inspect_tells_tracks_and_that_nobody_speaks(tmp_path: Path) -> None:
    video, speech = whole_runs.film(tmp_path / "v.mp4"), many_tracks(tmp_path / "s.mkv")
    found = look(video, speech, "fra", tracker=planted.PlantedTracker())
    assert [each.language for each in found.sounds] == ["eng", "deu", "fra"]
    assert any("no speech is heard in s.mkv" in warning for warning in found.warnings)


def without_length(path: Path) -> Path:
    """A planted face as a browser records it: WebM to a pipe, without a length."""
    made = planted.film(path.with_suffix(".mp4"), whole_runs.arrays(40))
    with av.open(str(made)) as source, path.open("wb") as raw:
        pipe = type("Pipe", (), {"write": lambda _, data: raw.write(data)})()
        with av.open(pipe, "w", format="webm") as file:
            stream = file.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "crf": "10"})
            stream.width, stream.height, stream.pix_fmt = *whole_runs.SIZE, "yuv420p"
            for frame in source.decode(video=0):
                frame.pict_type = 0
                file.mux(stream.encode(frame.reformat(format="yuv420p")))
            file.mux(stream.encode(None))
    return path


def test_a_film_without_a_length_is_looked_at_as_a_run_edits_it(model: Lipsync, tmp_path: Path) -> None:
    path = without_length(tmp_path / "recorder.webm")
    with av.open(str(path)) as file:
        assert not file.duration
    found = look(path, tracker=planted.PlantedTracker())
    assert len(found.samples) == found.num_with_face == 32
    assert found.duration_s is not None and abs(found.duration_s - Fraction(8, 5)) < Fraction(1, 20)
    speech = whole_runs.sound(tmp_path / "s.wav", 2.0)
    result = model(path, speech, tmp_path / "o.mp4", length="hold")
    assert (result.num_frames, result.num_edited) == (50, 50)


def test_a_picture_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = *whole_runs.SIZE, "rgb24"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(whole_runs.arrays(1)[0], "rgb24")))
        file.mux(stream.encode(None))
    found = look(path, tracker=planted.PlantedTracker())
    assert (len(found.samples), found.num_with_face) == (1, 1)


@pytest.mark.parametrize(("first", "fps", "start_s", "then"), [
    ("01:00:00:00", Fraction(25), None, "01:00:00:00"),
    ("01:00:00:00", Fraction(25), Fraction(1, 5), "01:00:00:05"),
    ("01:00:59;28", Fraction(30000, 1001), Fraction(1, 10), "01:01:00;03"),
])  # fmt: skip
def test_timecode_is_kept_and_moved_on_by_start(
    model: Lipsync, tmp_path: Path, first: str, fps: Fraction, start_s: Fraction | None, then: str
) -> None:
    video = tmp_path / "v.mov"
    plain = planted.film(tmp_path / "plain.mp4", whole_runs.arrays(16), fps)
    with av.open(str(plain)) as source, av.open(str(video), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        stream.metadata["timecode"] = first
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    assert probe(video).timecode == first
    result = model(video, whole_runs.sound(tmp_path / "s.wav", 0.2), tmp_path / "o.mov", start_s=start_s)
    assert probe(tmp_path / "o.mov").timecode == then
    assert not any("timecode" in warning for warning in result.warnings)


def test_a_speech_from_a_moment_on(model: Lipsync, tmp_path: Path) -> None:
    wave = np.concatenate([synth_media.tone(0.3, 16000, 1, 300), synth_media.tone(0.3, 16000, 1, 2000)], axis=1)
    write_wav(tmp_path / "s.wav", wave)
    video = whole_runs.film(tmp_path / "v.mp4")
    result = model(video, tmp_path / "s.wav", tmp_path / "o.mkv", audio_start_s=0.32)
    assert result.num_frames == 7 and hz_of(tmp_path / "o.mkv") == pytest.approx(2000, abs=20)
    with pytest.raises(EmptyAudioError, match=r"ends at 0\.6 s"):
        model(video, tmp_path / "s.wav", tmp_path / "o2.mkv", audio_start_s=1)
    (tmp_path / "p.csv").write_text("audio\ns.wav\n")
    with pytest.raises(ConfigError, match="audio_start"):
        model(video, out=tmp_path / "o2.mkv", plan=load_plan(tmp_path / "p.csv"), audio_start_s=0)


@pytest.fixture(scope="module")
def model() -> Lipsync:
    return micro_model.lipsync(planted.PlantedTracker())


def test_what_a_film_has_beside_goes_along_or_is_told(model: Lipsync, tmp_path: Path) -> None:
    """A German sound track and subtitles beside the English sound that is spoken over; a loop does not repeat them."""
    video = tmp_path / "v.mkv"
    plain = planted.film(tmp_path / "plain.mp4", whole_runs.arrays(10))
    with av.open(str(plain)) as source, av.open(str(video), "w") as file:
        picture = file.add_stream_from_template(source.streams.video[0])
        for language in ("eng", "deu"):
            stream = file.add_stream("pcm_s16le", rate=16000)
            stream.codec_context.layout = "mono"
            stream.metadata["language"], stream.disposition = language, int(language == "eng")
        words = file.add_mux_stream("subrip")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                file.mux(packet)
        for number, hz in enumerate((300, 900)):
            wave = (synth_media.tone(0.4, 16000, 1, hz) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            file.mux(file.streams.audio[number].encode(frame))
        packet = av.Packet(b"Hello")
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts, packet.dts, packet.duration = 100, 100, 90
        file.mux(packet)
    speech = whole_runs.sound(tmp_path / "s.wav", 0.8)
    result = model(video, speech, tmp_path / "o.mkv")
    with av.open(str(tmp_path / "o.mkv")) as file:
        lines = [bytes(packet) for packet in file.demux(file.streams.subtitles[0]) if packet.size]
    others = [text for text in result.warnings[1:] if "softer mouth" not in text]
    assert result.num_frames == 20 and lines == [b"Hello"] and others == []
    assert [each.language for each in probe(tmp_path / "o.mkv").sounds] == ["", "deu"]
    assert 5900 < np.abs(read_audio(tmp_path / "o.mkv", track="deu") > 0.05).nonzero()[0].max() < 6500
    result = model(video, speech, tmp_path / "o.avi")
    assert any("subrip subtitles: cannot lie in .avi" in warning for warning in result.warnings)
    model(video, speech, tmp_path / "speech.mkv", tracks="speech")
    with av.open(str(tmp_path / "speech.mkv")) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
