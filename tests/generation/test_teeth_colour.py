"""Drawn mouths are no greener than the references of their track, and what is as red as those stays as it is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentsync.config.options import SyncOptions
from latentsync.diffusion.sampling import SamplerConfig
from latentsync.generation.networks import Networks
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.lip_warp import ReferenceLips
from latentsync.generation.tiny.references import ChunkReferences
from latentsync.generation.tiny.sampler import TinySampler
from latentsync.generation.tiny.teeth_colour import (
    BLACK,
    MOUTH,
    TeethColourGuard,
    least_red,
    least_red_between,
    with_red,
)
from small_sampler import PLAIN

SIDE = 256
SKIN, TEETH, GREEN = (0.7, 0.5, 0.4), (0.72, 0.6, 0.5), (0.6, 0.7, 0.55)
INSIDE = slice(165, 185), slice(100, 150)


def face(teeth: tuple[float, float, float] | None = None, skin: tuple[float, float, float] = SKIN) -> np.ndarray:
    """(R, R, 3): skin all over, teeth where a mouth is open."""
    picture = np.full((SIDE, SIDE, 3), skin, np.float32)
    if teeth is not None:
        picture[INSIDE] = teeth
    return picture


def red_over_green(colour: Any) -> float:
    return float((colour[0] + BLACK) / (colour[1] + BLACK))


def whole() -> tuple[slice, slice]:
    return slice(0, SIDE), slice(0, SIDE)


def test_the_limit_is_that_of_the_references_teeth() -> None:
    assert least_red(np.stack([face(), face(TEETH)])) == pytest.approx(red_over_green(TEETH), rel=0.01)
    pale = face(tuple(0.6 * value for value in TEETH))  # type: ignore[arg-type]
    assert least_red(np.stack([face(), pale])) == pytest.approx(red_over_green(TEETH), rel=0.01)


@pytest.mark.parametrize(
    ("skin", "wanted"), [(SKIN, 1.15), ((0.6, 0.5, 0.5), 0.9 * 0.62 / 0.52), ((0.5, 0.25, 0.2), 1.15)]
)
def test_without_teeth_in_the_references_it_is_that_of_usual_ones(
    skin: tuple[float, float, float], wanted: float
) -> None:
    assert least_red(np.stack([face(skin=skin)] * 2)) == pytest.approx(wanted, rel=1e-3)


def test_a_dark_mouth_says_nothing_about_colour() -> None:
    dark = (0.02, 0.05, 0.02)
    assert red_over_green(dark) < 0.6
    assert least_red(np.stack([face(), face(dark)])) > 1.1  # what the blurred edge of the skin shows is redder


def test_green_becomes_as_red_as_the_limit_and_keeps_its_brightness() -> None:
    picture = face(GREEN)[None]
    with_red(picture, 1.2, np.ones((SIDE, SIDE), np.float32))
    colour = picture[0, 175, 125]
    assert red_over_green(colour) == pytest.approx(1.2)
    assert colour @ [0.3, 0.6, 0] == pytest.approx(np.array(GREEN) @ [0.3, 0.6, 0], abs=1e-5)
    assert colour[2] == np.float32(GREEN[2])
    assert np.array_equal(picture[0, :160], face(GREEN)[:160]), "redder than the limit: left alone"


def test_colours_stay_in_range() -> None:
    picture = np.random.default_rng(0).choice(np.array([0, 0.001, 1], np.float32), (1, SIDE, SIDE, 3))
    with_red(picture, 1.5, np.ones((SIDE, SIDE), np.float32))
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_only_the_mouth_is_held_and_the_correction_begins_gently() -> None:
    decoded = np.full((1, SIDE, SIDE, 3), GREEN, np.float32)
    TeethColourGuard().hold(decoded, whole(), ChunkReferences(np.stack([face(), face(TEETH)])))
    change = np.abs(decoded - np.array(GREEN, np.float32)).max(axis=-1)[0]
    top, bottom, left, right = (round(share * SIDE) for share in MOUTH)
    assert change[175, 125] > 0.02
    outside = np.ones((SIDE, SIDE), bool)
    outside[top:bottom, left:right] = False
    assert change[outside].max() == 0
    assert np.abs(np.diff(change, axis=0)).max() < 0.3 * change.max()
    assert np.abs(np.diff(change, axis=1)).max() < 0.3 * change.max()


@pytest.mark.parametrize("window", [(slice(96, 224), slice(32, 208)), (slice(150, 200), slice(100, 160))])
def test_a_window_is_held_as_the_whole_crop_is(window: tuple[slice, slice]) -> None:
    references = ChunkReferences(np.stack([face(), face(TEETH)]))
    decoded = np.random.default_rng(1).uniform(0.2, 0.8, (2, SIDE, SIDE, 3)).astype(np.float32)
    part = decoded[:, window[0], window[1]].copy()
    TeethColourGuard().hold(decoded, whole(), references)
    TeethColourGuard().hold(part, window, references)
    np.testing.assert_array_equal(part, decoded[:, window[0], window[1]])


def test_a_window_beside_the_mouth_is_left_alone() -> None:
    decoded = np.full((1, 32, 32, 3), GREEN, np.float32)
    TeethColourGuard().hold(decoded, (slice(0, 32), slice(0, 32)), ChunkReferences(face(TEETH)[None]))
    assert np.array_equal(decoded, np.full_like(decoded, GREEN))


def lips_around(part: tuple[slice, slice]) -> np.ndarray:
    """(40, 2): an ellipse in a part of the picture as the inner edge, one twice as large as the outer one."""
    rows, columns = part
    angle = np.linspace(np.pi, 3 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    half = np.array([columns.stop - columns.start, rows.stop - rows.start]) / 2 / SIDE
    middle = np.array([columns.stop + columns.start, rows.stop + rows.start]) / 2 / SIDE
    return np.concatenate([middle + 2 * half * ring, middle + half * ring]).astype(np.float32)


def test_between_lips_the_limit_is_that_of_the_teeth_there_and_a_beard_has_its_own() -> None:
    """A moustache less red than the teeth is in the open reference; drawn teeth are as it is, and wanted lower down."""
    moustache = (0.3, 0.3, 0.25)
    opened = face(TEETH)
    opened[145:155, 90:160] = moustache
    own = lips_around(INSIDE)
    lower = own + np.float32([0, 12 / SIDE])
    still = np.array([[1, 0], [0, 1], [0, 0], [0.5, 0.42]], np.float32)
    move = still.copy()
    move[3, 0] -= np.float32(8 / SIDE)  # the head went to the right by 8 pixels
    references = ChunkReferences(
        np.stack([face(), opened]), np.stack([still, move])[:, None].repeat(2, axis=1),
        ReferenceLips(np.stack([own, own]), np.stack([own, own]), np.eye(2)[None].repeat(2, axis=0)),
        np.stack([np.stack([lower, lower])] * 2),
    )  # fmt: skip
    green = (0.6, 0.6, 0.5)
    decoded = np.stack([face()] * 2)
    decoded[:, 145:155, 90:160] = moustache
    decoded[:, 177:197, 100:158] = green
    TeethColourGuard().hold(decoded, whole(), references)
    assert red_over_green(decoded[0, 187, 125]) == pytest.approx(red_over_green(TEETH), rel=0.01)
    assert red_over_green(decoded[1, 187, 133]) == pytest.approx(red_over_green(TEETH), rel=0.01)
    assert red_over_green(decoded[0, 187, 157]) < 1.1 < red_over_green(decoded[1, 187, 154])
    np.testing.assert_allclose(decoded[:, 147:153, 95:155], np.broadcast_to(moustache, (2, 6, 60, 3)), atol=1e-6)


def test_what_lies_between_lips_tells_nothing_where_it_is_small_or_redder_than_skin() -> None:
    assert least_red_between(face(TEETH), lips_around(INSIDE)) == pytest.approx(red_over_green(TEETH), rel=0.01)
    small = slice(172, 178), slice(115, 135)
    assert least_red_between(face(TEETH), lips_around(small)) is None
    tongue = (0.7, 0.3, 0.3)
    assert least_red_between(face(tongue), lips_around(INSIDE)) is None


class GreenTeeth:
    """A network and an autoencoder in one: mean colours as latents, and a green mouth."""

    factor, latent_channels = 16, 3
    config = SimpleNamespace(in_channels=10, out_channels=3)

    def encode(self, pixels: Tensor, generator: Any = None) -> Tensor:
        return torch.nn.functional.avg_pool2d(pixels, 16)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(latents, scale_factor=16)

    def __call__(self, sample: Tensor, timestep: Tensor, audio_features: Tensor, cache: Any = None) -> Tensor:
        drawn = torch.zeros(1, 3, *sample.shape[2:])
        drawn[:, 1, :, 10:12, 6:9] = 0.6
        return drawn


def made(references: np.ndarray, asked: bool) -> np.ndarray:
    """(R, R, 3) of one frame."""
    settings = ModelSettings(
        resolution=SIDE, tiny=replace(PLAIN, residual=True, teeth_colour_guard=asked),
        sampler=SamplerConfig(kind="flow", prediction="x0", steps=1, guidance=1.0),
    )  # fmt: skip
    network: Any = GreenTeeth()
    networks = Networks(network, network, torch.nn.Identity(), torch.device("cpu"), torch.float32)
    crops = np.zeros((1, SIDE, SIDE, 3), np.float32)
    sampler = TinySampler(networks, settings, SyncOptions())
    inputs = ChunkInputs(crops, torch.zeros(1, 1, 1), [0], ChunkReferences(references))
    out = sampler.finish(sampler.prepare(inputs))
    return np.asarray(out[0])


def test_a_model_that_asks_for_it_draws_no_green_teeth() -> None:
    references = face(TEETH)[None]
    before, after = (made(references, asked)[175, 125] for asked in (False, True))
    assert red_over_green(before) < 0.95
    assert red_over_green(after) == pytest.approx(red_over_green(TEETH), rel=0.02)
