"""Still references that are turned with the head: how often they are encoded, what frames between get, and where they
give their fine texture back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from latentsync.config.options import SyncOptions
from latentsync.core.errors import WeightsError
from latentsync.diffusion.sampling import SamplerConfig
from latentsync.faces import topology as mesh
from latentsync.generation.networks import Networks
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.references import ChunkReferences, reference_lips
from latentsync.generation.tiny.sampler import TinySampler
from latentsync.models.lip_predictor import LipPredictor
from small_sampler import PLAIN

SIDE, FACTOR = 64, 4
SETTINGS = ModelSettings(
    resolution=SIDE, num_frames=8, tiny=replace(PLAIN, warp="pose", residual=True),
    sampler=SamplerConfig(kind="flow", prediction="x0", steps=1, guidance=1.0),
)  # fmt: skip


class Means:
    """Mean colours of cells as latents."""

    factor, latent_channels = FACTOR, 3

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, pixels: Tensor, generator: Any = None) -> Tensor:
        self.encoded += len(pixels)
        return functional.avg_pool2d(pixels, FACTOR)

    def decode(self, latents: Tensor) -> Tensor:
        return functional.interpolate(latents, scale_factor=FACTOR)


class Unchanged:
    """A U-Net that draws no difference from the reference."""

    config = SimpleNamespace(in_channels=3 * Means.latent_channels + 1, out_channels=Means.latent_channels)

    def __call__(self, sample: Tensor, timestep: Tensor, audio_features: Tensor, cache: Any = None) -> Tensor:
        return torch.zeros(1, Means.latent_channels, *sample.shape[2:])


class UpperHalf(Unchanged):
    """One that draws another red in the upper half of the picture, which is so much of a root mean square change."""

    def __init__(self, change: float) -> None:
        self.change = change * Means.latent_channels**0.5

    def __call__(self, sample: Tensor, timestep: Tensor, audio_features: Tensor, cache: Any = None) -> Tensor:
        made = super().__call__(sample, timestep, audio_features, cache)
        made[:, 0, :, : made.shape[-2] // 2] = self.change
        return made


class Sampling:
    """A sampler that is called with a chunk's parts."""

    def __init__(self, sampler: TinySampler) -> None:
        self.sampler = sampler

    def __call__(self, crops: np.ndarray, features: Tensor, frames: Any, references: ChunkReferences) -> np.ndarray:
        return self.sampler.finish(self.sampler.prepare(ChunkInputs(crops, features, frames, references)))


def generator_of(unet: Any, autoencoder: Any, overlap_frames: int = 0, **tiny: Any) -> Sampling:
    networks = Networks(unet, autoencoder, torch.nn.Identity(), torch.device("cpu"), torch.float32)
    assert SETTINGS.tiny is not None
    settings = replace(SETTINGS, tiny=replace(SETTINGS.tiny, **tiny), overlap_frames=overlap_frames)
    return Sampling(TinySampler(networks, settings, SyncOptions()))


def unturned(count: int) -> np.ndarray:
    moves = np.zeros((count, 1, 4, 2), np.float32)
    moves[:, :, :2] = np.eye(2)
    moves[:, :, 3] = (0.5, 0.42)
    return moves


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("change", "share"), [(0.0, 1.0), (0.5, 1.0), (1.1, 0.5), (1.35, 0.25), (1.7, 0.0)])
def test_texture_that_the_autoencoder_loses_comes_back_where_the_reference_is_left(
    turned: bool, change: float, share: float
) -> None:
    """Noise of mean 0 in each cell is all lost; green and blue show how much of it comes back."""
    cells = np.random.default_rng(0).uniform(-0.1, 0.1, (SIDE // FACTOR, FACTOR, SIDE // FACTOR, FACTOR, 3))
    fine = (cells - cells.mean((1, 3), keepdims=True)).reshape(SIDE, SIDE, 3).astype(np.float32)
    references = ChunkReferences((0.5 + fine)[None], unturned(2) if turned else None)
    crops = np.zeros((2, SIDE, SIDE, 3), np.float32)
    generator = generator_of(UpperHalf(change), Means(), detail_residual=True)
    made = generator(crops, torch.zeros(2, 1, 1), range(2), references)[..., 1:] - 0.5
    edge = FACTOR  # shares are mixed from those of the cells on either side
    wanted = np.broadcast_to(fine[..., 1:], made.shape)
    upper, lower = slice(0, SIDE // 2 - edge), slice(SIDE // 2 + edge, SIDE)
    np.testing.assert_allclose(made[:, upper], share * wanted[:, upper], atol=1e-5)
    np.testing.assert_allclose(made[:, lower], wanted[:, lower], atol=1e-5)


class Mixed(Unchanged):
    """One that goes this share of the way to the second reference in the upper half of the picture."""

    config = SimpleNamespace(in_channels=4 * Means.latent_channels + 1, out_channels=Means.latent_channels + 1)

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, sample: Tensor, timestep: Tensor, audio_features: Tensor, cache: Any = None) -> Tensor:
        made = torch.zeros(1, Means.latent_channels + 1, *sample.shape[2:])
        made[:, -1, :, : made.shape[-2] // 2] = self.share
        return made


@pytest.mark.parametrize("turned", [False, True])
def test_an_open_mouth_gets_the_texture_of_the_second_reference(turned: bool) -> None:
    """The two stills differ much in all cells: either is drawn as it is, pixel for pixel."""
    rng = np.random.default_rng(2)
    stills = np.stack([rng.uniform(0, 0.1, (SIDE, SIDE, 3)), rng.uniform(0.9, 1, (SIDE, SIDE, 3))])
    moves = np.repeat(unturned(2), 2, axis=1) if turned else None
    generator = generator_of(Mixed(1.0), Means(), detail_residual=True, num_references=2)
    references = ChunkReferences(stills.astype(np.float32), moves)
    made = generator(np.zeros((2, SIDE, SIDE, 3), np.float32), torch.zeros(2, 1, 1), range(2), references)
    edge, half = FACTOR, SIDE // 2
    for picture in made:
        np.testing.assert_allclose(picture[: half - edge], stills[1, : half - edge], atol=1e-5)
        np.testing.assert_allclose(picture[half + edge :], stills[0, half + edge :], atol=1e-5)


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0.1), (0.5, 0.45), (1.0, 0.8), (1.5, 1.0)])
def test_an_answer_of_one_channel_more_mixes_the_references(share: float, wanted: float) -> None:
    stills = np.stack([np.full((SIDE, SIDE, 3), value, np.float32) for value in (0.1, 0.8)])
    generator = generator_of(Mixed(share), Means(), num_references=2)
    made = generator(np.zeros((1, SIDE, SIDE, 3), np.float32), torch.zeros(1, 1, 1), [0], ChunkReferences(stills))
    np.testing.assert_allclose(made[0, : SIDE // 2], wanted, atol=1e-5)
    np.testing.assert_allclose(made[0, SIDE // 2 :], 0.1, atol=1e-5)


@pytest.mark.parametrize("settings", [{"num_references": 1}, {"num_references": 2, "residual": False}])
def test_a_share_of_the_second_reference_needs_one_and_a_residual_network(settings: dict[str, Any]) -> None:
    unet = Mixed(0.5)
    if settings["num_references"] == 1:
        unet.config = SimpleNamespace(in_channels=Unchanged.config.in_channels, out_channels=4)
    with pytest.raises(WeightsError, match=r"gives 4 channels.* allow 3:"):
        generator_of(unet, Means(), **settings)


class Brighter(Means):
    """Decodes everything a little brighter than it is, also beyond white."""

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) + 0.2


@pytest.mark.parametrize("grey", [0.5, 0.97, 1.0])
def test_what_is_decoded_beyond_white_does_not_darken(grey: float) -> None:
    still = np.full((1, SIDE, SIDE, 3), grey, np.float32)
    generator = generator_of(Unchanged(), Brighter(), detail_residual=True)
    made = generator(np.zeros((1, SIDE, SIDE, 3), np.float32), torch.zeros(1, 1, 1), [0], ChunkReferences(still))
    np.testing.assert_allclose(made, still, atol=1e-5)


def test_texture_of_each_track_is_its_own() -> None:
    autoencoder: Any = Means()
    generator = generator_of(Unchanged(), autoencoder, detail_residual=True)
    rng = np.random.default_rng(1)
    tracks = [ChunkReferences(rng.uniform(0, 1, (1, SIDE, SIDE, 3)).astype(np.float32)) for _ in range(6)]
    crops = np.zeros((2, SIDE, SIDE, 3), np.float32)
    for references in (*tracks, tracks[0], tracks[0]):
        made = generator(crops, torch.zeros(2, 1, 1), range(2), references)
        np.testing.assert_allclose(made, np.broadcast_to(references.pictures, made.shape), atol=1e-5)
    assert autoencoder.encoded == 8 * (2 + 1) + 7  # each chunk's frames and reference; the last track was known


@pytest.mark.parametrize(("step_px", "encoded"), [(0.0, 1), (0.02, 1), (0.3, 4), (1.2, 8)])
def test_references_of_a_moving_head_are_encoded_seldom_and_mixed_between(step_px: float, encoded: int) -> None:
    """A ramp of grey moves by so many pixels a frame, as on crops of 256; a mixture of two ramps is the one between.
    OpenCV finds places to 1/32 pixel."""
    step = step_px / 256
    autoencoder: Any = Means()
    generator = generator_of(Unchanged(), autoencoder)
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[None, :, None], (SIDE, SIDE, 3)).copy()
    moves = unturned(8)
    moves[:, 0, 3, 0] += np.arange(8) * step
    crops = np.zeros((8, SIDE, SIDE, 3), np.float32)
    made = generator(crops, torch.zeros(8, 1, 1), range(8), ChunkReferences(ramp[None], moves))
    assert autoencoder.encoded == 8 + encoded  # the masked frames, and the references
    middle = made[:, SIDE // 2, SIDE // 2, 0]
    moved = np.arange(8) * step * (0.6 * SIDE / (SIDE - 1))
    if encoded == 1:
        moved[:] = 0
    np.testing.assert_allclose(middle - middle[0], moved, atol=2 * 0.6 / SIDE / 32)


def test_frames_that_two_chunks_share_are_encoded_once() -> None:
    """Two people take turns, and what is made of each chunk is what a generator makes that has seen nothing before."""
    rng = np.random.default_rng(3)
    crops = rng.uniform(0, 1, (2, 14, SIDE, SIDE, 3)).astype(np.float32)
    references = [ChunkReferences(still[None]) for still in rng.uniform(0, 1, (2, SIDE, SIDE, 3)).astype(np.float32)]
    autoencoder: Any = Means()
    generator = generator_of(Unchanged(), autoencoder, overlap_frames=2, keep_latents=True)
    for start, new in ((0, 8), (6, 6)):
        for own, reference in zip(crops, references, strict=True):
            given = own[start : start + 8], torch.zeros(8, 1, 1), range(start, start + 8), reference
            before = autoencoder.encoded
            made = generator(*given)
            assert autoencoder.encoded - before == new + 1  # and the reference
            fresh = generator_of(Unchanged(), Means(), overlap_frames=2, keep_latents=True)
            np.testing.assert_array_equal(made, fresh(*given))


class Eared(Unchanged):
    """One whose lip predictor hears how far the lips go down: numbers 40 to 79 of what it tells."""

    def __init__(self) -> None:
        self.lip_predictor = LipPredictor(audio_features=1, width=4, code=1, channels=1, stem_width=4, points=40)
        self.lip_predictor.motion[0, 40:] = 1

        def code(tokens: Tensor) -> Tensor:
            return tokens

        self.lip_predictor.code = code  # type: ignore[method-assign]


def test_lips_of_the_references_go_where_the_lip_predictor_says_and_their_texture_with_them() -> None:
    """A bright line through the lips, thinner than a cell, goes down by so many pixels; frames that hear the same share
    a picture."""
    rng = np.random.default_rng(4)
    points = rng.uniform(8, 56, (468, 2)).astype(np.float32)
    points[mesh.LEFT_EYE_OUTER], points[mesh.RIGHT_EYE_OUTER] = (16, 24), (48, 24)
    points[list(mesh.LIPS)] = np.stack([np.linspace(20, 44, 40), np.full(40, 42)], axis=1)
    still = np.full((SIDE, SIDE, 3), 0.4, np.float32)
    still[42] = 1
    references = ChunkReferences(still[None], unturned(8), reference_lips(points[None], still[None]))
    autoencoder: Any = Means()
    generator = generator_of(Eared(), autoencoder, warp="lips", detail_residual=True)
    audio_features = torch.tensor([0.0] * 5 + [3 / 32] * 3).view(8, 1, 1)
    made = generator(np.zeros((8, SIDE, SIDE, 3), np.float32), audio_features, range(8), references)
    assert autoencoder.encoded == 8 + 4 + 1  # frames; references of frames 0, 4, 5 and 7; what is lost of it
    line = made[:, :, 28:36, 0].mean(axis=2)
    np.testing.assert_allclose(line.argmax(axis=1), [42] * 5 + [45] * 3, atol=1)
    assert line.max(axis=1).min() > 0.65  # a cell's mean is 0.55: the rest comes from what is lost


@pytest.mark.parametrize(("points", "described"), [(0, 1.0), (20, 1.0), (40, 0.0)])
def test_a_network_that_does_not_say_how_forty_points_move_is_refused(points: int, described: float) -> None:
    unet = Eared()
    unet.lip_predictor = LipPredictor(audio_features=1, width=4, code=1, channels=1, stem_width=4, points=points)
    if points:
        unet.lip_predictor.motion.fill_(described)
    with pytest.raises(WeightsError, match="how lips move"):
        generator_of(unet, Means(), warp="lips")
