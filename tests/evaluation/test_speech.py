"""Speech for the protocols."""

from dataclasses import replace

import numpy as np
import pytest
from talkers import babble, opening_of, sound_of, spread_of

from latentsync.evaluation import speech
from latentsync.metrics.cross_drive import pairing_chance


def donor(seed: int, steps: int = 75) -> speech.Donor:
    opening = babble(seed, steps)
    phones = ((0.2, 0.28, "B"), (1.0, 1.1, "AA1"), (2.0, 2.1, "m"))
    width = 0.4 + babble(seed + 50, steps)
    return speech.Donor(f"clip{seed}", sound_of(opening, width), opening, phones, width)


def test_assembled_speech_keeps_sound_mouth_and_phones_together() -> None:
    made = speech.assemble([donor(1), donor(2)], 100, np.random.default_rng(0))
    assert len(made.opening) == len(made.width) == 100 and made.duration_s == 4.0
    assert np.corrcoef(opening_of(made.wave), made.opening)[0, 1] > 0.98
    assert np.corrcoef(spread_of(made.wave), made.width)[0, 1] > 0.98
    assert sum(end - start for _, start, end in made.pieces) == pytest.approx(4.0)
    at = 0.0
    for clip, start, end in made.pieces:
        number = int(clip.removeprefix("clip"))
        first = round(start * 25)
        for curve, whole in ((made.opening, donor(number).opening), (made.width, donor(number).width)):
            np.testing.assert_array_equal(
                curve[round(at * 25) : round((at + end - start) * 25)], whole[first : round(end * 25)]
            )
        at += end - start
    for start, end, label in made.phones:
        assert 0 <= start < end <= 4.0 and label in ("B", "AA1", "m")


def test_assembling_takes_away_a_shared_rhythm() -> None:
    beat = np.tile(np.r_[np.full(4, 0.4), np.zeros(6)], 8)[:75]
    donors = [speech.Donor(f"c{i}", sound_of(beat), beat + 0.02 * babble(i, 75)) for i in range(6)]
    whole = [d.opening for d in donors]
    rng = np.random.default_rng(1)
    mixed = [speech.assemble([d], 75, rng).opening for d in donors]
    assert pairing_chance(whole, whole) > 0.9
    assert pairing_chance(mixed, mixed) < 0.6
    with pytest.raises(ValueError, match="long enough"):
        speech.assemble([donor(1, 10)], 50, rng)


@pytest.mark.parametrize("steps", [5, -5])
def test_shifting_moves_everything_alike(steps: int) -> None:
    own = speech.own_speech(donor(3), 75)
    late = speech.shifted(own, steps)
    assert len(late.wave) == len(own.wave)
    known = np.isfinite(late.opening)
    assert known.sum() == 70
    assert np.array_equal(np.isfinite(late.width), known)
    for curve, before, audio_features in (
        (late.opening, own.opening, opening_of(late.wave)),
        (late.width, own.width, spread_of(late.wave)),
    ):
        np.testing.assert_allclose(curve[known], np.roll(before, steps)[known])
        np.testing.assert_allclose(audio_features[known], curve[known], atol=0.01)
    assert late.phones[-1][0] == pytest.approx(own.phones[-1][0] + steps / 25)
    assert all(start >= 0 and end <= late.duration_s for start, end, _ in late.phones)


def test_a_width_that_is_not_known_stays_unknown() -> None:
    plain = replace(donor(1), width=None)
    own = speech.own_speech(plain, 75)
    assert own.width is None and speech.shifted(own, 5).width is None and speech.silence(75).width is None
    rng = np.random.default_rng(0)
    assert speech.assemble([plain], 100, rng).width is None
    mixed = speech.assemble([plain, donor(2)], 200, rng)
    assert {clip for clip, _, _ in mixed.pieces} == {"clip1", "clip2"}
    assert mixed.width is None and len(mixed.opening) == 200


def test_pauses_are_found_and_speech_is_not() -> None:
    level = np.r_[np.full(25, 0.3), np.zeros(25), np.full(25, 0.2), np.zeros(3), np.full(25, 0.3)]
    time_s = np.arange(len(level) * 640) / 16000
    voice = sum(np.sin(2 * np.pi * 120 * k * time_s + k) / k for k in range(1, 30))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)
    quiet = speech.silent_steps((np.repeat(level, 640) * voice * syllables * 0.3).astype(np.float32), len(level))
    assert quiet[30:45].all() and not quiet[:20].any() and not quiet[55:].any()  # three steps are too short
    assert speech.silent_steps(np.zeros(16000, np.float32), 25).all()


def test_closing_sounds_in_either_alphabet() -> None:
    phones = ((0.0, 0.1, "B"), (0.1, 0.2, "pʰ"), (0.2, 0.3, "mː"), (0.3, 0.4, "AA1"), (0.4, 0.5, "v"))
    assert speech.closing_spans(phones) == [(0.0, 0.1), (0.1, 0.2), (0.2, 0.3)]
