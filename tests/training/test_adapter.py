"""A speaker's adapter: trained beside a frozen U-Net, small on disk, merged without PEFT, refused where it is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentsync.core.errors import ConfigError, LatentSyncError, WeightsError
from latentsync.models import UNet
from latentsync.models.weights import merge_adapter, read_adapter, save_model
from latentsync.pipeline import Lipsync
from latentsync.training.tasks.unet.task import UNetTask, _opened, build
from latentsync.training.tasks.unet.validate import chosen
from micro_model import SETTINGS, UNET, networks
from planted import PlantedTracker

pytest.importorskip("peft", reason="the train extra is not installed")

TASK: dict[str, Any] = {
    "adapter": {"rank": 2, "alpha": 4.0, "targets": ["to_q", "to_v", "conv1"]},
    "check": {"clips": 1, "steps": 1, "chunks": 1, "track_lips": False},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The micro model as a folder."""
    net = networks()
    parts = {"unet": net.unet, "autoencoder": net.autoencoder, "audio_encoder": net.audio_encoder}
    save_model(tmp_path / "model", parts, name="micro", settings=SETTINGS)  # type: ignore[arg-type]
    return tmp_path / "model"


def test_models_with_a_still_reference_are_shown_one_and_add_to_it(model: Path, speaker: Path) -> None:
    still = {**SETTINGS, "still_reference": True, "residual": True}
    index = model / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"settings": still}))
    task = build(TASK, [speaker], start=model)
    reference = task.example(0)["reference"]
    assert torch.equal(reference, reference[:1].expand_as(reference))
    batch = {key: value[None] for key, value in task.example(0).items()}
    clean, fixed = task.objective.encode(batch)
    level = torch.ones(1)
    made = task.objective.predict(torch.zeros_like(clean), fixed, level, batch["audio_features"])
    plain = task.objective.network(
        torch.cat([torch.zeros_like(clean), fixed], 1), 1000 * level, batch["audio_features"]
    )
    assert torch.allclose(made - plain, fixed[:, -4:], atol=1e-5)


@pytest.fixture
def speaker(tmp_path: Path) -> Path:
    """Three clips of one person."""
    rng = np.random.default_rng(0)
    for index in range(3):
        folder = tmp_path / "speaker" / f"take{index}"
        folder.mkdir(parents=True)
        np.save(folder / "crops.npy", rng.integers(0, 256, (16, 64, 64, 3)).astype(np.uint8))
        np.save(folder / "mesh.npy", np.zeros((16, 468, 2), np.float32))
        np.save(folder / "wave.npy", rng.normal(0, 0.1, 640 * 16).astype(np.float32))
        (folder / "meta.json").write_text(json.dumps({"person": "ann", "split": "train", "in_sync": True, "fps": 25}))
    return tmp_path / "speaker"


def trained(task: UNetTask, steps: int = 3) -> list[float]:
    """A few steps on one batch. Returns: the losses."""
    objective = task.objective
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=0.02)
    examples = [task.example(n) for n in range(2)]
    batch = {key: torch.stack([e[key] for e in examples]) for key in examples[0]}
    losses = []
    for _ in range(steps):
        loss = torch.stack(list(objective(batch).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def answer(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x, audio_features = torch.randn(1, 13, 4, 8, 8, generator=generator), torch.randn(1, 4, 10, 8, generator=generator)
    with torch.no_grad():
        return unet.eval()(x, 300, audio_features)


def test_an_adapter_learns_is_small_and_gives_the_same_when_merged(model: Path, speaker: Path, tmp_path: Path) -> None:
    task = build(TASK, [speaker], start=model)
    assert [clip.path.name for clip in task.val] == ["take2"], "one take of the only speaker is held out"
    unet = task.objective.network
    base = UNet.from_config(UNET)
    base.load_state_dict(networks().unet.state_dict())
    assert torch.equal(answer(unet), answer(base)), "before training it changes nothing"
    losses = trained(task)
    assert losses[-1] < losses[0]
    task.export(unet, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["adapter.safetensors"]
    adapter = read_adapter(tmp_path / "out" / "adapter.safetensors")
    layers = {layer.rpartition(".")[2] for layer in adapter.matrices}
    assert layers == {"to_q", "to_v", "conv1"} and adapter.scale == 2.0
    held = sum(a.numel() + b.numel() for a, b in adapter.matrices.values())
    assert held == sum(p.numel() for p in task.objective.parameters() if p.requires_grad)
    merge_adapter(base, adapter)
    changed = answer(unet)
    assert not torch.allclose(changed, answer(networks().unet), atol=1e-4)
    assert torch.allclose(answer(base), changed, atol=1e-5)
    assert np.isfinite(list(task.validate(unet).figures.values())).all()


def test_a_lone_held_out_clip_is_judged_with_the_speech_of_another(model: Path, speaker: Path) -> None:
    task = build(TASK, [speaker], start=model)
    ((clip, other),) = chosen(task)
    assert (clip.path.name, other.path.name) == ("take2", "take0")
    with torch.no_grad():
        for name, parameter in task.objective.network.named_parameters():
            if "attn2" in name:  # a network that hears
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    figures = task.validate(task.objective.network).figures
    assert figures["val/error_own"] != figures["val/error_other"]
    assert figures["val/listening"] != 0


def test_only_the_adapter_is_trained(model: Path, speaker: Path) -> None:
    task = build(TASK, [speaker], start=model)
    trained(task, 1)
    for name, parameter in task.objective.network.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name


@pytest.fixture
def file(model: Path, speaker: Path, tmp_path: Path) -> Path:
    task = build(TASK, [speaker], start=model)
    trained(task)
    task.export(task.objective.network, tmp_path / "adapter")
    return tmp_path / "adapter" / "adapter.safetensors"


def test_the_pipeline_loads_it_without_peft(model: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    plain = Lipsync.from_pretrained(model, device="cpu", dtype="float32", tracker=PlantedTracker())
    spoken = Lipsync.from_pretrained(model, device="cpu", dtype="float32", tracker=PlantedTracker(), adapter=file)
    assert not torch.allclose(answer(plain.networks.unet), answer(spoken.networks.unet), atol=1e-4)


def test_it_is_refused_where_it_does_not_fit(file: Path, tmp_path: Path) -> None:
    adapter = read_adapter(file)
    with pytest.raises(WeightsError, match=r"made for micro, a U-Net of another shape\. Pass --model micro"):
        merge_adapter(UNet.from_config(UNET | {"cross_attention_dim": 16}), adapter, "1.5")
    torch.manual_seed(5)
    stranger = UNet.from_config(UNET)
    before = answer(stranger)
    with pytest.raises(WeightsError, match="same shape but other weights"):
        merge_adapter(stranger, adapter, "1.6")
    assert torch.equal(answer(stranger), before)
    half = UNet.from_config(UNET)
    half.load_state_dict({key: value.half().float() for key, value in networks().unet.state_dict().items()})
    merge_adapter(half, adapter)  # the same weights, stored in 16 bits


def test_files_that_are_no_adapter_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_adapter(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="not an adapter but other weights"):
        read_adapter(tmp_path / "model.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_adapter(tmp_path / "cut.safetensors")


def test_settings_of_an_adapter_that_cannot_be(model: Path, speaker: Path) -> None:
    with pytest.raises(ConfigError, match="choose from to_q"):
        build(TASK | {"adapter": {"targets": ["nowhere"]}}, [speaker], start=model)
    with pytest.raises(LatentSyncError, match="give two or more"):
        for take in ("take1", "take2"):
            for each in (speaker / take).iterdir():
                each.unlink()
        build(TASK, [speaker], start=model)


def test_clips_of_any_split_are_the_speakers_and_two_of_ten_are_held_out(speaker: Path) -> None:
    first = sorted(speaker.iterdir())[0]
    for index in range(3, 10):
        shutil.copytree(first, speaker / f"take{index}")
    for index, folder in enumerate(sorted(speaker.iterdir())):
        given = json.loads((folder / "meta.json").read_text())
        split, person = ("train", "val", "test")[index % 3], f"source{index}"
        (folder / "meta.json").write_text(json.dumps(given | {"split": split, "person": person}))
    data = _opened([speaker], alone=True)
    assert [clip.path.name for clip in data.val] == ["take5", "take9"]
    assert len(data.train) == 8
