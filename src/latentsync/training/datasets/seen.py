"""Frames whose mouth is hidden are not learnt from: a clip with such frames becomes the pieces between them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from latentsync.core.errors import LatentSyncError
from latentsync.training.datasets.cache import content_of
from latentsync.training.datasets.clips import SAMPLES_PER_FRAME, AnyClip, LazyClip, num_frames

log = logging.getLogger(__name__)

MOST_HIDDEN = 0.05
"""Largest share of the mouth that a hand may hide in a frame that is learnt from; chosen by eye: a finger's tip."""
LEAST_FRAMES = 8
"""Shorter pieces are dropped: no network looks at fewer frames."""
GEOMETRY, HIDDEN = "face.npz", "mouth_covered"


@dataclass(frozen=True)
class Piece:
    """Frames `first` … `after` − 1 of a clip as a clip of their own."""

    clip: AnyClip
    first: int
    after: int

    @property
    def path(self) -> Path:
        """Of the whole clip, with the frames in its name; for messages."""
        return self.clip.path.with_name(f"{self.clip.path.name}[{self.first}:{self.after}]")

    @property
    def person(self) -> str:
        return self.clip.person

    @property
    def split(self) -> str:
        return self.clip.split

    @property
    def in_sync(self) -> bool:
        return self.clip.in_sync

    @property
    def num_frames(self) -> int:
        return self.after - self.first

    @cached_property
    def content(self) -> str:
        """Hash of the whole clip's content and of the frames."""
        return hashlib.sha256(f"{content_of(self.clip)} {self.first} {self.after}".encode()).hexdigest()

    @property
    def crops(self) -> np.ndarray:
        """(F, R, R, 3) uint8."""
        return self.clip.crops[self.first : self.after]

    @property
    def mesh(self) -> np.ndarray:
        """(F, 468, 2) float32, crop pixels."""
        return self.clip.mesh[self.first : self.after]

    @property
    def wave(self) -> np.ndarray:
        """(640·F,) float32, 16 kHz, starting with the first frame."""
        return self.clip.wave[self.first * SAMPLES_PER_FRAME : self.after * SAMPLES_PER_FRAME]


def hidden_shares(clip: AnyClip) -> np.ndarray | None:
    """(F,) share of the mouth that is hidden in each frame, 0 … 1, as the clip says; None = it says nothing.

    Clips on disk and in shards say it in `face.npz` under `mouth_covered`, which `latentsync data build` writes where
    the truth of synthetic heads lies beside the video.

    Raises: LatentSyncError: it speaks of another number of frames.
    """
    if isinstance(clip, LazyClip):
        if clip.mouth_covered is None:
            return None
        shares, total = np.asarray(clip.mouth_covered()), clip.num_frames
    else:
        path = clip.path / GEOMETRY
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as geometry:
            if HIDDEN not in geometry.files:
                return None
            shares, total = np.asarray(geometry[HIDDEN]), len(clip.crops)
    if shares.shape != (total,):
        raise LatentSyncError(f"{clip.path}: {HIDDEN} tells of {len(shares)} of {total} frames. Prepare it again")
    return shares


def seen_pieces(clip: AnyClip) -> list[AnyClip]:
    """The clip itself where no mouth is hidden, else its pieces of `LEAST_FRAMES` or more without a hidden mouth."""
    shares = hidden_shares(clip)
    if shares is None:
        return [clip]
    total = num_frames(clip)
    spans = list(_spans(shares[:total] > MOST_HIDDEN))
    if spans == [(0, total)]:
        return [clip]
    return [Piece(clip, first, after) for first, after in spans if after - first >= LEAST_FRAMES]


def with_seen_mouths(clips: Sequence[AnyClip]) -> list[AnyClip]:
    """Clips in which every mouth is seen, as far as is known; what is left out is counted in the log."""
    made = [piece for clip in clips for piece in seen_pieces(clip)]
    whole = {id(piece) for piece in made}
    if cut := [clip for clip in clips if id(clip) not in whole]:
        kept = sum(num_frames(piece) for piece in made if isinstance(piece, Piece))
        log.info("%d clips are cut where the mouth is hidden: %d of their %d frames are left out",
                 len(cut), sum(map(num_frames, cut)) - kept, sum(map(num_frames, cut)))  # fmt: skip
    return made


def _spans(hidden: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of frames that are not hidden, end excluded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], hidden, [True]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
