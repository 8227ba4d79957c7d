"""Streaming: the released tool's values where it has them, the same values wherever the file is cut, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.audio import frame_windows, whisper_log_mel
from latentsync.audio.streaming import StreamingAudioEncoder, measure, sound_of
from latentsync.core.errors import ConfigError, EmptyAudioError
from latentsync.models.audio_encoder import AudioEncoder

P = 100  # window of the small audio encoder: 2 s


@pytest.fixture(scope="module")
def audio_encoder() -> AudioEncoder:
    """Random, with weights large enough that attention is not just a mean, and no position table.

    The position table is taken out because an absolute position is another number at another place in the window, by
    design of the network; what is left is what the windows are responsible for: the context that is heard.
    """
    torch.manual_seed(0)
    made = AudioEncoder.from_config(
        {"width": 32, "num_layers": 2, "num_heads": 2, "feed_forward": 64, "positions": P}
    ).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(0 if "embed_positions" in name else 4)
    return made


def wave(seconds: float) -> np.ndarray:
    t = np.arange(int(16000 * seconds)) / 16000
    level = 0.05 * (1 + np.sin(2 * np.pi * 3.1 * t + np.sin(t)))
    return (np.random.default_rng(1).standard_normal(len(t)) * level).astype(np.float32)


def features_of_clip(
    stream: StreamingAudioEncoder, sound: np.ndarray, times: list[Fraction], maximum: float | None = None
) -> torch.Tensor:
    return torch.stack(list(stream.windows(sound_of(sound), times, maximum)))


def frames(start: Fraction, end: Fraction, fps: int = 25) -> list[Fraction]:
    return [Fraction(i, fps) for i in range(int(start * fps), int(end * fps))]


def reference_states(audio_encoder: AudioEncoder, sound: np.ndarray) -> torch.Tensor:
    """What the released tool does, written out: blocks end to end, the last filled with 0.0, each cut to its length."""
    mel, parts = whisper_log_mel(sound), []
    for at in range(0, mel.shape[1], 2 * P):
        block = mel[:, at : at + 2 * P]
        padded = torch.zeros(1, 80, 2 * P)
        padded[0, :, : block.shape[1]] = block
        with torch.no_grad():
            parts.append(audio_encoder(padded)[0, : block.shape[1] // 2])
    return torch.cat(parts)


@pytest.mark.parametrize("seconds", [1.97, 2.0, 5.01, 8.0])
def test_compatible_mode_is_the_released_tool(audio_encoder: AudioEncoder, seconds: float) -> None:
    sound, times = wave(seconds), frames(Fraction(0), Fraction(9))
    stream = StreamingAudioEncoder(audio_encoder, compatible=True)
    want = reference_states(audio_encoder, sound)
    torch.testing.assert_close(stream.states(sound_of(sound)), want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features_of_clip(stream, sound, times), frame_windows(want, times), atol=1e-5, rtol=1e-5)
    late = times[-3:]  # long after the end, without having heard what comes before
    torch.testing.assert_close(features_of_clip(stream, sound, late), frame_windows(want, late), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seconds", [0.5, 1.97, 2.0])
def test_sound_of_one_window_is_the_released_tool(audio_encoder: AudioEncoder, seconds: float) -> None:
    sound, times = wave(seconds), frames(Fraction(0), Fraction(3))
    want = frame_windows(reference_states(audio_encoder, sound), times)
    torch.testing.assert_close(
        features_of_clip(StreamingAudioEncoder(audio_encoder), sound, times), want, atol=1e-5, rtol=1e-5
    )


def test_a_cut_on_the_window_grid_changes_nothing_inside(audio_encoder: AudioEncoder) -> None:
    sound, cut = wave(12), Fraction(3)
    stream, maximum = StreamingAudioEncoder(audio_encoder), measure(sound_of(sound)).maximum
    times = frames(Fraction(5), Fraction(10))
    whole = features_of_clip(stream, sound, times, maximum)
    rest = features_of_clip(stream, sound[int(cut * 16000) :], [time - cut for time in times], maximum)
    torch.testing.assert_close(rest, whole, atol=1e-5, rtol=1e-5)


def test_a_cut_anywhere_changes_little_inside(audio_encoder: AudioEncoder) -> None:
    sound, cut = wave(14), Fraction(73, 10)
    maximum = measure(sound_of(sound)).maximum
    times = frames(Fraction(9), Fraction(12))

    def worst(stream: StreamingAudioEncoder) -> float:
        whole = features_of_clip(stream, sound, times, maximum)
        rest = features_of_clip(stream, sound[int(cut * 16000) :], [time - cut for time in times], maximum)
        return float(((rest - whole).norm(dim=(1, 2)) / whole.norm(dim=(1, 2))).max())

    assert worst(StreamingAudioEncoder(audio_encoder)) < 0.06  # measured 0.03: half the window is another one
    assert worst(StreamingAudioEncoder(audio_encoder, compatible=True)) > 0.1  # measured 0.17, next to the borders


def test_states_are_those_that_frames_hear(audio_encoder: AudioEncoder) -> None:
    stream, sound = StreamingAudioEncoder(audio_encoder), wave(7.03)
    states = stream.states(sound_of(sound))
    assert states.shape == (351, 3, 32)
    times = [Fraction(i, 50) for i in range(351)]
    centres = features_of_clip(stream, sound, times).unflatten(1, (10, 3))[:, 4]
    torch.testing.assert_close(centres, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seconds", [3.0, 3.01, 4.0, 4.02])
def test_the_last_window_does_not_depend_on_how_it_is_asked_for(audio_encoder: AudioEncoder, seconds: float) -> None:
    stream, sound = StreamingAudioEncoder(audio_encoder), wave(seconds)
    all_times = frames(Fraction(0), Fraction(6))
    together = features_of_clip(stream, sound, all_times)
    for index in (60, 75, 99, 140):
        torch.testing.assert_close(
            features_of_clip(stream, sound, [all_times[index]])[0], together[index], atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(stream.states(sound_of(sound))[-1], together[-1].unflatten(0, (10, 3))[-1])


def test_variable_rate_and_other_block_sizes(audio_encoder: AudioEncoder) -> None:
    sound = wave(6)
    times = [Fraction(0), Fraction(1, 24), Fraction(1, 24), Fraction(1001, 1000), Fraction(17, 10), Fraction(59, 10)]
    stream = StreamingAudioEncoder(audio_encoder, hop_s=Fraction(1, 2))
    small = list(stream.windows(lambda: [sound[at : at + 777] for at in range(0, len(sound), 777)], times))
    torch.testing.assert_close(torch.stack(small), features_of_clip(stream, sound, times), atol=1e-5, rtol=1e-5)


class Counted:
    """Endless sound in blocks of one second; `read` says how much of it was asked for."""

    def __init__(self) -> None:
        self.read = 0
        self.block = wave(1)

    def __call__(self) -> Iterator[np.ndarray]:
        while True:
            self.read += 1
            yield self.block


def test_sound_is_read_only_as_far_as_it_is_heard(audio_encoder: AudioEncoder) -> None:
    sound, stream = Counted(), StreamingAudioEncoder(audio_encoder)
    audio_features = stream.windows(sound, (Fraction(i, 25) for i in range(10**9)), maximum=2.0)
    for _ in range(25):
        next(audio_features)
    assert sound.read <= 8  # 1 s of frames, the rest of their window, and one block of 4 s
    for _ in range(25 * 8):
        next(audio_features)
    assert 9 <= sound.read <= 9 + stream.lookahead_s + 4


def test_held_sound_does_not_grow_with_its_length(audio_encoder: AudioEncoder) -> None:
    stream = StreamingAudioEncoder(audio_encoder)
    tape = stream._tape(Counted(), 2.0)
    held = []
    for window in range(100):
        assert tape.cut(2 * stream.hop * window, 2 * P).shape == (80, 2 * P)
        held.append(tape.num_held)
    assert max(held[50:]) <= max(held[:20]) <= 2 * (P + stream.hop + 1) + 400  # window, hop, and one block of 4 s
    with pytest.raises(ValueError, match="has been dropped"):
        tape.cut(0, 2 * P)


def test_measure_is_that_of_the_whole_wave() -> None:
    sound = wave(3.017)
    measured = measure(lambda: [sound[:20000], sound[20000:]])
    assert (measured.num_steps, measured.num_states) == (301, 150)
    torch.testing.assert_close(whisper_log_mel(sound, measured.maximum), whisper_log_mel(sound), atol=1e-6, rtol=0)


def test_bad_input_is_refused(audio_encoder: AudioEncoder) -> None:
    stream = StreamingAudioEncoder(audio_encoder)
    for maximum in (None, 1.0):
        with pytest.raises(EmptyAudioError):
            features_of_clip(stream, wave(0.015), [Fraction(0)], maximum)
    with pytest.raises(ValueError, match="must rise"):
        features_of_clip(stream, wave(1), [Fraction(1, 2), Fraction(1, 4)])
    with pytest.raises(ConfigError, match=r"choose 1\.76 or less"):
        StreamingAudioEncoder(audio_encoder, hop_s=Fraction(2))
