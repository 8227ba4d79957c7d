"""Judge scores from embeddings, and the windows that are cut for the networks."""

import numpy as np
import pytest
import torch

from latentsync.metrics import judges
from latentsync.metrics.sync import num_v2_positions, sync_score, v2_audio_windows, v2_video_windows


def embeddings(seed: int, count: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 32))


@pytest.mark.parametrize("early", [-3, 0, 4])
@pytest.mark.parametrize("measure", ["euclidean", "cosine"])
def test_offset_is_positive_when_the_sound_is_early(early: int, measure: str) -> None:
    video = embeddings(0)
    audio = np.roll(video, -early, axis=0) + 0.1 * embeddings(1)
    score = sync_score(video, audio, measure=measure)
    assert score.av_offset_frames == early
    assert len(score.curve) == 31 and score.num_windows == 80
    assert score.sync_confidence > 0.5 * np.median(score.curve)
    assert score.sync_distance == min(score.curve)
    assert (score.confidence_at_zero == score.sync_confidence) == (early == 0)


def test_unrelated_sound_has_no_confidence() -> None:
    related = sync_score(embeddings(0), embeddings(0) + 0.1 * embeddings(1), pad_zeros=False)
    unrelated = sync_score(embeddings(0), embeddings(2), pad_zeros=False)
    assert unrelated.sync_confidence < 0.1 * related.sync_confidence


def test_zero_padding_is_the_published_rule() -> None:
    video = np.ones((3, 4))
    score = sync_score(video, video, max_shift=1)
    same, zero = np.sqrt(4e-12), np.sqrt(4 * (1 + 1e-6) ** 2)
    np.testing.assert_allclose(score.curve, [(2 * same + zero) / 3, same, (2 * same + zero) / 3])
    np.testing.assert_allclose(sync_score(video, video, max_shift=1, pad_zeros=False).curve, [same] * 3)
    with pytest.raises(ValueError, match="too few"):
        sync_score(video, video, max_shift=15, pad_zeros=False)


def test_v2_windows_lie_where_the_protocol_says() -> None:
    assert num_v2_positions(50, 50 * 640) == 45 and num_v2_positions(50, 30 * 640 + 5) == 25
    frames = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    windows = v2_video_windows(frames, range(2, 4))
    assert windows.shape == (2, 3, 5, 2, 2) and windows[1, 0, :, 0, 0].tolist() == [3, 4, 5, 6, 7]
    sounds = v2_audio_windows(np.arange(60)[None].repeat(13, 0), range(2, 4))
    assert sounds.shape == (2, 1, 13, 20) and sounds[1, 0, 0, [0, -1]].tolist() == [12, 31]


def test_v2_judge_finds_the_offset_of_a_flash_and_a_click() -> None:
    """A judge that reads brightness and loudness: both embeddings are the window's own course over time."""
    rng = np.random.default_rng(3)
    loud = rng.uniform(0.01, 0.5, 60)
    wave = np.repeat(loud, 640) * rng.choice([-1.0, 1.0], 60 * 640)
    late = 2
    light = np.roll(loud, late)
    frames = np.broadcast_to((light * 400).astype(np.uint8)[:, None, None, None], (60, 8, 8, 3))

    def centred(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)

    score = judges.v2_sync_score(
        np.ascontiguousarray(frames),
        wave,
        embed_video=lambda x: centred(x.mean(dim=(1, 3, 4))),
        embed_audio=lambda x: centred(x[:, 0, 0].exp().sqrt().reshape(len(x), 5, 4).mean(2)),
    )
    assert score.av_offset_frames == late
    assert score.num_windows == 55
    with pytest.raises(ValueError, match="too short"):
        judges.v2_sync_score(np.zeros((4, 8, 8, 3), np.uint8), wave, torch.nn.Identity(), torch.nn.Identity())


def test_own_judge_sees_the_lower_half_and_the_mel_beside_it() -> None:
    rng = np.random.default_rng(4)
    seen: list[tuple[int, ...]] = []
    mel = rng.normal(size=(80, 200)).astype(np.float32)
    level = np.array([mel[:, int(3.2 * i) : int(3.2 * i) + 3].mean() for i in range(60)])
    crops = np.zeros((60, 8, 8, 3), np.uint8)
    crops[:, 4:] = np.clip(128 + 600 * level, 0, 255).astype(np.uint8)[:, None, None, None]

    def video(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape[1:]))
        return x.reshape(len(x), 16, -1).mean(2)

    def audio(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape[1:]))
        return torch.stack([x[:, 0, :, int(3.2 * k) : int(3.2 * k) + 3].mean((1, 2)) for k in range(16)], 1)

    score = judges.own_sync_score(crops, mel, video, audio, max_shift=5)
    assert score.av_offset_frames == 0 and score.sync_confidence > 0.3
    assert set(seen) == {(48, 4, 8), (1, 80, 52)}


def test_sound_before_the_first_frame_counts_where_it_is_known() -> None:
    rng = np.random.default_rng(5)
    audio = rng.normal(size=(60, 8))
    late = 3
    video = audio[10 + late : 40 + late]  # what is seen beside frame 0 is heard at window 10, three frames late
    alone = sync_score(video, audio[10:40], 6, "cosine", pad_zeros=False)
    whole = sync_score(video, audio, 6, "cosine", pad_zeros=False, lead=10)
    assert whole.av_offset_frames == alone.av_offset_frames == -late
    assert whole.sync_distance == pytest.approx(0, abs=1e-9)
    known = np.zeros(60, bool)
    known[10:40] = True
    hidden = sync_score(video, audio, 6, "cosine", pad_zeros=False, lead=10, known=known)
    assert hidden.curve == pytest.approx(alone.curve)
    few = sync_score(video, audio, 6, "cosine", pad_zeros=False, lead=10, known=known, least_pairs=26)
    assert np.isnan(few.curve).tolist() == [abs(shift) > 4 for shift in range(-6, 7)]
    with pytest.raises(ValueError, match="no shift"):
        sync_score(video, audio, 6, "cosine", pad_zeros=False, lead=10, known=~np.ones(60, bool))


def test_sound_windows_are_those_that_are_whole() -> None:
    for num_columns in range(40, 120):
        expected = [c for c in (int(3.2 * i + 1e-9) for i in range(60)) if c + 52 <= num_columns]
        assert judges.own_columns(num_columns) == expected


def test_v2_crop_is_centred_and_smoothed() -> None:
    boxes = np.tile([100.0, 200.0, 180.0, 300.0], (40, 1))
    boxes[20] += 30  # one jump of the detector
    crops = judges.v2_crop_boxes(boxes)
    np.testing.assert_allclose(crops[20], [70, 200, 210, 340])
    np.testing.assert_allclose(crops[20], crops[15])
