"""Model folders, the store of named models, and the functions behind `latentsync models`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.core.errors import ConfigError, OfflineError, WeightsError
from latentsync.core.hashing import file_sha256
from latentsync.core.progress import Progress
from latentsync.models import AudioEncoder, TinyAutoencoder, UNet
from latentsync.models.weights import (
    Licence,
    convert,
    fetch,
    find,
    licences,
    list_models,
    load,
    load_part,
    read_index,
    save_model,
    verify,
)
from latentsync.models.weights.catalogue import NAMED
from latentsync.models.weights.hub import fetch_file, registry_path
from latentsync.pipeline import Lipsync

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "registry"))


def parts() -> dict[str, Any]:
    torch.manual_seed(0)
    unet = UNet.from_config(
        {
            "block_out_channels": [32, 32],
            "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
            "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
            "attention_head_dim": 4,
            "norm_num_groups": 16,
            "cross_attention_dim": 16,
            "use_motion_module": True,
            "zero_initialize_conv_out": False,
        }
    )
    autoencoder = TinyAutoencoder.from_config({"widths": [8, 8], "latent_channels": 4})
    autoencoder.set_latent_statistics([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0])
    audio_encoder = AudioEncoder.from_config(
        {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 32, "positions": 10, "mel_bins": 8}
    )
    return {"unet": unet, "autoencoder": autoencoder, "audio_encoder": audio_encoder}


def saved(folder: Path, **change: Any) -> Path:
    save_model(
        folder,
        parts(),
        **{
            "name": "mine",
            "settings": {"resolution": 64},
            "licences": [Licence(part="unet", name="Apache-2.0")],
            "provenance": {"made": "here"},
            **change,
        },
    )
    return folder


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a model with ünicode")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        *(
            f"{part}/{name}"
            for part in ("audio_encoder", "autoencoder")
            for name in ("config.json", "model.safetensors")
        ),
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
    ]
    located = find(folder)
    assert (located.name, located.settings, located.provenance) == ("mine", {"resolution": 64}, {"made": "here"})
    for part, original in parts().items():
        loaded = load(located, part)
        assert type(loaded) is type(original) and not loaded.training
        assert loaded.state_dict().keys() == original.state_dict().keys()
        for key, value in original.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value), key
    unet = load(located, "unet")
    assert unet.config == parts()["unet"].config
    autoencoder = load(located, "autoencoder")
    assert autoencoder.latent_std.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_half_precision_storage_halves_the_file_and_keeps_tables_exact(tmp_path: Path) -> None:
    full, half = saved(tmp_path / "full"), saved(tmp_path / "half", dtype=torch.float16)
    sizes = [(folder / "unet/model.safetensors").stat().st_size for folder in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_part(half, "unet")
    for key, value in parts()["unet"].state_dict().items():
        expected = value if key.endswith(".pe") else value.half().float()
        assert torch.equal(loaded.state_dict()[key], expected), key
    assert load_part(half, "unet", dtype=torch.bfloat16).conv_in.weight.dtype == torch.bfloat16
    assert load_part(half, "unet", dtype=None).conv_in.weight.dtype == torch.float16


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    modules = parts()
    with torch.no_grad():
        modules["unet"].conv_out.bias.fill_(1e6)
    with pytest.raises(WeightsError, match=r"conv_out\.bias"):
        save_model(tmp_path / "m", modules, name="m", dtype=torch.float16)
    assert not (tmp_path / "m" / "model_index.json").exists()
    assert not list((tmp_path / "m").rglob("*.part*"))


def test_nothing_of_the_users_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WeightsError, match="not empty"):
        saved(tmp_path)
    save_model(tmp_path, {}, name="m", overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(WeightsError, match="is a file"):
        saved(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["unet/model.safetensors", "unet/config.json"])
def test_a_changed_or_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    path = folder / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="damaged or changed"):
        load_part(folder, "unet")
    results = {check.part: check for check in verify(folder)}
    assert not results["unet"].is_ok and results["audio_encoder"].is_ok and "SHA-256" in results["audio_encoder"].detail
    path.unlink()
    with pytest.raises(WeightsError, match="missing"):
        load_part(folder, "unet")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 99}, "Update latentsync"),
        ({"parts": {"unet": {"class": "os.system", "sha256": {}}}}, "SHA-256|no hash"),
        ({"parts": {"../unet": {"class": "UNet", "sha256": {}}}}, "not a part's name"),
        ({"parts": 5}, "damaged"),
    ],
)
def test_a_bad_index_is_refused(change: dict, match: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=match):
        load_part(folder, "unet")
    path.write_text("{")
    with pytest.raises(WeightsError, match="not readable"):
        read_index(folder)


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("unet", {"in_channels": "x"}, "describes no UNet"),
        ("unet", {"block_out_channels": 5}, "describes no UNet"),
        ("autoencoder", {"width": 3}, "describes no TinyAutoencoder"),
        ("audio_encoder", {"width": None}, "describes no AudioEncoder"),
    ],
)
def test_a_config_that_describes_no_network_is_named(
    part: str, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "m")
    path, index = folder / part / "config.json", folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    given = json.loads(index.read_text())
    given["parts"][part]["sha256"]["config.json"] = file_sha256(path)
    index.write_text(json.dumps(given))
    with pytest.raises(WeightsError) as caught:
        load_part(folder, part)
    assert str(path.parent) in str(caught.value) and says in str(caught.value)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        saved(tmp_path / "file" / "m")
    (tmp_path / "m" / "unet" / "model.safetensors").mkdir(parents=True)
    with pytest.raises(WeightsError, match="cannot be written"):
        saved(tmp_path / "m", overwrite=True)
    with pytest.raises(ConfigError, match=r"give torch\.float16"):
        saved(tmp_path / "n", dtype="float16")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("change", [{"num_frames": "16"}, {"num_frames": 0}, {"overlap_frames": 1.5}])
def test_settings_of_a_wrong_kind_are_refused_on_loading(change: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", settings={"resolution": 64, **change})
    with pytest.raises(WeightsError, match="settings cannot be used"):
        Lipsync.from_pretrained(folder, device="cpu")


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    path = folder / "model_index.json"
    path.write_text(path.read_text().replace('"UNet"', '"Hypernet"'))
    with pytest.raises(WeightsError, match="unknown network class 'Hypernet'"):
        load_part(folder, "unet")


def test_unknown_models_and_parts(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"Choose tiny, 1\.5, 1\.6"):
        find("2.0")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WeightsError, match="not a checkpoint"):
        find(tmp_path / "notes.txt")
    with pytest.raises(WeightsError, match="neither"):
        find(tmp_path)
    with pytest.raises(WeightsError, match="has no judge"):
        load(find(saved(tmp_path / "m")), "judge")
    with pytest.raises(WeightsError, match="no model of that name"):
        fetch(str(tmp_path / "m"))


def test_convert_writes_a_folder_from_a_released_file(tmp_path: Path) -> None:
    unet = parts()["unet"]
    torch.save({"global_step": 1, "state_dict": unet.state_dict()}, tmp_path / "latentsync_unet.pt")
    source = tmp_path / "latentsync_unet.pt"
    with pytest.raises(ConfigError, match="256"):
        convert(source, tmp_path / "out", parts=["unet"], offline=True)
    with pytest.raises(ConfigError, match="dtype"):
        convert(source, tmp_path / "out", parts=["unet"], dtype="int8", resolution=256)
    seen: list[Progress] = []
    target = convert(
        source, tmp_path / "out", parts=["unet"], dtype="float32", resolution=256, name="x", progress=seen.append
    )
    assert [(event.done, event.total) for event in seen] == [(0, 1), (1, 1)]
    index = read_index(target)
    assert index.name == "x" and index.settings["resolution"] == 256 and index.settings["steps"] == 20
    assert [licence.part for licence in index.licences] == ["unet"]
    assert torch.equal(load_part(target, "unet").conv_out.weight, unet.conv_out.weight)
    assert [check.is_ok for check in verify(target)] == [True]
    assert licences(target)[0].name == "LicenseRef-unknown"


def test_a_lone_file_whose_companions_are_unknown_says_so(tmp_path: Path) -> None:
    torch.save(parts()["unet"].state_dict(), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="audio states of width 16"):
        find(tmp_path / "x.pt", offline=True)
    assert verify(tmp_path / "x.pt")[0].is_ok


def fake_hub(cache: Path) -> Path:
    """The Hub's cache as it looks after a download of 1.5's U-Net."""
    repo = cache / "models--ByteDance--LatentSync-1.5"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    path = repo / "snapshots" / COMMIT / "latentsync_unet.pt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": parts()["unet"].state_dict()}, path)
    return path


def test_a_lone_file_is_judged_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Companions of 1.5 are hundreds of megabytes: a file that does not fit, or does not say its size, comes first."""
    fetched: list[str] = []
    monkeypatch.setattr("latentsync.models.weights.store.fetch_file", lambda file, *_: fetched.append(file.name))
    down, up = ["CrossAttnDownBlock3D"] * 2, ["CrossAttnUpBlock3D"] * 2
    config = {"block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": 384}
    state = UNet.from_config({**config, "down_block_types": down, "up_block_types": up}).state_dict()
    torch.save(state, tmp_path / "good.pt")
    torch.save({key: value for key, value in state.items() if key != "mid_block.resnets.0.norm1.bias"},
               tmp_path / "bad.pt")  # fmt: skip
    with pytest.raises(WeightsError, match=r"bad\.pt: doesn't fit.*1 missing \(mid_block"):
        convert(tmp_path / "bad.pt", tmp_path / "out", resolution=256)
    with pytest.raises(ConfigError, match=r"good does not say it"):
        convert(tmp_path / "good.pt", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"resolution.*good does not say it"):
        Lipsync.from_pretrained(tmp_path / "good.pt")
    assert not fetched and not (tmp_path / "out").exists()
    find(tmp_path / "good.pt")
    assert any("diffusion_pytorch_model" in name for name in fetched), "the test would see a download"


def test_a_model_that_says_its_resolution_is_held_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave it out: tiny was made for 256 px"):
        Lipsync.from_pretrained("tiny", resolution=512)
    with pytest.raises(ConfigError, match="leave it out: tiny was made for 256 px"):
        convert("tiny", tmp_path / "out", resolution=512)
    assert Lipsync.from_pretrained("tiny", resolution=256).settings.resolution == 256


def test_offline_is_strict_and_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match=r"latentsync_unet\.pt of https://huggingface\.co/ByteDance/LatentSync-1\.5"):
        fetch("1.5", offline=True, cache_dir=tmp_path / "hub")
    fake_hub(tmp_path / "hub")
    with pytest.raises(OfflineError, match="sd-vae-ft-mse"):
        fetch("1.5", offline=True, cache_dir=tmp_path / "hub")


def test_first_download_is_recorded_and_held_to(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    path = fake_hub(cache)
    file = NAMED["1.5"].files["unet"][0]
    assert fetch_file(file, offline=True, cache_dir=cache) == path
    record = json.loads(registry_path().read_text())[file.repo][file.name]
    assert record["commit"] == COMMIT and len(record["sha256"]) == 64
    (cache / "models--ByteDance--LatentSync-1.5" / "refs" / "main").write_text("f" * 40)  # the repository moves on
    assert fetch_file(file, offline=True, cache_dir=cache) == path
    path.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="damaged or changed"):
        fetch_file(file, offline=True, cache_dir=cache)


def test_verify_claims_no_comparison_that_was_not_made_and_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swapped file in the Hub's cache would be trusted from then on."""
    path = fake_hub(tmp_path / "hub")
    file = NAMED["1.5"].files["unet"][0]
    only = replace(NAMED["1.5"], files={"unet": (file,)})
    monkeypatch.setitem(NAMED, "1.5", only)
    (check,) = verify("1.5", cache_dir=tmp_path / "hub")
    assert check.is_ok and "no SHA-256 on record to compare with" in check.detail
    assert "SHA-256 and" not in check.detail
    assert not registry_path().exists()
    fetch("1.5", offline=True, cache_dir=tmp_path / "hub")
    (check,) = verify("1.5", cache_dir=tmp_path / "hub")
    assert check.is_ok and check.detail.startswith("SHA-256 and all tensors fit")
    path.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="damaged or changed"):
        verify("1.5", cache_dir=tmp_path / "hub")


def test_a_known_hash_is_enforced_at_once(tmp_path: Path) -> None:
    path = fake_hub(tmp_path / "hub").parent / "whisper" / "tiny.pt"
    path.parent.mkdir()
    path.write_bytes(b"not OpenAI's file")
    with pytest.raises(WeightsError, match="expected 65147644a518"):
        fetch_file(NAMED["1.5"].files["audio_encoder"][0], offline=True, cache_dir=tmp_path / "hub")
    assert not registry_path().exists()


def test_list_and_licences_need_no_download(tmp_path: Path) -> None:
    rows = {row.name: row for row in list_models(cache_dir=tmp_path / "hub")}
    assert list(rows) == ["tiny", "1.5", "1.6"]
    assert not rows["1.5"].is_local and rows["1.5"].resolution == 256 and rows["1.6"].resolution == 512
    assert {licence.part for licence in licences("1.6")} == {"unet", "autoencoder", "audio_encoder"}
    assert all(licence.name and licence.url for licence in licences("1.6"))
