"""A sampler around a function, which chooses reference frames as the small model's does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latentsync.core.values import AlignedFace, Float
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.tiny.config import TinyConfig
from latentsync.generation.tiny.references import REFERENCE_FRAMES, TrackReferences

PLAIN = TinyConfig(
    num_references=1, warp="none", residual=False, detail_residual=False, teeth_colour_guard=False, keep_latents=False
)
"""One reference frame, taken as it is."""


class SmallSampler:
    """`generate(crops, audio_features, frames, references)` gives the crops."""

    def __init__(self, generate: Callable[..., Any], tiny: TinyConfig | None = None) -> None:
        self._generate, self._tiny = generate, tiny
        self.mask = np.ones((1, 1), np.float32)
        self.reference_frames = 0 if tiny is None else REFERENCE_FRAMES

    def choose_references(
        self, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], spacing: int
    ) -> TrackReferences:
        assert self._tiny is not None
        return TrackReferences.choose(faces, crop_of, self._tiny, spacing)

    def prepare(self, inputs: ChunkInputs) -> Any:
        return inputs

    def finish(self, prepared: Any) -> Float:
        made: Float = self._generate(
            prepared.crops, prepared.audio_features, list(prepared.frames), prepared.references
        )
        return made

    def identity(self) -> str:
        return "small"
