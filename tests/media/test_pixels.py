from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from latentsync.core.values import Picture
from latentsync.media.pixels import PlanarPicture, RgbPicture, convert

PLANAR = ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "gbrp", "yuva420p"]
OTHERS = {"nv12": "yuv420p", "rgb24": "gbrp", "bgr0": "gbrp", "gray": "yuv420p", "yuyv422": "yuv422p", "rgba": "gbrap",
          "p010le": "yuv420p10le", "yuv440p": "yuv444p", "gray10le": "yuv420p10le"}  # fmt: skip


def photo(width: int = 133, height: int = 97, seed: int = 0) -> np.ndarray:
    """A smooth picture inside the colours that every format can say."""
    noise = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint((0.25 + 0.5 * smooth) * 255).astype(np.uint8)


def planar(pixel_format: str, width: int = 133, height: int = 97, colorspace: int = 1) -> PlanarPicture:
    like = av.VideoFrame(2, 2, pixel_format)
    if not like.format.is_rgb:
        like.colorspace = colorspace
    return convert(RgbPicture(photo(width, height)), like)


def planes(picture: PlanarPicture) -> list[np.ndarray]:
    return [picture.plane(index).copy() for index in range(len(picture.frame.planes))]


@pytest.mark.parametrize("pixel_format", PLANAR)
@pytest.mark.parametrize("box", [(0, 0, 133, 97), (32, 18, 90, 64), (31, 17, 91, 63), (132, 96, 133, 97)])
def test_laying_a_region_back_changes_no_sample(pixel_format: str, box: tuple[int, int, int, int]) -> None:
    picture = planar(pixel_format)
    rgb = picture.region(box)
    assert rgb.dtype == np.float32 and rgb.min() >= 0 and rgb.max() <= 1
    again = picture.blend(box, rgb, np.ones(rgb.shape[:2], np.float32))
    # A box that cuts chroma cells in two edits half of a cell: there one code of 8 bits, else one code of the depth.
    cuts = any(side % 2 for side in box) and picture.layout.cell != (1, 1)
    one = 1 << (picture.layout.bits - 8) if cuts else 1
    for before, after in zip(planes(picture), planes(again), strict=True):
        assert np.abs(before.astype(int) - after).max() <= one


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_samples_outside_alpha_stay_bit_identical(pixel_format: str) -> None:
    picture = planar(pixel_format)
    x0, y0, x1, y1 = box = (20, 11, 101, 80)
    alpha = np.zeros((y1 - y0, x1 - x0), np.float32)
    alpha[10:41, 7:50] = np.random.default_rng(1).random((31, 43), dtype=np.float32)
    edited = picture.blend(box, np.ones((y1 - y0, x1 - x0, 3), np.float32), alpha)
    touched = np.zeros((97, 133), bool)
    touched[y0:y1, x0:x1] = alpha > 0
    changed = 0
    for index, (before, after) in enumerate(zip(planes(picture), planes(edited), strict=True)):
        across, down = picture.layout.cell if index in (1, 2) else (1, 1)
        cells = np.zeros(before.shape, bool)
        for y, x in zip(*np.nonzero(touched), strict=True):
            cells[y // down, x // across] = True
        if index == 3:
            cells[:] = False
        assert np.array_equal(before[~cells], after[~cells])
        changed += int((before != after).sum())
    assert changed > 500  # and something did happen


def test_untouched_samples_keep_codes_outside_the_nominal_range() -> None:
    frame = av.VideoFrame(32, 32, "yuv420p")
    for plane in frame.planes:
        np.frombuffer(plane, np.uint8)[:] = np.random.default_rng(2).integers(0, 256, plane.buffer_size)
    picture = PlanarPicture(frame)
    alpha = np.zeros((16, 16), np.float32)
    alpha[8:, 8:] = 1
    edited = picture.blend((0, 0, 16, 16), np.full((16, 16, 3), 0.5, np.float32), alpha)
    assert np.array_equal(picture.plane(0)[:8], edited.plane(0)[:8])
    assert np.array_equal(picture.plane(1)[:4], edited.plane(1)[:4])
    assert (edited.plane(0)[8:16, 8:16] == edited.plane(0)[8, 8]).all()


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_a_region_does_not_depend_on_its_box(pixel_format: str) -> None:
    picture = planar(pixel_format)
    whole = picture.region((0, 0, 133, 97))
    assert np.allclose(picture.region((21, 33, 70, 58)), whole[33:58, 21:70], atol=1e-6)
    assert np.abs(picture.rgb().astype(int) - np.rint(whole * 255)).max() == 0


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_colours_survive_the_format(pixel_format: str) -> None:
    difference = np.abs(planar(pixel_format).rgb().astype(int) - photo())
    assert difference.mean() < 1.0 and difference.max() <= 6


@pytest.mark.parametrize(("colorspace", "name"), [(1, "itu709"), (6, "itu601")])
@pytest.mark.parametrize("full", [False, True])
def test_colours_agree_with_swscale(colorspace: int, name: str, full: bool) -> None:
    picture = planar("yuvj444p" if full else "yuv444p", 64, 64, colorspace)
    theirs = picture.frame.reformat(
        format="rgb24",
        src_colorspace=name,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        interpolation="BICUBIC",
    ).to_ndarray()
    assert np.abs(picture.rgb().astype(int) - theirs).max() <= 2


def test_primary_colours_have_the_codes_of_the_standard() -> None:
    """BT.709 limited range red and white, 8 and 10 bits. Source: ITU-R BT.709-6, items 3.4 and 3.5 of part 1."""
    for bits, pixel_format in ((8, "yuv444p"), (10, "yuv444p10le")):
        like = av.VideoFrame(2, 2, pixel_format)
        like.colorspace = 1
        colours = np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8)
        picture = convert(RgbPicture(colours), like)
        step = 1 << (bits - 8)
        red = [round((16 + 219 * 0.2126) * step), round((128 - 224 * 0.2126 / 1.8556) * step), 240 * step]
        assert [int(picture.plane(index)[0, 0]) for index in range(3)] == red
        assert [int(picture.plane(index)[0, 1]) for index in range(3)] == [235 * step, 128 * step, 128 * step]


@pytest.mark.parametrize(("size", "same_as"), [((64, 48), 6), ((1280, 720), 1), ((720, 1280), 1), ((720, 576), 6)])
def test_untagged_pictures_get_the_matrix_of_their_size(size: tuple[int, int], same_as: int) -> None:
    untagged, tagged = av.VideoFrame(*size, "yuv420p"), av.VideoFrame(*size, "yuv420p")
    tagged.colorspace = same_as
    matrices = [PlanarPicture(frame).layout.to_rgb_matrix() for frame in (untagged, tagged)]
    assert np.array_equal(*matrices)
    tagged.colorspace = 7 - same_as
    assert not np.array_equal(matrices[0], PlanarPicture(tagged).layout.to_rgb_matrix())


@pytest.mark.parametrize(("pixel_format", "kept_as"), OTHERS.items())
def test_other_formats_become_the_nearest_planar_one(pixel_format: str, kept_as: str) -> None:
    source = av.VideoFrame.from_ndarray(photo(64, 48), "rgb24").reformat(format=pixel_format)
    picture = PlanarPicture(source)
    assert picture.layout.format == kept_as
    if pixel_format.startswith("gray"):
        codes = np.frombuffer(source.planes[0], picture.layout.dtype).reshape(48, -1)[:, :64]
        assert np.array_equal(picture.plane(0), codes)
    else:
        assert np.abs(picture.rgb().astype(int) - photo(64, 48)).mean() < 3


def test_palettes_can_be_read() -> None:
    frame = av.VideoFrame(16, 16, "pal8")
    np.frombuffer(frame.planes[0], np.uint8)[:] = 5
    palette = np.frombuffer(frame.planes[1], np.uint8).reshape(256, 4)
    palette[5] = 30, 20, 10, 255  # b g r a
    assert (PlanarPicture(frame).rgb() == (10, 20, 30)).all()


def test_alpha_planes_are_carried_along() -> None:
    frame = av.VideoFrame.from_ndarray(photo(64, 48), "rgb24").reformat(format="yuva420p")
    alpha = np.frombuffer(frame.planes[3], np.uint8)
    alpha[:] = np.random.default_rng(3).integers(0, 256, alpha.size)
    picture = PlanarPicture(frame)
    edited = picture.blend((0, 0, 64, 48), np.ones((48, 64, 3), np.float32), np.ones((48, 64), np.float32))
    assert np.array_equal(edited.plane(3), picture.plane(3))


def test_ten_bits_are_not_cut_to_eight() -> None:
    picture = planar("yuv444p10le", 64, 8, 1)
    ramp = np.repeat(np.linspace(0.4, 0.42, 64, dtype=np.float32)[None, :, None], 8, axis=0).repeat(3, axis=2)
    edited = picture.blend((0, 0, 64, 8), ramp, np.ones((8, 64), np.float32))
    assert len(np.unique(edited.plane(0))) > 15  # 8 bits would leave 5 or 6 steps


def test_blending_rounds_instead_of_cutting_off() -> None:
    picture = RgbPicture(np.zeros((4, 4, 3), np.uint8))
    edited = picture.blend((0, 0, 4, 4), np.full((4, 4, 3), 100.6 / 255, np.float32), np.ones((4, 4), np.float32))
    assert (edited.rgb() == 101).all()
    like = av.VideoFrame(2, 2, "gbrp")
    edited = convert(picture, like).blend(
        (0, 0, 4, 4), np.full((4, 4, 3), 0.3945, np.float32), np.ones((4, 4), np.float32)
    )
    assert (edited.rgb() == 101).all()


def test_the_source_is_never_written_to() -> None:
    picture = planar("yuv420p")
    before = planes(picture)
    picture.blend((0, 0, 133, 97), np.ones((97, 133, 3), np.float32), np.ones((97, 133), np.float32))
    assert all(np.array_equal(old, new) for old, new in zip(before, planes(picture), strict=True))
    with pytest.raises(ValueError, match="read-only"):
        picture.plane(0)[:] = 0


@pytest.mark.parametrize("size", [(133, 97), (512, 288), (301, 503)])
def test_thumbnails_show_the_same_picture(size: tuple[int, int]) -> None:
    for picture in (planar("yuv420p", *size), RgbPicture(photo(*size))):
        small = picture.thumbnail(64)
        assert max(small.shape[:2]) == 64 and small.dtype == np.uint8
        want = cv2.resize(photo(*size), small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - want).mean() < 2.5
    assert np.array_equal(picture.thumbnail(10_000), picture.rgb())


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p10le", "gbrp"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turning_upright(pixel_format: str, quarters: int) -> None:
    picture = planar(pixel_format, 64, 48)
    turned = picture.upright(quarters)
    assert np.abs(np.rot90(picture.rgb(), -quarters).astype(int) - turned.rgb()).mean() < 0.5
    mirrored = picture.upright(quarters, mirror=True)
    assert np.abs(np.rot90(picture.rgb()[:, ::-1], -quarters).astype(int) - mirrored.rgb()).mean() < 0.5


@pytest.mark.parametrize("picture", [planar("yuv420p"), RgbPicture(photo())])
def test_contract(picture: PlanarPicture | RgbPicture) -> None:
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (133, 97)
    for box in [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 134, 5)]:
        with pytest.raises(ValueError, match="box"):
            picture.region(box)
    with pytest.raises(ValueError, match="needs"):
        picture.blend((0, 0, 4, 4), np.zeros((4, 5, 3), np.float32), np.zeros((4, 4), np.float32))
    half = picture.blend((3, 3, 9, 9), np.ones((6, 6, 3), np.float32), np.full((6, 6), 0.5, np.float32))
    expected = 0.5 + 0.5 * picture.region((4, 4, 8, 8))
    assert np.abs(half.region((4, 4, 8, 8)) - expected).max() < 0.02


@pytest.mark.parametrize("box", [(8, 12, 108, 92), (9, 13, 108, 92)], ids=["whole cells", "cut cells"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p", "gbrp"])
def test_a_shrunk_region_is_the_region_averaged(name: str, box: tuple[int, int, int, int]) -> None:
    rgb = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (97, 133, 3), dtype=np.uint8), (0, 0), 2)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=name)
    for picture in (RgbPicture(rgb), PlanarPicture(frame)):
        expected = cv2.resize(picture.region(box), (40, 33), interpolation=cv2.INTER_AREA)
        shrunk = picture.shrunk(box, (40, 33))
        assert (shrunk.shape, shrunk.dtype) == ((33, 40, 3), np.float32)
        assert np.abs(shrunk - expected).max() < 3 / 255  # chroma between its samples
        assert abs(float((shrunk - expected).mean())) < 0.1 / 255
