"""Smart render: untouched groups are copied to the bit, the rest is encoded anew, and the joins decode cleanly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from live_pictures import LivePictures

from latentsync.core.values import Frame
from latentsync.media.lengths import fit_length
from latentsync.media.parameter_sets import AvcConfig, units_with_lengths
from latentsync.media.pixels import RgbPicture
from latentsync.media.reader import VideoReader
from latentsync.media.smart import SmartPlan
from latentsync.media.sound_track import AudioPlan
from latentsync.media.writer import VideoWriter
from synth_media import make_film, make_sound, number_of, tone, vary

GOP = 12
H264 = {"x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=3"}
HEVC = {"x265-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:scenecut=0:open-gop=0:bframes=3"}


def film(path: Path, num_frames: int = 60, **options: Any) -> Path:
    return make_film(path, num_frames, **{"options": H264, **options})


def inverted(frame: Frame) -> Frame:
    return Frame(frame.index, frame.time_s, RgbPicture(255 - frame.picture.rgb()))


def render(
    source: Path, out: Path, edited: set[int], start_s: Fraction | None = None, end_s: Fraction | None = None,
    **options: Any,
) -> VideoWriter:  # fmt: skip
    """Copy a film, the frames with those indices inverted."""
    plan = SmartPlan(source, start_s or Fraction(0))
    with VideoReader(source, start_s, end_s) as reader:
        frames = fit_length(reader, None)
        with VideoWriter(out, reader.info, smart=plan, **options) as writer:
            for frame in frames:
                is_edited = frame.index in edited
                writer.write(inverted(frame) if is_edited else frame, is_edited)
            writer.end_s = frames.end_s
    return writer


def packets(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return [packet for packet in file.demux(video=0) if packet.size]


def hashes(path: Path) -> list[str]:
    return [hashlib.sha256(bytes(packet)).hexdigest() for packet in packets(path)]


def decoded(path: Path) -> list[np.ndarray]:
    """All frames by one decoder that ends on any damage."""
    with av.open(str(path), options={"err_detect": "explode"}) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = list(file.decode(stream))
        assert not any(frame.is_corrupt for frame in frames)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def check_times(path: Path) -> None:
    found = packets(path)
    dts = [packet.dts for packet in found if packet.dts is not None]
    assert dts == sorted(set(dts))
    assert all(packet.dts is None or packet.dts <= packet.pts for packet in found)


def groups_of(num_frames: int, edited: set[int]) -> Iterator[int]:
    """Frames of groups without an edited one."""
    for start in range(0, num_frames, GOP):
        whole = range(start, min(start + GOP, num_frames))
        if not edited & set(whole):
            yield from whole


@pytest.mark.parametrize(("source_suffix", "suffix", "options"), [
    (".mp4", ".mp4", {}), (".mkv", ".mp4", {}), (".mp4", ".mov", {}), (".mp4", ".mkv", {}), (".mkv", ".mkv", {}),
    (".mp4", ".mp4", {"pixel_format": "yuv444p"}), (".mp4", ".mp4", {"pixel_format": "yuv422p10le"}),
    (".mp4", ".mp4", {"fps": Fraction(30000, 1001)}), (".mp4", ".mp4", {"times_s": vary(60)}),
    (".mp4", ".mp4", {"options": {"x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=0"}}),
    (".mp4", ".mp4", {"options": {**H264, "profile": "main"}}),
    (".mkv", ".mkv", {"codec": "libx265", "options": HEVC}),
    (".mkv", ".mkv", {"codec": "libx265", "options": HEVC, "pixel_format": "yuv420p10le"}),
])  # fmt: skip
@pytest.mark.parametrize("edited", [{0}, {30, 31}, {59}, {5, 26, 27}, set(range(20, 40))])
def test_untouched_groups_are_copied_to_the_bit(
    tmp_path: Path, source_suffix: str, suffix: str, options: dict[str, Any], edited: set[int]
) -> None:
    source, out = film(tmp_path / f"in{source_suffix}", **options), tmp_path / f"out{suffix}"
    writer = render(source, out, edited)
    untouched = set(groups_of(60, edited))
    assert writer.losses == () and writer.num_copied == len(untouched) > 0
    before, after = hashes(source), hashes(out)
    assert len(after) == len(before) == 60
    if options.get("codec") == "libx265":  # parameter sets are repeated in the first packet after an encoded part
        sources = {bytes(packet) for packet in packets(source)}
        kept = [bytes(packet) for packet in packets(out)]
        same = sum(any(content == other or content.endswith(other) for other in sources) for content in kept)
        assert same >= len(untouched)
    else:
        assert [n for n in range(60) if before[n] == after[n]] == sorted(untouched)
    check_times(out)
    want, made = decoded(source), decoded(out)
    assert len(made) == 60
    for number, (old, new) in enumerate(zip(want, made, strict=True)):
        if number in untouched:
            assert np.array_equal(old, new)
        else:
            difference = np.abs(new.astype(int) - (255 - old if number in edited else old)).mean()
            assert difference < 6, number
    with VideoReader(source) as a, VideoReader(out) as b:
        assert [frame.time_s for frame in a] == [frame.time_s for frame in b]


def test_every_frame_can_be_jumped_to(tmp_path: Path) -> None:
    """Decoders meet either kind of group first."""
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    render(source, out, {15, 40})
    for start in range(0, 60, 7):
        with VideoReader(out, Fraction(start, 25)) as reader:
            number = number_of(next(iter(reader)).picture.rgb())
            assert number in (start, start ^ 0xFFF)  # inverted squares


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_part_is_copied_where_whole_groups_are_left(tmp_path: Path, suffix: str) -> None:
    source, out = film(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    writer = render(source, out, set(), Fraction(1, 5), Fraction(2))  # frames 5 to 49: groups 1 to 3 are whole
    assert writer.num_copied == 36
    assert set(hashes(source)[12:48]) <= set(hashes(out))
    check_times(out)
    numbers = [number_of(rgb) for rgb in decoded(out)]
    assert numbers == list(range(5, 50))


def test_repeated_frames_are_encoded(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    plan = SmartPlan(source, Fraction(0), Fraction(1))
    with VideoReader(source, None, Fraction(1)) as reader, VideoWriter(out, reader.info, smart=plan) as writer:
        for frame in fit_length(reader, Fraction(2), "ping_pong"):
            writer.write(frame, False)
    assert writer.num_copied == 24
    numbers = [number_of(rgb) for rgb in decoded(out)]
    assert numbers[:50] == [*range(25), *range(23, -1, -1), 1]
    check_times(out)


def test_sound_lies_beside_copied_groups(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    speech = make_sound(tmp_path / "s.wav", tone(2.4))
    render(source, out, {30}, audio=AudioPlan(speech))
    with av.open(str(out)) as file:
        assert abs(file.duration / 1e6 - 2.4) < 0.06
        assert sum(frame.samples for frame in file.decode(audio=0)) / 48000 == pytest.approx(2.4, abs=0.05)


@pytest.mark.parametrize(("make", "options", "says"), [
    (lambda p: film(p / "in.mp4", codec="libx265", options=HEVC), {}, "HEVC is copied into .mkv only"),
    (lambda p: film(p / "in.mp4"), {"codec": "hevc"}, "stay what they are"),
    (lambda p: film(p / "in.mp4"), {"pixel_format": "yuv444p"}, "pixel format changes"),
    (lambda p: film(p / "in.mp4", turn_stored=1), {}, "turned or interlaced"),
    (lambda p: film(p / "in.mp4", options={"x264-params": "tff=1"}, num_frames=12), {}, "turned or interlaced"),
    (lambda p: film(p / "in.mp4", options={"x264-params": "keyint=infinite"}), {}, "no closed groups"),
    (lambda p: film(p / "in.mp4", options={"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}), {}, "closed"),
    (lambda p: film(p / "in.ts"), {}, "no header for the decoder"),
    (lambda p: make_film(p / "in.mkv", 20, codec="ffv1"), {}, "only H.264 and HEVC"),
])  # fmt: skip
def test_where_it_cannot_be_all_is_encoded_with_a_word(
    tmp_path: Path, make: Any, options: dict[str, Any], says: str
) -> None:
    source = make(tmp_path)
    writer = render(source, tmp_path / "out.mp4", {3}, **options)
    assert writer.num_copied == 0 and any(says in loss for loss in writer.losses), writer.losses
    assert len(decoded(tmp_path / "out.mp4")) == len(decoded(source))


def test_parameter_sets_of_both_encoders_are_in_the_header(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    render(source, out, {30})
    with av.open(str(source)) as a, av.open(str(out)) as b:
        before, after = (AvcConfig.parse(bytes(each.streams.video[0].codec_context.extradata)) for each in (a, b))
    assert before is not None and after is not None
    assert after.sps[0] == before.sps[0] and len(after.sps) == len(after.pps) == 2
    assert after.unused_id() == 2 and AvcConfig.parse(after.packed()) == after
    kinds = {unit[0] & 31 for packet in packets(out) for unit in units_with_lengths(bytes(packet), 4)}
    assert not kinds & {7, 8}


def test_other_decoders_read_the_joins(tmp_path: Path) -> None:
    """OpenCV brings an FFmpeg of its own."""
    source, out = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    render(source, out, {15, 40})
    capture, numbers = cv2.VideoCapture(str(out)), list[int]()
    while True:
        is_there, bgr = capture.read()
        if not is_there:
            break
        numbers.append(number_of(bgr))
    assert [number if n not in (15, 40) else number ^ 0xFFF for n, number in enumerate(numbers)] == list(range(60))


def test_few_frames_are_held_whatever_the_length_of_a_group(tmp_path: Path) -> None:
    """Of frames that may be copied only the times are kept, and those before an edited one are decoded once more."""
    source = film(tmp_path / "in.mp4", 150, options={"x264-params": "keyint=120:min-keyint=120:scenecut=0"})
    live = LivePictures()
    with (
        VideoReader(source) as reader,
        VideoWriter(tmp_path / "out.mp4", reader.info, smart=SmartPlan(source)) as writer,
    ):
        for frame in reader:
            writer.write(inverted(frame) if frame.index == 100 else frame, frame.index == 100)
            if frame.index % 10 == 9:
                live.look()
    assert live.most < 12 and writer.num_copied == 30
