from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.core.errors import EmptyAudioError, MediaError
from latentsync.media.audio import AudioReader, SoundDecoder, read_audio, rebuffer, write_wav
from synth_media import make_film, make_sound, tone

RATE = 16000


def clicks(times_s: list[float], seconds: float, rate_hz: int = 48000, num_channels: int = 1) -> np.ndarray:
    """Silence with a 10 ms burst of 1 kHz at each time."""
    sound = np.zeros((num_channels, round(seconds * rate_hz)), np.float32)
    burst = tone(0.01, rate_hz, num_channels, 1000)
    for time in times_s:
        at = round(time * rate_hz)
        sound[:, at : at + burst.shape[1]] = burst
    return sound


def onsets(sound: np.ndarray) -> list[float]:
    loud = np.nonzero(np.abs(sound) > 0.1)[0]
    starts = loud[np.diff(loud, prepend=-RATE) > RATE // 20]
    return [float(start) / RATE for start in starts]


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "num_channels"),
    [
        ("a.wav", "pcm_s16le", 44100, 1), ("a.wav", "pcm_f32le", 96000, 2), ("a.flac", "flac", 48000, 2),
        ("a.mp3", "libmp3lame", 44100, 2), ("a.m4a", "aac", 48000, 6), ("a.opus", "libopus", 48000, 2),
        ("a ü 片.mka", "ac3", 48000, 6), ("a.wav", "pcm_u8", 8000, 1), ("a.wav", "pcm_s16le", 16000, 1),
    ],
)  # fmt: skip
def test_any_layout_rate_and_codec(tmp_path: Path, name: str, codec: str, rate_hz: int, num_channels: int) -> None:
    sound = tone(1.0, rate_hz, num_channels)
    path = make_sound(tmp_path / name, sound, codec, rate_hz)
    audio_features = read_audio(path)
    assert audio_features.dtype == np.float32 and audio_features.ndim == 1
    assert abs(len(audio_features) - RATE) <= 0.06 * RATE  # codecs pad to whole packets
    want = tone(1.0, RATE, 1)[0]
    level = np.sqrt((audio_features[2000:14000] ** 2).mean() / (want[2000:14000] ** 2).mean())
    # The low-frequency channel of 5.1 is left out of the mix, the others add up to full scale. LAME scales to 0.95.
    assert abs(level - (0.95 if codec == "libmp3lame" else 1)) < 0.03
    cut = [audio_features[2000 + lag : 14000 + lag] @ want[2000:14000] for lag in range(-8, 9)]
    assert abs(int(np.argmax(cut)) - 8) <= 1  # in place to a sample


def test_stereo_is_the_mean_and_never_clips(tmp_path: Path) -> None:
    sound = np.stack([np.ones(48000), np.full(48000, 0.5)]).astype(np.float32)
    audio_features = read_audio(make_sound(tmp_path / "a.wav", sound, "pcm_f32le"))
    assert np.allclose(audio_features[1000:-1000], 0.75, atol=1e-3)


def test_late_sound_begins_with_silence(tmp_path: Path) -> None:
    path = make_film(tmp_path / "v.mp4", 50, sound=clicks([0.1], 1.0, num_channels=2), sound_start_s=Fraction(1, 2))
    assert onsets(read_audio(path)) == [pytest.approx(0.6, abs=0.003)]


def test_sound_counts_from_the_same_moment_as_a_late_picture(tmp_path: Path) -> None:
    times = [Fraction(1, 2) + Fraction(number, 25) for number in range(10)]
    path = make_film(tmp_path / "v.mkv", times_s=times, sound=clicks([0.5], 1.0), sound_codec="pcm_s16le")
    assert onsets(read_audio(path)) == [pytest.approx(0.5, abs=0.002)]


def test_holes_are_filled_with_silence(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as file:
        track = file.add_stream("pcm_s16le", rate=48000, layout="mono")
        for at_s in (0.0, 1.0):
            frame = av.AudioFrame.from_ndarray(clicks([0.1], 0.5), format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), round(at_s * 48000)
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
    audio_features = read_audio(path)
    assert onsets(audio_features) == pytest.approx([0.1, 1.1], abs=0.002)
    assert len(audio_features) == pytest.approx(1.5 * RATE, abs=20) and not audio_features[9000:15000].any()


@pytest.mark.parametrize(("name", "codec", "rate_hz"), [("a.wav", "pcm_s16le", 44100), ("a.m4a", "aac", 48000)])
def test_a_part_is_the_part_of_the_whole(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    tones = [tone(4.0, rate_hz, 1, hz) * 0.2 for hz in (197.0, 523.3, 1411.1, 2999.9)]  # no noise: AAC makes its own
    path = make_sound(tmp_path / name, np.sum(tones, axis=0, dtype=np.float32), codec, rate_hz)
    whole, part = read_audio(path), read_audio(path, Fraction(2), Fraction(5, 2))
    assert len(part) == RATE // 2
    assert np.abs(part - whole[2 * RATE : 2 * RATE + RATE // 2]).max() < 0.002


def test_blocks_are_even_and_lazy(tmp_path: Path) -> None:
    reader = AudioReader(make_sound(tmp_path / "a.wav", tone(2.5, num_channels=1)))
    assert [len(block) for block in reader.blocks()] == [16000, 16000, 8000]
    assert reader.info.layout == "mono" and reader.damaged == 0


def test_no_sound_and_no_length_are_said(tmp_path: Path) -> None:
    with pytest.raises(EmptyAudioError, match="no sound"):
        AudioReader(make_film(tmp_path / "v.mp4", 2))
    write_wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    with pytest.raises(MediaError):
        read_audio(tmp_path / "empty.wav")
    path = make_sound(tmp_path / "a.wav", tone(0.5))
    with pytest.raises(EmptyAudioError, match="zero length"):
        read_audio(path, Fraction(3))


def test_damaged_packets_are_stepped_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 96000)).astype(np.float32)
    path = make_sound(tmp_path / "a.m4a", noise, "aac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = b"\xff" * 1500
    path.write_bytes(bytes(data))
    reader = AudioReader(path)
    audio_features = np.concatenate(list(reader.blocks()))
    assert reader.damaged > 0 and len(audio_features) > RATE
    assert sum("left out" in record.message for record in caplog.records) == 1


def test_wav_round_trip(tmp_path: Path) -> None:
    sound = np.array([0, 0.5, -0.5, 2.0, -2.0], np.float32)
    write_wav(tmp_path / "a.wav", sound)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        codes = np.frombuffer(file.readframes(5), "<i2")
    assert codes.tolist() == [0, 16384, -16384, 32767, -32767]
    with pytest.raises(MediaError, match="cannot be written"):
        write_wav(tmp_path / "no folder" / "a.wav", sound)


def test_rebuffer_loses_nothing() -> None:
    pieces = [np.arange(n, dtype=np.float32)[None] for n in (3, 0, 10, 1, 7)]
    out = list(rebuffer(iter(pieces), 4))
    assert [piece.shape[1] for piece in out] == [4, 4, 4, 4, 4, 1]
    assert np.array_equal(np.concatenate(out, axis=1), np.concatenate(pieces, axis=1))


@pytest.mark.parametrize("channels", [2, 4, 6, 8])
def test_channels_of_a_wav_that_names_none_stay_apart(tmp_path: Path, channels: int) -> None:
    """A header without a mask, as most stereo files have."""
    wave = np.zeros((channels, 4800), np.float32)
    wave[0], wave[1] = 0.5, -0.25
    write_wav(tmp_path / "a.wav", wave, 48000)
    layout = {2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}[channels]
    made = np.concatenate(list(SoundDecoder(tmp_path / "a.wav", 48000, layout).samples()), axis=1)
    assert np.abs(made[0] - 0.5).max() < 1e-3 and np.abs(made[1] + 0.25).max() < 1e-3
