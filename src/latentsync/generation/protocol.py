"""What the pipeline asks of a sampler: the mouths of a chunk of aligned crops. It knows nothing else of a model.

A sampler works in two halves, so that one chunk is encoded while the one before is drawn. A model that draws from
reference frames of the track chooses them once a track (`TrackReferences`); what a chunk takes of them
(`ChunkReferences`) is opaque to the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from latentsync.core.values import AlignedFace, Float


class ChunkReferences(Protocol):
    """What a chunk takes of the reference frames of its track."""

    def part(self, frames: slice) -> ChunkReferences:
        """The same for some of the chunk's frames."""
        ...

    def arrays(self) -> Iterator[Float | None]:
        """Everything that its mouths depend on, in one order: a cache finds chunks by it."""
        ...


class TrackReferences(Protocol):
    """Reference frames of one face track, and how they fit each of its frames. Chunks come in order."""

    def of_chunk(self, frames: Sequence[int], faces: Sequence[AlignedFace]) -> ChunkReferences:
        """For the frames of a chunk. Args: frames: their rising indices. faces: theirs."""
        ...

    def closed_share(self, face: AlignedFace) -> float:
        """How far a pause may show the closed reference frame in the place of a generated mouth: 1 where the head is
        held alike, 0 where it is turned away."""
        ...

    def closed_mouth(self, references: Any, frame: int) -> Float:
        """(R, R, 3) in [0, 1]: the closed reference frame as it fits one of the chunk's frames.

        Args: references: what `of_chunk` gave.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChunkInputs:
    """What a chunk is made from.

    Attributes:
        crops: (F, R, R, 3) float32 in [0, 1].
        audio_features: (F, K, D) of each frame.
        frames: F indices in the video; they choose the noise.
        references: None = every frame is its own reference.
    """

    crops: Float
    audio_features: Tensor
    frames: Sequence[int]
    references: ChunkReferences | None = None


class MouthSampler(Protocol):
    """Makes mouths. What it makes of a chunk does not depend on the chunks before.

    Attributes:
        mask: (R, R) float32, 1 = generated.
        reference_frames: so many first frames of a track it wants to choose reference frames among; 0 = it takes none.
    """

    mask: Float
    reference_frames: int

    def choose_references(
        self, faces: Sequence[AlignedFace], crop_of: Callable[[int], Float], spacing: int
    ) -> TrackReferences:
        """Reference frames of a track.

        Args:
            faces: of its first frames. crop_of: gives the crop (R, R, 3) of one of them.
            spacing: frames of the film to one of the model's frame rate (interleaved sets).
        """
        ...

    def prepare(self, inputs: ChunkInputs) -> Any:
        """The first half: pictures are encoded. One thread at a time may be in it, another in `finish`."""
        ...

    def finish(self, prepared: Any) -> Float:
        """The second half: (F, R, R, 3) float32 in [0, 1]; only the masked part is meant to be used.

        Raises: Stopped.
        """
        ...

    def identity(self) -> str:
        """What tells its results from those of another one with the same inputs: networks, settings, seed, steps."""
        ...
