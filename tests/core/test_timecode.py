"""Timecode counts frames and skips numbers where it drops."""

from __future__ import annotations

from fractions import Fraction

import pytest

from latentsync.core.timecode import Timecode, timecode_from

NTSC, FAST = Fraction(30000, 1001), Fraction(60000, 1001)


@pytest.mark.parametrize(("text", "fps", "num_frames", "later"), [
    ("01:00:00:00", Fraction(25), 26, "01:00:01:01"),
    ("10:59:59:23", Fraction(24000, 1001), 1, "11:00:00:00"),
    ("00:00:59:29", NTSC, 1, "00:01:00:00"),
    ("00:00:59;29", NTSC, 1, "00:01:00;02"),
    ("00:09:59;29", NTSC, 1, "00:10:00;00"),
    ("01:00:00;00", NTSC, 107892, "02:00:00;00"),  # an hour
    ("01:00:00;00", NTSC, 17982, "01:10:00;00"),
    ("00:00:59;59", FAST, 1, "00:01:00;04"),
    ("23:59:59;29", NTSC, 1, "00:00:00;00"),
    ("23:59:59:24", Fraction(25), 2, "00:00:00:01"),
])  # fmt: skip
def test_the_frame_so_much_later(text: str, fps: Fraction, num_frames: int, later: str) -> None:
    first = Timecode.parse(text, fps)
    assert first is not None and str(first) == text and str(first.moved(num_frames)) == later


def test_each_frame_of_twenty_minutes_has_a_label_of_its_own() -> None:
    labels = [str(Timecode(number, 30, drops=True)) for number in range(36000)]
    assert len(set(labels)) == len(labels) and labels == sorted(labels)
    assert [Timecode.parse(label, NTSC).frames for label in labels[::7]] == list(range(0, 36000, 7))  # type: ignore[union-attr]
    assert not any(label.endswith((";00", ";01")) and label[6:8] == "00" and label[4] != "0" for label in labels)


@pytest.mark.parametrize("text", ["", "soon", "1:00:00:00", "00:00:00:25", "00:61:00:00", "00:00:00"])
def test_what_is_no_timecode_is_none(text: str) -> None:
    assert Timecode.parse(text, Fraction(25)) is None


def test_skipped_frames_are_those_that_begin_before() -> None:
    for skipped_s, label in (("0", "00"), ("1/25", "01"), ("1/50", "01"), ("-1", "00"), ("0.4", "10")):
        assert str(timecode_from("01:00:00:00", Fraction(25), Fraction(skipped_s))) == f"01:00:00:{label}"
    assert timecode_from(None, Fraction(25), Fraction(0)) is timecode_from("x", Fraction(25), Fraction(0)) is None
