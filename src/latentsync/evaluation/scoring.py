"""All scores of one result, by name, and what each name means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from latentsync.core.values import Float
from latentsync.data.stages.estimate import Estimate
from latentsync.evaluation.speech import Speech, closing_spans, silent_steps
from latentsync.evaluation.watching import GRID_HZ, Watched
from latentsync.faces import topology as mesh
from latentsync.metrics.cross_drive import MAX_LAG, cross_drive
from latentsync.metrics.identity import identity_proxy
from latentsync.metrics.image import band_ratios, border_step, psnr, sharpness_ratio, ssim
from latentsync.metrics.lips import (
    MIN_OVERLAP,
    closed_limit,
    closure_rate,
    closures,
    lagged_correlation,
    spans_shut,
    stillness,
)
from latentsync.metrics.motion import border_flicker, jitter, mouth_landmark_distance, seam_score
from latentsync.metrics.mouth import Features
from latentsync.metrics.quality import quality
from latentsync.metrics.sync import SyncScore

Better = Literal["higher", "lower", "zero", "one"]
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class About:
    """How to read a score: its words in tables, which way is better, and digits to show."""

    label: str
    better: Better
    digits: int = 2


ABOUT = {
    "cross_r": About("mouth follows the speech (r, best lag within ±2 frames)", "higher"),
    "cross_chance": About("… what shifted speech reaches by luck (r)", "lower"),
    "lag_frames": About("lag of the mouth (frames of 1/25 s)", "zero", 1),
    "width_r": About("width of the mouth follows the speech (r, best lag within ±2 frames)", "higher"),
    "leakage_r": About("old mouth leaks through (r)", "lower"),
    "leakage": About("… minus chance", "lower"),
    "sync_confidence": About("sync confidence, own judge", "higher", 3),
    "sync_distance": About("sync distance, own judge", "lower", 3),
    "av_offset_frames": About("offset found by own judge (frames)", "zero", 1),
    "lips_confidence": About("sync confidence, shipped lip judge", "higher"),
    "late_ms": About("picture late by, shipped lip judge (ms)", "zero", 0),
    "lse_c": About("LSE-C, SyncNet-v2", "higher"),
    "lse_d": About("LSE-D, SyncNet-v2", "lower"),
    "lse_offset_frames": About("offset found by SyncNet-v2 (frames)", "zero", 1),
    "lmd_pct": About("mouth landmark distance (% of eye distance)", "lower"),
    "closure_rate": About("lips meet on p, b, m (share)", "higher"),
    "closure_chance": About("… at any other time (share)", "lower"),
    "closure_precision": About("closures that are at a p, b or m (share)", "higher"),
    "closure_precision_null": About("… of as many closures anywhere (share)", "lower"),
    "own_closure_recall": About("lips meet where the speaker's own do (share)", "higher"),
    "own_closure_precision": About("closures where the speaker's own are (share)", "higher"),
    "own_closure_f1": About("… both together (F1)", "higher"),
    "own_closure_null": About("… of as many closures anywhere (F1)", "lower"),
    "still_share": About("closed and still in silence (share of frames)", "higher"),
    "psnr_mouth_db": About("PSNR, generated region (dB)", "higher", 1),
    "ssim_mouth": About("SSIM, generated region", "higher", 3),
    "psnr_face_db": About("PSNR, whole face crop (dB)", "higher", 1),
    "ssim_face": About("SSIM, whole face crop", "higher", 3),
    "lpips": About("LPIPS, whole face crop", "lower", 3),
    "psnr_rest_db": About("PSNR, rest of the face crop (dB)", "higher", 1),
    "ssim_rest": About("SSIM, rest of the face crop", "higher", 3),
    "sharpness_ratio": About("sharpness of the mouth over the real one's", "one"),
    "finest_detail_ratio": About("… finest octave alone", "one"),
    "native_07_px": About("sharpness at the video's own resolution, details of 0.7 to 1.4 px", "one"),
    "native_14_px": About("… 1.4 to 2.8 px", "one"),
    "native_28_px": About("… 2.8 to 5.6 px", "one"),
    "native_56_px": About("… 5.6 to 11.2 px", "one"),
    "face_width_px": About("width of the face (px)", "one", 0),
    "perceptual_mouth": About("feature distance, generated region", "lower", 3),
    "csim": About("cosine similarity of a face recogniser", "higher", 3),
    "identity_similarity": About("identity, stand-in (0 … 1)", "higher"),
    "quality": About("no-reference quality (0 … 100)", "higher", 0),
    "border_step": About("step at the patch border (levels of 255)", "zero"),
    "border_flicker": About("flicker along the patch border over the source's", "one"),
    "seam_ratio": About("change across chunk borders over elsewhere", "one"),
    "jitter_ratio": About("trembling of still points over the source's", "one"),
    "jaw_jitter_ratio": About("trembling of the jaw line over the source's", "one"),
}
"""Every score a table may hold, in the order of its rows."""

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(F, R, R, 3) uint8 twice and an (R, R) region → mean distance."""

Judge = Callable[[Watched, Path | None, np.ndarray], SyncScore | None]
"""(what was watched, its file if there is one, (S,) sound) → score; None where this judge cannot say."""


LipsJudge = Callable[[Watched, np.ndarray], Estimate | None]
"""As `Judge`, to a part of a frame."""


@dataclass(frozen=True)
class Judges:
    """Networks that may take part; None = not given, its scores are missing.

    Attributes:
        own: our SyncNet.
        v2: the public SyncNet-v2.
        perceptual: a distance in the generated region, of features that the user gives.
        lips: the shipped judge, see `lip_judge`.
        lpips: LPIPS of whole crops.
        face: (result, real), as many frames each → cosine of a face recogniser's embeddings, see `face_judge`.
        mouth: features of the inside of open mouths.
        missing: name of the field's score → why there is no judge for it.
        names: what was used, with the beginning of each file's hash, for the report.
    """

    own: Judge | None = None
    v2: Judge | None = None
    perceptual: Distance | None = None
    lips: LipsJudge | None = None
    lpips: Distance | None = None
    face: Callable[[Watched, Watched], float] | None = None
    mouth: Features | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Material:
    """What one result is scored on.

    Attributes:
        result: what was watched of the result, cut with `driven`'s geometry.
        driven: of the video that went in.
        speech: what it had to say.
        inpaint_mask: (R, R) 1 = generated.
        truth: the real video of this very speech (reconstruction only), same geometry.
        path: file of the result, for judges that cut their own crops.
        chunk_frames: frames denoised together, for the seams; None = not known.
    """

    result: Watched
    driven: Watched
    speech: Speech
    inpaint_mask: Float
    truth: Watched | None = None
    path: Path | None = None
    chunk_frames: int | None = None


def score(material: Material, judges: Judges) -> Scores:
    """Every score that applies; those that do not (or cannot be computed) are left out, never zero."""
    found = sync_scores(material.result, material.speech, material.driven, judges, material.path)
    found |= _mouth_scores(material)
    found |= _picture_scores(material, judges)
    return {name: value for name, value in found.items() if not np.isnan(value)}


def sync_scores(
    result: Watched, speech: Speech, driven: Watched | None, judges: Judges, path: Path | None = None
) -> Scores:
    """Does the mouth follow the speech, and not the old mouth?"""
    found: Scores = {}
    if speech.opening is not None:
        old = driven.opening if driven is not None else np.full(2, np.nan)
        drive = cross_drive(result.opening, speech.opening, old)
        found |= {
            "cross_r": drive.sync,
            "cross_chance": drive.sync_chance,
            "leakage_r": drive.leakage_r,
            "leakage": drive.leakage,
        }
        if not np.isnan(drive.sync):
            found["lag_frames"] = drive.lag_frames
    elif driven is not None:
        drive = cross_drive(result.opening, result.opening, driven.opening)
        found |= {"leakage_r": drive.leakage_r, "leakage": drive.leakage}
    if speech.width is not None:
        found["width_r"] = lagged_correlation(result.width, speech.width, MAX_LAG).best_r
    if np.any(speech.wave):
        if judges.lips is not None and (lips := judges.lips(result, speech.wave)) is not None:
            found |= {"lips_confidence": lips.at_zero, "late_ms": -1000 * lips.late_s}
        if judges.own is not None and (own := judges.own(result, path, speech.wave)) is not None:
            found |= {
                "sync_confidence": own.confidence_at_zero,
                "sync_distance": own.sync_distance,
                "av_offset_frames": own.av_offset_frames,
            }
        if judges.v2 is not None and (v2 := judges.v2(result, path, speech.wave)) is not None:
            found |= {
                "lse_c": v2.sync_confidence,
                "lse_d": v2.sync_distance,
                "lse_offset_frames": v2.av_offset_frames,
            }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _mouth_scores(material: Material) -> Scores:
    result, speech = material.result, material.speech
    known = material.truth or material.driven
    limit = closed_limit(known.opening)
    silent = silent_steps(speech.wave, len(result.opening))
    found: Scores = {}
    spans = closing_spans(speech.phones)
    if spans:
        rate = closure_rate(result.opening, spans, GRID_HZ, limit)
        shut = closures(result.opening, spans, GRID_HZ, limit, silent)
        found |= {"closure_rate": rate.rate, "closure_chance": rate.chance}
        found |= {"closure_precision": shut.precision, "closure_precision_null": shut.null_precision}
    if speech.opening is not None and np.isfinite(speech.opening).sum() > MIN_OVERLAP:
        own = spans_shut(speech.opening, GRID_HZ, closed_limit(speech.opening), silent)
        shut = closures(result.opening, own, GRID_HZ, limit, silent)
        found |= {
            "own_closure_recall": shut.recall,
            "own_closure_precision": shut.precision,
            "own_closure_f1": shut.f1,
            "own_closure_null": shut.null_f1,
        }
    found["still_share"] = stillness(result.opening, silent, limit)
    if material.truth is not None:
        found["lmd_pct"] = mouth_landmark_distance(result.landmarks, material.truth.landmarks)
    return found


def _picture_scores(material: Material, judges: Judges) -> Scores:
    seen = material.driven.seen[: len(material.result)]
    real_all = material.truth or material.driven
    clip, real = material.result.crops[seen], real_all.crops[: len(seen)][seen]
    mask = np.asarray(material.inpaint_mask, np.float32)
    rest = rest_region(mask)
    found: Scores = {
        "psnr_rest_db": min(psnr(clip, real, rest), 99.0),
        "ssim_rest": ssim(clip, real, rest),
        "sharpness_ratio": sharpness_ratio(clip, real, mask),
        "finest_detail_ratio": band_ratios(clip, real, mask)[0],
        "border_step": border_step(clip, mask) - border_step(real, mask),
        "quality": float(np.median([quality(picture).score for picture in _some(clip, 8)])),
        "identity_similarity": identity_proxy(
            clip, real, material.result.landmarks, real_all.landmarks, mask
        ).similarity,
        "jitter_ratio": _ratio(jitter(material.result.landmarks), jitter(material.driven.landmarks)),
        "jaw_jitter_ratio": _ratio(jitter(material.result.landmarks, mesh.JAW), jitter(real_all.landmarks, mesh.JAW)),
    }
    if len(clip) > 2:
        found["border_flicker"] = border_flicker(clip, real, mask)
    if material.chunk_frames is not None:
        found["seam_ratio"] = seam_score(clip, range(material.chunk_frames, len(clip), material.chunk_frames), mask)
    if judges.face is not None:
        length = len(material.result)
        found["csim"] = judges.face(material.result, real_all.cut(length))
    if material.truth is not None:
        found |= {"psnr_mouth_db": min(psnr(clip, real, mask), 99.0), "ssim_mouth": ssim(clip, real, mask)}
        found |= {"psnr_face_db": min(psnr(clip, real), 99.0), "ssim_face": ssim(clip, real)}
        if judges.lpips is not None:
            found["lpips"] = judges.lpips(clip, real, np.ones_like(mask))
        if judges.perceptual is not None:
            found["perceptual_mouth"] = judges.perceptual(clip, real, mask)
    return found


def rest_region(inpaint_mask: np.ndarray, margin_px: int = 8) -> np.ndarray:
    """(R, R) float32: 1 where nothing is generated, `margin_px` away from the mask (the feather of the paste)."""
    kernel = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)
    return 1 - cv2.dilate((np.asarray(inpaint_mask) > 0).astype(np.float32), kernel)


def shifted_lag(result: Watched, own: Speech, max_lag: int = 15) -> float:
    """Frames by which the result's mouth comes after the clip's own, searched up to ±15."""
    if own.opening is None:
        return float("nan")
    return float(lagged_correlation(result.opening, own.opening, max_lag).best_lag)


def _some(clip: np.ndarray, count: int) -> Sequence[np.ndarray]:
    return [clip[index] for index in np.unique(np.linspace(0, len(clip) - 1, count).astype(int))]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")
