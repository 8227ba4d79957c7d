"""`latentsync models …` on a small random model made here. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.weights import Licence, save_model

NAMES = ["tiny", "1.5", "1.6"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with one small part, and caches of the test's own."""
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)
    network = TinyAutoencoder.from_config({"latent_channels": 2, "widths": [8, 8]})
    target = tmp_path / "my model"
    licence = Licence(part="autoencoder", name="Apache-2.0", url="https://example.org/licence")
    save_model(target, {"autoencoder": network}, name="mine", settings={"resolution": 64}, licences=[licence])
    return target


def test_list_shows_every_named_model(run, folder: Path) -> None:
    given = run("models", "list", "--json")
    rows = json.loads(given.out)
    assert [row["name"] for row in rows] == NAMES
    assert {row["name"]: row["resolution"] for row in rows}["1.6"] == 512
    table = run("models", "list").out.splitlines()
    assert [line.split()[0] for line in table[: 1 + len(NAMES)]] == ["name", *NAMES]
    judges = {line.split()[0]: line.split()[1] for line in table[table.index("Public judges of `evaluate`:") + 2 :]}
    assert judges["syncnet-v2"] in ("yes", "no") and {"inception", "i3d", "vgg16", "lpips", "sface"} <= set(judges)


def test_verify_says_ok_then_finds_one_changed_byte(run, folder: Path) -> None:
    given = run("models", "verify", folder, "--json")
    assert given.code == 0
    (check,) = json.loads(given.out)
    assert check["part"] == "autoencoder"
    assert check["is_ok"] is True
    tensors = next(folder.rglob("*.safetensors"))
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(bytes(data))
    given = run("models", "verify", folder)
    assert given.code == 1
    assert "FAILED" in given.out
    assert given.said == f"error: {folder}: autoencoder failed. Fetch or convert it again."


def test_licences_of_a_folder_and_of_the_named_models(run, folder: Path) -> None:
    row, *faces = json.loads(run("models", "licences", folder, "--json").out)
    assert [(face["model"], face["part"], face["name"]) for face in faces] == [
        ("every model", "face_detector", "Apache-2.0"),
        ("every model", "face_mesh", "Apache-2.0"),
    ]
    assert all("MediaPipe" in face["note"] for face in faces)
    assert row == {
        "model": str(folder),
        "part": "autoencoder",
        "name": "Apache-2.0",
        "url": "https://example.org/licence",
        "note": "",
    }
    rows = json.loads(run("models", "licences", "1.5", "--json").out)
    assert {row["part"] for row in rows} >= {"unet", "autoencoder", "audio_encoder", "face_mesh"}
    assert all(row["name"] and row["url"] for row in rows)


def test_convert_writes_a_folder_that_verifies(run, folder: Path, tmp_path: Path) -> None:
    given = run("models", "convert", folder, tmp_path / "half", "--dtype", "bfloat16", "--name", "half", "-q")
    assert (given.code, given.err) == (0, "")
    assert run("models", "verify", tmp_path / "half").code == 0
    sizes = [sum(path.stat().st_size for path in at.rglob("*.safetensors")) for at in (folder, tmp_path / "half")]
    assert sizes[1] < 0.7 * sizes[0]
    given = run("models", "convert", folder, tmp_path / "half")
    assert given.code == 1
    assert "not empty" in given.err


@pytest.mark.parametrize(("own", "shown"), [(None, False), ("warning", True)])
def test_the_hubs_client_does_not_talk_beside_us(own: str | None, shown: bool) -> None:
    code = (
        "from latentsync.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "from huggingface_hub.utils import logging\n"
        "logging.get_logger('huggingface_hub.utils._http').warning('Retrying in 1s')\n"
    )
    environment = {name: text for name, text in os.environ.items() if name != "HF_HUB_VERBOSITY"}
    environment |= {} if own is None else {"HF_HUB_VERBOSITY": own}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ("Retrying" in done.stderr) == shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fetch", "nonsense"], 1, "no model of that name. Choose tiny, 1.5, 1.6"),
        (["fetch", "1.5", "--offline"], 1, "downloads are off"),
        (["verify", "nonsense"], 1, "no such model"),
        (["licences", "nonsense"], 1, "no such model"),
        (["convert", "tiny", "out", "--dtype", "int8"], 2, "--dtype int8: choose one of float16"),
        (["convert", "none", "src"], 1, "src: not empty. Choose a new folder, or pass --overwrite."),
        (["convert", "none", "pyproject.toml"], 1, "pyproject.toml: is a file. Choose a folder."),
    ],
)
def test_mistakes_are_one_line(run, folder: Path, arguments: list[str], code: int, says: str) -> None:
    given = run("models", *arguments)
    assert given.code == code
    assert says in given.said
