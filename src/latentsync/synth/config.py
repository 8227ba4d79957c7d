"""Every choice about a set of synthetic clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentsync.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """What to make. One (seed, identity, clip) always gives the same clip, whatever else is made beside it.

    Attributes:
        identities: number of people.
        first_identity: number of the first one, so that sets can be made in parts and split by person.
        clips_per_identity: clips of each person; light, place, voice, camera and words differ.
        seconds: length of each clip; seconds · 25 must be whole.
        size: width and height in pixels.
        seed: of the whole set.
        face_model: packed face model, or None for the built-in head.
        face_share: least and most share of the picture's height that the face takes.
        max_turn_deg: largest turn of the head to any side.
        hand_share: share of the clips in which a hand comes in front of the mouth.
        engines: speech engines to use (flite, espeak, piper, recordings), None = all that are there.
        recordings: folder of real English recordings with transcripts, see `speech.recordings.speakers`, or None.
    """

    identities: int = 1
    first_identity: int = 0
    clips_per_identity: int = 1
    seconds: float = 4.0
    size: int = 384
    seed: int = 0
    face_model: Path | None = None
    face_share: tuple[float, float] = (0.35, 0.85)
    max_turn_deg: float = 45.0
    hand_share: float = 0.12
    engines: tuple[str, ...] | None = None
    recordings: Path | None = None

    def __post_init__(self) -> None:
        for key, low, high in (
            ("identities", 1, 10**7),
            ("first_identity", 0, 10**7),
            ("clips_per_identity", 1, 10**5),
            ("seconds", 0.2, 600),
            ("size", 64, 2048),
            ("seed", 0, 2**31 - 1),
            ("max_turn_deg", 0, 60),
            ("hand_share", 0, 1),
        ):
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"synth.{key}", getattr(self, key), f"choose {low} to {high}")
        unknown = set(self.engines or ()) - {"flite", "espeak", "piper", "recordings"}
        if unknown:
            raise ConfigError("synth.engines", sorted(unknown), "choose from flite, espeak, piper, recordings")
        if "recordings" in (self.engines or ()) and self.recordings is None:
            raise ConfigError("synth.recordings", None, "name a folder, or leave out the engine recordings")
        if self.recordings is not None and not self.recordings.is_dir():
            raise ConfigError("synth.recordings", str(self.recordings), "there is no such folder")
        if abs(self.seconds * 25 - round(self.seconds * 25)) > 1e-6:
            raise ConfigError("synth.seconds", self.seconds, "choose a multiple of 0.04, one frame")
        if self.size % 2:
            raise ConfigError("synth.size", self.size, "choose an even number")
        least, most = self.face_share
        if not 0.1 <= least <= most <= 1:
            raise ConfigError("synth.face_share", self.face_share, "choose two rising numbers in 0.1 to 1")

    @property
    def num_frames(self) -> int:
        return round(self.seconds * 25)
