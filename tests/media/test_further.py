"""What a film has beside picture and speech goes along where its container can hold it; what cannot is told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from small_films import SMALL, frames
from track_films import hz_of

from latentsync.media.audio import read_audio
from latentsync.media.further import as_text, further_of
from latentsync.media.information import VideoInfo, probe
from latentsync.media.losses import source_losses
from latentsync.media.parameter_sets import with_lengths
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import make_film, make_sound, numbered_rgb, tone

LINES = ((200, 300, "Hello <i>there</i>"), (1200, 500, "Second\nline"))
"""Start and length in ms, text."""


def make_rich(path: Path, seconds: int = 2) -> Path:
    """Matroska with an English (default) and a German sound track, French subtitles, chapters, a font and a cover."""
    with av.open(str(path), "w") as file:
        picture: Any = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        picture.metadata["title"] = "main camera"
        sounds: list[Any] = []
        for language in ("eng", "deu"):
            sound: Any = file.add_stream("aac", rate=48000)
            sound.codec_context.layout = "mono"
            sound.metadata["language"], sound.disposition = language, int(language == "eng")
            sounds.append(sound)
        sounds[1].metadata["title"] = "Synchronfassung"
        words: Any = file.add_mux_stream("subrip")
        words.metadata["language"], words.disposition = "fra", 64  # forced
        file.add_attachment("font.ttf", "application/x-truetype-font", b"letters")
        file.add_attachment("cover.png", "image/png", png())
        file.set_chapters([
            {"id": n, "start": 1000 * n, "end": 1000 * n + 1000, "time_base": Fraction(1, 1000),
             "metadata": {"title": f"part {n}"}} for n in range(seconds)
        ])  # fmt: skip
        for number in range(25 * seconds):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(numbered_rgb(number), "rgb24")))
        file.mux(picture.encode(None))
        for sound, hz in zip(sounds, (300, 900), strict=True):
            wave = tone(seconds, 48000, 1, hz)
            for start in range(0, wave.shape[1], 4096):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 4096]), "fltp", "mono")
                frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), start
                file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
        for start, length, text in LINES:
            packet = av.Packet(text.encode())
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = start, start, length
            file.mux(packet)
    return path


def png() -> bytes:
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 16, 16, "rgb24", Fraction(1)  # type: ignore[attr-defined]
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8), "rgb24")
    return b"".join(bytes(packet) for packet in context.encode(frame))  # type: ignore[attr-defined]


def written(folder: Path, suffix: str, start_s: Fraction | None = None, seconds: Fraction = Fraction(2)) -> Path:
    """The rich film, its picture and its English sound replaced."""
    rich = make_rich(folder / "rich.mkv")
    speech = make_sound(folder / "speech.wav", tone(float(seconds), 48000, 1, 2000.0))
    out = folder / f"out{suffix}"
    further = further_of(rich, suffix, start_s=start_s, duration_s=seconds)
    with VideoWriter(out, SMALL, audio=AudioPlan(speech), further=further) as writer:
        for frame in frames(int(25 * seconds)):
            writer.write(frame)
    assert writer.losses == further.losses
    return out


def subtitles(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[0]
        found = [packet for packet in file.demux(stream) if packet.size and packet.pts is not None]
        name = stream.codec_context.codec.canonical_name
        tick = float(stream.time_base or 0)
        texts = [as_text(bytes(packet), name, "subrip").decode() for packet in found]
        return [(p.pts * tick, (p.duration or 0) * tick, t) for p, t in zip(found, texts, strict=True) if t]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".m4v", ".webm"])
def test_sound_tracks_subtitles_and_chapters_go_along(tmp_path: Path, suffix: str) -> None:
    out = written(tmp_path, suffix)
    sounds = probe(out).sounds
    german = "ger" if suffix == ".mov" else "deu"  # QuickTime's number for it
    assert [(each.language, each.is_default) for each in sounds] == [("", True), (german, False)]
    assert [round(hz_of(read_audio(out, track=track)), -1) for track in ("0", "1")] == [2000, 900]
    assert suffix != ".mkv" or sounds[1].title == "Synchronfassung"
    lines = [(start, length, text.replace("<i>", "").replace("</i>", "")) for start, length, text in subtitles(out)]
    assert [line[2] for line in lines] == ["Hello there", "Second\nline"]
    assert np.allclose([line[:2] for line in lines], [(0.2, 0.3), (1.2, 0.5)], atol=0.002)
    with av.open(str(out)) as file:
        assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["part 0", "part 1"]
        assert file.streams.subtitles[0].metadata["language"] == "fra"
        assert len(list(file.decode(video=0))) == 50


def test_matroska_keeps_fonts_cover_and_the_pictures_title(tmp_path: Path) -> None:
    out = written(tmp_path, ".mkv")
    with av.open(str(out)) as file:
        (font,) = file.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "application/x-truetype-font", b"letters")
        cover = file.streams.video[1]
        assert next(iter(file.decode(cover))).to_ndarray(format="rgb24").mean() == 99
        assert file.streams.video[0].metadata["title"] == "main camera"
        assert int(file.streams.subtitles[0].disposition.value) & 64


@pytest.mark.parametrize(("suffix", "lost"), [
    (".mkv", []), (".mp4", ["font.ttf", "cover"]), (".webm", ["font.ttf", "cover"]),
    (".avi", ["subrip subtitles (fra)", "font.ttf", "cover", "2 chapters"]),
])  # fmt: skip
def test_what_cannot_go_along_is_told(tmp_path: Path, suffix: str, lost: list[str]) -> None:
    found = further_of(make_rich(tmp_path / "rich.mkv"), suffix)
    assert len(found.losses) == len(lost)
    assert all(word in loss for word, loss in zip(lost, found.losses, strict=True)), found.losses


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_part_of_a_film_takes_its_part_along(tmp_path: Path, suffix: str) -> None:
    out = written(tmp_path, suffix, Fraction(2, 5), Fraction(1))
    (first, second) = subtitles(out)
    assert first[0] == pytest.approx(0, abs=0.002) and first[1] == pytest.approx(0.1, abs=0.005)
    assert second[0] == pytest.approx(0.8, abs=0.002) and second[1] == pytest.approx(0.2, abs=0.005)
    with av.open(str(out)) as file:
        spans = [tuple(float(each[key] * each["time_base"]) for key in ("start", "end")) for each in file.chapters()]
    assert np.allclose(spans, [(0, 0.6), (0.6, 1.0)], atol=0.001)
    german = read_audio(out, track="deu")
    assert abs(len(german) / 16000 - 1) < 0.06


def test_another_track_is_replaced_where_it_is_chosen(tmp_path: Path) -> None:
    rich = make_rich(tmp_path / "rich.mkv")
    kept = [each.words for each in further_of(rich, ".mkv", "deu").streams if each.kind == "sound"]
    assert kept == ["sound track 0 (eng, mono, default)"]
    assert not any(each.kind == "sound" for each in further_of(rich, ".mkv", with_sound=False).streams)


@pytest.mark.parametrize(("content", "codec", "written_as", "text"), [
    (b"\0\x05Hello\0\0\0\x0cstyl\0\0\0\0", "mov_text", "webvtt", b"Hello"),
    (b"\0\0", "mov_text", "subrip", b""),
    (b"0,0,Default,,0,0,0,,{\\an8}Up\\Nthere", "ass", "mov_text", b"\0\x08Up\nthere"),
    ("<b>Grüße</b>".encode(), "subrip", "mov_text", b"\0\x07Gr\xc3\xbc\xc3\x9fe"),
    (b"a < b", "subrip", "mov_text", b"\0\x05a < b"),
])  # fmt: skip
def test_text_becomes_another_kind_of_text(content: bytes, codec: str, written_as: str, text: bytes) -> None:
    assert as_text(content, codec, written_as) == text


def test_metadata_of_single_frames_are_told_to_be_lost() -> None:
    assert source_losses(SMALL) == ()
    assert "Dolby Vision" in source_losses(replace(SMALL, dynamic_hdr="Dolby Vision"))[0]


def hdr10_plus() -> bytes:
    """An SEI message with HDR10+ metadata of one window (SMPTE ST 2094-40; ITU-T T.35, provider 0x3C)."""
    peaks = "".join(f"{level:017b}" for level in (5000, 6000, 7000, 2000))
    bits = f"01{1000:027b}0{peaks}0000{100:010b}000"
    body = bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))
    payload = bytes([0xB5, 0x00, 0x3C, 0x00, 0x01, 4, 1]) + body
    unit = bytearray()
    for byte in bytes([4, len(payload)]) + payload + b"\x80":
        if byte < 4 and unit.endswith(b"\0\0"):
            unit.append(3)  # emulation prevention
        unit.append(byte)
    return bytes([39 << 1, 1]) + bytes(unit)


def with_message(source: Path, target: Path, unit: bytes) -> VideoInfo:
    """The same film with a NAL unit before each picture."""
    with av.open(str(source)) as old, av.open(str(target), "w") as file:
        stream = file.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if not packet.size:
                continue
            made = av.Packet(with_lengths([unit], 4) + bytes(packet))
            made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
            made.stream, made.is_keyframe = stream, packet.is_keyframe
            file.mux(made)
    video = probe(target).video
    assert video is not None
    return video


def test_hdr10_plus_is_seen_and_told_to_be_lost(tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none"}
    plain = make_film(tmp_path / "a.mkv", 3, codec="libx265", pixel_format="yuv420p10le", options=options)
    video = with_message(plain, tmp_path / "b.mkv", hdr10_plus())
    assert video.dynamic_hdr == "HDR10+"
    assert any("HDR10+" in loss for loss in VideoWriter(tmp_path / "o.mp4", video).losses)
    assert probe(plain).video.dynamic_hdr is None  # type: ignore[union-attr]


def test_closed_captions_in_the_picture_are_seen_and_told(tmp_path: Path) -> None:
    """ATSC A/53, part 4: one pair of bytes of line 21."""
    payload = bytes([0xB5, 0x00, 0x31]) + b"GA94" + bytes([3, 0xC1, 0xFF, 0xFC, 0x94, 0x2C, 0xFF])
    plain = make_film(tmp_path / "a.mkv", 3)
    video = with_message(plain, tmp_path / "b.mkv", bytes([6, 4, len(payload)]) + payload + b"\x80")
    assert video.has_captions and "closed captions" in source_losses(video)[0]
    assert not probe(plain).video.has_captions  # type: ignore[union-attr]
