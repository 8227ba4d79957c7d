"""Noise, schedules and samplers: pure functions of `denoise(x, t)`."""

from latentsync.diffusion.noise import chunk_noise
from latentsync.diffusion.sampling import SamplerConfig, ddim_scheduler, sample

__all__ = ["SamplerConfig", "chunk_noise", "ddim_scheduler", "sample"]
