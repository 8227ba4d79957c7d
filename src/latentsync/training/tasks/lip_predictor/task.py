"""The task `lip_predictor`: an audio encoder and the lip predictor of a small U-Net learn together to hear what the
lips do.

`lip_shape.teach` teaches the lip predictor alone, on states that hardly change, and on few people it learns their
voices by heart. Here windows are put together anew each time, at other speeds, with other throats, rooms and noises,
and the audio encoder learns, too. It is held near its start, since the U-Net also attends to its states.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from latentsync.audio.windows import position_code
from latentsync.config import renamed
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.rates import SAMPLES_PER_STATE
from latentsync.diffusion.noise import noise_like, uniform_like
from latentsync.metrics.lips import correlation, lagged_correlation, lip_opening
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.weights import open_checkpoint
from latentsync.training.datasets import AnyClip, TrainingData, num_frames, open_data
from latentsync.training.datasets.audio_features import features_of_clip
from latentsync.training.datasets.elsewhere import at_level, in_other_rooms, warped, without_speech
from latentsync.training.datasets.lip_parameters import LipParameterBasis
from latentsync.training.datasets.pieces import PIECE, draw_pieces
from latentsync.training.engine.components import Start, build_part, open_start
from latentsync.training.engine.task import Batch, Objective, ValidationResult, rng_of
from latentsync.training.tasks.lip_predictor.sentences import Lesson, ShapesToParameters, speak_lessons, spread_of
from latentsync.training.tasks.lip_predictor.settings import LipPredictorSettings, lip_predictor_settings

STATES_PER_FRAME = 2
BEFORE, AFTER = 4, 6
"""States that a frame hears before and from its own time on."""
SAMPLES_PER_FRAME = STATES_PER_FRAME * SAMPLES_PER_STATE
LONGEST_PAUSE = 20
EDGE = 1
"""Frames on each side of a cut between pieces whose mouth nobody knows."""
ASSEMBLED = 8
"""Assembled speeches of each held-out person that a validation hears."""
LEAST_FRAMES = 25
"""Pieces shorter than this have no correlation."""
LATER = 0.3
"""Weight of the code's third number and those after it."""
CLOSED_SPREAD = 0.3
"""Standard deviations of the opening within which a mouth counts as closed, falling smoothly."""
LOUDNESS = 0.25
"""Pieces are ± this many powers of ten louder."""
MEASURED = 24
"""Windows whose states are measured, to standardise what the lip predictor is given."""
QUIETEST_DB = -50.0
"""Peaks of quiet speech, below full scale."""
PIECED = 75
"""Least length of assembled speech, frames."""
SILENT_FRAMES = 75
FLOOR = 1e-3
"""Least variance of a direction of the states, in their mean variance."""


class SpeechToLips(nn.Module):
    """Mel → states → code of the lips. The lip predictor is given decorrelated states of variance 1."""

    mean: Tensor
    whiten: Tensor
    places: Tensor

    def __init__(self, audio_encoder: AudioEncoder, width: int, code: int) -> None:
        super().__init__()
        size = audio_encoder.num_states * audio_encoder.width
        self.tokens = BEFORE + AFTER
        self.audio_encoder = audio_encoder
        self.linear_1 = nn.Linear(self.tokens * size, width)
        self.linear_2 = nn.Linear(width, width)
        self.head = nn.Linear(width, code)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whiten", torch.eye(size))
        frames = torch.arange(audio_encoder.positions // STATES_PER_FRAME)
        audio_features = frames[:, None] * STATES_PER_FRAME + torch.arange(-BEFORE, AFTER)
        self.register_buffer("places", audio_features.clamp(0, audio_encoder.positions - 1), persistent=False)

    @torch.no_grad()
    def measure(self, mels: Tensor) -> None:
        """Standardise by what the audio encoder hears in (B, 80, 2P)."""
        states = self.audio_encoder(mels).flatten(2).flatten(0, 1).float()
        values, vectors = torch.linalg.eigh(torch.cov(states.T))
        self.mean.copy_(states.mean(0))
        self.whiten.copy_(vectors / (values + FLOOR * values.mean()).sqrt())

    @torch.no_grad()
    def take(self, lip_predictor: Mapping[str, Tensor]) -> None:
        """Go on from what `lip_predictor` gave. Raises: WeightsError: it is another one."""
        size = len(self.mean)
        for name in ("linear_1", "linear_2", "head"):
            layer = cast(nn.Linear, getattr(self, name))
            for key, own in layer.named_parameters():
                known = lip_predictor.get(f"{name}.{key}")
                if known is None or known.shape != own.shape:
                    raise WeightsError(
                        f"the start's lip predictor has another {name}.{key}. Set task.code and task.width as there"
                    )
                own.copy_(known)
        weight = self.linear_1.weight.unflatten(1, (self.tokens, size)).clone()
        place = position_code(self.tokens, size).to(weight)
        self.linear_1.bias.add_((weight * (place + self.mean)).sum((1, 2)))
        self.linear_1.weight.copy_(torch.linalg.solve(self.whiten.T, weight, left=False).flatten(1))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 80, 2P) → states (B, P, D) and what the frames hear, standardised: (B, P / 2, K·D)."""
        states = self.audio_encoder(mel).flatten(2)
        plain = (states - self.mean) @ self.whiten
        return states, plain[:, self.places].flatten(2)

    def lip_predictor(self) -> dict[str, Tensor]:
        """The layers of an `LipPredictor` that is given tokens with their position code, as `features.hear` gives
        them."""
        size = len(self.mean)
        weight = (self.linear_1.weight.unflatten(1, (self.tokens, size)) @ self.whiten.T).detach()
        place = position_code(self.tokens, size).to(weight)
        tensors = {
            "linear_1.weight": weight.flatten(1),
            "linear_1.bias": self.linear_1.bias.detach() - (weight * (place + self.mean)).sum((1, 2)),
        }
        for name, layer in (("linear_2", self.linear_2), ("head", self.head)):
            tensors |= {f"{name}.{key}": value.detach() for key, value in layer.state_dict().items()}
        return {key: value.float().cpu().contiguous() for key, value in tensors.items()}


def tell(lip_predictor: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """What `LipPredictor.code` gives with these weights: (n, K·D) → (n, code)."""
    x = tokens
    for name in ("linear_1", "linear_2"):
        x = functional.silu(functional.linear(x, lip_predictor[f"{name}.weight"], lip_predictor[f"{name}.bias"]))
    return functional.linear(x, lip_predictor["head.weight"], lip_predictor["head.bias"])


@torch.autocast("cpu", enabled=False)
def closed_in_silence(network: SpeechToLips) -> dict[str, Tensor]:
    """The network's lip predictor, shifted so that digital silence is reported as a closed mouth: code 0."""
    lip_predictor = network.lip_predictor()
    silence = np.zeros(SILENT_FRAMES * SAMPLES_PER_FRAME, np.float32)
    tokens = features_of_clip(network.audio_encoder, silence, SILENT_FRAMES).flatten(1).float()
    lip_predictor["head.bias"] = lip_predictor["head.bias"] - tell(lip_predictor, tokens).mean(0)
    return lip_predictor


class LipPredictorObjective(Objective):
    """A batch holds `mel` (B, 80, 2P), `code` (B, F, n), `known` (B, F) 0 or 1, `piece` (B, F) int64, `seed` (B,)."""

    tells: Tensor
    spans: Tensor
    weight: Tensor

    def __init__(self, network: SpeechToLips, lips: LipParameterBasis, settings: LipPredictorSettings) -> None:
        super().__init__(network)
        self.settings = settings
        self.slower = {"network.audio_encoder.": settings.audio_encoder_rate}
        self.consult("start", copy.deepcopy(network.audio_encoder))
        tells = lips.opening(torch.eye(settings.code))
        self.register_buffer("tells", tells / tells.norm(), persistent=False)
        spans = lips.width(torch.eye(settings.code))
        self.register_buffer("spans", spans / spans.norm().clamp_min(1e-9), persistent=False)
        weight = torch.full((settings.code,), LATER)
        weight[:2] = 1
        self.register_buffer("weight", weight, persistent=False)

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States, and the code that the lip predictor tells with noise and dropout."""
        network, c = cast(SpeechToLips, self.network), self.settings
        states, audio_features = network(batch["mel"])
        seeds, frames = batch["seed"].cpu(), audio_features.shape[1]
        noise = noise_like(seeds, audio_features.shape[1:]).to(audio_features) * c.noise
        x = audio_features + noise * uniform_like(seeds).to(audio_features)[:, None, None]
        for stream, layer in enumerate((network.linear_1, network.linear_2), start=1):
            x = functional.silu(layer(x))
            kept = noise_like(seeds, (frames, x.shape[-1]), stream) > _quantile(c.dropout)
            x = x * kept.to(x) / (1 - c.dropout)
        return states, network.head(x).float()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `code`, `opening`, `change`, `correlation`, `rounding`, `moved`."""
        c, known, wanted = self.settings, batch["known"], batch["code"]
        states, predicted = self.predicted(batch)
        error = predicted - wanted
        both = known[:, 1:] * known[:, :-1]
        says, real = predicted @ self.tells, wanted @ self.tells
        shut = torch.exp(-0.5 * (real / CLOSED_SPREAD).square())
        terms = {
            "code": ((error.square() @ self.weight) * known).mean() / len(self.weight),
            "opening": c.opening * ((says - real).square() * known * (1 + c.closed * shut)).mean(),
            "change": c.change * ((error.diff(dim=1).square() @ self.weight) * both).mean() / len(self.weight),
        }
        if c.correlation > 0:
            terms["correlation"] = c.correlation * (1 - _piecewise_r(says, real, known, batch["piece"]))
        if c.rounding > 0:
            wide, seen = predicted @ self.spans, wanted @ self.spans
            terms["rounding"] = c.rounding * (
                0.5 * ((wide - seen).square() * known).mean() + 1 - _piecewise_r(wide, seen, known, batch["piece"])
            )
        if c.kept > 0:
            few = max(1, len(states) // 4)
            with torch.no_grad():
                before = self.consulted("start")(batch["mel"][:few]).flatten(2).float()
                variance = before.flatten(0, 1).var(0).sum().clamp_min(1e-6)
            terms["moved"] = c.kept * (states[:few].float() - before).square().sum(-1).mean() / variance
        return terms


def _quantile(share: float) -> float:
    """Value that this share of standard normal numbers lies below."""
    return float(torch.special.ndtri(torch.tensor(max(share, 1e-9), dtype=torch.float64)))


def _piecewise_r(a: Tensor, b: Tensor, known: Tensor, piece: Tensor) -> Tensor:
    """Mean correlation of (B, F) curves over pieces; 0 where no piece is long enough."""
    found = []
    for row in range(len(a)):
        for number in piece[row].unique().tolist():
            rows = (piece[row] == number) & (known[row] > 0)
            if number >= 0 and int(rows.sum()) >= LEAST_FRAMES:
                x, y = a[row][rows], b[row][rows]
                x, y = x - x.mean(), y - y.mean()
                found.append((x * y).sum() / (x.norm() * y.norm() + 1e-3))
    return torch.stack(found).mean() if found else a.sum() * 0


def build(
    settings: Mapping[str, Any],
    data: Sequence[Path] | TrainingData,
    *,
    start: str | Path | None = None,
    seed: int = 0,
) -> LipPredictorTask:
    """The task of a preset. `start`: a model such as "tiny", or an audio encoder's folder; a lip predictor in it is
    taken, too, and what its code means (`lips.safetensors`), if that is there.

    Raises: ConfigError, LatentSyncError, WeightsError: settings, clips or weights that cannot be used.
    """
    wanted = lip_predictor_settings(settings)
    opened = data if isinstance(data, TrainingData) else open_data(list(data))
    if start is None:
        raise ConfigError(
            "start",
            None,
            "the lip predictor learns with an audio encoder: give --start tiny, or an audio encoder's folder",
        )
    folder = Path(start).expanduser()
    try:
        own = (folder / "config.json").is_file()
        audio_encoder = build_part(
            "audio_encoder", str(folder) if own else None, Start() if own else open_start(start), seed
        )
    except ConfigError as error:
        raise WeightsError(f"{start}: another network, not an audio encoder ({error.key}). Check --start") from error
    if not isinstance(audio_encoder, AudioEncoder) or audio_encoder.positions % STATES_PER_FRAME:
        raise ConfigError("start", str(start), "give a model that has an audio encoder of an even number of positions")
    audio_encoder.requires_grad_(True).encoder.embed_positions.requires_grad_(False)
    if not audio_encoder.shape.final_norm:
        audio_encoder.encoder.layer_norm.requires_grad_(False)
    lips = None
    if (folder / "lips.safetensors").is_file():
        lips = LipParameterBasis.from_tensors(open_checkpoint(folder / "lips.safetensors").tensors)
        if len(lips.scale) != wanted.code:
            raise WeightsError(f"the start's code of the lips has {len(lips.scale)} numbers. Set task.code as there")
    task = LipPredictorTask(audio_encoder, wanted, opened, seed, lips)
    known = renamed.existing(folder / "lip_predictor.safetensors")
    if known.is_file():
        cast(SpeechToLips, task.objectives[0].network).take(open_checkpoint(known).tensors)
    return task


class LipPredictorTask:
    """See `Task`. Validated by the correlation of told and real lip opening of held-out people, without lag, in speech
    assembled from parts of their sentences: whole sentences of a corpus follow its grammar."""

    name = "lip_predictor"
    score = ("val/parts_r", True)

    def __init__(
        self,
        audio_encoder: AudioEncoder,
        settings: LipPredictorSettings,
        data: TrainingData,
        seed: int,
        lips: LipParameterBasis | None = None,
    ) -> None:
        """Args: lips: what the code means; None = it is learnt from the clips."""
        self.settings, self.seed, self.fingerprint = settings, seed, data.fingerprint
        self.positions = audio_encoder.positions
        self.train = data.train.only(_in_sync)
        self.val = data.val.only(_in_sync)
        if not len(self.train):
            raise ConfigError("data", None, "no clip is in sync: nothing tells what lips do when something is said")
        self.lips = LipParameterBasis(self.train, settings.code) if lips is None else lips
        self.gains = self._gains()
        self.sentences: list[Lesson] = []
        if settings.sentences is not None:
            predicted = settings.sentences
            shapes = ShapesToParameters.learn(
                self.train, self.lips, [Path(folder).expanduser() for folder in predicted.truth]
            )
            self.sentences = speak_lessons(predicted.count, predicted.seconds, seed, shapes, self.lips, data.cache)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SpeechToLips(audio_encoder, settings.width, settings.code)
        network.measure(torch.stack([self.example(number)["mel"] for number in range(MEASURED)]))
        objective = LipPredictorObjective(network, self.lips, settings)
        self.objectives: Sequence[Objective] = (objective,)

    def _gains(self) -> dict[str, float]:
        gains: dict[str, float] = {}
        for source in self.train.sources:
            spread = {
                who: float(np.mean([spread_of(self.lips, self.lips(clip)) for clip in clips]))
                for who, clips in source.by_person.items()
            }
            usual = float(np.mean(list(spread.values())))
            gains |= {who: (usual / max(own, 0.1 * usual)) ** self.settings.even for who, own in spread.items()}
        return gains

    # --- examples ----------------------------------------------------------------------------------------------------

    def example(self, number: int) -> dict[str, Tensor]:
        """See `LipPredictorObjective` for what an example holds (there with a batch axis)."""
        rng, c = rng_of(self.seed, number), self.settings
        frames = self.positions // STATES_PER_FRAME
        wave = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        code = np.zeros((frames, c.code), np.float32)
        known, piece = np.ones(frames, np.float32), np.full(frames, -1, np.int64)
        if rng.random() < c.silent:
            wave = without_speech(rng, len(wave))
        else:
            self._fill(wave, code, known, piece, rng)
        if c.levels > 0 and rng.random() < c.levels:
            wave = at_level(wave, float(rng.uniform(QUIETEST_DB, 0)))
        mel = in_other_rooms(wave, rng, c.sound, c.room, c.band, c.colour)
        return {
            "mel": warped(mel, float(np.exp(rng.uniform(-c.warp, c.warp)))),
            "code": torch.from_numpy(code),
            "known": torch.from_numpy(known),
            "piece": torch.from_numpy(piece),
            "seed": torch.tensor(int(rng.integers(2**40)), dtype=torch.int64),
        }

    def _fill(
        self, wave: np.ndarray, code: np.ndarray, known: np.ndarray, piece: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Pieces one after another, some of them parts of a sentence, some with a pause after them; the first often
        begins in its middle."""
        at, number = 0, 0
        while at < len(code):
            part = at_speed(self._draw(rng), 1 + self.settings.speed * rng.uniform(-1, 1))
            first, length = 0, len(part.code)
            if rng.random() < self.settings.parts:
                length = int(rng.integers(min(PIECE[0], length), min(PIECE[1], length) + 1))
                first = int(rng.integers(0, len(part.code) - length + 1))
            elif at == 0 and rng.random() < 0.5:
                first = int(rng.integers(0, max(1, length - LEAST_FRAMES)))
                length -= first
            count = min(length, len(code) - at)
            rows = slice(at, at + count)
            sound = part.wave[first * SAMPLES_PER_FRAME : (first + count) * SAMPLES_PER_FRAME]
            wave[at * SAMPLES_PER_FRAME :][: len(sound)] = sound * 10 ** rng.uniform(-LOUDNESS, LOUDNESS)
            code[rows], piece[rows] = part.code[first : first + count], number
            for edge in (at, at + count):
                known[max(0, edge - EDGE) : edge + EDGE + 1] = 0
            at, number = at + count, number + 1
            if rng.random() < self.settings.pauses:
                at += int(rng.integers(0, LONGEST_PAUSE))

    def _draw(self, rng: np.random.Generator) -> Lesson:
        c = self.settings
        if c.sentences is not None and rng.random() < c.sentences.share:
            return self.sentences[int(rng.integers(len(self.sentences)))]
        clip = self.train.draw(rng)
        code = self.lips(clip) * self.gains[clip.person]
        return Lesson(np.array(clip.wave), code.numpy())

    # --- judging -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def validate(self, network: nn.Module) -> ValidationResult:
        """Told against real lip opening of held-out people, silence, and how far the states were moved."""
        audio_features, start = cast(SpeechToLips, network), cast(AudioEncoder, self.objectives[0].consulted("start"))
        lip_predictor = closed_in_silence(audio_features)

        def predicted_of(wave: np.ndarray, frames: int) -> tuple[Tensor, Tensor]:
            tokens = features_of_clip(audio_features.audio_encoder, wave, frames)
            return tell(lip_predictor, tokens.flatten(1).float()), tokens

        def opening(wave: np.ndarray, frames: int) -> tuple[np.ndarray, Tensor]:
            code, tokens = predicted_of(wave, frames)
            return self.lips.opening(code).numpy(), tokens

        curves, moved, spread = [], [], []
        for clip in self.val:
            wave, frames = np.array(clip.wave), num_frames(clip)
            predicted, tokens = opening(wave, frames)
            curves.append(lagged_correlation(predicted, lip_opening(np.asarray(clip.mesh[:frames]))).curve)
            before = features_of_clip(start, wave, frames)
            moved.append(float((tokens - before).square().sum() / (before - before.mean(0)).square().sum()))
            spread.append(spread_of(self.lips, self.lips(clip)))
        usual = float(np.mean(spread)) if spread else 1.0
        parts, widths, faint = [], [], []
        for each in self.assembled():
            code = torch.from_numpy(each.code)
            says, _ = predicted_of(each.wave, len(code))
            quiet, _ = predicted_of(at_level(each.wave, QUIETEST_DB), len(code))
            parts.append(lagged_correlation(self.lips.opening(says).numpy(), self.lips.opening(code).numpy()).curve)
            widths.append(correlation(self.lips.width(says).numpy(), self.lips.width(code).numpy()))
            faint.append(correlation(self.lips.opening(quiet).numpy(), self.lips.opening(says).numpy()))
        digital, _ = opening(np.zeros(SILENT_FRAMES * SAMPLES_PER_FRAME, np.float32), SILENT_FRAMES)
        noise = without_speech(np.random.default_rng(1), SILENT_FRAMES * SAMPLES_PER_FRAME)
        hiss, _ = opening(noise, SILENT_FRAMES)
        figures = {
            "val/silence": float(np.abs(digital).max() / usual),
            "val/faint_noise": float(np.abs(hiss).max() / usual),
        }
        if curves:
            usual_curve = np.nanmean(np.array(curves), axis=0)
            figures |= {
                "val/told_r": float(usual_curve[len(usual_curve) // 2]),
                "val/told_best_r": float(usual_curve.max()),
                "val/moved": float(np.sqrt(np.mean(moved))),
            }
        if parts:
            curve = np.nanmean(np.array(parts), axis=0)
            figures |= {"val/parts_r": float(curve[len(curve) // 2]), "val/parts_width_r": float(np.nanmean(widths)),
                        "val/quiet_r": float(np.nanmean(faint))}  # fmt: skip
        warnings = []
        if figures["val/silence"] > 0.3:
            warnings.append("the mouth is not closed in silence. If it stays so: raise task.silent")
        return ValidationResult(figures=figures, warnings=warnings)

    def assembled(self) -> list[Lesson]:
        """Speech of each held-out person, put together from parts of their clips, as long as these."""
        rng, out = np.random.default_rng(0), []
        for source in self.val.sources:
            for clips in source.by_person.values():
                usable = [clip for clip in clips if num_frames(clip) >= PIECE[0]]
                for _ in range(ASSEMBLED if usable else 0):
                    waves: list[np.ndarray] = []
                    codes: list[np.ndarray] = []
                    for number, first, length in draw_pieces([num_frames(clip) for clip in usable], PIECED, rng):
                        clip, end = usable[number], first + length
                        codes.append(self.lips(clip)[first:end].numpy())
                        waves.append(clip.wave[first * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME])
                    out.append(Lesson(np.concatenate(waves).astype(np.float32), np.concatenate(codes)))
        return out

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json` and `model.safetensors` of the audio encoder, `lip_predictor.safetensors`, and
        `lips.safetensors`: what the code means, see `LipParameterBasis.tensors`."""
        audio_features = cast(SpeechToLips, network)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            key: value.detach().cpu().contiguous() for key, value in audio_features.audio_encoder.state_dict().items()
        }
        for name, tensors in (
            ("model", state),
            ("lip_predictor", closed_in_silence(audio_features)),
            ("lips", self.lips.tensors()),
        ):
            with atomic_path(folder / f"{name}.safetensors") as part:
                save_file(tensors, part, metadata={"format": "pt"})
        with atomic_path(folder / "config.json") as part:
            part.write_text(json.dumps(audio_features.audio_encoder.config, indent=2) + "\n", encoding="utf-8")


def at_speed(lesson: Lesson, speed: float) -> Lesson:
    """Played `speed` times as fast, pitch and all, cut to whole frames."""
    wave, code = np.asarray(lesson.wave, np.float32), lesson.code
    if speed != 1:
        wave = np.interp(np.arange(0, len(wave) - 1, speed), np.arange(len(wave)), wave).astype(np.float32)
    frames = min(len(wave) // SAMPLES_PER_FRAME, int((len(code) - 1) / speed) + 1)
    at = np.arange(frames) * speed
    low = np.minimum(at.astype(np.int64), len(code) - 1)
    share = (at - low)[:, None]
    code = code[low] * (1 - share) + code[np.minimum(low + 1, len(code) - 1)] * share
    return Lesson(wave[: frames * SAMPLES_PER_FRAME], code.astype(np.float32))


def _in_sync(clip: AnyClip) -> bool:
    return clip.in_sync
