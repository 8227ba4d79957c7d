"""How a chunk of crops gets its new mouths: the paper's sampler (`latentsync`), and that of the small model
(`tiny`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentsync.core.progress import StopFlag, never

if TYPE_CHECKING:
    from latentsync.config.options import SyncOptions
    from latentsync.generation.networks import Networks
    from latentsync.generation.protocol import MouthSampler
    from latentsync.generation.settings import ModelSettings

__all__ = ["sampler_for"]


def sampler_for(
    networks: Networks, settings: ModelSettings, options: SyncOptions, stop: StopFlag = never
) -> MouthSampler:
    """The sampler that a model's settings ask for.

    Args: stop: asked before every step and before decoding.
    Raises: WeightsError: networks that do not belong to the settings. ConfigError: options that the model cannot take.
    """
    if settings.tiny is None:
        from latentsync.generation.latentsync import LatentSyncSampler

        return LatentSyncSampler(networks, settings, options, stop)
    from latentsync.generation.tiny.sampler import TinySampler

    return TinySampler(networks, settings, options, stop)
