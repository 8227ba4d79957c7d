"""Phone alphabets, mouth movements and voices."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.core.errors import MediaError
from latentsync.synth.speech.phones import SILENCE, Phone, from_arpabet, from_ipa

pytest.importorskip("scipy", reason="the synth extra is not installed")

from latentsync.synth.speech import augment, engines
from latentsync.synth.speech.speaker import available_engines, speak
from latentsync.synth.visemes import TARGETS, SpeakingStyle, articulate, mouth_shapes

STYLE = SpeakingStyle()


@pytest.mark.parametrize(
    ("ipa", "ours"), [("tʃ", "ch"), ("ˈaɪ", "ay"), ("ɐ", "ah"), ("m", "m"), ("ɔ̃", "ao"), ("_:", SILENCE)]
)
def test_ipa_symbols_find_their_class(ipa: str, ours: str) -> None:
    assert from_ipa(ipa) == ours


def test_a_name_that_no_engine_should_say_is_refused() -> None:
    assert from_arpabet("AO1") == "ao"
    with pytest.raises(MediaError, match="qq"):
        from_arpabet("qq")


@pytest.mark.parametrize("closed", ["p", "b", "m"])
def test_lips_meet_at_the_centre_of_every_closure_and_part_at_the_vowel(closed: str) -> None:
    phones = [Phone("aa", 0.0, 0.2), Phone(closed, 0.2, 0.26), Phone("aa", 0.26, 0.5)]
    tracks = articulate(phones, np.array([0.1, 0.23, 0.4]), STYLE)
    shapes, _ = mouth_shapes(tracks, STYLE)
    left_open = shapes["jawOpen"] - shapes["mouthClose"]
    assert tracks["close"][1] > 0.97
    assert left_open[1] < 0.03 < 0.25 < min(left_open[0], left_open[2])


def test_diphthongs_move_and_targets_cover_every_plain_phone() -> None:
    tracks = articulate([Phone("aw", 0.0, 0.4)], np.array([0.1, 0.3]), STYLE)
    assert tracks["jaw"][0] > 0.35 > 0.2 > tracks["jaw"][1]
    assert tracks["round"][1] > tracks["round"][0] + 0.3
    assert {from_arpabet(p) for p in ("P", "HH", "ZH", "UW")} <= set(TARGETS)


@pytest.mark.skipif(not engines.has_espeak(), reason="espeak-ng is not installed")
def test_espeak_phones_are_where_the_sound_is() -> None:
    said = engines.espeak("Papa bought a puppy.", "gmw/en-US")
    names = [p.name for p in said.phones]
    assert names.count("p") == 4 and "b" in names
    starts = np.array([p.start_s for p in said.phones])
    assert (np.diff(starts) > 0).all() and said.phones[-1].end_s <= len(said.audio) / 16000 + 1e-3
    power = dict.fromkeys((-0.06, 0.0, 0.06), 0.0)
    for shift_s in power:  # closures are quiet, if and only if their times are right
        for p in said.phones:
            i = int((p.centre_s + shift_s) * 16000)
            power[shift_s] += float((said.audio[max(i - 80, 0) : i + 80] ** 2).mean()) if p.name in ("p", "b") else 0.0
    assert power[0.0] < 0.1 * min(power[-0.06], power[0.06])


@pytest.mark.skipif(not engines.has_espeak(), reason="espeak-ng is not installed")
def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(MediaError, match="klingon"):
        engines.espeak("Hello.", "klingon-x")


def test_changing_the_speakers_size_scales_phones_by_the_exact_ratio() -> None:
    audio = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    said = engines.Utterance(audio, (Phone("aa", 0.25, 0.5),), "test", "a")
    bigger = augment.change_size(said, 0.8)
    assert len(bigger.audio) == 20000
    assert bigger.phones[0].start_s == pytest.approx(0.3125) and bigger.phones[0].end_s == pytest.approx(0.625)


def test_room_and_tilt_do_not_delay_the_sound() -> None:
    rng = np.random.default_rng(1)
    audio = rng.normal(size=8000).astype(np.float32)
    changed = augment.small_room(augment.tilt_spectrum(audio, -2.0), rng, 0.2, 0.04)
    lags = range(-5, 6)
    match = [float((audio[100:-100] * np.roll(changed, -k)[100:-100]).sum()) for k in lags]
    assert list(lags)[int(np.argmax(match))] == 0


@pytest.mark.skipif(not available_engines(), reason="no speech engine is installed")
def test_a_clip_of_speech_is_exactly_long_and_repeatable() -> None:
    a, b = (speak(np.random.default_rng(5), 1.6, masculine=True) for _ in range(2))
    assert len(a.audio) == 25600 and np.array_equal(a.audio, b.audio) and a.phones == b.phones
    assert max(p.start_s for p in a.phones) < 1.6 and np.abs(a.audio).max() <= 0.98
