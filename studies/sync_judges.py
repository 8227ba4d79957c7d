"""How well the data pipeline's judges of sync find a known offset, and at which confidence somebody else's speech lies.

    python studies/sync_judges.py CLIPS... [--lip-predictor | --syncnet COMPONENT] [--split val] [--shifts 10]

CLIPS are folders of `latentsync data build --training` (…/clips) whose sound is in time. The sound of each clip is
moved by −10 … +10 frames, with silence coming in at the ends and marked as unknown, as where a file begins and ends.
Each clip is also judged with the speech of other people. Give people whom the network was not trained on.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.data.clip import Clip, Source
from latentsync.data.lip_sync import lip_sync
from latentsync.data.settings import SyncLimits
from latentsync.data.stages.estimate import Estimate
from latentsync.data.stages.lip_opening import LEAD_FRAMES as LIP_OPENING_LEAD_FRAMES
from latentsync.data.stages.lip_opening import LipOpeningJudge
from latentsync.data.stages.sync import LipJudge, SyncCheck
from latentsync.data.stages.sync_networks import LEAD_FRAMES, OwnJudge
from latentsync.metrics.lips import audible_opening, lip_opening
from latentsync.training.datasets.clip_files import load_clips

FRAME = SPEECH_RATE_HZ // 25
LEAD = LEAD_FRAMES * FRAME
EXACT = 5
"""Frames that are a whole number of mel columns (16): moves by a multiple of them only move the windows."""


@dataclass(frozen=True)
class Trial:
    name: str
    person: str
    seconds: float
    by_shift: dict[int, Estimate]
    others: list[Estimate]


def moved(wave: np.ndarray, frames: int, lead: int = LEAD) -> tuple[np.ndarray, np.ndarray]:
    """The sound `frames` late between two stretches of unknown silence, and what is known of it."""
    out, known = np.zeros(len(wave) + 2 * lead, np.float32), np.zeros(len(wave) + 2 * lead, bool)
    start = lead + frames * FRAME
    out[start : start + len(wave)], known[start : start + len(wave)] = wave, True
    return out, known


def shifts_of(reach: int) -> list[int]:
    return list(range(-reach, reach + 1))


def by_network(judge: OwnJudge, clips: Sequence, reach: int) -> Iterator[Trial]:  # type: ignore[type-arg]
    sounds = []
    for clip in clips:
        wave = np.array(clip.wave)
        sounds.append(
            {rest: judge.features_of_clip(*moved(wave, rest)) for rest in sorted({s % EXACT for s in shifts_of(reach)})}
        )
    for number, clip in enumerate(clips):
        seen = judge.see(np.asarray(clip.crops))
        found = {}
        for shift in shifts_of(reach):
            rest = shift % EXACT
            audio_features, there = sounds[number][rest]
            step = shift - rest
            found[shift] = judge.compare(seen, np.roll(audio_features, step, axis=0), np.roll(there, step))
        strange = [sounds[other][0] for other in range(len(clips)) if clips[other].person != clip.person]
        others = [judge.compare(seen, *sound) for sound in strange]
        yield Trial(clip.path.name, clip.person, len(clip.crops) / 25, found, others)


def by_lip_predictor(judge: LipOpeningJudge, clips: Sequence, reach: int) -> Iterator[Trial]:  # type: ignore[type-arg]
    lead = LIP_OPENING_LEAD_FRAMES * FRAME
    openings = [audible_opening(np.asarray(clip.mesh)) for clip in clips]
    sounds = [judge.features_of_clip(*moved(np.array(clip.wave), 0, lead)) for clip in clips]
    for number, (clip, opening) in enumerate(zip(clips, openings, strict=True)):
        wave = np.array(clip.wave)[: len(opening) * FRAME]
        found = {}
        for shift in shifts_of(reach):
            found[shift] = judge.compare(opening, *judge.features_of_clip(*moved(wave, shift, lead)))
        strange = [sounds[other] for other in range(len(clips)) if clips[other].person != clips[number].person]
        others = [judge.compare(opening, *sound) for sound in strange]
        yield Trial(clip.path.name, clip.person, len(clip.crops) / 25, found, others)


def by_lips(clips: Sequence, reach: int, max_late_s: float) -> Iterator[Trial]:  # type: ignore[type-arg]
    openings = [lip_opening(np.asarray(clip.mesh)) for clip in clips]
    for number, clip in enumerate(clips):
        weight = math.sqrt(min(len(clip.crops) / 25, 12.0) / 3.0)

        def judged(wave: np.ndarray, shift: int, number: int = number, weight: float = weight) -> Estimate:
            said = lip_sync(openings[number], *moved(wave, shift, 24000), 1.5, max_late_s)
            return Estimate(said.late_s, weight * said.confidence, weight * said.at_zero)

        found = {shift: judged(np.array(clip.wave), shift) for shift in shifts_of(reach)}
        strange = [other for other in range(len(clips)) if clips[other].person != clip.person][
            :: max(1, len(clips) // 8)
        ]
        others = [judged(np.array(clips[other].wave), 0) for other in strange]
        yield Trial(clip.path.name, clip.person, len(clip.crops) / 25, found, others)


def verdicts(
    trials: Sequence[Trial], judge: type[OwnJudge] | type[LipOpeningJudge] | type[LipJudge]
) -> dict[str, object]:
    """What the pipeline would do with these clips, and how far from the truth the sound of the kept ones then is."""
    check = SyncCheck(SyncLimits(min_confidence=judge.min_confidence, correct_above=judge.correct_above,
                                 margin=judge.margin), 15, 1.0)  # fmt: skip

    def left_over(estimate: Estimate, shift: int, seconds: float) -> float:
        """Frames that the sound is late after the stage; NaN = rejected."""
        facts = {"sync_judge": judge.name, "sound_start_s": "-2", "sound_end_s": str(seconds + 2)}
        scores = {"sync_confidence": estimate.confidence, "confidence_at_zero": estimate.at_zero,
                  "sound_late_ms": 1000 * estimate.late_s}  # fmt: skip
        found = check.process(Clip(Source("", ""), num_frames=round(25 * seconds), facts=facts, scores=scores))
        return shift - 25 * float(found[0].sound_shift_s) if isinstance(found, list) else float("nan")

    off = np.array([[left_over(e, s, t.seconds) for s, e in t.by_shift.items()] for t in trials])
    others = np.array([left_over(e, 0, t.seconds) for t in trials for e in t.others if np.isfinite(e.confidence)])
    kept, shifts = np.isfinite(off), np.array(list(trials[0].by_shift))
    return {
        "kept_in_time": share(kept[:, shifts == 0]),
        "kept_shifted": share(kept[:, shifts != 0]),
        "of_kept_within_1_frame": share(np.abs(off[kept]) < 1.5),
        "of_kept_exact": share(np.abs(off[kept]) < 0.5),
        "other_person_kept": share(np.isfinite(others)),
    }


def figures(
    trials: Sequence[Trial], judge: type[OwnJudge] | type[LipOpeningJudge] | type[LipJudge]
) -> dict[str, object]:
    """What the trials come to; offsets in frames of 40 ms."""
    errors = np.array([[25 * est.late_s - shift for shift, est in t.by_shift.items()] for t in trials])
    zero = [t.by_shift[0] for t in trials]
    own = np.array([e.confidence for t in trials for e in t.by_shift.values()])
    in_time = np.array([e.at_zero for e in zero])
    off = np.array([e.at_zero for t in trials for s, e in t.by_shift.items() if abs(s) >= 3])
    other = np.array([e.confidence for t in trials for e in t.others])
    other = other[np.isfinite(other)]
    near = np.abs(errors) < 0.5 + 1e-6
    tried = [shift for shift in (0, 1, 2, 3) if shift in trials[0].by_shift]
    gain = {s: [t.by_shift[s].confidence - t.by_shift[s].at_zero for t in trials] for s in tried}
    return {
        "clips": len(trials),
        "people": len({t.person for t in trials}),
        "seconds": round(float(np.mean([t.seconds for t in trials])), 1),
        "trials": errors.size,
        "exact": share(near),
        "within_1": share(np.abs(errors) < 1.5 + 1e-6),
        "within_2": share(np.abs(errors) < 2.5 + 1e-6),
        "confidence_p5_50_95": percentiles(own),
        "in_time_at_zero_p5_50_95": percentiles(in_time),
        "moved_at_zero_p5_50_95": percentiles(off),
        "other_person_p5_50_95_99": percentiles(other, (5, 50, 95, 99)),
        "gain_by_moving_p5_50_95": {shift: percentiles(np.array(values)) for shift, values in gain.items()},
        "by_the_limits_in_use": verdicts(trials, judge),
        "limits": [limit_line(trials, errors, own.reshape(errors.shape), other, q) for q in (80, 90, 95, 99)],
    }


def limit_line(
    trials: Sequence[Trial], errors: np.ndarray, own: np.ndarray, other: np.ndarray, percentile: int
) -> dict[str, float]:
    """What a limit would do that lets through 100 − percentile % of other people's speech."""
    limit = float(np.percentile(other, percentile)) if len(other) else 0.0
    kept = own >= limit
    return {
        "min_confidence": round(limit, 4),
        "other_person_kept": share(other >= limit),
        "kept": share(kept),
        "exact_of_kept": share(np.abs(errors[kept]) < 0.5 + 1e-6),
        "within_1_of_kept": share(np.abs(errors[kept]) < 1.5 + 1e-6),
    }


def share(values: np.ndarray) -> float:
    return round(float(np.mean(values)), 4) if len(values) else float("nan")


def percentiles(values: np.ndarray, at: tuple[int, ...] = (5, 50, 95)) -> list[float]:
    return [round(float(np.percentile(values, p)), 3) for p in at] if len(values) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--syncnet", type=Path, help="our SyncNet; default: the lips")
    parser.add_argument("--lip-predictor", action="store_true", help="the shipped audio encoder and the lips")
    parser.add_argument("--split", default="val", help="train, val or test")
    parser.add_argument("--shifts", type=int, default=10, help="frames on either side")
    parser.add_argument("--max-offset", type=int, default=15, help="frames searched on either side")
    parser.add_argument("--each", action="store_true", help="a line for each clip")
    args = parser.parse_args()
    judge = OwnJudge(args.syncnet, args.max_offset) if args.syncnet else None
    for folder in args.clips:
        clips = [clip for clip in load_clips(folder, args.split) if clip.in_sync]
        if judge is not None:
            trials = list(by_network(judge, clips, args.shifts))
        elif args.lip_opening:
            trials = list(by_lip_predictor(LipOpeningJudge(args.max_offset), clips, args.shifts))
        else:
            trials = list(by_lips(clips, args.shifts, args.max_offset / 25))
        if args.each:
            for trial in trials:
                found = [round(25 * estimate.late_s - shift, 1) for shift, estimate in trial.by_shift.items()]
                print(json.dumps({"clip": trial.name, "error_frames": found}))
        kind = OwnJudge if judge else LipOpeningJudge if args.lip_opening else LipJudge
        print(json.dumps({"folder": folder.name, "judge": kind.name, **figures(trials, kind)}))


if __name__ == "__main__":
    main()
