"""Sound beside written pictures: copied, encoded, cut."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from small_films import SMALL, copy, frames, make_late, nothing_left

from latentsync.core.errors import ConfigError, EmptyAudioError
from latentsync.media.audio import SoundDecoder, read_audio
from latentsync.media.information import probe
from latentsync.media.reader import VideoReader
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import make_film, make_sound, tone

SOUNDS = [("aac", ".m4a"), ("libmp3lame", ".mp3"), ("libopus", ".opus"), ("flac", ".flac"), ("pcm_s16le", ".wav")]
NAMES = {"libmp3lame": "mp3", "libopus": "opus"}
COPIED = {
    ".mp4": {"aac", "mp3", "opus", "flac"}, ".mov": {"aac", "mp3", "pcm_s16le"}, ".webm": {"opus"},
    ".mkv": {"aac", "mp3", "opus", "flac", "pcm_s16le"}, ".avi": {"mp3", "pcm_s16le"},
}  # fmt: skip
OTHERWISE = {".mp4": "aac", ".mov": "aac", ".webm": "opus", ".avi": "pcm_s16le"}


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


@pytest.mark.parametrize("suffix", list(COPIED))
@pytest.mark.parametrize(("encoder", "sound_suffix"), SOUNDS)
def test_sound_is_copied_where_the_container_can_hold_it(
    tmp_path: Path, suffix: str, encoder: str, sound_suffix: str
) -> None:
    codec = NAMES.get(encoder, encoder)
    sound = np.concatenate([np.zeros((2, 24000), np.float32), tone(1.5)], axis=1)  # starts at 0.5 s
    source = make_sound(tmp_path / f"speech{sound_suffix}", sound, encoder)
    with VideoWriter(tmp_path / f"out{suffix}", SMALL, audio=AudioPlan(source)) as writer:
        for frame in frames(40):
            writer.write(frame)
    media = probe(tmp_path / f"out{suffix}")
    assert media.audio is not None and media.video is not None
    if codec in COPIED[suffix]:
        assert media.audio.codec.removesuffix("float") == codec
        before, after = packets(source), packets(tmp_path / f"out{suffix}")
        if codec != "pcm_s16le":  # raw samples are packed anew
            says_so = suffix in (".mp4", ".mov") or codec in ("opus", "flac")
            run_ins = (0,) if says_so else (0, 1)  # of Matroska it depends on FFmpeg; the time below tells
            assert len(after) > 10 and any(after == before[n : len(after) + n] for n in run_ins)
        allowed_s = 0.06
    else:
        assert media.audio.codec.removesuffix("float") == OTHERWISE[suffix]
        allowed_s = 0.03  # the last packet is padded
    audio_features = read_audio(tmp_path / f"out{suffix}")
    assert len(audio_features) / 16000 == pytest.approx(1.6, abs=allowed_s)
    assert np.nonzero(np.abs(audio_features) > 0.1)[0][0] / 16000 == pytest.approx(0.5, abs=0.004)


def decoded(path: Path) -> np.ndarray:
    """(S,) of a mono file at 16 kHz, as it is decoded."""
    return np.concatenate(list(SoundDecoder(path, 16000, "mono").samples()), axis=1)[0]


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_copied_sound_is_the_same_to_the_sample(tmp_path: Path, source: str, target: str) -> None:
    """It is loud at once; packets of AAC at 16 kHz are 64 ms, which Matroska need not round."""
    sound = tone(2.0, 16000, 1, 197.0) + tone(2.0, 16000, 1, 1411.1) * np.linspace(1, 0, 32000, dtype=np.float32)
    film = make_film(tmp_path / f"in{source}", 50, sound=sound * 0.6, sound_rate_hz=16000)
    copy(film, tmp_path / f"out{target}", audio=AudioPlan(film))
    before, after = decoded(film), decoded(tmp_path / f"out{target}")
    spoilt = 1024 if (source, target) == (".mp4", ".mkv") else 0  # decoded without the run-in, see `CopiedTrack`
    assert len(after) == len(before)
    assert np.abs(after - before)[spoilt:].max() < 1e-3
    assert np.abs(before[:1024]).max() > 0.3


def test_the_last_packet_is_kept_where_the_source_tells_no_durations(tmp_path: Path) -> None:
    """PyAV 19 tells durations of ALAC, too: the result has to be the same."""
    sound = tone(1.9, 16000, 1, 197.0)
    film = make_film(tmp_path / "in.mkv", 50, sound=sound, sound_rate_hz=16000, sound_codec="alac")
    if int(av.__version__.split(".")[0]) < 19:
        with av.open(str(film)) as file:
            assert not any(packet.duration for packet in file.demux(audio=0) if packet.size)
    copy(film, tmp_path / "out.mp4", audio=AudioPlan(film))
    assert probe(tmp_path / "out.mp4").audio.codec == "alac"  # type: ignore[union-attr]
    before, after = decoded(film), decoded(tmp_path / "out.mp4")
    assert len(before) == len(sound[0])
    assert len(after) == len(before) and np.abs(after - before).max() < 1e-3


@pytest.mark.parametrize("start_s", [Fraction(16, 25), Fraction(1, 2), Fraction(3, 5)])
def test_a_part_copied_between_matroska_files_begins_within_a_packet_of_its_start(
    tmp_path: Path, start_s: Fraction
) -> None:
    """FFmpeg takes the run-in off the first packet of the part, too."""
    film = make_film(tmp_path / "in.mkv", 50, sound=tone(2.0, 16000, 1, 197.0), sound_rate_hz=16000)
    with VideoReader(film) as reader:
        plan = AudioPlan(film, start_s=start_s)
        with VideoWriter(tmp_path / "out.mkv", reader.info, audio=plan) as writer:
            for frame in frames(25):
                writer.write(frame)
    before, after = decoded(film)[round(start_s * 16000) :], decoded(tmp_path / "out.mkv")
    first = int(np.nonzero(after)[0][0])
    packets = -(-start_s // Fraction(1024, 16000))  # packets begin at whole ones
    assert first == pytest.approx((packets * Fraction(1024, 16000) - start_s) * 16000, abs=16)
    assert np.abs(after[first + 64 : 15000] - before[first + 64 : 15000]).max() < 1e-2
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert [frame.time_s for frame in reader] == [Fraction(n, 25) for n in range(25)]


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_packets_of_a_coarse_clock_are_written_end_to_end(tmp_path: Path, rate_hz: int) -> None:
    film = make_film(tmp_path / "in.mkv", 50, sound=tone(2.0, rate_hz), sound_rate_hz=rate_hz)
    copy(film, tmp_path / "out.mp4", audio=AudioPlan(film))
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.audio[0].time_base == Fraction(1, rate_hz)
        times = [packet.pts for packet in file.demux(audio=0) if packet.size]
    assert times == [1024 * n - 1024 for n in range(len(times))]


def test_sound_of_files_put_one_after_the_other_is_not_copied_with_their_clocks(tmp_path: Path) -> None:
    parts = [make_film(tmp_path / f"{hz}.ts", 75, sound=tone(3.0, hz=hz)) for hz in (440, 880)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoWriter(tmp_path / "out.mp4", SMALL, audio=AudioPlan(path)) as writer:
        for frame in frames(150):
            writer.write(frame)
    sound = read_audio(tmp_path / "out.mp4")
    assert len(sound) / 16000 == pytest.approx(6.0, abs=0.05)
    assert [np.abs(np.fft.rfft(sound[second * 16000 :][:16000])).argmax() for second in (1, 4)] == [440, 880]


def test_a_hole_in_copied_sound_stays_where_it_is(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mkv", 50, sound=tone(1.0), sound_codec="aac")
    with av.open(str(film)) as file, av.open(str(tmp_path / "holed.mkv"), "w") as holed:
        track = holed.add_stream_from_template(file.streams.audio[0])
        for number, packet in enumerate(file.demux(audio=0)):
            if packet.size:
                packet.pts = packet.dts = packet.pts + (300 if number >= 20 else 0)
                packet.stream = track
                holed.mux(packet)
    copy(film, tmp_path / "out.mp4", audio=AudioPlan(tmp_path / "holed.mkv"))
    with av.open(str(tmp_path / "out.mp4")) as file:
        times = [packet.pts for packet in file.demux(audio=0) if packet.size]
    assert times[:20] == [1024 * n - 1024 for n in range(20)]
    assert times[20] - times[19] == pytest.approx(1024 + 0.3 * 48000, abs=48)
    assert set(np.diff(times[20:])) == {1024}


@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_a_part_of_the_sound(tmp_path: Path, mode: str) -> None:
    sound = np.concatenate([np.zeros((2, 96000), np.float32), tone(2.0)], axis=1)  # starts at 2 s
    source = make_sound(tmp_path / "speech.m4a", sound, "aac")
    plan = AudioPlan(source, start_s=Fraction(3, 2), duration_s=Fraction(1), mode=mode)  # type: ignore[arg-type]
    with VideoWriter(tmp_path / "out.mp4", SMALL, audio=plan) as writer:
        for frame in frames(40):
            writer.write(frame)
    audio_features = read_audio(tmp_path / "out.mp4")
    within = {"copy": 0.025, "encode": 0.002}[mode]
    assert np.nonzero(np.abs(audio_features) > 0.1)[0][0] / 16000 == pytest.approx(0.5, abs=within)
    assert len(audio_features) / 16000 == pytest.approx(1.0, abs=0.045)


def test_encoded_sound_ends_at_the_sample(tmp_path: Path) -> None:
    source = make_sound(tmp_path / "speech.wav", tone(3.0))
    with VideoWriter(tmp_path / "out.avi", SMALL, audio=AudioPlan(source, mode="encode")) as writer:
        for frame in frames(33):
            writer.write(frame)
    with av.open(str(tmp_path / "out.avi")) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) == 33 * 48000 // 25


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_and_the_sound_end_where_they_are_told(tmp_path: Path, suffix: str) -> None:
    source = make_sound(tmp_path / "speech.wav", tone(3.0))
    audio = AudioPlan(source, mode="encode")
    with VideoWriter(tmp_path / f"out{suffix}", SMALL, audio=audio) as writer:
        for frame in frames(10):
            writer.write(frame)
        writer.end_s = Fraction(1, 2)
    info = probe(tmp_path / f"out{suffix}")
    assert info.video is not None and info.audio is not None
    if suffix == ".mp4":  # Matroska says no length of the picture alone
        assert info.video.duration_s == Fraction(1, 2)
    assert len(read_audio(tmp_path / f"out{suffix}")) / 16000 == pytest.approx(0.5, abs=0.025)


def test_surround_sound_stays_surround(tmp_path: Path) -> None:
    source = make_sound(tmp_path / "speech.wav", tone(1.0, num_channels=6))
    with VideoWriter(tmp_path / "out.mp4", SMALL, audio=AudioPlan(source)) as writer:
        for frame in frames(20):
            writer.write(frame)
    audio = probe(tmp_path / "out.mp4").audio
    assert audio is not None and audio.layout.startswith("5.1")


def test_sound_lies_beside_its_pictures(tmp_path: Path) -> None:
    """Not in one lump at the end: a player could not stream it, and the muxer would hold the film."""
    source = make_sound(tmp_path / "speech.wav", tone(4.0))
    with VideoWriter(tmp_path / "out.mp4", SMALL, audio=AudioPlan(source)) as writer:
        for frame in frames(100):
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as file:
        kinds = [packet.stream.type for packet in sorted((p for p in file.demux() if p.size), key=lambda p: p.pos)]
    first_half = kinds[: len(kinds) // 2]
    assert 0.3 < first_half.count("audio") / kinds.count("audio") < 0.7


def test_no_sound_wanted_or_there(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", 3, sound=tone(0.2))
    copy(film, tmp_path / "out.mp4", audio=AudioPlan(film, mode="none"))
    assert probe(tmp_path / "out.mp4").audio is None
    silent = make_film(tmp_path / "silent.mp4", 3)
    with pytest.raises(EmptyAudioError, match="no sound"):
        copy(silent, tmp_path / "bad.mp4", audio=AudioPlan(silent))
    assert nothing_left(tmp_path, {"in.mp4", "out.mp4", "silent.mp4"})
    with pytest.raises(ConfigError, match="keep_audio"):
        AudioPlan(film, mode="loud")  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])  # copied, copied, encoded
def test_sound_that_begins_late_in_a_transport_stream_is_written_in_time(tmp_path: Path, suffix: str) -> None:
    late = make_late(tmp_path / "late.ts", 6)
    out = tmp_path / f"out{suffix}"
    with VideoWriter(out, replace(SMALL, fps=Fraction(5)), audio=AudioPlan(late)) as writer:
        for frame in frames(35, 5):
            writer.write(frame)
    wave = read_audio(out)
    loud = np.flatnonzero(np.abs(wave) > 0.1)
    assert abs(loud[0] / 16000 - 6) < 0.05 and np.abs(wave[: loud[0] - 800]).max() < 0.01
