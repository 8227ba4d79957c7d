"""Cutting out and laying back: geometry, aliasing, the untouched outside, colour at the border."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_scenes import load, textured, wall

from latentsync.faces import alignment_matrix, crop_box, extract_crop, inpaint_mask, paste_compatible, paste_mouth
from latentsync.faces.alignment import TEMPLATE, compose, transform
from latentsync.faces.crop import OUTSIDE
from latentsync.faces.paste import feathered
from latentsync.faces.paste_compatible import resize_bicubic
from latentsync.media import RgbPicture

MASK = inpaint_mask(256)


def points_at(centre: tuple[float, float], scale: float, turn_deg: float = 0.0) -> np.ndarray:
    t = np.radians(turn_deg)
    turn = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return (np.array(TEMPLATE) - (37.5, 50)) @ turn.T + centre


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    error = (a.astype(float) - b.astype(float))[where]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-12)))


def covered(frame_to_crop: np.ndarray, size: tuple[int, int], mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: frame pixels whose nearest crop pixel is inside the mask, in float64 and without OpenCV."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    crop = np.rint(transform(frame_to_crop, np.stack([x, y], axis=2))).astype(int)
    inside = ((crop >= 0) & (crop < mask.shape[0])).all(axis=2)
    clipped = np.clip(crop, 0, mask.shape[0] - 1)
    return inside & (mask[clipped[..., 1], clipped[..., 0]] >= 0.5)


@pytest.mark.parametrize(("turn_deg", "scale"), [(0, 2.8), (15, 2.0), (-40, 5.0), (90, 2.8)])
def test_aligning_and_pasting_back_changes_next_to_nothing(turn_deg: float, scale: float) -> None:
    """Measured 48.8 to 53.8 dB; half a pixel of drift gives 35.6 to 37.3 dB."""
    image = textured(700, 700, sigma=3.5)
    matrix = alignment_matrix(points_at((350, 340), scale, turn_deg), 256)
    picture = RgbPicture(image)
    crop = extract_crop(picture, matrix, 256)
    changed = covered(matrix, (700, 700), MASK)
    assert psnr(paste_mouth(picture, crop, matrix, MASK).rgb(), image, changed) > 45.0
    drifted = compose(matrix, np.array([[1, 0, 0.35], [0, 1, 0.35]]))
    assert psnr(paste_mouth(picture, crop, drifted, MASK).rgb(), image, changed) < 40.0


@pytest.mark.parametrize("turn_deg", [0, 15, -40])
def test_pixels_outside_the_mask_keep_their_bits(turn_deg: float) -> None:
    image = textured(500, 640, seed=2)
    matrix = alignment_matrix(points_at((250, 300), 3.1, turn_deg), 256)
    pasted = paste_mouth(RgbPicture(image), np.ones((256, 256, 3), np.float32), matrix, MASK, match_colour=False).rgb()
    changed = (pasted != image).any(axis=2)
    allowed = covered(matrix, (500, 640), MASK)
    assert changed.sum() > 0.6 * allowed.sum()
    assert not (changed & ~allowed).any()


@pytest.mark.parametrize("name", ["mask", "mask3"])
@pytest.mark.parametrize(("scale", "turn_deg"), [(3.9, 12), (2.9, -40), (1.0, 5)])
def test_the_mouths_part_of_the_crop_is_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch, name: str, scale: float, turn_deg: float
) -> None:
    """A window that the interpolation reaches out of gives other pixels: 8 codes off with the opaque part alone."""
    picture, mask = RgbPicture(textured(500, 640, seed=2)), inpaint_mask(256, name)
    crop = textured(256, 256, seed=7, sigma=2.0).astype(np.float32) / 255
    matrix = alignment_matrix(points_at((250, 300), scale, turn_deg), 256)
    pasted = paste_mouth(picture, crop, matrix, mask, feather=0.0).rgb().astype(int)
    monkeypatch.setattr("latentsync.faces.paste._window", lambda *_: (0, 0, 256, 256))
    assert np.abs(pasted - paste_mouth(picture, crop, matrix, mask, feather=0.0).rgb()).max() <= 1


def test_a_patch_at_the_pictures_edge_is_cut_off_there() -> None:
    image = textured(300, 200, seed=3)
    for centre in ((5, 100), (295, 190), (150, -20)):
        matrix = alignment_matrix(points_at(centre, 2.0), 256)
        pasted = paste_mouth(RgbPicture(image), np.zeros((256, 256, 3), np.float32), matrix, MASK, match_colour=False)
        changed = (pasted.rgb() != image).any(axis=2)
        assert changed.any() and not (changed & ~covered(matrix, (300, 200), MASK)).any()


def test_a_face_outside_the_picture_changes_nothing() -> None:
    picture = RgbPicture(textured(100, 100))
    matrix = alignment_matrix(points_at((900, 900), 2.0), 256)
    assert crop_box(matrix, 256, (100, 100)) is None
    assert paste_mouth(picture, np.zeros((256, 256, 3), np.float32), matrix, MASK) is picture
    assert paste_compatible(picture, np.zeros((256, 256, 3), np.float32), matrix) is picture
    np.testing.assert_array_equal(extract_crop(picture, matrix, 256), np.float32(OUTSIDE))


def test_crop_equals_sampling_a_smooth_function_where_the_matrix_says() -> None:
    """A slow wave is the same read from pixels or computed: no half-pixel shift anywhere."""

    def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 0.5 + 0.4 * np.sin(x / 17 + 0.3) * np.cos(y / 23)

    x, y = np.meshgrid(np.arange(600.0), np.arange(500.0))
    image = np.repeat(np.rint(wave(x, y) * 255)[..., None], 3, axis=2).astype(np.uint8)
    for scale in (2.0, 3.3, 5.7):
        matrix = alignment_matrix(points_at((300, 240), scale, 12), 256)
        crop = extract_crop(RgbPicture(image), matrix, 256)[..., 0]
        u, v = np.meshgrid(np.arange(256.0), np.arange(256.0))
        source = cv2.invertAffineTransform(matrix.astype(np.float64))
        place = transform(source, np.stack([u, v], axis=2))
        inside = ((place > 8) & (place < (591, 491))).all(axis=2)
        error = crop - wave(place[..., 0], place[..., 1])
        assert np.abs(error[inside]).max() < 0.02 and abs(error[inside].mean()) < 5e-4


def test_strong_shrinking_does_not_alias() -> None:
    """A one-pixel checkerboard seen from far away is grey; sampled without averaging it would flicker from 0 to 1."""
    board = (np.indices((1200, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)
    for turn_deg in (0, 20):
        crop = extract_crop(RgbPicture(image), alignment_matrix(points_at((600, 600), 10.0, turn_deg), 256), 256)
        assert crop[20:-20, 20:-20].std() < 0.03


def test_colour_shift_is_taken_off_at_the_border() -> None:
    image = np.ascontiguousarray(cv2.resize(load("bald"), (640, 640), interpolation=cv2.INTER_CUBIC))
    points = np.array([(223.8, 170.7), (388.6, 168.8), (304.5, 293.8)])
    matrix = alignment_matrix(points, 256)
    picture = RgbPicture(image)
    crop = extract_crop(picture, matrix, 256)
    tinted = np.clip(crop * np.float32((1.06, 1.0, 0.92)) + 0.04, 0, 1)
    inside = covered(matrix, (640, 640), MASK)

    def error(match: bool) -> float:
        pasted = paste_mouth(picture, tinted, matrix, MASK, match_colour=match).rgb()
        return float(np.abs(pasted.astype(float) - image)[inside].mean())

    assert error(True) < 0.35 * error(False)


def test_colour_matching_ignores_a_differing_object_at_the_border() -> None:
    """A dark collar in the original where the generated chin is: the cheeks must not darken."""
    flat = np.full((256, 256, 3), 0.6, np.float32)
    original = flat.copy()
    original[215:] = 0.05
    picture = RgbPicture(np.full((400, 400, 3), 153, np.uint8))
    matrix = alignment_matrix(points_at((200, 200), 2.8), 256)
    pasted = paste_mouth(picture, flat, matrix, MASK, original=original)
    crop = extract_crop(pasted, matrix, 256)
    assert np.abs(crop[110:150, 20:60] - 0.6).max() < 0.02


def test_strength_fades_the_whole_patch() -> None:
    picture = RgbPicture(wall(400, 400))
    matrix = alignment_matrix(points_at((200, 200), 2.8), 256)
    black = np.zeros((256, 256, 3), np.float32)
    full, half, none = (
        paste_mouth(picture, black, matrix, MASK, match_colour=False, strength=s).rgb()[240, 200, 0]
        for s in (1, 0.5, 0)
    )
    assert full == 0 and none == picture.rgb()[240, 200, 0] and abs(int(half) - int(none) / 2) <= 1


def test_feather_is_zero_on_the_rim_and_one_inside() -> None:
    alpha = feathered(MASK >= 0.5, 10.0)
    assert alpha.dtype == np.float32 and alpha.min() == 0 and alpha.max() == 1
    rim = (MASK > 0) & (cv2.erode(MASK, np.ones((3, 3))) == 0)
    assert not alpha[rim].any() and not alpha[MASK == 0].any()
    assert alpha[180, 128] == 1 and 0 < alpha[180, 20] < 1


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        paste_mouth(RgbPicture(wall(50, 50)), np.zeros((64, 64, 3), np.float32), np.eye(3)[:2], MASK)


def test_compatible_paste_replaces_the_whole_face_and_nothing_far_away() -> None:
    image = textured(640, 640, seed=4, sigma=3.0)
    matrix = alignment_matrix(points_at((320, 320), 2.8), 256, compatible=True)
    crop = np.full((256, 256, 3), 0.25, np.float32)
    pasted = paste_compatible(RgbPicture(image), crop, matrix).rgb()
    x, y = np.meshgrid(np.arange(640), np.arange(640))
    place = transform(matrix, np.stack([x, y], axis=2))
    outside = (place < -1).any(axis=2) | (place > (210, 280)).any(axis=2)
    np.testing.assert_array_equal(pasted[outside], image[outside])
    # e = 12 px here: past the second erosion (12) and the blur's reach (12) all is replaced
    deep = (place > 26).all(axis=2) & (place < (183, 253)).all(axis=2)
    assert deep.any() and (pasted[deep] == 64).all()


def test_compatible_paste_of_a_tiny_face_does_not_fail() -> None:
    matrix = alignment_matrix(points_at((50, 50), 0.2), 256, compatible=True)
    pasted = paste_compatible(RgbPicture(wall(100, 100)), np.zeros((256, 256, 3), np.float32), matrix).rgb()
    assert pasted[50, 50].max() == 0


def test_bicubic_resize_keeps_lines_and_means() -> None:
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 256, axis=0).repeat(3, axis=2)
    small = resize_bicubic(ramp, (210, 280))
    assert small.shape == (280, 210, 3)
    expected = ((np.arange(210) + 0.5) * 256 / 210 - 0.5) / 255
    np.testing.assert_allclose(small[100, 5:-5, 0], expected[5:-5], atol=1e-4)


def test_nothing_is_laid_beyond_the_outline_of_the_face() -> None:
    picture = RgbPicture(np.full((256, 256, 3), 90, np.uint8))
    crop, mask = np.full((256, 256, 3), 0.9, np.float32), inpaint_mask(256, "mask3")
    outline = np.array([(0, 0), (150, 0), (150, 255), (0, 255)], np.float32)

    def pasted(outline: np.ndarray | None) -> np.ndarray:
        box = (0, 0, 256, 256)
        return paste_mouth(picture, crop, np.eye(2, 3), mask, match_colour=False, outline=outline).region(box)

    whole, part, wide = pasted(None), pasted(outline), pasted(outline * np.float32([2, 1]))
    assert abs(whole[170, 180] - 0.9).max() < 0.01
    np.testing.assert_allclose(part[:, 152:], 90 / 255, atol=1e-6)
    np.testing.assert_array_equal(part[:, :140], whole[:, :140])
    np.testing.assert_array_equal(wide, whole)
