"""The stages, in order."""

from __future__ import annotations

from collections.abc import Callable

from latentsync.data.settings import DataSettings
from latentsync.data.stages.base import Resources, Stage
from latentsync.data.stages.faces import Faces
from latentsync.data.stages.limits import Limit, Limits
from latentsync.data.stages.normalise import Normalise
from latentsync.data.stages.probe import Probe
from latentsync.data.stages.quality import QualityScores
from latentsync.data.stages.segments import Segments
from latentsync.data.stages.shots import Shots
from latentsync.data.stages.sync import Sync, SyncCheck, judge_limits
from latentsync.data.stages.write import Write
from latentsync.faces import MeshTracker
from latentsync.faces.protocol import FaceTracker

__all__ = ["Limit", "Limits", "Resources", "Stage", "limits_of", "make_stages", "stage_names"]


def limits_of(settings: DataSettings) -> tuple[Limit, ...]:
    """Every limit that a score is held against, for the report."""
    quality = settings.quality_limits
    sync = judge_limits(settings.sync, settings.sync_limits)
    least = 0.0 if sync.min_confidence is None else sync.min_confidence
    return (
        *_face_limits(settings),
        Limit("sync_confidence", "min", least, "not_in_sync", "sync_limits.min_confidence"),
        Limit("quality", "min", quality.min_quality, "bad_quality", "quality_limits.min_quality"),
        Limit("sharpness", "min", quality.min_sharpness, "blurred", "quality_limits.min_sharpness"),
    )


def _face_limits(settings: DataSettings) -> tuple[Limit, ...]:
    face = settings.face_limits
    return (
        Limit("face_px", "min", face.min_face_px, "face_too_small", "face_limits.min_face_px"),
        Limit("yaw_deg", "max", face.max_yaw_deg, "turned_away", "face_limits.max_yaw_deg"),
        Limit("others_share", "max", face.max_others_share, "several_faces", "face_limits.max_others_share"),
        Limit("outside_share", "max", face.max_outside_share, "face_at_edge", "face_limits.max_outside_share"),
        Limit("face_score", "min", face.min_score, "occluded", "face_limits.min_score"),
        Limit("jump_px", "max", face.max_jump_px, "face_jumps", "face_limits.max_jump_px"),
    )


def make_stages(settings: DataSettings, tracker: Callable[[], FaceTracker] = MeshTracker) -> tuple[Stage, ...]:
    """All stages for these settings, none opened."""
    sync_limits = judge_limits(settings.sync, settings.sync_limits)
    rest = limits_of(settings)
    return (
        Probe(settings.probe),
        Normalise(settings.normalise),
        Shots(settings.shots),
        Segments(settings.segments),
        Faces(settings.faces, settings.segments.min_s, tracker),
        Limits("face_check", _face_limits(settings)),
        Sync(settings.sync),
        SyncCheck(sync_limits, settings.sync.max_offset_frames, settings.segments.min_s),
        QualityScores(settings.quality),
        Limits("quality_check", tuple(limit for limit in rest if limit.score in ("quality", "sharpness"))),
        Write(settings.write, settings.faces),
    )


def stage_names() -> tuple[str, ...]:
    """Names in order."""
    return tuple(stage.name for stage in make_stages(DataSettings()))
