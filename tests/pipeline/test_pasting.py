"""What is pasted lies where it was cut out."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

import micro_model
from latentsync.config.options import Paste, SyncOptions
from latentsync.core.values import AlignedFace, Frame
from latentsync.faces import alignment_matrix, extract_crop
from latentsync.generation.settings import ModelSettings
from latentsync.media import RgbPicture
from latentsync.pipeline.chunks import FrameFaces, FrameTask
from latentsync.pipeline.pasting import Paster

LONG_NOSE = np.array([(250, 200), (390, 210), (318, 330)], np.float32)
"""A face of another shape than the template: the released tool's running offset is large."""


def shift_px(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(2,) how far a picture was moved, right and down, least squares on its gradient."""
    slopes = np.stack([np.gradient(old, axis=1).ravel(), np.gradient(old, axis=0).ravel()], axis=1)
    return -np.linalg.lstsq(slopes, (new - old).ravel(), rcond=None)[0]


@pytest.mark.parametrize("paste", ["mouth", "compatible"])
def test_a_crop_pasted_as_it_was_cut_moves_nothing(paste: Paste) -> None:
    """With the offset in the paste alone, this face came back 0.62 px lower (measured)."""
    noise = np.random.default_rng(0).normal(size=(640, 640))
    grey = cv2.GaussianBlur(noise, (0, 0), 6)
    picture = np.repeat((grey / grey.std() * 40 + 128).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    settings = ModelSettings.from_index(micro_model.SETTINGS | {"resolution": 256}, "micro")
    matrix = alignment_matrix(LONG_NOSE, 256)
    crop = extract_crop(RgbPicture(picture), matrix, 256)
    face = AlignedFace(0, LONG_NOSE, matrix, np.zeros((468, 2), np.float32), 1.0)
    item = FrameTask(FrameFaces(Frame(0, Fraction(0), RgbPicture(picture)), (face,)), face, torch.zeros(0))
    pasted = Paster(np.ones((256, 256), np.float32), settings, SyncOptions(paste=paste))(item, crop, crop)
    old, new = (array[230:400, 250:390, 0].astype(float) for array in (picture, pasted.picture.rgb()))
    assert np.abs(shift_px(old, new)).max() < 0.03


@pytest.mark.parametrize("paste", ["mouth", "compatible"])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_both_ways_of_pasting_fade(paste: Paste, strength: float) -> None:
    picture = np.full((640, 640, 3), 40, np.uint8)
    settings = ModelSettings.from_index(micro_model.SETTINGS | {"resolution": 256}, "micro")
    matrix = alignment_matrix(LONG_NOSE, 256)
    face = AlignedFace(0, LONG_NOSE, matrix, np.zeros((468, 2), np.float32), 1.0)
    frame = Frame(0, Fraction(0), RgbPicture(picture))
    mask = np.zeros((256, 256), np.float32)
    mask[100:220, 60:200] = 1
    crop = np.full((256, 256, 3), 240 / 255, np.float32)
    original = np.full_like(crop, 40 / 255)
    crop[100:220, 60:200] = np.linspace(0.2, 1, 140, dtype=np.float32)[:, None]

    def pasted(how: float) -> np.ndarray:
        one = FrameTask(FrameFaces(frame, (face,)), face, torch.zeros(0), strength=how)
        made = Paster(mask, settings, SyncOptions(paste=paste))(one, crop, original)
        return made.picture.rgb().astype(np.float32)

    whole = pasted(1.0) - picture
    assert np.abs(whole).max() > 30
    np.testing.assert_allclose(pasted(strength) - picture, strength * whole, atol=1)
