"""How alike are two real people's mouths when they say the same words? The most that cross-driving can be asked for.

    python studies/human_ceiling.py FOLDER [--sentence '-(s\\d+|f[A-Z])-(\\w+)\\.'] [--words 5]

FOLDER holds clips of sentences in the code of the GRID corpus: six letters, one a word. Of two people whose sentences
begin with the same `--words` words, the part of the speech up to there is taken (words count alike), the second one's
sound is laid over the first one's in time (cepstra, dynamic time warping), and its lip curves are moved along. Then
they are correlated as `cross_r` and `width_r` are. Beside it: the same done with sentences of other words (chance, with
the same freedom of warping), and with the same person twice.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from latentsync.audio.activity import speech_activity
from latentsync.evaluation.watching import measure
from latentsync.faces import MeshTracker
from latentsync.media.audio import read_audio
from latentsync.metrics.lips import lagged_correlation
from latentsync.metrics.mfcc import mfcc
from latentsync.metrics.statistics import Interval, bootstrap_mean
from latentsync.metrics.warping import time_warp

STEPS_PER_FRAME = 4
"""Cepstral columns of 10 ms in 1/25 s."""
WORDS = 6
LAG = 2


@dataclass(frozen=True)
class Said:
    """One clip: who, what, cepstra of mean 0 and spread 1, and lip curves, of the part that is compared."""

    person: str
    code: str
    sound: np.ndarray
    opening: np.ndarray
    width: np.ndarray


def heard(path: Path, person: str, code: str, tracker: MeshTracker, words: int) -> Said:
    """Watch and hear a clip; cut it to the speech up to its `words`-th word."""
    wave, lips = read_audio(path), measure(path, tracker)
    steps = min(len(lips.opening), len(wave) // 640)
    speaking = np.flatnonzero(speech_activity([wave]).at([i / 25 for i in range(steps)], ramp_s=0.0) > 0)
    first, last = int(speaking[0]), int(speaking[-1]) + 1
    last = first + round((last - first) * words / WORDS)
    cepstra = mfcc(wave)[:, STEPS_PER_FRAME * first : STEPS_PER_FRAME * last].T
    cepstra = (cepstra - cepstra.mean(axis=0)) / cepstra.std(axis=0)
    return Said(person, code, cepstra, lips.opening[first:last], lips.width[first:last])


def alike(a: Said, b: Said) -> tuple[float, float]:
    """Correlation of openings and of widths, b's laid over a's."""
    frames = min(len(a.opening), len(a.sound) // STEPS_PER_FRAME)
    at = time_warp(a.sound, b.sound)[::STEPS_PER_FRAME][:frames] / STEPS_PER_FRAME
    found = []
    for ours, theirs in ((a.opening, b.opening), (a.width, b.width)):
        moved = np.interp(at, np.arange(len(theirs)), theirs)
        found.append(lagged_correlation(moved, ours[:frames], LAG).best_r)
    return found[0], found[1]


def compare(pairs: list[tuple[Said, Said]]) -> tuple[Interval, Interval]:
    """Means over pairs with intervals; pairs of the same two people belong together."""
    values = np.array([alike(a, b) for a, b in pairs]).reshape(-1, 2)
    groups = ["+".join(sorted({a.person, b.person})) for a, b in pairs]
    return bootstrap_mean(values[:, 0], groups), bootstrap_mean(values[:, 1], groups)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentence", default=r"-([smf]\w+)-([bpls][bgrw][abiw]\w[\dz][naps])\.", help="person, code")
    parser.add_argument("--words", type=int, default=5)
    parser.add_argument("--most", type=int, default=200, help="pairs of each kind")
    args = parser.parse_args()
    tracker, said = MeshTracker(), []
    for path in sorted(args.folder.iterdir()):
        match = re.search(args.sentence, path.name)
        if match:
            said.append(heard(path, match.group(1), match.group(2), tracker, args.words))
    kinds: dict[str, list[tuple[Said, Said]]] = {"two people, the same words": [], "one person, the same words": [],
                                                 "two people, other words": []}  # fmt: skip
    for a, b in combinations(said, 2):
        same, one = a.code[: args.words] == b.code[: args.words], a.person == b.person
        if same:
            kinds["one person, the same words" if one else "two people, the same words"].append((a, b))
        elif not one and a.code[3] != b.code[3] and a.code[4] != b.code[4]:
            kinds["two people, other words"].append((a, b))
    print(f"{len(said)} clips of {len({each.person for each in said})} people; the first {args.words} of {WORDS} words")
    rng = np.random.default_rng(0)
    for name, pairs in kinds.items():
        picked = [pairs[k] for k in np.sort(rng.permutation(len(pairs))[: args.most])]
        if picked:
            opening, width = compare(picked)
            print(f"{name}: opening r {opening}, width r {width}; {len(picked)} pairs, {opening.num_groups} of people")


if __name__ == "__main__":
    main()
