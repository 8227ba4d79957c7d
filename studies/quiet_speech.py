"""What a lip predictor tells of speech of any level: of held-out people, in speech put together from their sentences.

python studies/quiet_speech.py --data D --start START/lip_predictor --start runs/lip_predictor/component

For peaks of the speech's own level and of −30 and −50 dBFS: correlation of told and seen opening and width, their told
spread over the seen one, and the correlation of the told opening with the one told at the speech's own level.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch

from latentsync.metrics.lips import correlation
from latentsync.training.datasets import open_data
from latentsync.training.datasets.audio_features import features_of_clip
from latentsync.training.datasets.elsewhere import at_level
from latentsync.training.tasks.lip_predictor.task import SpeechToLips, build, closed_in_silence, tell

LEVELS_DB = (None, -30.0, -50.0)


@torch.no_grad()
def figures(start: Path, data: list[Path]) -> np.ndarray:
    """(levels, 5): r and spread of the opening, r and spread of the width, r with the speech's own level."""
    task = build({}, open_data(data), start=start)
    network, lips = cast(SpeechToLips, task.objectives[0].network), task.lips
    predictor = closed_in_silence(network)
    rows = []
    for speech in task.assembled():
        real = torch.from_numpy(speech.code)
        waves = [speech.wave if level is None else at_level(speech.wave, level) for level in LEVELS_DB]
        told = [
            tell(predictor, features_of_clip(network.audio_encoder, wave, len(real)).flatten(1).float())
            for wave in waves
        ]
        row = []
        for code in told:
            pairs = [(measure(code).numpy(), measure(real).numpy()) for measure in (lips.opening, lips.width)]
            row.append([value for a, b in pairs for value in (correlation(a, b), a.std() / b.std())])
            row[-1].append(correlation(lips.opening(code).numpy(), lips.opening(told[0]).numpy()))
        rows.append(row)
    return np.nanmean(np.array(rows), axis=0)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="prepared clips; may be repeated")
    parser.add_argument("--start", type=Path, action="append", required=True, help="folder of a lip predictor")
    args = parser.parse_args()
    for start in args.start:
        print(f"{start}\npeak      opening r spread   width r spread   r with own level")
        for level, row in zip(LEVELS_DB, figures(start, args.data), strict=True):
            name = "own" if level is None else f"{level:.0f} dBFS"
            print(f"{name:9s} {row[0]:9.3f} {row[1]:6.2f} {row[2]:9.3f} {row[3]:6.2f} {row[4]:18.3f}")


if __name__ == "__main__":
    main()
