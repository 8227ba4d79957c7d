"""What a run says when it is done."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One finished lip-sync.

    Attributes:
        out_path: the written video.
        num_frames: frames written; num_edited: with a new mouth; num_without_face: passed through without one.
        num_copied: frames that were not encoded anew (`render` "smart").
        fps: average rate. duration_s: of the result.
        seconds_total: wall clock of the run, without loading the model. seconds_by_stage: where the main thread spent
            it: "wait" for frames and faces, "generate", "paste", "write".
        frames_per_s: num_frames / seconds_total.
        peak_memory_gib: peak resident memory of the process so far, with models; None where the system does not say.
        loudness: of the sound of a mix and its parts, see `pipeline.mix.Levels`; None = no mix.
        faces: frames by outcome, see `FaceFollower.counts`; with a plan, summed over its people.
    """

    out_path: Path
    num_frames: int
    num_edited: int
    num_without_face: int
    fps: Fraction
    duration_s: float
    seconds_total: float
    seconds_by_stage: Mapping[str, float]
    frames_per_s: float
    peak_memory_gib: float | None
    model: str
    seed: int
    faces: Mapping[str, int] = field(default_factory=dict)
    num_copied: int = 0
    warnings: tuple[str, ...] = ()
    loudness: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        out = asdict(self)
        out["out_path"], out["fps"] = str(self.out_path), float(self.fps)
        out["seconds_by_stage"], out["faces"] = dict(self.seconds_by_stage), dict(self.faces)
        out["warnings"] = list(self.warnings)
        return out


def peak_memory_gib() -> float | None:
    """Peak resident memory of this process, GiB; None where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
