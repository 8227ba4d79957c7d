"""Why a SyncNet learns nothing: sound beside the wrong pictures, too few pairs, too few people. In plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.data.lip_sync import lip_sync
from latentsync.metrics.lips import lip_opening
from latentsync.training.datasets import AnyClip

CHANCE_ACCURACY = 0.6
"""A balanced accuracy below this counts as chance on a few hundred pairs."""
CHANCE_OFFSETS = 0.4
"""Share of clips whose offset is found within a frame; 3 of 21 = 0.14 by chance."""
FEW_PAIRS = 256
"""The paper's ablation: batches of 128 never left 0.69, 256 wavered, 1024 were best.

Source: docs/method.md#syncnet-training."""
FEW_PEOPLE = 30
LEAST_PEAK = 0.1
"""Least peak of the clips' mean correlation above its median that counts as lips that follow the sound. Measured on 40
studio clips of three seconds: 0.34, with exchanged sounds 0.09 (all 141: 0.43 and 0.06); on 40 synthetic ones 0.53 and
0.11. The lips of all lead the sound by 30 ms, which is speech, not an offset."""
REACH_S, KNOWN_S = 0.48, 0.2


@dataclass(frozen=True)
class DataProbe:
    """What lips and loudness say about the data, without a network.

    Attributes:
        late_s: how much later than the picture the sound is, over all probed clips; meaningless where `peak` is small.
        peak: height of the mean correlation over the lags above its median.
        exchanged_peak: the same with every clip's sound taken from another clip: what chance gives.
        moved_s: by how much `late_s` changes when the sounds are moved by `KNOWN_S`; tells whether the probe works.
    """

    late_s: float
    peak: float
    exchanged_peak: float
    moved_s: float

    @property
    def works(self) -> bool:
        """Does the probe find a move that is known?"""
        return abs(self.moved_s - KNOWN_S) <= 0.04


def probe_data(clips: Sequence[AnyClip]) -> DataProbe:
    """Lips against loudness on some clips, as they are, with exchanged sounds, and with a known offset."""
    opened = [(lip_opening(np.asarray(clip.mesh)), np.asarray(clip.wave, np.float32)) for clip in clips]
    late, peak = _peak([(lips, wave) for lips, wave in opened])
    delay = np.zeros(round(KNOWN_S * SPEECH_RATE_HZ), np.float32)
    moved, _ = _peak([(lips, np.concatenate([delay, wave])) for lips, wave in opened])
    others = [wave for _, wave in opened[1:] + opened[:1]]
    _, exchanged = _peak([(lips, wave) for (lips, _), wave in zip(opened, others, strict=True)])
    return DataProbe(late, peak, exchanged, moved - late)


def _peak(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Lag (s) and height of the highest point of the mean correlation curve."""
    curves = [np.array(lip_sync(lips, wave, np.ones(len(wave), bool), 0.0, REACH_S).curve) for lips, wave in pairs]
    curves = [curve for curve in curves if np.isfinite(curve).all()]
    if not curves:
        return 0.0, 0.0
    mean = np.mean(curves, axis=0)
    best = int(np.argmax(mean))
    return (best - len(mean) // 2) * 0.01, float(mean[best] - np.median(mean))


@dataclass(frozen=True)
class Symptoms:
    """Balanced accuracies (0.5 = chance) and sizes.

    Attributes:
        held_out, trained_on: right pairs against another time of the same clip.
        offsets: share of held-out clips whose offset is found.
        exchanged: right pairs against the sound of another clip.
        pairs: compared in a step by one process; 0 = not known.
        people, clips: to learn from.
    """

    held_out: float
    offsets: float
    trained_on: float
    exchanged: float
    pairs: int
    people: int
    clips: int


def warnings_of(seen: Symptoms, probe: DataProbe | None) -> list[str]:
    """What is wrong and what would mend it, most likely cause first; empty where nothing is."""
    if seen.held_out >= CHANCE_ACCURACY or seen.offsets >= CHANCE_OFFSETS:
        return []
    found = []
    if probe is not None and probe.works and probe.peak >= max(LEAST_PEAK, 2 * probe.exchanged_peak):
        if abs(probe.late_s) > 0.06:
            found.append(
                f"Data offset: the sound of the clips lies {probe.late_s * 1000:+.0f} ms from the lips. Prepare them "
                "again with the sync stage of `latentsync data build`, which moves the sound."
            )
    elif probe is not None:
        found.append(
            "Data: lips and loudness of the clips do not go together more than with exchanged sounds "
            f"({probe.peak:.3f} against {probe.exchanged_peak:.3f}). Check that each clip has its own sound and speech."
        )
    if seen.trained_on >= seen.held_out + 0.1:
        found.append(
            f"Too little data: accuracy {seen.trained_on:.2f} on clips it trains on, {seen.held_out:.2f} on new people "
            f"({seen.people} people, {seen.clips} clips to learn from). Add people, or widen task.look."
        )
    elif seen.exchanged >= CHANCE_ACCURACY:
        found.append(
            f"It tells apart whose sound it is ({seen.exchanged:.2f} against other clips' sound) but not when. Train "
            "on; for harder pairs raise task.negatives.near or task.more_sounds."
        )
    if 0 < seen.pairs < FEW_PAIRS:
        found.append(
            f"Batch: {seen.pairs} pairs are compared in a step. With fewer than {FEW_PAIRS} a SyncNet can stay at "
            "chance for long: raise loop.batch_size, or task.windows, or set task.loss=contrastive."
        )
    if not found and seen.people < FEW_PEOPLE:
        found.append(f"Data: {seen.people} people to learn from are few. Add people, or synthetic heads.")
    said = f"At chance on new people: accuracy {seen.held_out:.2f} (chance 0.50; the loss then stays near 0.69)."
    return [said, *(found or ["Data, offsets and batch look right. Train longer, or with another learning rate."])]
