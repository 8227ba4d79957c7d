"""The task `audio_encoder`: a small encoder learns what a Whisper encoder hears, and which phones are spoken.

The teacher hears each sound as it is, once; its states are projected on their principal directions and whitened. The
student hears a window put together from such sounds with noise, echo, another microphone and level, so that its states
depend on what is said, not on how or where in the window it is heard.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.rates import SAMPLES_PER_STATE
from latentsync.generation.precision import choose_dtype
from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from latentsync.training.datasets import AnyClip, Mixture, TrainingData, module_hash, open_data
from latentsync.training.datasets.elsewhere import in_other_rooms
from latentsync.training.datasets.speech import CLASSES, UNKNOWN, Sound, fill_window, sounds_of, synthetic_voices
from latentsync.training.engine.components import Start, build_part
from latentsync.training.engine.task import Batch, Objective, ValidationResult, rng_of
from latentsync.training.tasks.audio_encoder.settings import AudioEncoderSettings, audio_encoder_settings
from latentsync.training.tasks.audio_encoder.teachers import load_teacher, principal_directions, taught_states
from latentsync.training.tasks.audio_encoder.validate import (
    LipScore,
    PhoneScore,
    curves_picture,
    explained,
    lip_score,
    phone_score,
    states_of,
)

CONFIG, TENSORS = "config.json", "model.safetensors"
TAUGHT_SOUNDS, TAUGHT_STATES = 100, 60_000
"""Sounds, and states of them, that the principal directions are taken from."""


def build(
    settings: Mapping[str, Any],
    data: Sequence[Path] | TrainingData,
    *,
    start: str | Path | None = None,
    seed: int = 0,
) -> AudioEncoderTask:
    """The task from the `task:` section of a preset.

    Args:
        data: see `open_data`. Clips that are not in sync are listened to, but not used to judge lips.
        start: an audio encoder's folder to go on from, or a model that has one, such as "tiny". Its states mean what
            its own teacher's principal directions meant: with other data these turn, and the last layer learns anew.
    Raises: ConfigError, LatentSyncError, WeightsError: settings, clips or weights that cannot be used.
    """
    wanted = audio_encoder_settings(settings)
    opened = data if isinstance(data, TrainingData) else open_data(list(data))
    config = AudioEncoderConfig.from_mapping(wanted.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = AudioEncoder(config)
    if start is not None:
        try:
            found = build_part("audio_encoder", str(start), Start(), seed)
        except ConfigError as error:
            raise WeightsError(
                f"{start}: another network, not an audio encoder ({error.key}). Check --start"
            ) from error
        if not isinstance(found, AudioEncoder) or found.shape != config:
            given = found.config if isinstance(found, AudioEncoder) else type(found).__name__
            raise ConfigError("task.network", str(start), f"the start is another network; set it to {given}")
        student.load_state_dict(found.state_dict())
    return AudioEncoderTask(student, wanted, opened, seed)


class AudioEncoderObjective(Objective):
    """Mel in; the teacher's states, and phones, out.

    A batch holds `mel` (B, 80, 2P), `phones` (B, P) int64 with UNKNOWN where nobody knows, `seed` (B,), and with a
    teacher `taught` (B, P, L·D) float32.
    """

    def __init__(self, network: AudioEncoder, settings: AudioEncoderSettings) -> None:
        super().__init__(network)
        self.settings = settings
        width = network.num_states * network.width
        self.phones = nn.Linear(width, len(CLASSES)) if settings.phones > 0 else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `states` and `steps` (squared error of states of variance 1, and of their change), `phones`."""
        made = self.network(batch["mel"]).flatten(2).float()
        terms = {}
        if "taught" in batch:
            error = made - batch["taught"]
            terms["states"] = error.square().mean()
            terms["steps"] = self.settings.steps * error.diff(dim=1).square().mean()
        if self.phones is not None:
            wanted = batch["phones"].flatten()
            said = functional.cross_entropy(
                self.phones(made).flatten(0, 1).float(), wanted, ignore_index=UNKNOWN, reduction="sum"
            )
            terms["phones"] = self.settings.phones * said / (wanted != UNKNOWN).sum().clamp_min(1)
        return terms


class Lessons:
    """What the teacher hears in each sound, kept in the cache, in its principal directions."""

    def __init__(self, teacher: AudioEncoder, task: AudioEncoderTask, sounds: Sequence[Sound], width: int) -> None:
        self.teacher, self.task, self.hash = teacher, task, module_hash(teacher)
        self.student_states, self.dtype = task.settings.teacher_states, choose_dtype(None, torch.device("cpu"))
        if max(self.student_states) >= teacher.num_states or min(self.student_states) < 0:
            most = teacher.num_states - 1
            raise ConfigError("task.teacher_states", list(self.student_states), f"the teacher has states 0 to {most}")
        if width > len(self.student_states) * teacher.width:
            most = len(self.student_states) * teacher.width
            raise ConfigError("task.network.output_width", width, f"the teacher's states have {most} directions")
        self.mean, self.project = self._directions(sounds, width)

    def raw(self, sound: Sound, speed: float) -> np.ndarray:
        """(T, W) float16."""
        made_from = (sound.content, self.hash, f"{speed:.4f}", str(self.student_states), str(self.dtype))

        def make() -> np.ndarray:
            return taught_states(self.teacher, sound.at_speed(speed), self.student_states, self.dtype)

        return self.task.cache.get("taught", made_from, make)

    def of(self, sound: Sound, speed: float, first: int = 0, last: int | None = None) -> Tensor:
        """(last − first, width) float32 of variance about 1."""
        return (torch.from_numpy(np.array(self.raw(sound, speed)[first:last])).float() - self.mean) @ self.project

    def _directions(self, sounds: Sequence[Sound], width: int) -> tuple[Tensor, Tensor]:
        at = np.unique(np.linspace(0, len(sounds) - 1, TAUGHT_SOUNDS).round().astype(int))
        chosen = [sounds[int(k)] for k in at]

        def make() -> np.ndarray:
            states = np.concatenate([self.raw(sound, 1.0) for sound in chosen])
            states = states[:: max(1, len(states) // TAUGHT_STATES)]
            mean, project = principal_directions(torch.from_numpy(states), width)
            return torch.cat([mean[None], project.T]).numpy()

        contents = ",".join(sound.content for sound in chosen)
        found = self.task.cache.get(
            "taught-directions", (self.hash, str(self.student_states), str(self.dtype), str(width), contents), make
        )
        both = torch.from_numpy(np.array(found))
        return both[0], both[1:].T


class AudioEncoderTask:
    """See `Task`. Validated by the share of the teacher's variance that is explained, else by phones."""

    name = "audio_encoder"

    def __init__(self, student: AudioEncoder, settings: AudioEncoderSettings, data: TrainingData, seed: int) -> None:
        self.settings, self.seed, self.cache, self.fingerprint = settings, seed, data.cache, data.fingerprint
        self.positions = student.positions
        self.train, self.val = data.train, data.val
        self.known: dict[int, Sound] = {}
        self.voices: list[Sound] = []
        self.unseen: list[Sound] = []
        if settings.speech is not None:
            given = settings.speech
            self.voices, self.unseen = synthetic_voices(
                given.voices, given.held_out, given.seconds, seed, given.engines or None, self.cache
            )
        self._people: dict[str, list[Sound]] = {}
        for voice in self.voices:
            self._people.setdefault(voice.who, []).append(voice)
        self.lessons: Lessons | None = None
        if settings.teacher is not None:
            teacher = load_teacher(settings.teacher, settings.teacher_positions)
            spoken = sounds_of(_spread(self.train, 4 * TAUGHT_SOUNDS), self.cache)
            both = [sound for pair in _alternating(spoken, self.voices) for sound in pair]
            self.lessons = Lessons(teacher, self, both, student.num_states * student.width)
        self.score = ("val/explained", True) if self.lessons else ("val/phone_error_spoken", False)
        self.objectives: Sequence[Objective] = (AudioEncoderObjective(student, settings),)

    # --- examples ----------------------------------------------------------------------------------------------------

    def example(self, number: int) -> dict[str, Tensor]:
        """See `AudioEncoderObjective` for what an example holds (there with a batch axis)."""
        rng = rng_of(self.seed, number)
        pieces = fill_window(self._draw, self._speed, self._length, self.positions, rng)
        wave = np.zeros(self.positions * SAMPLES_PER_STATE, np.float32)
        phones = np.full(self.positions, UNKNOWN, np.int64)
        taught = []
        for piece in pieces:
            padded = piece.sound.at_speed(piece.speed)
            part = padded[piece.first * SAMPLES_PER_STATE : piece.last * SAMPLES_PER_STATE]
            at = piece.at * SAMPLES_PER_STATE
            wave[at : at + len(part)] = part * 10 ** rng.uniform(-0.25, 0.25)
            labels = piece.sound.labels(piece.speed, len(padded) // SAMPLES_PER_STATE)
            phones[piece.at : piece.at + piece.last - piece.first] = labels[piece.first : piece.last]
            if self.lessons is not None:
                taught.append(self.lessons.of(piece.sound, piece.speed, piece.first, piece.last))
        made = {
            "mel": self._mel(wave, rng),
            "phones": torch.from_numpy(phones),
            "seed": torch.tensor(int(rng.integers(2**62)), dtype=torch.int64),
        }
        return made | ({"taught": torch.cat(taught)} if taught else {})

    def _draw(self, rng: np.random.Generator) -> Sound:
        share = 0.0 if self.settings.speech is None else self.settings.speech.share
        if rng.random() < share:
            people = list(self._people.values())
            voices = people[int(rng.integers(len(people)))]
            return voices[int(rng.integers(len(voices)))]
        clip = self.train.draw(rng)
        if id(clip) not in self.known:
            self.known[id(clip)] = sounds_of([clip], self.cache)[0]
        return self.known[id(clip)]

    def _speed(self, sound: Sound, rng: np.random.Generator) -> float:
        """One of the sound's own few speeds, so that the teacher need not hear it anew each time."""
        version = int(rng.integers(self.settings.versions))
        if version == 0:
            return 1.0
        own = np.random.default_rng([int(sound.content[:15], 16), version])
        return round(float(1 + self.settings.speed * own.uniform(-1, 1)), 4)

    def _length(self, sound: Sound, speed: float) -> int:
        return len(sound.at_speed(speed)) // SAMPLES_PER_STATE

    def _mel(self, wave: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(80, 2P) float32 of a window, as another microphone in another room would hear it; without delay."""
        given = self.settings
        return in_other_rooms(wave, rng, given.sound, given.room, given.band, given.colour)

    # --- judging -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self, network: nn.Module) -> ValidationResult:
        """Variance of the teacher explained and lip opening read, on held-out people; phones of unseen voices."""
        student = cast(AudioEncoder, network)
        figures: dict[str, float] = {}
        warnings: list[str] = []
        judged = _spread(self.val, self.settings.judged_clips)
        if self.lessons is not None:
            pairs = []
            for sound in sounds_of(judged, self.cache):
                student_states = states_of(student, sound.at_speed(1.0)).flatten(1)
                pairs.append((student_states, self.lessons.of(sound, 1.0)))
            figures["val/explained"] = explained(pairs)
        if self.unseen:
            phones = phone_score(student, self.voices[: 2 * len(self.unseen)], self.unseen)
            figures |= {"val/phone_error": phones.error, "val/phone_error_spoken": phones.spoken_error}
            warnings += _phone_warnings(phones)
        known = _spread(self.train.only(_in_sync), self.settings.fitted_clips)
        lips = lip_score(student, known, [clip for clip in judged if clip.in_sync])
        if math.isfinite(lips.r):
            figures["val/lips_r"] = lips.r
            warnings += _lip_warnings(lips)
        if figures.get("val/explained", 1.0) < 0.05:
            warnings.append(
                "nothing of the teacher is heard yet (explained below 0.05). If it stays so: more steps, less noise "
                "(task.sound), or a wider network"
            )
        shown = dict(list(lips.curves.items())[:: max(1, len(lips.curves) // 6)][:6])
        return ValidationResult(
            figures=figures, warnings=warnings, pictures={"lips": curves_picture(shown)} if shown else {}
        )

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json` and `model.safetensors`, as `components.audio_encoder` of the U-Net's presets takes them."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        with atomic_path(folder / TENSORS) as part:
            save_file(state, part, metadata={"format": "pt"})
        with atomic_path(folder / CONFIG) as part:
            part.write_text(json.dumps(cast(AudioEncoder, network).config, indent=2) + "\n", encoding="utf-8")


def _phone_warnings(score: PhoneScore) -> list[str]:
    if score.spoken_error < 0.97 * score.chance:
        return []
    return [f"phones of unseen voices are guessed ({score.spoken_error:.2f} wrong, {score.chance:.2f} by chance)"]


def _lip_warnings(score: LipScore) -> list[str]:
    if score.r >= 0.2:
        return []
    return [
        f"the audio features say little of the lips (r {score.r:.2f}). If it stays so: clips that are not in sync, or "
        "too few people for the linear map"
    ]


def _in_sync(clip: AnyClip) -> bool:
    return clip.in_sync


def _spread(clips: Mixture, most: int) -> list[AnyClip]:
    """At most `most` clips, people and sources in turn."""
    people = [list(own) for source in clips.sources for own in source.by_person.values()]
    longest = max((len(own) for own in people), default=0)
    dealt = [own[row] for row in range(longest) for own in people if row < len(own)]
    return dealt[:most]


def _alternating(spoken: Sequence[Sound], voices: Sequence[Sound]) -> list[list[Sound]]:
    longest = max(len(spoken), len(voices))
    return [[row[k] for row in (spoken, voices) if k < len(row)] for k in range(longest)]
