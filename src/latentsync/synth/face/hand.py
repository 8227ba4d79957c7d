"""Hands, and a microphone held by one, that come in front of the mouth.

A hand is built in its own axes, cm: wrist at the origin, fingers along +y, palm towards +z, thumb towards +x; that is a
right hand. Lengths are those of a mean adult, chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from latentsync.synth.arrays import Ints, Real
from latentsync.synth.face.fields import Noise, smoothstep
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart, grid_triangles, surface_normals
from latentsync.synth.face.skin import skin_tone
from latentsync.synth.face.solid import Field, Rod
from latentsync.synth.render import materials as mat

Gesture = Literal["cover", "fist", "point", "chin", "wave", "microphone"]
GESTURES: tuple[Gesture, ...] = ("cover", "fist", "point", "chin", "wave", "microphone")

KNUCKLES = np.array([[3.0, 9.2, 0.0], [1.0, 9.7, -0.15], [-1.0, 9.3, -0.1], [-2.8, 8.4, 0.1]])
BONES = np.array([[4.2, 2.5, 2.1], [4.7, 2.9, 2.2], [4.3, 2.7, 2.2], [3.4, 2.0, 1.9]])
THUMB = np.array([4.0, 3.3, 2.6])
CURL = {
    "cover": ((8, 14, 10), (6, 12, 9), (8, 14, 10), (12, 18, 12)),
    "wave": ((4, 8, 6), (2, 6, 5), (4, 8, 6), (8, 12, 8)),
    "point": ((6, 8, 5), (72, 95, 60), (78, 98, 62), (82, 98, 62)),
    "fist": ((75, 95, 60), (78, 98, 62), (80, 98, 62), (82, 98, 62)),
    "chin": ((30, 70, 40), (66, 90, 50), (74, 95, 58), (80, 96, 60)),
    "microphone": ((58, 72, 45), (60, 74, 46), (62, 76, 46), (64, 78, 46)),
}
"""Bend of the three joints of each finger from the index on, degrees."""
SPREAD_DEG = {"wave": (9, 2, -4, -12), "cover": (2, 0, -2, -4)}
STEP_CM = 0.2
TUBE = (24, 28)
"""Rings and columns of an arm."""


def _bend(direction: Real, side: Real, degrees: float) -> tuple[Real, Real]:
    """Direction of the next bone, bent towards the palm, and the palm's normal after it."""
    normal = np.cross(side, direction)
    a = np.radians(degrees)
    return direction * np.cos(a) + normal * np.sin(a), normal * np.cos(a) - direction * np.sin(a)


def finger_rods(gesture: Gesture, rng: np.random.Generator) -> list[list[Rod]]:
    """Three rods for each of four fingers, then the thumb's."""
    out = []
    for k, (root, bones, curl) in enumerate(zip(KNUCKLES, BONES, CURL[gesture], strict=True)):
        spread = np.radians(SPREAD_DEG.get(gesture, (1, 0, -1, -2))[k] + rng.normal(0, 1))
        direction = np.array([np.sin(spread), np.cos(spread), 0.0])
        side = np.array([np.cos(spread), -np.sin(spread), 0.0])
        at, thick, rods = root, 0.93 - 0.09 * (k == 3), []
        for length, degrees, shrink in zip(bones, curl, (0.93, 0.90, 0.84), strict=True):
            direction, _ = _bend(direction, side, degrees + rng.normal(0, 3))
            end = at + direction * length
            rods.append(Rod(at, end, (thick, thick * shrink)))
            at, thick = end, thick * shrink
        out.append(rods)
    folded = gesture in ("fist", "point", "microphone")
    ways = (
        [(0.55, 0.62, 0.56), (-0.35, 0.72, 0.6), (-0.92, 0.25, 0.28)]
        if folded
        else [(0.62, 0.70, 0.35), (0.45, 0.88, 0.12), (0.32, 0.95, 0.05)]
    )
    at, rods = np.array([2.2, 2.6, 0.5]), []
    for way, length, radius in zip(ways, THUMB, ((1.35, 1.05), (1.05, 0.95), (0.95, 0.78)), strict=True):
        end = at + np.array(way) / np.linalg.norm(way) * length
        rods.append(Rod(at, end, radius))
        at = end
    out.append(rods)
    return out


def _surface(fingers: list[list[Rod]]) -> tuple[Real, Ints]:
    field = Field(np.array([-6.0, -4.0, -3.6]), np.array([9.0, 21.5, 8.5]), STEP_CM)
    wrist = [np.array([x, 0.0, 0.0]) for x in (1.5, 0.5, -0.5, -1.4)]
    palm = [Rod(w, k * [1, 0.97, 1], (1.25, 1.12)) for w, k in zip(wrist, KNUCKLES, strict=True)]
    palm += [Rod(np.array([x, -3.5, 0.0]), np.array([x, 0.5, 0.0]), (1.75, 1.6)) for x in (-0.9, 0.9)]
    field.add(palm, 0.9, 0.1)
    field.add([fingers[4][0]], 0.3, 1.2)
    field.add(fingers[4][1:], 0.25, 0.35)
    for rods in fingers[:4]:
        field.add(rods, 0.25, 0.3)
    return field.surface()


def _colours(points: Real, normals: Real, fingers: list[list[Rod]], who: Identity, rng: np.random.Generator) -> Real:
    """(V, 3) linear colour: knuckles redder, the inside lighter, nails, mottling."""
    base = skin_tone(who.tone) * np.array([1.0, 0.97, 0.96])
    noise = Noise(rng, 24)
    back = smoothstep(0.3, -0.5, normals[:, 2])
    lighter = (1 - back) * (0.06 + 0.16 * who.tone)
    colour = np.broadcast_to(base, points.shape) * (1 + lighter[:, None] * [1.0, 0.95, 0.92])
    red = 0.06 * noise.octaves(points, 0.7) + 0.04 * noise.at(points, 3.0)
    for rods in fingers:
        for rod in rods:
            red = red + 0.35 * np.exp(-((np.linalg.norm(points - rod.start, axis=1) / 0.9) ** 2)) * back
    colour = colour * np.stack([1 + 0.03 * red, 1 - 0.22 * red, 1 - 0.2 * red], 1)
    for rods in fingers:
        tip = rods[-1]
        way = (tip.end - tip.start) / np.linalg.norm(tip.end - tip.start)
        first = rods[0].end - rods[0].start
        side = np.cross(first / np.linalg.norm(first), [0, 0, 1.0])
        up = np.cross(way, side / max(float(np.linalg.norm(side)), 1e-6))  # away from the palm
        q = points - tip.end
        across = np.linalg.norm(q - (q @ way)[:, None] * way - (q @ up)[:, None] * up, axis=1)
        nail = smoothstep(0.55, 0.42, across) * smoothstep(-0.75, -0.6, q @ way) * (q @ way < 0.62)
        nail = nail * (q @ up > 0.45 * tip.radius[1])
        colour = colour * (1 - nail[:, None]) + nail[:, None] * (0.5 * colour + 0.5 * np.array([0.86, 0.66, 0.62]))
    return mat.linear(np.clip(colour, 0.01, 0.97))


def _tube(start: Real, end: Real, radius: tuple[float, float], flat: float) -> tuple[Real, Ints]:
    """Points and triangles of an oval tube."""
    way = (end - start) / np.linalg.norm(end - start)
    side = np.cross(way, [0, 0, 1.0])
    side = side / np.linalg.norm(side)
    up = np.cross(side, way)
    t = np.linspace(0, 1, TUBE[0])[:, None, None]
    angle = np.linspace(0, 2 * np.pi, TUBE[1], endpoint=False)[None, :, None]
    r = radius[0] * (1 - t) + radius[1] * t
    points = start + t * (end - start) + r * (np.cos(angle) * side + np.sin(angle) * up * flat)
    tri = grid_triangles(*TUBE, closed=True)
    return points.reshape(-1, 3), tri


def _part(points: Real, tri: Ints, colour: Real, material: int, number: int) -> MeshPart:
    att = np.ones((len(points), 4), np.float32)
    att[:, 1:] = colour
    return MeshPart.build(points, surface_normals(points, tri), tri, material, att=att, casts=True, carrier=number)


@dataclass(frozen=True, eq=False)
class Held:
    """A hand (and what it holds) for one clip.

    Attributes:
        parts: geometry in the hand's own axes; all have `carrier` 0.
        place: (3, 4) rigid move from the hand's axes to the head's, where it covers the mouth most.
        away_cm: (3,) shift in the head's axes that takes it out of the picture.
    """

    gesture: Gesture
    parts: list[MeshPart]
    place: Real
    away_cm: Real


def _microphone(rng: np.random.Generator) -> list[MeshPart]:
    """Grille and handle through the fist, along x of the hand."""
    middle, way = np.array([0.0, 10.5, 3.2]), np.array([1.0, 0.18, 0.1])
    way = way / np.linalg.norm(way)
    field = Field(np.array([4.0, 7.5, 0.5]), np.array([14.0, 15.5, 7.5]), 0.25)
    head = middle + way * 9.5
    field.add([Rod(head, head + way * 0.9, (2.5, 2.45))], 0.1, 0.1)
    points, tri = field.surface()
    grid = 0.09 + 0.10 * (np.sin(points @ np.array([9, 3, 5.0])) * np.sin(points @ np.array([-4, 9, 6.0])) > 0)
    tint = rng.uniform(0.5, 1.2) * np.array([1, 1, 1.03])
    tube, tube_tri = _tube(middle - way * 12, middle + way * 8.2, (1.2, 1.9), 1.0)
    dark = np.broadcast_to(mat.linear(rng.uniform(0.08, 0.3) * tint), tube.shape)
    return [
        _part(points, tri, mat.linear(np.clip(grid[:, None] * 2.2 * tint, 0, 1)), mat.FABRIC, 0),
        _part(tube, tube_tri, dark, mat.FABRIC, 0),
    ]


def _orientation(gesture: Gesture, rng: np.random.Generator) -> tuple[Real, Real]:
    """Rotation (3, 3) from a right hand's axes to the head's, and the point of the hand that goes to the mouth."""
    if gesture in ("cover", "wave"):
        tilt, focus = rng.uniform(35, 80) if gesture == "cover" else rng.uniform(-10, 30), np.array([0.0, 11.5, 1.0])
        toward = -1.0 if gesture == "cover" else 1.0  # a waving hand shows its palm
    elif gesture == "point":
        tilt, focus, toward = rng.uniform(5, 35), np.array([3.0, 17.0, 0.5]), -1.0
    elif gesture == "chin":
        tilt, focus, toward = rng.uniform(15, 45), np.array([3.0, 13.8, 3.0]), -1.0
    elif gesture == "microphone":
        tilt, focus, toward = rng.uniform(60, 95), np.array([9.6, 12.4, 4.3]), -1.0
    else:
        tilt, focus, toward = rng.uniform(25, 65), np.array([1.0, 9.8, 2.0]), -1.0
    a = np.radians(tilt)
    y, z = np.array([np.sin(a), np.cos(a), 0.0]), np.array([0.0, 0.0, toward])
    lean = np.radians(rng.uniform(-18, 8))
    z = z * np.cos(lean) + np.array([0, 1.0, 0]) * np.sin(lean)
    z = z - y * (z @ y)
    z = z / np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], 1), focus


def hold(mesh: HeadMesh, neutral: Real, who: Identity, gesture: Gesture, rng: np.random.Generator) -> Held:
    """Build a hand for a person and find where it touches the face (a wave and a microphone stay in front of it)."""
    fingers = finger_rods(gesture, rng)
    points, tri = _surface(fingers)
    normals = surface_normals(points, tri)
    turn, focus = _orientation(gesture, rng)
    parts = [_part(points, tri, _colours(points, normals, fingers, who, rng), mat.HAND, 0)]
    if gesture == "microphone":
        parts += _microphone(rng)
    elbow = turn.T @ np.array([-16.0, -26.0, 4.0])
    elbow = elbow / np.linalg.norm(elbow) * 27
    start = np.array([0.0, -2.6, 0.0])
    skin = np.broadcast_to(mat.linear(skin_tone(who.tone)), (TUBE[0] * TUBE[1], 3))
    arm, arm_tri = _tube(start, start + elbow, (2.55, 3.9), 0.78)
    parts.append(_part(arm, arm_tri, skin, mat.HAND, 0))
    if rng.random() < 0.75:
        cloth = np.broadcast_to(mat.linear(who.cloth_rgb), (TUBE[0] * TUBE[1], 3))
        sleeve, sleeve_tri = _tube(start + elbow * rng.uniform(0.05, 0.35), start + elbow * 1.02, (3.5, 5.2), 0.85)
        parts.append(_part(sleeve, sleeve_tri, cloth, mat.FABRIC, 0))
    mouth = neutral[mesh.landmarks[60:68]].mean(0)
    if rng.random() < 0.5:  # a left hand
        turn = np.diag([-1.0, 1, 1]) @ turn
        for part in parts:
            part.tri = np.ascontiguousarray(part.tri[:, ::-1])
    hard = np.concatenate([p.points for p in parts if p.material[0] == mat.HAND or gesture == "microphone"])
    aim = mouth + np.array([rng.normal(0, 0.5), rng.normal(0, 0.5) - 0.8 * (gesture in ("chin", "microphone")), 6.0])
    at = aim - turn @ focus
    placed = hard @ turn.T + at
    tree = cKDTree(neutral[: mesh.skin_verts])
    near = np.where(placed[:, 1] > mouth[1] - 6)[0]
    for _ in range(14):  # move in until something touches the skin
        gap = float(tree.query(placed[near])[0].min())
        behind = placed[near][:, 2].min() < 6
        step = min(gap - 0.35, 1.0)
        if step < 0.05 or behind:
            break
        at, placed = at - np.array([0, 0, step]), placed - np.array([0, 0, step])
    room = {"wave": rng.uniform(3, 10), "microphone": rng.uniform(0.3, 3)}.get(gesture, 0.15)
    at = at + np.array([0, 0, room])
    place = np.concatenate([turn, at[:, None]], 1).astype(np.float32)
    away = np.array([-np.sign(turn[0, 1] or 1) * 8.0, -30.0, 5.0])
    if gesture == "wave":
        away = np.array([np.sign(rng.normal()) * 30.0, rng.uniform(-14, 2), 2.0])
    return Held(gesture, parts, place, away)


def hand_moves(held: Held, num: int, rng: np.random.Generator, fps: int = 25) -> Real:
    """(F, 3, 4) moves of the hand in the head's axes: comes, stays with a little unrest, leaves; NaN = not there."""
    t = np.arange(num) / fps
    length = num / fps
    stay = float(rng.uniform(0.05, 0.2) if held.gesture == "wave" else rng.uniform(0.3, 1.6))
    middle, speed = float(rng.uniform(0.15, 0.85)) * length, float(rng.uniform(0.25, 0.6))
    out = np.full((num, 3, 4), np.nan, np.float32)
    gone = np.clip((np.abs(t - middle) - stay / 2) / speed, 0, 1)
    eased = gone * gone * (3 - 2 * gone)
    side = np.where((t > middle) & (held.gesture == "wave"), -1.0, 1.0)  # a wave crosses
    unrest = np.stack([0.12 * np.sin(t * rng.uniform(3, 7) + rng.uniform(0, 6)) for _ in range(3)], 1)
    for i in range(num):
        if gone[i] < 1:
            out[i] = held.place
            out[i, :, 3] += held.away_cm * [side[i], 1, 1] * eased[i] + unrest[i] * [1, 1, 0.2]
    return out
