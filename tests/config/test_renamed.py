"""What earlier versions wrote is read under today's names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentsync.config import renamed
from latentsync.config.loader import load_preset, sync_options
from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError
from latentsync.data.settings import SyncSettings
from latentsync.generation.settings import ModelSettings
from latentsync.generation.tiny.config import TinyConfig
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


def test_a_preset_that_says_an_option_which_had_one_value_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("sampler: auto\nseed: 5\n")
    assert sync_options(str(tmp_path / "own.yaml")) == SyncOptions(seed=5)
    (tmp_path / "own.yaml").write_text("sampler: ddim\n")
    with pytest.raises(ConfigError, match="sampler"):
        sync_options(str(tmp_path / "own.yaml"))


def test_settings_of_an_earlier_small_model_lie_in_their_section() -> None:
    flat = {
        "resolution": 256, "still_reference": True, "open_reference": True, "posed_references": True,
        "shaped_references": True, "residual": True, "reference_texture": True, "reference_teeth": True,
        "keep_latents": True, "window": [6, 16, 2, 14], "token_positions": True,
    }  # fmt: skip
    settings = ModelSettings.from_index(flat, "old")
    assert settings.tiny == TinyConfig(window=(6, 16, 2, 14)) and settings.position_code
    assert ModelSettings.from_index(renamed.model_settings(flat), "new") == settings
    plain = ModelSettings.from_index({"resolution": 64, "still_reference": True}, "older").tiny
    assert plain is not None and (plain.warp, plain.num_references, plain.residual) == ("none", 1, False)
    assert ModelSettings.from_index({"resolution": 256}, "released").tiny is None
