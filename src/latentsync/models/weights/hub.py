"""Files of the Hugging Face Hub: downloaded once, then held to that commit and hash. No torch here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from latentsync.core.errors import MediaError, OfflineError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.reading import read_json
from latentsync.models.weights.catalogue import HubFile
from latentsync.models.weights.hashing import check_file


def registry_path() -> Path:
    """Where first downloads are recorded: `hub.json` in `$LATENTSYNC_CACHE` or `~/.cache/latentsync`."""
    root = os.environ.get("LATENTSYNC_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "latentsync") / "hub.json"


def has_hash(file: HubFile) -> bool:
    """Whether it is known which SHA-256 the file must have: from the catalogue, or from its first download."""
    return bool(file.sha256 or _read_registry().get(file.repo, {}).get(file.name, {}).get("sha256"))


def fetch_file(file: HubFile, offline: bool = False, cache_dir: Path | None = None, record: bool = True) -> Path:
    """The local path of a Hub file, downloaded where it isn't there yet, always hash-checked.

    The first time, the commit and the SHA-256 are recorded in `registry_path()`; afterwards that commit is asked for
    and that hash must be found. So the first download is trusted, unless the catalogue knows the hash, and all later
    uses are compared with it.

    Args:
        offline: look only into the Hub's cache (`HF_HOME`), strictly.
        cache_dir: the Hub cache to use; None = the Hub client's own choice, which honours `HF_HOME`.
        record: False = only look: what has no record gets none.
    Raises:
        OfflineError: it isn't there and can't or mustn't be downloaded.
        WeightsError: the Hub refuses it, or its hash isn't the recorded one.
    """
    known = _read_registry().get(file.repo, {}).get(file.name, {})
    revision = file.revision or known.get("commit") or "main"
    path = _download(file, revision, offline, cache_dir)
    expected = file.sha256 or known.get("sha256")
    found = check_file(path, expected, "Delete it and run `latentsync models fetch`")
    if record and not known:
        _record(file, _commit_of(path) or revision, found)
    return path


def find_cached(file: HubFile, cache_dir: Path | None = None) -> Path | None:
    """The path of a file that is already here, else None. Reads no content, asks no network."""
    from huggingface_hub import try_to_load_from_cache

    record = _read_registry().get(file.repo, {}).get(file.name, {})
    revision = file.revision or record.get("commit") or "main"
    found = try_to_load_from_cache(file.repo, file.name, cache_dir=cache_dir, revision=revision)
    return Path(found) if isinstance(found, str) else None


_BY_HAND = (
    "Run `latentsync models fetch` with a network, or copy the files to a folder and pass that folder as the model"
)


def _download(file: HubFile, revision: str, offline: bool, cache_dir: Path | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    what = f"{file.name} of https://huggingface.co/{file.repo}"
    try:
        return Path(
            hf_hub_download(file.repo, file.name, revision=revision, cache_dir=cache_dir, local_files_only=offline)
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        why = "downloads are off" if offline else "the Hub can't be reached"
        raise OfflineError(f"{what}: not here, and {why}. {_BY_HAND}") from error
    except HfHubHTTPError as error:
        raise WeightsError(f"{what}: the Hub refuses it ({str(error).splitlines()[0]})") from error
    except OSError as error:
        raise OfflineError(f"{what}: the download failed ({error}). {_BY_HAND}") from error
    except Exception as error:  # the Hub client lets its transport's own errors through: requests, httpx, by version
        if type(error).__module__.split(".")[0].rstrip("2") not in ("requests", "urllib3", "httpx", "httpcore"):
            raise
        raise OfflineError(f"{what}: the download failed ({' '.join(str(error).split())}). {_BY_HAND}") from error


def _commit_of(path: Path) -> str | None:
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _read_registry() -> dict[str, Any]:
    path = registry_path()
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except (MediaError, ValueError) as error:
        raise WeightsError(f"{path}: not readable ({error}). Delete it to record the downloads anew") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object. Delete it to record the downloads anew")
    return content


def _record(file: HubFile, commit: str, digest: str) -> None:
    path = registry_path()
    content = _read_registry()
    content.setdefault(file.repo, {})[file.name] = {"commit": commit, "sha256": digest}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
