"""Is the sound in time with the lips, and by how much is it off? Measured here, judged and corrected in `SyncCheck`."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.data.clip import GRID_FPS, Clip, Rejected
from latentsync.data.grid import STEP_S
from latentsync.data.lip_sync import lip_sync
from latentsync.data.settings import SyncLimits, SyncSettings
from latentsync.data.sound import sound_span
from latentsync.data.stages.base import PlainStage, Resources
from latentsync.data.stages.estimate import Estimate
from latentsync.data.stages.faces import load_geometry
from latentsync.data.stages.judge_files import judge_hash
from latentsync.data.workspace import Workspace
from latentsync.metrics.lips import lip_opening

BUILT_IN = ("lips", "lip_opening")
"""Judges that need no file."""


class SyncJudge(Protocol):
    """Something that measures the offset of a clip. `name` says which in the manifest."""

    name: str
    min_confidence: float
    correct_above: float
    margin: float

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate: ...


class LipJudge:
    """Lip opening against the level of the sound: no network, weak on a few seconds (docs/data.md has its figures).

    Chance correlations shrink with the root of the length, so the confidence is given as for a clip of 3 s, on which
    the limits were chosen: correlation · √(seconds / 3), for at most 12 s.
    """

    name = "lips"
    min_confidence = 0.25
    correct_above = 0.6
    margin = 0.65

    def __init__(self, max_offset_frames: int) -> None:
        self.max_late_s = max_offset_frames / GRID_FPS

    def estimate(self, clip: Clip, workspace: Workspace) -> Estimate:
        opening = lip_opening(load_geometry(workspace.path(clip.files["geometry"]))["landmarks"])
        lead_s = Fraction(3, 2)
        count = round((Fraction(clip.num_frames, GRID_FPS) + 2 * lead_s) * SPEECH_RATE_HZ)
        wave, known = sound_span(clip, clip.start_s - lead_s, count)
        found = lip_sync(opening, wave, known, float(lead_s), self.max_late_s)
        weight = math.sqrt(min(clip.duration_s, 12.0) / 3.0)
        return Estimate(found.late_s, weight * found.confidence, weight * found.at_zero)


class Sync(PlainStage):
    """Adds the scores sync_confidence, sound_late_ms and confidence_at_zero, and who judged."""

    name = "sync"
    version = 4

    def __init__(self, settings: SyncSettings) -> None:
        self._content = _content(settings)
        super().__init__(_found_anywhere(settings))
        self._judge: SyncJudge | None = None
        self.needs = Resources() if settings.judge in BUILT_IN and not settings.judge_v2 else Resources(gpus=0.25)

    @property
    def settings(self) -> dict[str, Any]:
        return super().settings | self._content

    def beside(self, clip: Clip) -> str:
        return "" if clip.source.in_sync else "not in sync"

    def open(self, workspace: Workspace) -> None:
        super().open(workspace)
        self._judge = make_judge(self.config)

    def close(self) -> None:
        self._judge = None

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        if self._judge is None:
            raise RuntimeError("Sync is not open")
        if not clip.source.in_sync:
            return [clip.known(sync_judge="list", in_sync=False)]
        found = self._judge.estimate(clip, self.workspace)
        if not math.isfinite(found.confidence):
            return self.no("sync_unknown", detail=f"too little to hear or see for the judge {self._judge.name!r}")
        made = clip.scored(
            sync_confidence=found.confidence, sound_late_ms=1000 * found.late_s, confidence_at_zero=found.at_zero
        )
        return [made.known(sync_judge=self._judge.name)]


def _content(settings: SyncSettings) -> dict[str, Any]:
    """Hashes of the judges' files in place of their paths: the weights count, not where they lie.

    Raises: WeightsError: a file is missing.
    """
    given = {"judge": settings.judge, "judge_v2": settings.judge_v2}
    if settings.judge == "lip_opening":
        from latentsync.models.lip_opening import HOME

        return {
            **given,
            "lip_opening": judge_hash(HOME),
            "judge_v2": given["judge_v2"] and judge_hash(Path(given["judge_v2"])),
        }
    return {key: path if path in (None, "lips") else judge_hash(Path(str(path))) for key, path in given.items()}


def _found_anywhere(settings: SyncSettings) -> SyncSettings:
    """Paths absolute: a worker may work in another folder."""
    own = settings.judge if settings.judge in BUILT_IN else str(Path(settings.judge).absolute())
    return replace(settings, judge=own, judge_v2=settings.judge_v2 and str(Path(settings.judge_v2).absolute()))


def make_judge(settings: SyncSettings) -> SyncJudge:
    """The judge that the settings name, loaded.

    Raises: WeightsError, ConfigError: a file is missing or does not fit.
    """
    if settings.judge_v2 is not None:
        from latentsync.data.stages.sync_networks import V2Judge

        return V2Judge(Path(settings.judge_v2))
    if settings.judge == "lips":
        return LipJudge(settings.max_offset_frames)
    if settings.judge == "lip_opening":
        from latentsync.data.stages.lip_opening import LipOpeningJudge

        return LipOpeningJudge(settings.max_offset_frames)
    from latentsync.data.stages.sync_networks import OwnJudge

    return OwnJudge(Path(settings.judge), settings.max_offset_frames)


def judge_limits(settings: SyncSettings, limits: SyncLimits) -> SyncLimits:
    """Limits with the judge's own in place of None. Chosen as docs/data.md tells."""
    from latentsync.data.stages.lip_opening import LipOpeningJudge
    from latentsync.data.stages.sync_networks import OwnJudge, V2Judge

    own: Any = {"lips": LipJudge, "lip_opening": LipOpeningJudge}.get(settings.judge, OwnJudge)
    kind: Any = V2Judge if settings.judge_v2 else own
    least = kind.min_confidence if limits.min_confidence is None else limits.min_confidence
    above = kind.correct_above if limits.correct_above is None else limits.correct_above
    margin = kind.margin if limits.margin is None else limits.margin
    return replace(limits, min_confidence=least, correct_above=max(above, least), margin=margin)


OUT_OF_SYNC = ("not_in_sync", "offset_uncertain", "offset_at_edge")


class SyncCheck(PlainStage):
    """Rejects what is not in sync, and moves the sound of the rest by the measured offset: exact samples, no re-encode.

    Frames at the ends whose sound the source does not have after the move are left out. What the list says is not in
    sync goes on as it is.
    """

    name = "sync_check"
    version = 2

    def __init__(self, limits: SyncLimits, max_offset_frames: int, min_s: float) -> None:
        super().__init__(limits)
        self._max_offset, self._min_frames = max_offset_frames, int(min_s * GRID_FPS + 1e-9)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "max_offset": self._max_offset, "min_frames": self._min_frames}

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        if clip.facts.get("in_sync") is False:
            return [clip]
        found = self._judged(clip)
        if self.config.out_of_sync == "keep" and isinstance(found, Rejected) and found.reason in OUT_OF_SYNC:
            return [clip.known(in_sync=False, out_of_sync=found.reason)]
        return found

    def _judged(self, clip: Clip) -> list[Clip] | Rejected:
        best, at_zero = clip.scores["sync_confidence"], clip.scores["confidence_at_zero"]
        late_ms, least = clip.scores["sound_late_ms"], self.config.min_confidence
        judge = f"judge: {clip.facts['sync_judge']}"
        if best < least:
            return self.no("not_in_sync", best, least, judge)
        at_edge = abs(late_ms) >= 1000 * self._max_offset / GRID_FPS
        better = late_ms != 0 and best - at_zero >= self.config.margin
        if not better and at_zero >= least:
            return [clip]
        if not better or best < self.config.correct_above or at_edge:
            if at_edge:
                return self.no("offset_at_edge", late_ms, 1000 * self._max_offset / GRID_FPS, "ms, the search's end")
            return self.no("offset_uncertain", best, self.config.correct_above, f"perhaps {late_ms:.0f} ms, {judge}")
        moved = shifted(clip, Fraction(round(late_ms), 1000))
        if moved.num_frames < self._min_frames:
            return self.no("too_short_after_sync", moved.duration_s, self._min_frames / GRID_FPS, "seconds")
        return [moved]


def shifted(clip: Clip, late_s: Fraction) -> Clip:
    """The clip with the sound that belongs to it, `late_s` later in the source, and only frames that have sound."""
    start = Fraction(str(clip.facts["sound_start_s"])) - late_s
    end = Fraction(str(clip.facts["sound_end_s"])) - late_s
    first = max(0, math.ceil((start - clip.start_s) / STEP_S - Fraction(1, 2)))
    last = min(clip.num_frames, math.floor((end - clip.start_s) / STEP_S + Fraction(1, 2)))
    count = max(0, last - first)
    moved = replace(clip, start_s=clip.start_s + first * STEP_S, num_frames=count, sound_shift_s=late_s)
    before = int(clip.facts.get("frames_left_out", 0) or 0)
    return moved.known(frames_left_out=before + first, sound_moved_ms=float(1000 * late_s))
