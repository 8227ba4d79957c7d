"""Clips and states that are damaged: named, never half read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from latentsync.core.errors import LatentSyncError
from latentsync.training.datasets.folder import folder_clips
from latentsync.training.engine.checkpoint import newest


def clip(root: Path) -> Path:
    folder = root / "one"
    folder.mkdir(parents=True)
    np.save(folder / "crops.npy", np.zeros((5, 8, 8, 3), np.uint8))
    np.save(folder / "mesh.npy", np.zeros((5, 468, 2), np.float32))
    np.save(folder / "wave.npy", np.zeros(3200, np.float32))
    about = {"person": "anna", "split": "train", "in_sync": True, "fps": 25}
    (folder / "meta.json").write_text(json.dumps(about))
    return folder


def use(root: Path) -> None:
    for each in folder_clips(root, "train"):
        assert len(each.crops) == len(each.mesh) == 5 and len(each.wave) == 3200


def test_a_whole_clip_is_read(tmp_path: Path) -> None:
    clip(tmp_path)
    use(tmp_path)


@pytest.mark.parametrize("name", ["crops.npy", "mesh.npy", "wave.npy", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "noise", "missing", "pickle", "device"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, how: str) -> None:
    path = clip(tmp_path) / name
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[: len(data) - 7])
    elif how in ("empty", "noise"):
        path.write_bytes(b"" if how == "empty" else bytes(range(256)) * 8)
    elif how == "pickle":
        np.save(path.with_suffix(".npy"), np.array([{"a": 1}], object), allow_pickle=True)
        path.with_suffix(".npy").rename(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    says = "no prepared clips" if (name, how) == ("meta.json", "missing") else name.replace(".", r"\.")
    with pytest.raises(LatentSyncError, match=says) as told:
        use(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("name", "shape"), [("crops", (5, 8, 8)), ("mesh", (5, 468)), ("wave", (2, 1600))])
def test_arrays_of_another_kind_are_named(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path = clip(tmp_path) / f"{name}.npy"
    for array in (np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.complex64)):
        np.save(path, array)
        with pytest.raises(LatentSyncError, match=name):
            use(tmp_path)


@pytest.mark.parametrize("name", ["mesh", "wave"])
def test_nan_is_named(tmp_path: Path, name: str) -> None:
    path = clip(tmp_path) / f"{name}.npy"
    array = np.load(path)
    array.flat[7] = np.nan
    np.save(path, array)
    with pytest.raises(LatentSyncError, match=f"{name}.npy: holds NaN"):
        use(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", '{"person": 3}', '{"person": "a", "split": "train", "in_sync": "yes"}'])
def test_facts_of_another_kind_are_named(tmp_path: Path, text: str) -> None:
    (clip(tmp_path) / "meta.json").write_text(text)
    with pytest.raises(LatentSyncError, match=r"meta\.json: does not say"):
        use(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "3", "{}", "[" * 9999, '{"files": 3}', '{"files": ["a"]}', '{"files": {"../x": 1}}', '{"files": {}}']
)
def test_a_damaged_state_is_passed_over_and_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "step-1").mkdir()
    (tmp_path / "step-1" / "state.json").write_text(text)
    with pytest.raises(LatentSyncError, match="none of the 1 states can be read"):
        newest(tmp_path)
