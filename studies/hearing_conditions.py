"""Does the mouth move the same when the speech is quiet, noisy, on a telephone, in a hall, or after a click?

    python studies/hearing_conditions.py CLIPS [--max-clips 6] [--model tiny] [--face VIDEO] [-o table.csv]

Each clip's speech is changed in each way (`evaluation.conditions`) and drives one face through the whole pipeline; the
lip opening of the result is measured. `same`: correlation with the result of the speech as it is; `own`: with the
speaker's own mouth; `moves`: spread of the opening over that of the speech as it is.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from latentsync.config.options import SyncOptions
from latentsync.core.files import temporary_folder
from latentsync.evaluation.clips import UNKNOWN, clips_of, spread
from latentsync.evaluation.conditions import CONDITIONS
from latentsync.evaluation.people import told_apart
from latentsync.evaluation.watching import measure
from latentsync.faces import MeshTracker
from latentsync.media.audio import read_audio, write_wav
from latentsync.metrics.lips import lagged_correlation
from latentsync.metrics.statistics import bootstrap_mean
from latentsync.pipeline import Lipsync

SAMPLE = Path(__file__).parents[1] / "src" / "latentsync" / "assets" / "sample" / "talk.mp4"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--max-clips", type=int, default=6)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--face", type=Path, default=SAMPLE, help="the video that is driven")
    parser.add_argument("-o", "--out", type=Path, help="also as CSV")
    args = parser.parse_args()
    tracker = MeshTracker()
    clips = clips_of(args.clips)
    if any(clip.person == UNKNOWN for clip in clips):
        clips = told_apart(clips, tracker)
    clips = spread(clips, args.max_clips)
    lipsync = Lipsync.from_pretrained(args.model)
    options = SyncOptions(length="audio", keep_audio="encode")
    rows: list[tuple[str, str, float, float, float]] = []
    with temporary_folder() as folder:
        for clip in clips:
            wave, own = read_audio(clip.path), measure(clip.path, tracker).opening
            clean: np.ndarray | None = None
            for name, change in CONDITIONS.items():
                speech, result = folder / "speech.wav", folder / "result.mp4"
                write_wav(speech, change(wave))
                lipsync(args.face, speech, result, options=options)
                opening = measure(result, tracker).opening
                result.unlink()
                clean = opening if clean is None else clean
                same, by_own = (lagged_correlation(opening, other).best_r for other in (clean, own))
                rows.append((name, clip.person, same, by_own, float(np.nanstd(opening) / np.nanstd(clean))))
    people = len({clip.person for clip in clips})
    print(f"{len(clips)} speeches of {people} people, model {args.model}, face {args.face.name}; mean [95 % interval]")
    print(f"{'condition':<32}{'same':>24}{'own':>24}{'moves':>24}")
    for name in CONDITIONS:
        having = [row for row in rows if row[0] == name]
        cells = [bootstrap_mean([row[k] for row in having], [row[1] for row in having]) for k in (2, 3, 4)]
        print(f"{name:<32}" + "".join(f"{cell!s:>24}" for cell in cells))
    if args.out is not None:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("condition", "person", "same", "own", "moves"), *rows])


if __name__ == "__main__":
    main()
