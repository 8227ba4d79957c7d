"""Examples of few-step training: windows, references as they are and turned, the audio features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_unet_parts import audio_encoder, batch_of, objective, talking_mesh, windows, write_people

from latentsync.core.errors import LatentSyncError
from latentsync.faces import topology as mesh
from latentsync.training.datasets import Mixture, SoundRange, TrainingData, open_data
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.augment import NO_AUGMENTATION, Augmentation, AugmentationRange
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.tasks.tiny_unet import data as few_step_data
from latentsync.training.tasks.tiny_unet.data import Windows, augmented_references, laid_onto
from latentsync.training.tasks.tiny_unet.objective import FewStepConfig


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    return write_people(tmp_path)


def of_ann(data: TrainingData) -> tuple[Mixture, LipParameterBasis, torch.Tensor, ClipAudioFeatures]:
    """Ann's clip alone, its code of the lips and their opening, and how it is heard."""
    ann = data.train.only(lambda clip: clip.person == "ann")
    lips = LipParameterBasis(list(ann), 2)
    return ann, lips, lips.opening(lips(next(iter(ann)))), ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())


def test_an_example_is_a_function_of_its_number_and_its_reference_lies_outside(data: TrainingData) -> None:
    first, again = windows(data), windows(data)
    starts = set()
    for number in (7, 3, 12, 30):
        one, two = first.example(number), again.example(number)
        assert all(torch.equal(one[key], two[key]) for key in one)
        shown = one["target"][:, 0, 0, 0].tolist()
        assert shown == list(range(shown[0], shown[0] + 8, 2))
        assert int(one["references"][0, 0, 0, 0]) not in shown
        starts.add(shown[0])
    assert len(starts) > 1


def test_references_are_closed_mouths_as_often_as_is_asked(data: TrainingData) -> None:
    ann, lips, opening, hearing = of_ann(data)
    for share, low, high in ((0.0, 0.3, 0.7), (1.0, 0.0, 0.15)):
        made = Windows(
            ann, hearing, frames=4, seed=0, look=NO_AUGMENTATION, sounds=1, lips=lips, closed_still=share
        )  # fmt: skip
        frames = [int(made.example(number)["references"][0, 0, 0, 0]) // 2 for number in range(20)]
        rank = np.mean([float((opening < opening[frame]).float().mean()) for frame in frames])
        assert low <= rank <= high


def test_the_code_is_told_as_the_difference_from_the_first_references(data: TrainingData) -> None:
    lips = LipParameterBasis(list(data.train), 2)
    hearing = ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())
    made = Windows(
        data.train,
        hearing,
        frames=4,
        seed=0,
        look=NO_AUGMENTATION,
        sounds=1,
        lips=lips,
        closed_still=0.5,
        open_reference=True,
    )
    by_grey = {clip.person: lips(clip) for clip in data.train}
    for number in range(8):
        one = made.example(number)
        assert one["references"].shape == (2, 256, 256, 3)
        still, first = int(one["references"][0, 0, 0, 0]) // 2, int(one["target"][0, 0, 0, 0]) // 2
        wanted = [code[first : first + 4] - code[still] for code in by_grey.values()]
        assert any(torch.allclose(one["code"], each, atol=1e-6) for each in wanted)


def test_posed_references_are_turned_as_each_frame_is(data: TrainingData) -> None:
    """Heads are held still here, so each frame has the same references as without, whatever the look."""
    hearing = ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())
    for look in (NO_AUGMENTATION, AugmentationRange(jpeg=0, blur_px=0, warp=0.01)):
        plain, posed = (
            Windows(data.train, hearing, frames=4, seed=0, look=look, sounds=1, open_reference=True, posed=posed)
            for posed in (False, True)
        )
        for number in range(3):
            one, two = plain.example(number), posed.example(number)
            assert two["references"].shape == (4, 2, 256, 256, 3)
            apart = (two["references"].float() - one["references"].float()[None]).abs()
            assert float(apart.max()) <= 1
            assert torch.equal(one["target"], two["target"])
    task = objective(FewStepConfig(open_reference=True, posed_references=True, pixel_weight=1.0, pixel_frames=2))
    _, _, stills = task.latents_of(batch_of(posed, 0, 1))
    _, _, same = task.latents_of(batch_of(plain, 0, 1))
    assert stills.shape == same.shape == (2, 4, 8, *same.shape[-2:])
    torch.testing.assert_close(stills, same, atol=0.1, rtol=0.1)


def test_a_turned_head_has_turned_references() -> None:
    rng = np.random.default_rng(0)
    stills = rng.integers(0, 255, (2, 256, 256, 3), dtype=np.uint8)
    points = talking_mesh(np.zeros(2))
    frames = np.concatenate([points[:1], points[:1] + np.float32([4, -2])])
    made = augmented_references(stills, points, frames, Augmentation())
    assert made.shape == (2, 2, 256, 256, 3)
    assert np.abs(made[0].astype(int) - stills).mean() < 1
    assert np.abs(made[1, :, 20:-20, 20:-20].astype(int) - stills[:, 22:-18, 16:-24]).mean() < 1


def test_shaped_references_have_the_lips_of_each_frame() -> None:
    """The dark line between closed lips is drawn out as far down as the lower lip goes."""
    meshes = talking_mesh(np.zeros(2))
    angle = np.linspace(0, 2 * np.pi, len(mesh.LIPS), endpoint=False)
    meshes[:, list(mesh.LIPS)] = np.stack([128 + 30 * np.cos(angle), np.full(len(angle), 180)], axis=1)
    still = np.full((1, 256, 256, 3), 255, np.uint8)
    still[:, 179:182] = 0
    change = np.zeros((2, 2, len(mesh.LIPS)), np.float32)
    change[1, 1] = 0.15 * np.clip(np.sin(angle), 0, 1)  # eyes are 100 px apart
    made = augmented_references(still, meshes[:1], meshes, Augmentation(), change.reshape(2, -1))
    dark = [np.flatnonzero(made[k, 0, :, 128, 0] < 155) for k in range(2)]
    assert dark[0].tolist() == [179, 180, 181]
    assert abs(dark[1].min() - 179) <= 3 and abs(dark[1].max() - 196) <= 3


def test_windows_say_how_far_the_lips_are_from_the_first_reference(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, lips, _, hearing = of_ann(data)
    predicted: list[np.ndarray | None] = []

    def turned(stills: np.ndarray, still_meshes: np.ndarray, meshes: np.ndarray, *rest: Any) -> np.ndarray:
        predicted.append(rest[1])
        return augmented_references(stills, still_meshes, meshes, Augmentation())

    monkeypatch.setattr(few_step_data, "augmented_references", turned)
    mirror = AugmentationRange(flip=1.0, jpeg=0, blur_px=0)
    for shaped in (False, True):
        windows = Windows(
            ann, hearing, frames=4, seed=0, look=mirror, sounds=1, lips=lips, posed=True, shaped=shaped,
            open_reference=True,
        )  # fmt: skip
        example = windows.example(0)
    assert predicted[0] is None and predicted[1] is not None
    wanted = example["code"].numpy()  # of the mirror image; these mouths go straight down, which has no side
    np.testing.assert_allclose(predicted[1], wanted @ lips.motion.numpy(), atol=0.02)


def test_wide_mouths_are_seen_more_often_where_that_is_asked(data: TrainingData) -> None:
    ann, lips, opening, hearing = of_ann(data)
    widest = []
    for share in (0.0, 1.0):
        made = Windows(ann, hearing, frames=4, seed=0, look=NO_AUGMENTATION, sounds=1, lips=lips, wide=share)
        firsts = [int(made.example(number)["target"][0, 0, 0, 0]) // 2 for number in range(24)]
        widest.append(float(np.mean([float(opening[first : first + 4].max()) for first in firsts])))
    assert widest[1] > widest[0] + 0.1 * float(opening.max())


def test_second_references_are_any_mouth_as_often_as_is_asked(data: TrainingData) -> None:
    ann, lips, opening, hearing = of_ann(data)
    ranks = []
    for share in (0.0, 1.0):
        made = Windows(
            ann,
            hearing,
            frames=4,
            seed=0,
            look=NO_AUGMENTATION,
            sounds=1,
            lips=lips,
            closed_still=1.0,
            open_reference=True,
            half_open=share,
        )
        pairs = [(made.example(number)["references"][:, 0, 0, 0] // 2).tolist() for number in range(24)]
        assert all(float(opening[first]) <= float(opening[second]) for first, second in pairs)
        ranks.append(np.mean([float((opening < opening[second]).float().mean()) for _, second in pairs]))
    assert ranks[0] > 0.8
    assert 0.3 < ranks[1] < 0.7


def test_surroundings_are_of_another_time_as_often_as_is_asked(data: TrainingData) -> None:
    hearing = ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())
    plain, never, always = (
        Windows(data.train, hearing, frames=4, seed=0, look=NO_AUGMENTATION, sounds=1, around=share)
        for share in (0.0, 1e-9, 1.0)
    )
    assert "surroundings" not in plain.example(0)
    for number in range(8):
        one = never.example(number)
        assert torch.equal(one["surroundings"], one["target"])
        one = always.example(number)
        shown, around = (one[key][:, 0, 0, 0].int() for key in ("target", "surroundings"))
        assert around.tolist() == list(range(int(around[0]), int(around[0]) + 8, 2))
        assert abs(int(around[0] - shown[0])) >= 2 * 2 or around[0] == shown[0]
    moved = [always.example(k)["surroundings"][0, 0, 0, 0] != always.example(k)["target"][0, 0, 0, 0] for k in range(8)]
    assert sum(map(bool, moved)) >= 6
    task = objective(FewStepConfig())
    batch = batch_of(always, 0, 1) | {"surroundings": torch.stack([always.example(k)["surroundings"] for k in (0, 1)])}
    target, masked, _ = task.latents_of(batch)
    same, seen, _ = task.latents_of(batch | {"target": batch["surroundings"]})
    assert torch.equal(masked, seen)
    assert not torch.equal(target, same)


def test_surroundings_have_the_head_held_most_alike(data: TrainingData) -> None:
    """Heads drift to the side here: of the times that are drawn, the nearest is the most alike."""
    for clip in data.train:
        points = np.array(clip.mesh)
        points[..., 0] += np.arange(len(points), dtype=np.float32)[:, None]
        np.save(clip.path / "mesh.npy", points)
    drifting = open_data([next(iter(data.train)).path.parent], cache=data.cache.folder / "fresh")
    made = Windows(
        drifting.train,
        ClipAudioFeatures(audio_encoder(), drifting.cache, SoundRange()),
        frames=4,
        seed=0,
        look=NO_AUGMENTATION,
        sounds=1,
        around=1.0,
    )
    away = []
    for number in range(16):
        one = made.example(number)
        away.append(abs(int(one["surroundings"][0, 0, 0, 0]) - int(one["target"][0, 0, 0, 0])) // 2)
    assert np.mean(away) < 7, "one drawn at random is 12 frames away in the mean"


def test_clips_shorter_than_a_window_are_refused(data: TrainingData) -> None:
    with pytest.raises(LatentSyncError, match="too short"):
        windows(data, frames=40)


def test_silence_is_heard_as_the_pipeline_would(data: TrainingData) -> None:
    hearing = ClipAudioFeatures(audio_encoder(), data.cache, SoundRange())
    predicted = hearing.silence(8)
    assert predicted.shape == (16, 10, 8)
    assert float((predicted[:8] - predicted[8:]).abs().max()) > 0


def without_open_reference(data: TrainingData, photo: float) -> Windows:
    lips = LipParameterBasis(list(data.train), 2)
    return Windows(
        data.train,
        ClipAudioFeatures(audio_encoder(), data.cache, SoundRange()),
        frames=4,
        seed=0,
        look=NO_AUGMENTATION,
        sounds=1,
        lips=lips,
        closed_still=1.0,
        open_reference=True,
        posed=True,
        shaped=True,
        around=1.0,
        between=True,
        missing=1.0,
        photo=photo,
    )


def test_a_missing_open_reference_is_the_closed_one_opened_or_once_more(data: TrainingData) -> None:
    made = without_open_reference(data, photo=0.0)
    lent = []
    for number in range(16):
        pair = made.example(number)["references"]
        assert pair.shape == (4, 2, 256, 256, 3)
        apart = (pair[:, 0].float() - pair[:, 1].float()).abs()
        assert float(apart.mean()) < 4, "both are of one frame"
        lent.append(bool((apart[0].mean(-1) > 8).sum() > 60))
        assert lent[-1] or not float(apart.max()), "else it is the same picture"
    assert 8 <= sum(lent) <= 15


def test_the_frames_of_a_photo_are_one_picture_and_the_wanted_mouth_is_laid_onto_it(data: TrainingData) -> None:
    photo, film = (without_open_reference(data, photo=share) for share in (1.0, 0.0))
    for number in range(4):
        around = photo.example(number)["surroundings"]
        assert torch.equal(around, around[:1].expand_as(around))
    moving = [film.example(number)["surroundings"] for number in range(4)]
    assert any(not torch.equal(each, each[:1].expand_as(each)) for each in moving)


def test_mouths_are_laid_onto_a_photo_by_the_way_the_head_went() -> None:
    rng = np.random.default_rng(0)
    crops = cv2.GaussianBlur(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8), (0, 0), 3)[None]
    meshes = talking_mesh(np.array([0.2]))
    still = talking_mesh(np.zeros(1))[0] + np.float32([4, -2])
    made, points = laid_onto(crops, meshes, still)
    assert np.abs(made[0, 20:-20, 20:-20].astype(int) - crops[0, 22:-18, 16:-24]).mean() < 2
    lips = list(mesh.LIPS)
    np.testing.assert_allclose(points[0, lips], meshes[0, lips] + np.float32([4, -2]), atol=0.5)
    others = [k for k in range(468) if k not in lips]
    np.testing.assert_array_equal(points[0, others], still[others])
