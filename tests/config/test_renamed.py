"""What earlier versions wrote is read under today's names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentsync.config import renamed
from latentsync.config.loader import load_preset
from latentsync.data.settings import SyncSettings
from latentsync.models.weights import load_part, open_checkpoint, read_index
from latentsync.training.engine.registry import recipe, task_module

TINY = Path(__file__).parents[2] / "src" / "latentsync" / "assets" / "tiny"


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A model folder as version 0.1 wrote it: a part `listener` of class `Listener`."""
    folder = tmp_path / "old"
    shutil.copytree(TINY, folder)
    (folder / "audio_encoder").rename(folder / "listener")
    index = json.loads((folder / "model_index.json").read_text())
    index["parts"]["listener"] = {**index["parts"].pop("audio_encoder"), "class": "Listener"}
    for licence in index["licences"]:
        licence["part"] = {"audio_encoder": "listener"}.get(licence["part"], licence["part"])
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_model_folder_of_an_earlier_version_loads_as_today(old_folder: Path) -> None:
    index = read_index(old_folder)
    assert "audio_encoder" in index.parts and "listener" not in index.parts
    assert {licence.part for licence in index.licences} == {licence.part for licence in read_index(TINY).licences}
    old, new = (load_part(folder, "audio_encoder").state_dict() for folder in (old_folder, TINY))
    assert old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)


def test_tensors_of_an_earlier_version_have_todays_names(tmp_path: Path) -> None:
    state = {"ear.head.weight": torch.ones(2), "conv_in.weight": torch.zeros(1), "wear.x": torch.ones(1)}
    save_file(state, tmp_path / "old.safetensors")
    found = open_checkpoint(tmp_path / "old.safetensors").tensors
    assert set(found) == {"lip_predictor.head.weight", "conv_in.weight", "wear.x"}
    assert set(load_file(tmp_path / "old.safetensors")) == set(state)  # the file itself stays as it is


@pytest.mark.parametrize("old", sorted(renamed.TASKS))
def test_tasks_are_found_by_the_names_they_had(old: str) -> None:
    assert task_module(old) == task_module(renamed.TASKS[old])
    assert recipe(old, "tiny") == recipe(renamed.TASKS[old], "tiny")


@pytest.mark.parametrize("old", sorted(renamed.PRESETS))
def test_presets_are_found_by_the_names_they_had(old: str) -> None:
    assert load_preset(old, "train/unet") == load_preset(renamed.PRESETS[old], "train/unet")


def test_settings_of_an_earlier_version_have_todays_keys() -> None:
    old = {"ear": "a", "components": {"listener": "b"}, "listener_rate": 0.5, "kept": 1}
    wanted = {
        "lip_predictor": "a",
        "components": {"audio_encoder": "b"},
        "audio_encoder_rate": 0.5,
        "kept": 1,
    }
    assert renamed.task_settings(old) == wanted
    assert renamed.task_settings({**old, "lip_predictor": "today's"})["lip_predictor"] == "today's"


def test_every_todays_name_is_final() -> None:
    for table in (renamed.PARTS, renamed.CLASSES, renamed.TASKS, renamed.FILES, renamed.PRESETS, renamed.JUDGES):
        assert not set(table) & set(table.values())


def test_files_of_an_earlier_version_are_found(tmp_path: Path) -> None:
    wanted = tmp_path / "lip_predictor.safetensors"
    assert renamed.existing(wanted) == wanted
    (tmp_path / "ear.safetensors").touch()
    assert renamed.existing(wanted).name == "ear.safetensors"
    wanted.touch()
    assert renamed.existing(wanted) == wanted


def test_the_judge_of_data_settings_is_known_by_its_earlier_name() -> None:
    assert SyncSettings(judge="ear") == SyncSettings(judge="lip_opening")
