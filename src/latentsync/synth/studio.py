"""Synthetic clips in memory: frames, sound, truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latentsync.core.hashing import file_sha256
from latentsync.core.values import Bytes, Float
from latentsync.synth import motion as motions
from latentsync.synth.config import SynthConfig
from latentsync.synth.face.atlas import Atlas, build_atlas, cached_atlas
from latentsync.synth.face.fetch import model_path
from latentsync.synth.face.hand import GESTURES, Held, hand_moves, hold
from latentsync.synth.face.head import Head
from latentsync.synth.face.identity import sample_identity
from latentsync.synth.face.model import HeadMesh, load_face_model
from latentsync.synth.face.posing import Pose, Tongue, carry, moves_of
from latentsync.synth.render import materials as mat
from latentsync.synth.render.camera import look_at, perspective, to_pixels
from latentsync.synth.render.canvas import Canvas, Light
from latentsync.synth.render.geometry import depth_map
from latentsync.synth.speech.speaker import Speech, speak
from latentsync.synth.stage import Faults, Framing, Sensor, sample_background, sample_light
from latentsync.synth.truth import Truth
from latentsync.synth.visemes import SpeakingStyle, articulate, mouth_shapes

FPS = 25
UPPER_INNER_LIP, LOWER_INNER_LIP = 62, 66
OUTER_LIPS = slice(48, 60)
COVER_PX = 64
"""Side of the window that the hidden part of the mouth is counted in."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip. `frames` may be read once; the sound and the truth are known before.

    Attributes:
        frames: F pictures (H, W, 3) uint8 RGB.
        audio: (S,) float32, 16 kHz.
        crf: quality the clip's camera would encode with.
    """

    frames: Iterator[Bytes]
    audio: Float
    truth: Truth
    crf: int


def load_mesh(face_model: Path | None) -> tuple[HeadMesh, Atlas]:
    """The face model at `face_model`, or the built-in head."""
    if face_model is None:
        from latentsync.synth.face.builtin import builtin_head

        mesh = builtin_head()
        return mesh, build_atlas(mesh, 512)
    mesh = load_face_model(face_model)
    return mesh, cached_atlas(mesh, model_path().parent, file_sha256(face_model))


class Studio:
    """Mesh, buffers and the current person of one worker."""

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        self.mesh, self.atlas = load_mesh(config.face_model)
        self.canvas = Canvas(config.size)
        self._head: Head | None = None

    def head(self, identity: int) -> Head:
        """The person number `identity` of this seed; the last one asked for is kept."""
        seed = person_seed(self.config.seed, identity)
        if self._head is None or self._head.who.seed != seed:
            texture = 512 if self.config.size <= 448 else 1024
            self._head = Head(self.mesh, self.atlas, sample_identity(seed), texture)
        return self._head

    def clip(self, identity: int, clip: int, speech: Speech | None = None) -> Clip:
        """Clip number `clip` of a person; `speech` replaces the drawn one."""
        head, config = self.head(identity), self.config
        rng = np.random.default_rng([config.seed, identity, clip, 0xC11B])
        voice_rng, face_rng, stage_rng = rng.spawn(3)
        speech = speech or speak(voice_rng, config.seconds, head.who.masculine, config.engines, config.recordings)
        take = Take.sample(config, head, speech, face_rng, stage_rng)
        return Clip(take.frames(self.canvas), speech.audio, take.truth(identity, clip), take.faults.crf)


def person_seed(seed: int, identity: int) -> int:
    """Seed of person number `identity`, far from those of its neighbours and of other sets."""
    return int(np.random.SeedSequence([seed, identity]).generate_state(1, np.uint32)[0])


@dataclass(eq=False)
class Take:
    """Everything of one clip, drawn before the first picture."""

    head: Head
    speech: Speech
    size: int
    weights: dict[str, np.ndarray]
    tongue: dict[str, np.ndarray]
    motion: motions.Motion
    framing: Framing
    faults: Faults
    rng: np.random.Generator
    drift_cm: np.ndarray
    light: Light
    background: Float
    held: Held | None
    carried: Float

    @staticmethod
    def sample(
        config: SynthConfig, head: Head, speech: Speech, face_rng: np.random.Generator, stage_rng: np.random.Generator
    ) -> Take:
        num = config.num_frames
        style = SpeakingStyle.sample(face_rng)
        weights, tongue = mouth_shapes(articulate(speech.phones, np.arange(num) / FPS, style), style)
        motion = motions.sample_motion(face_rng, num, speech.audio, config.max_turn_deg)
        weights.update(motions.upper_face(motion, face_rng, weights))
        hand_rng = face_rng.spawn(1)[0]
        held = None
        if hand_rng.random() < config.hand_share:
            gesture = GESTURES[int(hand_rng.integers(len(GESTURES)))]
            held = hold(head.mesh, head.neutral, head.who, gesture, hand_rng)
        drift = np.stack([0.25 * motions.wander(stage_rng, num, 1.5), 0.2 * motions.wander(stage_rng, num, 1.5)], 1)
        drift *= stage_rng.random() * (stage_rng.random() < 0.5)
        return Take(
            head=head,
            speech=speech,
            size=config.size,
            weights=weights,
            tongue=tongue,
            motion=motion,
            framing=Framing.sample(stage_rng, config.face_share),
            faults=Faults.sample(stage_rng, config.size),
            rng=stage_rng,
            drift_cm=drift,
            light=sample_light(stage_rng),
            background=sample_background(stage_rng, config.size),
            held=held,
            carried=np.full((num, 3, 4), np.nan, np.float32) if held is None else hand_moves(held, num, hand_rng),
        )

    def _weights(self, i: int) -> dict[str, float]:
        return {k: float(v[i]) for k, v in self.weights.items()}

    def _head_pose(self, i: int) -> Pose:
        m, (x, y, z) = self.motion, self.motion.shift_cm[i]
        return Pose(float(m.yaw[i]), float(m.pitch[i]), float(m.roll[i]), (float(x), float(y), float(z)))

    def _tongue(self, i: int) -> Tongue:
        return Tongue(*(float(self.tongue[k][i]) for k in ("up", "forward", "back")))

    def _camera(self, i: int) -> tuple[Float, Float]:
        """View-projection (4, 4) and eye (3,) of frame i."""
        target = np.array([*(np.array(self.framing.target_cm) + self.drift_cm[i]), 0], np.float32)
        eye = self.framing.eye(target)
        return perspective(self.framing.fov_deg) @ look_at(eye, target), eye

    def frames(self, canvas: Canvas) -> Iterator[Bytes]:
        """Pictures of the clip, one by one; each is a new array."""
        sensor, before = Sensor(self.faults, self.size, self.rng), None
        self.head.hold(self.held.parts if self.held else ())
        for i in range(len(self.motion.yaw)):
            self.head.pose(self._weights(i), self._tongue(i), self._head_pose(i), self.carried[i : i + 1])
            view, eye = self._camera(i)
            jaw, close = float(self.weights["jawOpen"][i]), float(self.weights["mouthClose"][i])
            mouth = jaw * (1 - close / max(jaw, 1e-3))
            picture = self.head.draw(
                canvas, view, eye, self.light, mouth, self.background, self.faults.exposure, before
            )
            before = self.head.screen()
            yield sensor.expose(picture)

    def _covered(self, i: int, view: Float, lips: Float) -> float:
        """Share of the mouth, the (12, 2) outline of the lips in pixels, that the hand hides in frame i."""
        import cv2

        if self.held is None or np.isnan(self.carried[i]).any():
            return 0.0
        low, high = lips.min(0) - 1, lips.max(0) + 1
        scale = COVER_PX / (high - low)
        inside, z = np.zeros((COVER_PX, COVER_PX), np.uint8), np.zeros((COVER_PX, COVER_PX), np.float32)
        cv2.fillPoly(inside, [np.round((lips - low) * scale).astype(np.int32)], 1)
        move = carry(moves_of(self._head_pose(i))[1], self.carried[i])
        hidden = np.zeros(inside.shape, bool)
        for part in self.held.parts:
            q = to_pixels(part.points @ move[:, :3].T + move[:, 3], view, self.size)
            s = np.zeros((len(q), 3), np.float32)
            s[:, :2] = (q - low) * scale
            chosen = np.arange(len(part.tri), dtype=np.int32)
            depth_map(s, part.tri, part.material, np.zeros(mat.NUM_MATERIALS, bool), chosen, z)
            hidden |= z < 1
        return float((hidden & (inside > 0)).sum() / max(int(inside.sum()), 1))

    def truth(self, identity: int, clip: int) -> Truth:
        """Project the landmarks of every frame, as its rows are exposed."""
        num = len(self.motion.yaw)
        pixels, gap, covered = np.zeros((num, 68, 2), np.float32), np.zeros(num, np.float32), np.zeros(num, np.float32)
        for i in range(num):
            points = self.head.landmarks(self._weights(i), self._head_pose(i))
            view = self._camera(i)[0]
            pixels[i] = to_pixels(points, view, self.size)
            covered[i] = self._covered(i, view, pixels[i, OUTER_LIPS])
            gap[i] = np.linalg.norm(points[UPPER_INNER_LIP] - points[LOWER_INNER_LIP])
        speed = np.diff(pixels, axis=0, prepend=pixels[:1])  # as the renderer blurs: since the frame before
        pixels += speed * self.faults.exposure.row_delay(pixels[..., 1:], self.size)
        gap_px = np.linalg.norm(pixels[:, UPPER_INNER_LIP] - pixels[:, LOWER_INNER_LIP], axis=-1)
        person = {k: v for k, v in asdict(self.head.who).items() if k != "shape"}
        return Truth(
            identity=identity,
            clip=clip,
            seed=self.head.who.seed,
            phones=self.speech.phones,
            landmarks=pixels,
            lip_gap_cm=gap,
            lip_gap_px=gap_px,
            pose=np.stack([self.motion.yaw, self.motion.pitch, self.motion.roll], 1).astype(np.float32),
            shape_names=tuple(self.weights),
            mouth_covered=covered,
            occluder=self.held.gesture if self.held else "",
            shapes=np.stack(list(self.weights.values()), 1).astype(np.float32),
            voice=self.speech.voice,
            text=self.speech.text,
            person=person,
        )


def make_clips(config: SynthConfig) -> Iterator[Clip]:
    """All clips of a set, person by person; memory holds one frame at a time."""
    studio = Studio(config)
    for identity in range(config.first_identity, config.first_identity + config.identities):
        for clip in range(config.clips_per_identity):
            yield studio.clip(identity, clip)


def clips(
    identities: int = 1,
    clips_per_identity: int = 1,
    seconds: float = 4.0,
    size: int = 384,
    seed: int = 0,
    face_model: Path | None = None,
) -> Iterator[tuple[Bytes, Float, Truth]]:
    """Whole clips in memory, for tests and training.

    Yields: frames (F, H, W, 3) uint8 RGB, 25 a second (frame i shows i/25 s); audio (S,) float32 at 16 kHz; the truth.
    """
    config = SynthConfig(
        identities=identities,
        clips_per_identity=clips_per_identity,
        seconds=seconds,
        size=size,
        seed=seed,
        face_model=face_model,
    )
    for clip in make_clips(config):
        yield np.stack(list(clip.frames)), clip.audio, clip.truth
