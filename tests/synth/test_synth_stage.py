"""Hands in front of the mouth, hats, and what moves while the shutter is open."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("numba", reason="the synth extra is not installed")

from latentsync.synth.config import SynthConfig
from latentsync.synth.face.builtin import builtin_head
from latentsync.synth.face.hats import PRESSED_CM, hat_parts, press_hair, rim_of
from latentsync.synth.face.identity import sample_identity
from latentsync.synth.face.parts import MeshPart, surface_normals
from latentsync.synth.face.solid import Field, Rod
from latentsync.synth.render import materials as mat
from latentsync.synth.render.exposure import Exposure, expose
from latentsync.synth.speech.speaker import Speech
from latentsync.synth.studio import Studio

SILENT = Speech(np.zeros(16000, np.float32), (), "none", "")


def test_a_rod_becomes_a_closed_surface_that_faces_out() -> None:
    field = Field(np.array([-3.0, -3, -3]), np.array([3.0, 6, 3]), 0.25)
    rod = Rod(np.array([0.0, 0, 0]), np.array([0.0, 3, 0]), (1.5, 1.0))
    field.add([rod], 0.1, 0.1)
    points, tri = field.surface()
    assert np.abs(rod.distance(points)).max() < 0.1
    edges = np.sort(np.concatenate([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "every edge has two triangles"
    out = points - rod.start - rod.along(points)[:, None] * (rod.end - rod.start)
    assert ((surface_normals(points, tri) * out).sum(1) > 0.7).all()


def test_the_truth_of_covering_is_what_the_picture_shows() -> None:
    studio = Studio(SynthConfig(seconds=1.0, size=96, seed=2, face_share=(0.7, 0.7), max_turn_deg=15, hand_share=1))
    assert studio.head(0).who.hat == "none", "hats are of the same material as sleeves"
    true, drawn = [], []
    for clip in range(3):
        made = studio.clip(0, clip, SILENT)
        assert made.truth.occluder
        for i, _ in enumerate(made.frames):
            inside = np.zeros((192, 192), np.uint8)
            outline = made.truth.landmarks[i, 48:60]
            cv2.fillPoly(inside, [np.round((outline + 0.5) * 2 - 0.5).astype(np.int32)], 1)
            shown = studio.canvas.index[inside > 0]
            held = np.isin(studio.head(0).material[shown], (mat.HAND, mat.FABRIC)) & (shown >= 0)
            drawn.append(float(held.mean()))
            true.append(float(made.truth.mouth_covered[i]))
    error = np.abs(np.array(true) - drawn)
    assert max(true) > 0.4 and min(true) == 0.0 and np.mean(error) < 0.04 and error.max() < 0.25
    none = Studio(replace(studio.config, hand_share=0.0)).clip(0, 0, SILENT).truth
    assert not none.mouth_covered.any() and none.occluder == ""


def square(size: int, left: float) -> tuple[np.ndarray, np.ndarray]:
    """Screen positions (two samples a pixel) and triangles of an upright bar 24 pixels wide."""
    corners = np.array([[left, -8], [left + 24, -8], [left + 24, size + 8], [left, size + 8]]) * 2
    return np.c_[corners, np.zeros(4)].astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def bar(size: int, left: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index, colour, cover = (
        np.full((2 * size, 2 * size), -1, np.int32),
        np.zeros((size, size, 3)),
        np.zeros((size, size)),
    )
    index[:, 2 * left : 2 * left + 48], colour[:, left : left + 24], cover[:, left : left + 24] = 0, 0.5, 1
    return index, colour.astype(np.float32), cover.astype(np.float32)


def test_a_long_shutter_smears_along_the_motion_and_keeps_the_light() -> None:
    (now, tri), (before, _) = square(96, 36), square(96, 28)
    index, colour, cover = bar(96, 36)
    assert expose(Exposure(1.0, 0.0), now, before, tri, index, colour, cover, np.zeros((96, 96, 4), np.float32))
    row = cover[48]
    assert row.sum() == pytest.approx(24, abs=0.5), "as much is seen, over more pixels"
    partly = np.flatnonzero((row > 0.05) & (row < 0.95))
    assert 10 <= len(partly) <= 16 and abs(float((row * np.arange(96)).sum() / row.sum()) - 47.5) < 0.3
    assert np.allclose(colour[48][row > 0.1], 0.5, atol=1e-3), "the bar does not darken towards its edge"
    still = bar(96, 36)
    assert not expose(Exposure(1.0, 0.5), now, now, tri, *still, np.zeros((96, 96, 4), np.float32))


def test_rows_that_are_read_in_turn_lean_by_the_motion() -> None:
    (now, tri), (before, _) = square(96, 36), square(96, 28)
    index, colour, cover = bar(96, 36)
    exposure = Exposure(0.0, 0.5)
    expose(exposure, now, before, tri, index, colour, cover, np.zeros((96, 96, 4), np.float32))
    middle = (cover * np.arange(96)).sum(1) / cover.sum(1)
    rows = np.array([8, 47, 88])
    assert np.allclose(middle[rows] - 47.5, 8 * exposure.row_delay(rows.astype(np.float32), 96), atol=0.2)
    assert middle[88] - middle[8] > 3


@pytest.mark.parametrize("hat", ["beanie", "cap", "brim", "scarf"])
def test_hats_cover_the_crown_and_leave_the_face_free(hat: str) -> None:
    mesh = builtin_head()
    who = replace(sample_identity(11), hat=hat)
    parts = hat_parts(mesh, mesh.base, who)
    points = np.concatenate([p.points for p in parts])
    assert np.isfinite(points).all() and points[:, 1].max() > mesh.base[:, 1].max() + 0.3
    eyes = mesh.base[mesh.landmarks[36:48]].mean(0)
    face = (np.abs(points[:, 0]) < 4) & (points[:, 2] > 6) & (points[:, 1] > -6) & (points[:, 1] < eyes[1] + 1.5)
    assert not face.any()
    assert all((np.abs(np.linalg.norm(p.normals, axis=1) - 1) < 1e-3).mean() > 0.97 for p in parts)


def test_hair_under_a_hat_is_pressed_flat() -> None:
    mesh = builtin_head()
    who = replace(sample_identity(11), hat="beanie")
    rim = rim_of(who)
    top = mesh.base[: mesh.skin_verts]
    tuft = top[rim.above(top) > -1] * 1.4
    part = MeshPart.build(tuft, tuft, np.array([[0, 1, 2]]), mat.SHELL)
    press_hair([part], mesh, mesh.base, who)
    pressed = part.points[rim.above(part.points) > 0.5]
    distance = np.min(np.linalg.norm(pressed[:, None] - top[None], axis=-1), axis=1)
    assert len(pressed) > 50 and distance.max() < PRESSED_CM + 0.3
