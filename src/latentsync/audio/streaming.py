"""From sound of any length to what each video frame hears, lazily and with bounded memory.

The encoder hears a fixed window (30 s for Whisper). Windows overlap and each gives only its middle, so that no frame
hears a window's border; `compatible=True` lays them end to end as the released tool does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from latentsync.audio.mel import normalise_log_mel, whisper_log_blocks
from latentsync.audio.windows import STATES_AFTER, Seconds, state_at, window_indices
from latentsync.core.errors import ConfigError, EmptyAudioError
from latentsync.core.rates import MEL_STEPS_PER_STATE, STATE_RATE_HZ


class Encoder(Protocol):
    """What streaming asks of an audio encoder (`models.AudioEncoder`): log-mel (B, 80, 2·P) → states (B, P, L, D)."""

    @property
    def positions(self) -> int:
        """P, states of its window."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def __call__(self, mel: Tensor) -> Tensor: ...


Sound = Callable[[], Iterable[NDArray[np.float32]]]
"""Gives the sound from its start at every call, as (n,) float32 blocks, mono, 16 kHz: `AudioReader(path).blocks`."""

_TOO_SHORT = "shorter than 20 ms; pass a file with speech"


def sound_of(wave: NDArray[np.float32]) -> Sound:
    """A wave in memory, (S,) float32 mono at 16 kHz, as a `Sound`."""
    return lambda: (wave,)


@dataclass(frozen=True)
class SoundMeasure:
    """What a first pass over a sound finds out.

    Attributes:
        num_steps: log-mel steps of 10 ms.
        maximum: loudest log10 mel power of the whole sound, see `audio.whisper_log_mel`.
    """

    num_steps: int
    maximum: float

    @property
    def num_states(self) -> int:
        """Positions of the encoder that the sound fills, 50 per second."""
        return self.num_steps // MEL_STEPS_PER_STATE


def measure(sound: Sound, name: str | None = None) -> SoundMeasure:
    """Read the whole sound once: its length and its loudest cell. Holds a few seconds of it.

    Args: name: what it is called in errors, e.g. its file.
    Raises: EmptyAudioError: less than 20 ms of sound.
    """
    num_steps, maximum = 0, -np.inf
    for log in whisper_log_blocks(sound()):
        num_steps += log.shape[1]
        maximum = max(maximum, float(log.max()))
    if num_steps < MEL_STEPS_PER_STATE:
        raise EmptyAudioError(f"the sound is {_TOO_SHORT}" if name is None else f"{name}: its sound is {_TOO_SHORT}")
    return SoundMeasure(num_steps, maximum)


class StreamingAudioEncoder:
    """Hears sound of any length through an audio encoder's fixed window.

    Window k starts at position k·hop of the sound and gives its middle: positions k·hop + margin up to (k+1)·hop +
    margin − 1 (the first one also its start, the last one also its end), margin = (P − hop) / 2. A frame takes all its
    tokens from one window. Sound that fits into one window gives what the released tool computes.

    Args:
        audio_encoder: the encoder; in evaluation mode, on the device and in the dtype to compute in.
        hop_s: distance of windows; None = half a window. Smaller: less dependence on the window's place, more work.
        compatible: windows end to end (hop = window, no margin), tokens of one frame may come from two of them.
    Raises: ConfigError: hop_s leaves less than 120 ms of margin on each side.
    """

    def __init__(self, audio_encoder: Encoder, hop_s: Fraction | None = None, compatible: bool = False) -> None:
        self.audio_encoder, self.compatible = audio_encoder, compatible
        size = audio_encoder.positions
        self.hop = size if compatible else max(1, size // 2 if hop_s is None else state_at(hop_s))
        self.margin = (size - self.hop) // 2
        if not compatible and self.margin <= STATES_AFTER:
            most = Fraction(size - 2 * (STATES_AFTER + 1), STATE_RATE_HZ)
            raise ConfigError("hop_s", None if hop_s is None else float(hop_s), f"choose {float(most)} or less")

    @property
    def lookahead_s(self) -> Fraction:
        """Sound that must be there after a frame's time before the frame can be heard, at most."""
        return Fraction(self.audio_encoder.positions - self.margin, STATE_RATE_HZ)

    def windows(self, sound: Sound, times_s: Iterable[Seconds], maximum: float | None = None) -> Iterator[Tensor]:
        """Audio features at each time, computed as far as it is asked for.

        Args:
            sound: read once, or twice where `maximum` is not given (the first time for `measure`).
            times_s: rising times in seconds from the start of the sound, whose edges are repeated outside it.
            maximum: what the log-mel's floor hangs below, see `audio.whisper_log_mel`; a fixed number makes live sound
                possible, which has no known maximum.
        Yields: (10·L, D) per time, in the audio encoder's dtype and on its device.
        Raises: EmptyAudioError: less than 20 ms of sound. ValueError: a time is before the one before it.
        """
        tape = self._tape(sound, maximum)
        held: dict[int, Tensor] = {}
        latest = None
        for time_s in times_s:
            if latest is not None and time_s < latest:
                raise ValueError(f"times must rise: {time_s} s comes after {latest} s")
            latest = time_s
            yield self._hear(tape, held, time_s)

    def states(self, sound: Sound, maximum: float | None = None) -> Tensor:
        """All states of a sound, (T, L, D), for sound that fits into memory (Whisper tiny in float32: 0.4 MB a second).

        Each position is taken from the window that a frame centred on it hears.
        """
        tape = self._tape(sound, maximum)
        parts: list[Tensor] = []
        index = position = 0
        while True:
            start = index * self.hop
            tape.read(MEL_STEPS_PER_STATE * (start + self.audio_encoder.positions + 1))
            states = self._encode(tape, index)
            last = tape.num_states <= start + self.audio_encoder.positions
            end = tape.num_states if last else start + self.margin + self.hop
            parts.append(states[position - start : end - start])
            if last:
                return torch.cat(parts)
            index, position = index + 1, end

    def _tape(self, sound: Sound, maximum: float | None) -> _MelTape:
        level = measure(sound).maximum if maximum is None else maximum
        keep = MEL_STEPS_PER_STATE * (self.audio_encoder.positions + self.hop + 1)
        return _MelTape(whisper_log_blocks(sound()), level, keep)

    def _hear(self, tape: _MelTape, held: dict[int, Tensor], time_s: Seconds) -> Tensor:
        centre = state_at(time_s)
        size = self.audio_encoder.positions
        reach = centre + STATES_AFTER if self.compatible else centre
        index = max(0, (reach - self.margin) // self.hop)
        tape.read(MEL_STEPS_PER_STATE * (index * self.hop + size))
        if tape.ended:
            index = min(index, max(0, -(-(tape.num_states - size) // self.hop)))
        num_states = tape.num_states if tape.ended else index * self.hop + size
        positions = window_indices([time_s], num_states)[0].tolist()
        rows = []
        for position in positions:
            window = position // size if self.compatible else index
            if window not in held:
                for old in [key for key in held if key < index - 1]:
                    del held[old]
                held[window] = self._encode(tape, window)
            rows.append(held[window][position - window * self.hop])
        return torch.cat(rows)

    @torch.no_grad()
    def _encode(self, tape: _MelTape, index: int) -> Tensor:
        """States (P, L, D) of window `index`; what lies past the end of the sound is filled with 0.0."""
        steps = MEL_STEPS_PER_STATE * self.audio_encoder.positions
        mel = tape.cut(MEL_STEPS_PER_STATE * index * self.hop, steps)
        device = next(self.audio_encoder.parameters()).device
        return self.audio_encoder(nnf.pad(mel, (0, steps - mel.shape[1]))[None].to(device))[0]


class _MelTape:
    """Log-mel that is read forwards in blocks; only its last `keep` steps are held."""

    def __init__(self, blocks: Iterator[Tensor], maximum: float, keep: int) -> None:
        self._blocks, self._maximum, self._keep = blocks, maximum, keep
        self._mel = torch.zeros(0)
        self._start = self._end = 0
        self.ended = False

    @property
    def num_states(self) -> int:
        """Positions read so far; of the whole sound once it has ended."""
        return self._end // MEL_STEPS_PER_STATE

    @property
    def num_held(self) -> int:
        """Steps in memory."""
        return self._mel.shape[-1]

    def read(self, end: int) -> None:
        """Read on until step `end` is passed or the sound ends."""
        while self._end < end and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            block = normalise_log_mel(block, self._maximum)
            self._mel = torch.cat([self._mel, block], dim=1) if self._end else block
            self._end += block.shape[1]
            drop = min(self._end, end) - self._keep - self._start
            if drop > 0:
                self._mel, self._start = self._mel[:, drop:].clone(), self._start + drop
        if self.num_states == 0:
            raise EmptyAudioError(f"the sound is {_TOO_SHORT}")

    def cut(self, start: int, num_steps: int) -> Tensor:
        """(80, n) steps from `start`; n is less than `num_steps` at the end of the sound."""
        self.read(start + num_steps)
        if start < self._start:
            raise ValueError(f"step {start} has been dropped; the tape starts at {self._start}")
        return self._mel[:, start - self._start : start - self._start + num_steps]
