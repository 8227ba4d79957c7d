"""Scores that are done, kept beside the report: a suite that was broken off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.files import atomic_path
from latentsync.evaluation.results import Evidence, Row

log = logging.getLogger(__name__)

VERSION = 1
"""To be raised where a score is computed anew."""


@dataclass
class Kept:
    """What one method, or the baselines, came to in one case.

    Attributes:
        rows: scores. evidence: of the first row; None for baselines.
        features: kind of distribution → features of the result and of its real clip, (N, D) each.
    """

    rows: list[Row]
    evidence: Evidence | None = None
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def key_of(**facts: Any) -> str:
    """A name for what depends on these facts alone."""
    text = json.dumps({"version": VERSION, **facts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Keep:
    """A folder of `Kept`, one file each. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def load(self, key: str) -> Kept | None:
        """What was kept under this key; None where there is nothing that can be read."""
        found = self.arrays(key)
        return None if found is None else _from_arrays(found)

    def save(self, key: str, kept: Kept) -> None:
        self.save_arrays(key, _to_arrays(kept))

    def arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """Plain arrays that were kept."""
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as data:
                return {name: data[name] for name in data.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s: cannot be read (%s); done again", path, error)
            return None

    def save_arrays(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as part, part.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.npz"


def _to_arrays(kept: Kept) -> dict[str, np.ndarray]:
    arrays = {"rows": np.array(json.dumps([asdict(row) for row in kept.rows]))}
    for kind, (result, real) in kept.features.items():
        arrays |= {f"features:{kind}:result": result, f"features:{kind}:real": real}
    if kept.evidence is not None:
        evidence = kept.evidence
        arrays |= {"opening": evidence.opening, "old": evidence.old, "loudness": evidence.loudness}
        arrays["strip"] = np.frombuffer(evidence.strip, np.uint8)
        if evidence.speaker is not None:
            arrays["speaker"] = evidence.speaker
    return arrays


def _from_arrays(data: dict[str, np.ndarray]) -> Kept:
    rows = [
        Row(**{**row, "speech": tuple((str(c), float(a), float(b)) for c, a, b in row["speech"])})
        for row in json.loads(str(data["rows"]))
    ]
    kinds = {name.split(":")[1] for name in data if name.startswith("features:")}
    features = {kind: (data[f"features:{kind}:result"], data[f"features:{kind}:real"]) for kind in kinds}
    evidence = None
    if "opening" in data:
        strip = data["strip"].tobytes()
        evidence = Evidence(rows[0], data["opening"], data.get("speaker"), data["old"], data["loudness"], strip)
    return Kept(rows, evidence, features)
