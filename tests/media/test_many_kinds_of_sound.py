"""Sound in unusual layouts, and sound that changes its kind on the way."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.core.values import Frame
from latentsync.media.audio import SoundDecoder, read_audio
from latentsync.media.information import VideoInfo, probe
from latentsync.media.pixels import RgbPicture
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import numbered_rgb, tone

RATE = 16000
SMALL = VideoInfo(width=96, height=64, fps=Fraction(25), time_base=Fraction(1, 12800))


def make_packed(path: Path, sound: np.ndarray, codec: str, rate_hz: int, layout: str) -> Path:
    """Write (channels, S) float32 sound, channels side by side: PyAV makes no planar frames of eight channels."""
    with av.open(str(path), "w") as file:
        track = file.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return path


def channels_of(path: Path, layout: str) -> np.ndarray:
    return np.concatenate(list(SoundDecoder(path, 48000, layout).samples()), axis=1)


def write_with(sound: Path, target: Path, mode: str = "encode") -> None:
    plan = AudioPlan(sound, mode=mode)  # type: ignore[arg-type]
    with VideoWriter(target, SMALL, audio=plan) as writer:
        for n in range(25):
            writer.write(Frame(n, Fraction(n, 25), RgbPicture(numbered_rgb(n))))


def clicks(times_s: list[float], seconds: float, rate_hz: int, num_channels: int) -> np.ndarray:
    sound = np.zeros((num_channels, round(seconds * rate_hz)), np.float32)
    burst = tone(0.01, rate_hz, num_channels, 1000)
    for time in times_s:
        at = round(time * rate_hz)
        sound[:, at : at + burst.shape[1]] = burst
    return sound


def onsets(sound: np.ndarray) -> list[float]:
    loud = np.nonzero(np.abs(sound) > 0.1)[0]
    return [float(start) / RATE for start in loud[np.diff(loud, prepend=-RATE) > RATE // 20]]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.opus", "libopus")]
)
def test_eight_channels_are_heard(tmp_path: Path, name: str, codec: str) -> None:
    path = make_packed(tmp_path / name, tone(1.0, 48000, 8), codec, 48000, "7.1")
    audio_features, want = read_audio(path), tone(1.0, RATE, 1)[0]
    assert np.abs(audio_features[2000:14000] - want[2000:14000]).max() < 0.05
    part = read_audio(make_packed(tmp_path / "cut.m4a", tone(3.0, 44100, 8), "aac", 44100, "7.1"), Fraction(2))
    assert np.abs(part[2000:12000] - tone(3.0, RATE, 1)[0, 2 * RATE + 2000 : 2 * RATE + 12000]).max() < 0.05


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_eight_channels_go_through_to_the_result(tmp_path: Path, suffix: str) -> None:
    sound = np.concatenate([tone(1.0, 48000, 1, 200.0 + 100 * channel) for channel in range(8)])
    source = make_packed(tmp_path / "a.wav", sound, "pcm_s16le", 48000, "7.1")
    write_with(source, tmp_path / f"out{suffix}")
    info = probe(tmp_path / f"out{suffix}").audio
    assert info is not None and info.layout == "7.1"
    written = channels_of(tmp_path / f"out{suffix}", "7.1")
    for channel in (0, 1, 2, 4, 5, 6, 7):  # all but the low-frequency one, which codecs filter
        power = np.abs(np.fft.rfft(written[channel, 8000:40000]))
        assert abs(int(np.argmax(power)) * 48000 / 32000 - (200 + 100 * channel)) < 3


CHANGES = [
    ("mp3", "libmp3lame", (44100, "stereo"), (48000, "stereo")),
    ("mp3", "libmp3lame", (44100, "mono"), (44100, "stereo")),
    ("aac", "aac", (48000, "stereo"), (48000, "mono")),
    ("aac", "aac", (44100, "stereo"), (48000, "mono")),
    ("ts", "aac", (44100, "stereo"), (48000, "mono")),
]
RUN_INS_S = 0.07  # of two parts, and padding to whole packets between them: neither ADTS nor MPEG-TS tells it


@pytest.mark.parametrize(("suffix", "codec", "first", "second"), CHANGES)
def test_sound_that_changes_its_rate_or_layout_keeps_its_time(
    tmp_path: Path, suffix: str, codec: str, first: tuple[int, str], second: tuple[int, str]
) -> None:
    data = b""
    for number, (rate_hz, layout) in enumerate((first, second)):
        sound = clicks([0.5, 4.5], 5.0, rate_hz, 1 if layout == "mono" else 2)
        data += make_packed(tmp_path / f"{number}.{suffix}", sound, codec, rate_hz, layout).read_bytes()
    path = tmp_path / f"both.{suffix}"
    path.write_bytes(data)
    audio_features = read_audio(path)
    found = onsets(audio_features)
    assert found == pytest.approx([0.5, 4.5, 5.5, 9.5], abs=RUN_INS_S)
    assert found[3] - found[2] == pytest.approx(4, abs=0.002)  # no holes in the second part
    assert len(audio_features) / RATE == pytest.approx(10, abs=0.1)
    write_with(path, tmp_path / "out.mkv")
    assert probe(tmp_path / "out.mkv").audio is not None


LAYOUTS = [
    ("3.0", "3.0"), ("5.1", "5.1"), ("5.1(side)", "5.1"), ("quad(side)", "quad"), ("2.1", "stereo"), ("4.0", "5.1"),
    ("5.0", "5.1"), ("5.0(side)", "5.1"), ("3.1", "5.1"), ("6.1", "7.1"), ("6.1(back)", "7.1"), ("hexagonal", "5.1"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "written"), LAYOUTS)
def test_every_layout_goes_into_webm(tmp_path: Path, layout: str, written: str) -> None:
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    sound = np.concatenate([tone(1.0, 48000, 1, 400.0 + 200 * channel) for channel in range(len(names))])
    write_with(make_packed(tmp_path / "a.wav", sound, "pcm_s16le", 48000, layout), tmp_path / "out.webm", "copy")
    info = probe(tmp_path / "out.webm").audio
    assert info is not None and (info.codec, info.layout) == ("opus", written)
    audio_features = channels_of(tmp_path / "out.webm", written)
    loudest = [int(np.argmax(np.abs(np.fft.rfft(channel[8000:40000])))) * 48000 / 32000 for channel in audio_features]
    places = [channel.name for channel in av.AudioLayout(written).channels]
    for place, hz in zip(places, loudest, strict=True):
        sides = {} if "SL" in places else {"BL": "SL", "BR": "SR"}
        own = place if place in names else sides.get(place, "")
        if own in names and own != "LFE":
            assert abs(hz - (400 + 200 * names.index(own))) < 3


def test_layouts_that_aac_does_not_have_are_mixed(tmp_path: Path) -> None:
    path = make_packed(tmp_path / "a.wav", tone(1.0, 48000, 12), "pcm_s16le", 48000, "7.1.4")
    write_with(path, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4").audio
    assert info is not None and info.layout == "7.1"
