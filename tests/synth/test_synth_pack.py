"""Packing a face model from OBJ files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from latentsync.core.errors import WeightsError
from latentsync.synth.face.pack import NUM_IDENTITIES, pack_face_model

QUAD = (
    "v 0 0 0\nv 1 0 0\nv 1 1 {z}\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl M_Face\nf 1/1/1 2/2/2 3/3/3 4/4/4\n"
)


def test_offsets_come_back_and_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "generic_neutral_mesh.obj").write_text(QUAD.format(z=0))
    (tmp_path / "jawOpen.obj").write_text(QUAD.format(z=-2.5))
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": [2, 0]}))
    with pytest.raises(WeightsError, match=r"identity000\.obj: missing"):
        pack_face_model(tmp_path, tmp_path / "out.npz")
    for k in range(NUM_IDENTITIES):
        (tmp_path / f"identity{k:03d}.obj").write_text(QUAD.format(z=k / 100))
    pack_face_model(tmp_path, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as data:
        assert data["tri"].tolist() == [[0, 1, 2], [0, 2, 3]] and data["mat_names"].tolist() == ["M_Face"]
        assert data["ex_idx"].tolist() == [2] and data["ex_q"][0, 2] * data["ex_s"][0] == pytest.approx(-2.5, rel=1e-4)
        back = data["id_q"][7, 2, 2] * data["id_s"][7]
        assert back == pytest.approx(0.07, rel=1e-4) and data["lmk68"].tolist() == [2, 0]
