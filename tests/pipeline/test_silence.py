"""The mouth where nobody speaks, and what it takes from the filmed one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from whole_runs import ONE, SIZE, WAVE, arrays, film, pictures

import micro_model
import planted
import synth_media
from latentsync.core.values import Face, Frame
from latentsync.faces.topology import INNER_LIP_PAIRS
from latentsync.media import RgbPicture
from latentsync.pipeline import Lipsync


def spoken_then_silent() -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(32000) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (1 + np.sin(2 * np.pi * 4 * t)) * 0.1
    quiet = rng.normal(0, 1e-4, 48000)
    return np.concatenate([voice, quiet]).astype(np.float32)


@pytest.mark.parametrize("silence", ["model", "original", "closed"])
def test_nothing_but_silence_is_speech_too(model: Lipsync, tmp_path: Path, silence: str) -> None:
    quiet = synth_media.make_sound(tmp_path / "quiet.wav", np.zeros((1, 19200), np.float32), "pcm_s16le", 48000)
    result = model(film(tmp_path / "a.mp4"), quiet, tmp_path / "o.mp4", silence=silence)
    assert result.num_frames == 10
    assert np.isfinite(np.stack(pictures(tmp_path / "o.mp4"))).all()
    kept = list(model.stream(arrays(10), np.zeros(19200, np.float32), silence=silence))
    untouched = [(made == source).all() for made, source in zip(kept, arrays(10), strict=True)]
    assert all(untouched) == (silence == "original")


def test_in_silence_the_original_can_be_kept(model: Lipsync) -> None:
    source = [Frame(k, Fraction(k, 25), RgbPicture(a)) for k, a in enumerate(arrays(100))]
    made = list(model.stream(source, spoken_then_silent(), silence="original"))
    same = [a.picture is b.picture for a, b in zip(made, source, strict=True)]
    assert not any(same[5:45])
    assert all(same[65:])


def test_in_silence_the_mouth_can_be_that_of_silence(model: Lipsync) -> None:
    speech = spoken_then_silent()
    as_audio_features = list(model.stream(arrays(100), speech))
    closed = list(model.stream(arrays(100), speech, silence="closed"))
    assert all((a == b).all() for a, b in zip(as_audio_features[8:40], closed[8:40], strict=True))
    still = np.stack(closed[70:]).astype(int)
    assert np.abs(still - still[0]).max() <= 2  # nothing moves


def test_what_the_mouth_does_in_silence_is_the_checkpoints_where_nothing_is_asked() -> None:
    closing = micro_model.lipsync(planted.PlantedTracker(), silence="closed")
    speech, shown = spoken_then_silent(), arrays(80)
    made = {each: list(closing.stream(shown, speech, silence=each)) for each in (None, "closed", "model")}
    assert all((a == b).all() for a, b in zip(made[None], made["closed"], strict=True))
    assert any((a != b).any() for a, b in zip(made[None], made["model"], strict=True))


def test_in_a_pause_the_mouth_does_not_follow_the_old_one(model: Lipsync) -> None:
    """The filmed mouth flickers, and this model sees it; on the way in and out of the pause nothing jumps."""
    rng = np.random.default_rng(0)
    voice, _ = np.split(spoken_then_silent(), [32000])
    speech = np.concatenate([voice[:16000], rng.normal(0, 1e-4, 16000).astype(np.float32), voice[16000:]])
    source = [planted.picture(SIZE, ONE, mouth=(200 - 60 * (k % 2), 40, 40)) for k in range(75)]
    steps = {}
    for silence in ("model", "closed"):
        made = np.stack(list(model.stream(source, speech, silence=silence)))[:, 70:85, 70:90].astype(float)
        steps[silence] = np.abs(np.diff(made, axis=0)).mean(axis=(1, 2, 3))
    pause = slice(33, 42)  # from 0.2 s after the first half to 0.2 s before the second
    assert steps["closed"][pause].max() < 0.25 * steps["model"][pause].min()
    assert steps["closed"].max() < 1.2 * steps["model"].max()


def test_the_still_reference_is_the_most_closed_of_two_seconds_not_of_a_chunk() -> None:
    """Frame 12, three chunks later, is the one whose lips meet: what it shows decides, and what the others show not."""
    model = micro_model.lipsync(_Speaking(), still_reference=True)
    shown = [planted.picture(SIZE, ONE)] * 16
    green = planted.picture(SIZE, ONE, mouth=(20, 160, 40))
    mouth = slice(70, 85), slice(70, 90)
    plain, with_12, with_11 = (
        next(iter(model.stream([*shown[:at], green, *shown[at + 1 :]], WAVE)))[mouth] for at in (15, 12, 11)
    )
    assert micro_model.difference(plain, with_12) > 0
    assert micro_model.difference(plain, with_11) == 0


class _Speaking(planted.PlantedTracker):
    """The lips are apart in all frames but the one with index 12."""

    def open(self) -> planted.PlantedSession:
        return _SpeakingSession(self.turn)


class _SpeakingSession(planted.PlantedSession):
    def track(self, frame: Frame) -> tuple[Face, ...]:
        faces = []
        for face in super().track(frame):
            mesh = np.array(face.landmarks)
            mesh[[lower for _, lower in INNER_LIP_PAIRS]] += (0, 0 if frame.index == 12 else 6)
            faces.append(Face(face.track_id, mesh, face.score))
        return tuple(faces)


def test_with_a_still_reference_the_old_movement_is_not_seen() -> None:
    """What the frames' own mouths do plays no part, as the masked frames are all the same."""
    model = micro_model.lipsync(planted.PlantedTracker(), still_reference=True)
    still = [planted.picture(SIZE, ONE, mouth=(200, 40, 40))] * 4
    moving = [still[0]] + [planted.picture(SIZE, ONE, mouth=(200 - 20 * k, 40, 40)) for k in range(1, 4)]
    region = slice(70, 85), slice(70, 90)  # the planted mouth
    made = [next(iter(f[region] for f in [list(model.stream(frames, WAVE))[2]])) for frames in (still, moving)]
    own = micro_model.lipsync(planted.PlantedTracker())
    leaky = [list(own.stream(frames, WAVE))[2][region] for frames in (still, moving)]
    assert micro_model.difference(*made) < micro_model.difference(*leaky)
