"""Download the ICT-FaceKit Light face model (MIT) from its makers, check it and pack it."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from latentsync.core.errors import OfflineError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.progress import Progress, ProgressCallback, silent
from latentsync.synth.face.pack import pack_face_model

REVISION = "da5f95a"
ADDRESS = f"https://github.com/ICT-VGL/ICT-FaceKit/archive/{REVISION}.zip"
MEAN_ABSOLUTE_CM = 4.82230
"""Of the coordinates of the neutral head of that revision."""
BY_HAND = (
    "Download it yourself on a computer with a connection, unpack it, and run "
    "`python -m latentsync.synth.face.pack ICT-FaceKit/FaceXModel OUT.npz`."
)
BLOCK = 1 << 20


def model_path() -> Path:
    """Where the packed model is kept: `$LATENTSYNC_CACHE` or `~/.cache/latentsync`, sub-folder `synth`."""
    root = os.environ.get("LATENTSYNC_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "latentsync") / "synth" / "ict_facekit_light.npz"


def fetch_face_model(
    out: Path | None = None, *, address: str = ADDRESS, offline: bool = False, progress: ProgressCallback = silent
) -> Path:
    """The packed face model, downloaded and packed where it is not there yet.

    Args:
        out: file to write; None = `model_path()`. A file that is there is kept.
        address: zip of the repository; a mirror must hold the same revision.
    Raises:
        OfflineError: it is not here and cannot or must not be downloaded.
        WeightsError: what came is not that revision.
    """
    out = out or model_path()
    if out.is_file():
        return out
    if offline:
        raise OfflineError(f"{out}: the face model is not here and downloads are off. {BY_HAND}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="latentsync-face-") as name:
        folder = Path(name)
        _download(address, folder / "model.zip", progress)
        pack_face_model(_unpack(folder / "model.zip", folder / "unpacked"), folder / "packed.npz")
        _check(folder / "packed.npz", address)
        with atomic_path(out) as part:
            part.write_bytes((folder / "packed.npz").read_bytes())
    return out


def _download(address: str, path: Path, progress: ProgressCallback) -> None:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, path.open("wb") as file:
            total, done = int(answer.headers.get("Content-Length") or 0) // BLOCK, 0
            while block := answer.read(BLOCK):
                file.write(block)
                done += 1
                progress(Progress("download", done, max(total, done), "MiB"))
    except (urllib.error.URLError, OSError) as error:
        raise OfflineError(f"{address} cannot be read ({error}). {BY_HAND}") from None


def _unpack(archive: Path, folder: Path) -> Path:
    """Take only the model's files out of the zip, under their own names."""
    model = folder / "FaceXModel"
    model.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as source:
            for entry in source.namelist():
                parts = entry.split("/")
                if len(parts) == 3 and parts[1] == "FaceXModel" and parts[2].endswith((".obj", ".json")):
                    (model / parts[2]).write_bytes(source.read(entry))
    except zipfile.BadZipFile:
        raise WeightsError(f"{archive.name}: what was downloaded is no zip file. {BY_HAND}") from None
    return model


def _check(packed: Path, address: str) -> None:
    with np.load(packed, allow_pickle=False) as data:
        same = "tri_visible" in data and abs(float(np.abs(data["base"]).mean()) - MEAN_ABSOLUTE_CM) < 1e-3
    if not same:
        raise WeightsError(f"{address}: not revision {REVISION} of ICT-FaceKit, which this version was made for.")
