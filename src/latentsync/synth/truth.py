"""What is known exactly about a synthetic clip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.core.files import atomic_path
from latentsync.core.values import Float
from latentsync.synth.speech.phones import Phone


@dataclass(frozen=True, eq=False)
class Truth:
    """Truth of one clip of F frames. Frame i shows the time i/25 s, and sample n of the audio is heard at n/16000 s.

    Attributes:
        identity, clip, seed: which clip it is.
        phones: what is heard, with exact times.
        landmarks: (F, 68, 2) float32 Multi-PIE landmarks, frame pixels, pixel centres at integers; where the sensor
            reads its rows in turn, each is where its row recorded it.
        lip_gap_cm: (F,) distance of the inner lips at their middle on the mesh.
        lip_gap_px: (F,) the same in the picture.
        pose: (F, 3) yaw, pitch, roll of the head in radians (see `render.camera.rotation`).
        mouth_covered: (F,) share of the mouth, within the outline of the lips, that a hand hides, 0 … 1.
        occluder: gesture of that hand, "" = there is none in the clip.
        shape_names, shapes: names of the face shapes and their weights (F, N).
        voice, text: engine and voice; words.
        person: the identity's choices, for the record.
    """

    identity: int
    clip: int
    seed: int
    phones: tuple[Phone, ...]
    landmarks: Float
    lip_gap_cm: Float
    lip_gap_px: Float
    pose: Float
    mouth_covered: Float
    occluder: str
    shape_names: tuple[str, ...]
    shapes: Float
    voice: str
    text: str
    person: dict[str, Any]

    ARRAYS = ("landmarks", "lip_gap_cm", "lip_gap_px", "pose", "mouth_covered", "shapes")

    def save(self, stem: Path) -> tuple[Path, Path]:
        """Write `stem`.npz (arrays) and `stem`.json (the rest)."""
        arrays, facts = stem.with_suffix(".npz"), stem.with_suffix(".json")
        with atomic_path(arrays) as part:
            np.savez_compressed(part, **{k: getattr(self, k) for k in self.ARRAYS})
        record = {
            "identity": self.identity,
            "clip": self.clip,
            "seed": self.seed,
            "fps": 25,
            "frame_time": "i/25 s",
            "voice": self.voice,
            "text": self.text,
            "occluder": self.occluder,
            "person": self.person,
            "shape_names": list(self.shape_names),
            "phones": [[p.name, round(p.start_s, 5), round(p.end_s, 5)] for p in self.phones],
        }
        with atomic_path(facts) as part:
            part.write_text(json.dumps(record, indent=None, ensure_ascii=False) + "\n", encoding="utf-8")
        return arrays, facts

    @staticmethod
    def load(stem: Path) -> Truth:
        """Read what `save` wrote."""
        record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as data:
            arrays = {k: data[k] for k in Truth.ARRAYS}
        return Truth(
            identity=record["identity"],
            clip=record["clip"],
            seed=record["seed"],
            voice=record["voice"],
            text=record["text"],
            occluder=record["occluder"],
            phones=tuple(Phone(n, a, b) for n, a, b in record["phones"]),
            shape_names=tuple(record["shape_names"]),
            person=record["person"],
            **arrays,
        )
