"""Getting the face model: what is refused, and what is kept."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from latentsync.core.errors import OfflineError, WeightsError
from latentsync.synth.face.fetch import fetch_face_model
from latentsync.synth.face.pack import NUM_IDENTITIES, visible_triangles

QUAD = (
    "v 0 0 0\nv 1 0 0\nv 1 1 {z}\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl M_Face\nf 1/1/1 2/2/2 3/3/3 4/4/4\n"
)


def test_a_model_that_is_here_is_kept_and_a_missing_one_says_how_to_get_it(tmp_path: Path) -> None:
    out = tmp_path / "cache" / "model.npz"
    with pytest.raises(OfflineError, match=r"latentsync\.synth\.face\.pack"):
        fetch_face_model(out, offline=True)
    with pytest.raises(OfflineError, match="cannot be read"):
        fetch_face_model(out, address=(tmp_path / "nowhere.zip").as_uri())
    out.write_bytes(b"here")
    assert fetch_face_model(out, offline=True) == out and out.read_bytes() == b"here"


def test_another_revision_and_a_page_instead_of_a_zip_are_refused(tmp_path: Path) -> None:
    page, other, out = tmp_path / "page.zip", tmp_path / "other.zip", tmp_path / "model.npz"
    page.write_text("<html>log in</html>")
    with pytest.raises(WeightsError, match="no zip file"):
        fetch_face_model(out, address=page.as_uri())
    with zipfile.ZipFile(other, "w") as file:
        names = ["generic_neutral_mesh", "jawOpen", *(f"identity{k:03d}" for k in range(NUM_IDENTITIES))]
        for k, name in enumerate(names):
            file.writestr(f"ICT-FaceKit-1/FaceXModel/{name}.obj", QUAD.format(z=k / 100))
        file.writestr("ICT-FaceKit-1/FaceXModel/vertex_indices.json", json.dumps({"idx_to_landmark_verts": [0]}))
        file.writestr("ICT-FaceKit-1/FaceXModel/../../evil.obj", "v 0 0 0\n")
    seen: list[int] = []
    with pytest.raises(WeightsError, match="not revision da5f95a"):
        fetch_face_model(out, address=other.as_uri(), progress=lambda p: seen.append(p.done))
    assert not out.exists() and seen and not (tmp_path / "evil.obj").exists()


def test_what_can_be_seen_is_known_for_that_mesh_only() -> None:
    assert visible_triangles(np.zeros((5, 3), np.int32)) is None
