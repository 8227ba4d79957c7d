"""Weights, adapters and model folders of strangers: never NaN, never for ever, one line that names the file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import micro_model
import planted
from latentsync.core.errors import WeightsError
from latentsync.core.hashing import file_sha256
from latentsync.models import UNet
from latentsync.models.weights import (
    find,
    load,
    merge_adapter,
    open_checkpoint,
    read_adapter,
    read_index,
    write_adapter,
)
from latentsync.pipeline import Lipsync


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "micro"
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(folder)
    return folder


@pytest.fixture
def model(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    for path in good.rglob("*"):
        if path.is_file():
            (tmp_path / "model" / path.relative_to(good)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "model" / path.relative_to(good)).write_bytes(path.read_bytes())
    return tmp_path / "model"


def opened(model: Path) -> Lipsync:
    return Lipsync.from_pretrained(model, device="cpu", offline=True, tracker=planted.PlantedTracker())


def refused(model: Path) -> str:
    with pytest.raises(WeightsError) as given:
        opened(model)
    assert "\n" not in str(given.value) and len(str(given.value)) < 1500
    return str(given.value)


def test_the_unspoiled_model_is_taken(model: Path) -> None:
    assert opened(model).name == "micro"


def test_a_checkpoint_that_holds_itself_has_an_end(tmp_path: Path) -> None:
    endless: dict[str, Any] = {"weight": torch.ones(1)}
    endless["model"] = endless
    torch.save(endless, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="without end"):
        open_checkpoint(tmp_path / "a.pt")


def test_nested_wrappers_of_releases_are_taken_off(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"module.a": torch.ones(2)}}, "step": 3}, tmp_path / "a.pt")
    found = open_checkpoint(tmp_path / "a.pt")
    assert list(found.tensors) == ["a"] and found.extra["step"] == 3


def test_few_numbers_that_claim_to_be_many_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="repeats few numbers"):
        open_checkpoint(tmp_path / "a.pt")


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert open_checkpoint(tmp_path / "plain.pt").tensors["a"].shape == (10**6,)
    with pytest.raises(WeightsError, match="compressed"):
        open_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_device_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="is a device"):
        open_checkpoint(tmp_path / name)
    with pytest.raises(WeightsError, match="is a device"):
        read_adapter(tmp_path / name)
    with pytest.raises(WeightsError, match="is a device"):
        find(tmp_path / name)
    with pytest.raises(WeightsError, match="no such model"):
        find("a" * 300)


@pytest.mark.parametrize("part", ["unet", "autoencoder", "audio_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(model: Path, part: str, value: float) -> None:
    path = model / part / "model.safetensors"
    state = load_file(path)
    name = sorted(key for key, tensor in state.items() if tensor.is_floating_point())[-1]
    state[name].view(-1)[-1] = value
    save_file(state, path)
    index = json.loads((model / "model_index.json").read_text())
    index["parts"][part]["sha256"]["model.safetensors"] = file_sha256(path)
    (model / "model_index.json").write_text(json.dumps(index))
    assert f"{name} holds values that are no numbers" in refused(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_number_format_is_looked_at(tmp_path: Path, dtype: torch.dtype) -> None:
    from latentsync.models.weights.checkpoints import require_finite

    state = {"a": torch.ones(3, dtype=dtype), "b": torch.ones(3, dtype=torch.int64), "empty": torch.zeros(0)}
    require_finite(state, "x")
    state["a"][1] = -torch.inf
    with pytest.raises(WeightsError, match="x: a holds"):
        require_finite(state, "x")


BAD_SETTINGS: dict[str, Any] = {
    "mask": [1],
    "paste_mask": "none",
    "trailing_silence_s": 1e30,
    "num_frames": "8",
    "fps": [25],
    "window": [1, 2],
    "overlap_frames": 10**30,
    "resolution": 10**9,
    "feather": "wide",
    "steps": 1.5,
    "guidance": None,
    "scheduler": {"ddim": 1},
    "prediction": "noise",
    "silence": 3,
    "residual": "yes",
    "beta_end": 0.5,
    "stepps": 3,
    "keep_latents": 1,
    "still_reference": None,
    "token_positions": [],
    "open_reference": "x",
}


@pytest.mark.parametrize("key", BAD_SETTINGS)
def test_every_setting_of_an_index_has_its_kind_and_range(model: Path, key: str) -> None:
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    index["settings"][key] = BAD_SETTINGS[key]
    path.write_text(json.dumps(index))
    assert {"scheduler": "kind", "token_positions": "position_code"}.get(key, key) in refused(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [("window", [1, 2]), ("residual", "yes"), ("keep_latents", 1), ("num_references", 3), ("warp", None), ("x", 1)],
)
def test_every_setting_of_a_small_model_has_its_kind_and_range(model: Path, key: str, value: Any) -> None:
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    index["settings"]["tiny"] = {key: value}
    path.write_text(json.dumps(index))
    assert key in refused(model)


@pytest.mark.parametrize("key", ["resolution", "num_frames"])
def test_a_resolution_of_text_is_refused(model: Path, key: str) -> None:
    path = model / "model_index.json"
    index = json.loads(path.read_text())
    index["settings"][key] = "x"
    path.write_text(json.dumps(index))
    assert key in refused(model)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ["a"]},
        {"parts": []},
        {"parts": {"unet": 3}},
        {"parts": {"unet": {"class": [], "sha256": {}}}},
        {"parts": {"unet": {"class": "UNet", "sha256": []}}},
        {"parts": {"../unet": {"class": "UNet", "sha256": {}}}},
        {"parts": {"unet": {"class": "UNet", "sha256": {"config.json": [5]}}}},
        {"settings": [1]},
        {"licences": {"a": 1}},
        {"licences": [{"part": "unet", "name": 3.5}]},
        {"licences": [{"x": "y"}]},
        {"provenance": "x"},
        {"format_version": "1"},
        {"format_version": True},
        {"more": 1},
    ],
)
def test_every_field_of_an_index_has_its_kind(model: Path, change: dict[str, Any]) -> None:
    path = model / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "model_index.json" in refused(model)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a": NaN}', "[]", "", "\xff", '{"name": "\\ud800"}', "1" * 10**4])
def test_an_index_that_is_none_is_refused(model: Path, text: str) -> None:
    (model / "model_index.json").write_bytes(text.encode("latin-1"))
    assert "model_index.json" in refused(model)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("unet", {"layers_per_block": 10**9}),
        ("unet", {"norm_num_groups": 0}),
        ("unet", {"attention_head_dim": -1}),
        ("unet", {"block_out_channels": [10**12]}),
        ("unet", {"block_out_channels": []}),
        ("unet", {"norm_eps": "x"}),
        ("autoencoder", {"encoder_blocks": 10**9}),
        ("autoencoder", {"widths": [10**9]}),
        ("autoencoder", {"widths": []}),
        ("autoencoder", {"latent_mean": [1, "a"]}),
        ("audio_encoder", {"num_layers": 10**9}),
        ("audio_encoder", {"positions": 10**15}),
        ("audio_encoder", {"width": 10**15}),
        ("audio_encoder", {"states": ["a"]}),
        ("audio_encoder", {"num_heads": 0}),
    ],
)
def test_a_config_of_endless_networks_is_refused_at_once(model: Path, part: str, change: dict[str, Any]) -> None:
    path = model / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    index = json.loads((model / "model_index.json").read_text())
    index["parts"][part]["sha256"]["config.json"] = file_sha256(path)
    (model / "model_index.json").write_text(json.dumps(index))
    assert part in refused(model)


@pytest.fixture
def adapter(good: Path, tmp_path: Path) -> Path:
    unet = load(find(good), "unet")
    assert isinstance(unet, UNet)
    state = unet.state_dict()
    layer = next(key for key, value in state.items() if key.endswith("to_q.weight")).removesuffix(".weight")
    out_width, in_width = state[f"{layer}.weight"].shape
    pairs = {layer: (torch.ones(2, in_width), torch.full((out_width, 2), 0.1))}
    write_adapter(tmp_path / "a.safetensors", pairs, 1.0, unet.config, state, "micro")
    return tmp_path / "a.safetensors"


def test_the_unspoiled_adapter_is_merged(good: Path, adapter: Path) -> None:
    unet = load(find(good), "unet")
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    found = read_adapter(adapter)
    merge_adapter(unet, found)  # type: ignore[arg-type]
    changed = [key for key, value in unet.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == [f"{next(iter(found.matrices))}.weight"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fingerprint", "[0.1]"),
        ("fingerprint", "null"),
        ("fingerprint", "[NaN, 0, 0, 0]"),
        ("fingerprint", "{}"),
        ("fingerprint", "[[], [], [], []]"),
        ("fingerprint", "[" * 10**5),
        ("unet", "null"),
        ("unet", "[]"),
        ("unet", '{"layers_per_block": "x"}'),
        ("unet", '{"norm_num_groups": 0}'),
        ("unet", "3"),
        ("scale", "nan"),
        ("scale", "inf"),
        ("scale", "-Infinity"),
        ("scale", "x"),
        ("scale", None),
        ("base", None),
        ("unet", None),
        ("fingerprint", None),
        ("format", "x"),
        ("version", "2"),
    ],
)
def test_every_word_of_an_adapter_is_checked(good: Path, adapter: Path, key: str, value: str | None) -> None:
    from safetensors import safe_open

    with safe_open(adapter, "pt") as file:
        about, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about = {name: text for name, text in (about | {key: value}).items() if text is not None}
    save_file(tensors, adapter, metadata=about)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        merge_adapter(load(find(good), "unet"), read_adapter(adapter))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["nan", "inf", "large", "lone", "rank", "extra", "bytes", "scalar"])
def test_every_tensor_of_an_adapter_is_checked(good: Path, adapter: Path, kind: str) -> None:
    from safetensors import safe_open

    with safe_open(adapter, "pt") as file:
        about, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    down, up = sorted(tensors)
    if kind in ("nan", "inf"):
        tensors[up][0, 0] = float(kind)
    elif kind == "large":
        tensors[up][:] = 3e38
        tensors[down][:] = 3e38
    elif kind == "lone":
        del tensors[up]
    elif kind == "rank":
        tensors[up] = torch.ones(len(tensors[up]), 3)
    elif kind == "extra":
        tensors["more"] = torch.ones(1)
    elif kind == "bytes":
        tensors[up] = tensors[up].to(torch.uint8)
    else:
        tensors[up] = torch.ones(())
    save_file(tensors, adapter, metadata=about)
    unet = load(find(good), "unet")
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        merge_adapter(unet, read_adapter(adapter))  # type: ignore[arg-type]
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())


def test_an_index_without_surprises_is_read_whole(good: Path) -> None:
    assert set(read_index(good).parts) == {"unet", "autoencoder", "audio_encoder"}
