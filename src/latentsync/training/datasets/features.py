"""What tasks compute once per clip and keep: mel, small pictures, latents, the audio features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.training.datasets.augment import SoundRange, change_sound
from latentsync.training.datasets.cache import ArrayCache, module_hash
from latentsync.training.datasets.clips import AnyClip

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder


def small_crops(clip: AnyClip, side: int, cache: ArrayCache) -> np.ndarray:
    """(F, side, side, 3) uint8; the clip's own where it has this side."""
    if clip.crops.shape[1] == side:
        return clip.crops
    return cache.get("crops-small", (cache.content_of(clip), str(side)), lambda: resized(clip.crops, side))


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    """(F, R, R, 3) uint8 → (F, side, side, 3) uint8, by area."""
    return np.stack([cv2.resize(np.asarray(f), (side, side), interpolation=cv2.INTER_AREA) for f in frames])


def syncnet_mel_of(clip: AnyClip, cache: ArrayCache) -> np.ndarray:
    """(80, T) float32: `syncnet_mel` of the whole sound."""
    from latentsync.audio.mel import syncnet_mel

    return cache.get("mel-syncnet", (cache.content_of(clip),), lambda: syncnet_mel(np.array(clip.wave)).numpy())


def changed_mel_of(clip: AnyClip, limits: SoundRange, variant: int, cache: ArrayCache) -> np.ndarray:
    """(80, T) float32: `syncnet_mel` of the sound in change number `variant`, drawn within `limits`."""
    from latentsync.audio.mel import syncnet_mel

    def make() -> np.ndarray:
        rng = np.random.default_rng([int(cache.content_of(clip)[:15], 16), variant])
        return syncnet_mel(change_sound(np.array(clip.wave), rng, limits)).numpy()

    return cache.get("mel-syncnet", (cache.content_of(clip), repr(limits), str(variant)), make)


def latents_of(clip: AnyClip, autoencoder: Any, cache: ArrayCache, resolution: int = 256) -> np.ndarray:
    """(F, c, h, w) float16: scaled latents of the whole crops (the mean of the posterior, no noise).

    Args:
        autoencoder: has `encode((n, 3, R, R) in [−1, 1]) → (n, c, h, w)`, and is a Module.
    """
    import torch

    def make() -> np.ndarray:
        frames, parts = small_crops(clip, resolution, cache), []
        with torch.inference_mode():
            for start in range(0, len(frames), 8):
                x = torch.from_numpy(np.array(frames[start : start + 8])).permute(0, 3, 1, 2).float() / 127.5 - 1
                parts.append(autoencoder.encode(x).half().cpu().numpy())
        return np.concatenate(parts)

    return cache.get("latents", (cache.content_of(clip), _hash_of(autoencoder), str(resolution)), make)


def states_of(clip: AnyClip, audio_encoder: AudioEncoder, silence_s: float, cache: ArrayCache) -> np.ndarray:
    """(T, L, D) float16: the audio encoder's states of the whole sound, 50 a second.

    Args: `silence_s`: silence that is heard after the end of the sound, see `ModelSettings.trailing_silence_s`.
    """
    from latentsync.audio.streaming import StreamingAudioEncoder, sound_of

    def make() -> np.ndarray:
        sound = np.concatenate([np.array(clip.wave), np.zeros(int(silence_s * SPEECH_RATE_HZ), np.float32)])
        return StreamingAudioEncoder(audio_encoder).states(sound_of(sound)).half().cpu().numpy()

    return cache.get("states", (cache.content_of(clip), _hash_of(audio_encoder), f"{silence_s:g}"), make)


def precompute(
    clips: Sequence[AnyClip],
    cache: ArrayCache,
    *,
    mel: bool = True,
    audio_encoder: AudioEncoder | None = None,
    silence_s: float = 0.0,
    autoencoder: Any = None,
    resolution: int = 256,
    progress: ProgressCallback = silent,
    stop: StopFlag = never,
) -> None:
    """Fill the cache with what training would compute at its first sight of each clip; what is there stays.

    Args: None or False leaves a kind out; `resolution`: of the crops that the autoencoder sees.
    Raises: Stopped: on request; what is done stays done.
    """
    for number, clip in enumerate(clips):
        check(stop)
        if mel:
            syncnet_mel_of(clip, cache)
        if audio_encoder is not None:
            states_of(clip, audio_encoder, silence_s, cache)
        if autoencoder is not None:
            latents_of(clip, autoencoder, cache, resolution)
        progress(Progress("features", number + 1, len(clips), "clips"))


_HASHES: dict[int, tuple[Any, str]] = {}


def _hash_of(module: Any) -> str:
    """Hash of a frozen network, computed once in each process."""
    if id(module) not in _HASHES:
        _HASHES[id(module)] = (module, module_hash(getattr(module, "network", module)))
    return _HASHES[id(module)][1]
