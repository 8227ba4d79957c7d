"""What the mouth of one person is to say at each frame, computed as frames come."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.activity import speech_activity
from latentsync.audio.streaming import Sound, StreamingAudioEncoder, measure, sound_of
from latentsync.audio.windows import position_code
from latentsync.config.options import SyncOptions
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import AlignedFace, Float
from latentsync.generation.settings import ModelSettings
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.pipeline.chunks import FrameFaces, FrameTask
from latentsync.pipeline.plan import Speaker, SpeechSegment

FADE_S = Fraction(3, 25)
"""How long the new mouth takes to come and to go at the ends of a part that lies inside the film; chosen by eye."""
CLOSING_S = {"original": 0.16, "closed": 0.12}
"""Seconds of the way into silence and out of it, beside the 0.08 s that the voice activity leaves around speech: four
frames where two pictures are blended; three where a mouth closes, so that it is closed in a pause of 0.4 s."""


class FrameTasks:
    """One person's parts, in order; at most one of them is open at a time."""

    def __init__(
        self, audio_encoder: AudioEncoder, speaker: Speaker, options: SyncOptions, settings: ModelSettings
    ) -> None:
        self._audio_encoder, self._options, self._settings = audio_encoder, options, settings
        self._coming = deque(enumerate(speaker.parts))
        self._open: _OpenPart | None = None

    def task(self, source: FrameFaces, face: AlignedFace | None) -> FrameTask:
        """What is to be done to a frame; frames come in order. Outside every part it is to be left alone."""
        time_s = source.frame.time_s
        if self._open is not None and self._open.is_over(time_s):
            self._open = None
        while self._coming and self._open is None and self._coming[0][1].start_s <= max(time_s, Fraction(0)):
            number, part = self._coming.popleft()
            if part.end_s is None or time_s < part.end_s:
                self._open = _OpenPart(number, part, self._audio_encoder, self._options, self._settings)
        if self._open is None:
            return FrameTask(source, face, torch.zeros(0), strength=0.0, is_asked=False)
        return self._open.task(source, face)


class _OpenPart:
    def __init__(
        self,
        number: int,
        part: SpeechSegment,
        audio_encoder: AudioEncoder,
        options: SyncOptions,
        settings: ModelSettings,
    ) -> None:
        self._number, self._part, self._placed = number, part, settings.position_code
        self._silence = options.silence or settings.silence
        self._active = None if self._silence == "model" else speech_activity(part.sound())
        self._times: deque[Fraction] = deque()
        sound = _followed_by_silence(part.sound, part.length_s, settings.trailing_silence_s)
        level = measure(sound, part.name).maximum
        self._windows = StreamingAudioEncoder(audio_encoder).windows(sound, iter(self._times.popleft, None), level)
        self._quiet: Tensor | None = None
        if self._silence == "closed":
            still = StreamingAudioEncoder(audio_encoder).windows(
                sound_of(np.zeros(32000, np.float32)), [Fraction(1)], level
            )
            self._quiet = next(still)

    def is_over(self, time_s: Fraction) -> bool:
        return self._part.end_s is not None and time_s >= self._part.end_s

    def task(self, source: FrameFaces, face: AlignedFace | None) -> FrameTask:
        time_s = source.frame.time_s - self._part.start_s
        self._times.append(max(time_s, Fraction(0)))
        features = next(self._windows)
        strength, quiet = self._faded(source.frame.time_s), 0.0
        if self._active is not None:
            speaking = float(self._active.at([time_s], CLOSING_S[self._silence])[0])
            if self._quiet is not None:
                features, quiet = torch.lerp(self._quiet, features, speaking), 1 - speaking
            else:
                strength = min(strength, speaking)
        if self._placed:
            features = features + position_code(*features.shape).to(features)
        return FrameTask(source, face, features, strength, quiet=quiet, part=self._number)

    def _faded(self, time_s: Fraction) -> float:
        """Opacity of the mouth near the ends of the part: a raised cosine; the first frame already shows some of it."""
        part, share = self._part, Fraction(1)
        if part.fades_in:
            share = min(share, (time_s - part.start_s) / FADE_S + Fraction(1, 4))
        if part.fades_out and part.end_s is not None:
            share = min(share, (part.end_s - time_s) / FADE_S)
        return 0.5 - 0.5 * math.cos(math.pi * float(share))


def _followed_by_silence(sound: Sound, length_s: Fraction, more_s: float) -> Sound:
    """The sound, silence up to `length_s`, and `more_s` of it, so that past its end silence is heard and not its last
    moment."""

    def blocks() -> Iterator[Float]:
        num_samples = 0
        for block in sound():
            num_samples += len(block)
            yield block
        yield from _zeros(max(0, int(length_s * SPEECH_RATE_HZ) - num_samples) + int(more_s * SPEECH_RATE_HZ))

    return blocks


def _zeros(num_samples: int) -> Iterable[Float]:
    """In blocks of a second."""
    while num_samples > 0:
        yield np.zeros(min(num_samples, SPEECH_RATE_HZ), np.float32)
        num_samples -= SPEECH_RATE_HZ
