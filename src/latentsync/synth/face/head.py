"""One person, ready to be posed and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from latentsync.core.values import Bytes, Float
from latentsync.synth.arrays import Bools, Ints
from latentsync.synth.face.atlas import Atlas
from latentsync.synth.face.clothes import clothes, throat_wall
from latentsync.synth.face.fields import smoothstep
from latentsync.synth.face.glasses import glasses
from latentsync.synth.face.hair import hair_parts, lips_of
from latentsync.synth.face.hats import hat_parts, press_hair
from latentsync.synth.face.identity import Identity
from latentsync.synth.face.model import HeadMesh
from latentsync.synth.face.parts import MeshPart
from latentsync.synth.face.posing import FLAT, STRAIGHT, Pose, Tongue, carry, moves_of
from latentsync.synth.face.skin import iris_texture, paint_skin
from latentsync.synth.face.strands import strand_texture
from latentsync.synth.render import materials as mat
from latentsync.synth.render.camera import light_view
from latentsync.synth.render.canvas import Canvas, Light
from latentsync.synth.render.exposure import Exposure, expose
from latentsync.synth.render.geometry import depth_map, move_rigid, project, vertex_normals
from latentsync.synth.render.lighting import light_vertices
from latentsync.synth.render.raster import raster
from latentsync.synth.render.shade import blend_films, develop, resolve

OPEN_MOUTH = {
    "jawOpen": 0.5,
    "mouthUpperUp_L": 0.3,
    "mouthUpperUp_R": 0.3,
    "mouthLowerDown_L": 0.3,
    "mouthLowerDown_R": 0.3,
}
INSTANT = Exposure()
NOWHERE = np.full((3, 4), np.nan, np.float32)


class Head:
    """A person built from an identity; `pose` moves it, `draw` makes a picture.

    Args:
        texture_px: size of the face texture; about the size of the picture is enough (one look-up a pixel).
    """

    def __init__(self, mesh: HeadMesh, atlas: Atlas, who: Identity, texture_px: int = 512) -> None:
        self.mesh, self.who = mesh, who
        rng = np.random.default_rng([who.seed, 0x4EAD])
        self.neutral = mesh.person(np.array(who.shape[: len(mesh.identity_scale)], np.float32))
        self._textures(atlas, rng, texture_px)
        self.vertex, uv, tri = mesh.render_vertices()
        keep = ~self._under_clothes(mesh.base[mesh.tri])
        tri, material = np.ascontiguousarray(tri[keep]), np.ascontiguousarray(mesh.material[keep])
        back = np.zeros(len(self.vertex), bool)
        back[tri[material == mat.SCALP].ravel()] = True
        uv = uv.copy()
        uv[back, 0] -= 1
        y, z = mesh.base[:, 1], mesh.base[:, 2]
        self.neck_weight = smoothstep(-15.5, -8.2, y + 0.25 * np.maximum(z - 3, 0)).astype(np.float32)
        tongue = mesh.groups["tongue"]
        self._tip = np.where(tongue, smoothstep(5.5, 9.6, z), 0).astype(np.float32)
        self._body = np.where(tongue, np.exp(-(((z - 6.2) / 1.6) ** 2)), 0).astype(np.float32)
        skin = MeshPart(
            points=self.neutral[self.vertex],
            normals=mesh.normals(self.neutral)[self.vertex],
            tri=tri,
            material=material,
            uv=uv,
            rest=mesh.base[self.vertex],
            att=self._skin_attributes(uv),
            casts=np.isin(material, (mat.SKIN, mat.SCALP, mat.TEETH)),
            weight=self.neck_weight[self.vertex],
        )
        lip_verts = lips_of(mesh, atlas.lips, uv, self.vertex)
        self.parts = [
            skin,
            *press_hair(hair_parts(mesh, self.neutral, who, lip_verts, rng), mesh, self.neutral, who),
            *hat_parts(mesh, self.neutral, who),
            clothes(mesh, self.neutral, self.neck_weight, who),
            throat_wall(),
        ]
        if who.glasses:
            self.parts.append(glasses(mesh, self.neutral, who))
        self._own = tuple(self.parts)
        self._landmark_shapes = mesh.shapes_at(mesh.landmarks)
        self._skin_shine, self._skin_tangents = self._vertex_shine(tri, material, uv), self._tangents(tri, uv)
        self._assemble()
        self._bake_visibility()

    # ---- building -----------------------------------------------------------------------------------------------

    def _textures(self, atlas: Atlas, rng: np.random.Generator, size: int) -> None:
        import cv2

        painted = paint_skin(atlas, self.who, rng)

        def fit(t: Float, px: int) -> Float:
            return np.ascontiguousarray(cv2.resize(t, (px, px), interpolation=cv2.INTER_AREA) if len(t) > px else t)

        self._face, self._scalp = fit(painted["face"][0], size), fit(painted["head"][0], size // 2)
        self._shine = {"face": painted["face"][1], "head": painted["head"][1]}
        self._iris, self._strands = iris_texture(rng, self.who.iris_rgb), strand_texture(rng)

    def _under_clothes(self, corners: Float) -> Bools:
        """(T,) triangles (T, 3, 3) of the neck that the collar hides; they would poke through the shoulders."""
        x, y, z = np.moveaxis(corners, -1, 0)
        edge = self.who.neckline_cm - 1.2 - 2.4 * np.maximum(z, 0) / 7.5
        return np.asarray(((y < edge) | (np.abs(x) > 8.8) & (y < -10.5)).all(axis=1), bool)

    def _skin_attributes(self, uv: Float) -> Float:
        """Lashes fade to their tips, the shade of the lids is darkest at the rim."""
        mesh, rest = self.mesh, self.mesh.base[self.vertex]
        att = np.ones((len(self.vertex), 4), np.float32)
        lash = mesh.groups["lashes"][self.vertex]
        eye_verts = mesh.base[mesh.groups["eyes"]]
        if lash.any():  # from the rim of the lid to the tips; lower lashes are sparse
            away, middle = cKDTree(eye_verts).query(rest[lash])[0], eye_verts[:, 1].mean()
            upper = rest[lash, 1] > middle
            for rows, strength in ((upper, 1.0), (~upper, 0.3)):
                near, far = np.percentile(away[rows], [5, 90])
                att[np.where(lash)[0][rows], 1] = strength * (1 - np.clip((away[rows] - near) / (far - near), 0, 1))
        lid = mesh.groups["occlusion"][self.vertex]
        rim = np.clip(np.abs(uv[lid, 1] % 1 - 0.5) * 2, 0, 1)
        att[lid, 1] = rim**2.2 * smoothstep(1.0, 0.72, rim)
        return att

    def _vertex_shine(self, tri: Ints, skin_material: Ints, uv: Float) -> Float:
        import cv2

        out = np.zeros((len(self.vertex), 2), np.float32)
        for name, material in (("face", mat.SKIN), ("head", mat.SCALP)):
            image = cv2.blur(self._shine[name], (5, 5))
            verts = np.unique(tri[skin_material == material])
            q = np.clip((uv[verts] * len(image)).astype(int), 0, len(image) - 1)
            out[verts] = image[q[:, 1], q[:, 0]]
        return out

    def _tangents(self, tri: Ints, uv: Float) -> Float:
        """(R, 3) direction in which u grows, on the neutral head."""
        p = self.neutral[self.vertex]
        a, b, c = (p[tri[:, k]] for k in range(3))
        ua, ub, uc = (uv[tri[:, k]] for k in range(3))
        e1, e2, d1, d2 = b - a, c - a, ub - ua, uc - ua
        det = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
        t = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * np.sign(det)[:, None]
        out = np.zeros_like(p)
        for k in range(3):
            np.add.at(out, tri[:, k], t)
        return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    def _assemble(self) -> None:
        """Put all parts into one set of arrays, opaque first, then hair, then films."""
        starts = np.cumsum([0] + [len(p.points) for p in self.parts])
        self._slices = [slice(int(a), int(b)) for a, b in pairwise(starts)]
        num, f4 = int(starts[-1]), np.float32
        joined = np.concatenate([p.tri + o for p, o in zip(self.parts, starts[:-1], strict=True)]).astype(np.int32)
        material = np.concatenate([p.material for p in self.parts]).astype(np.int32)
        casts = np.concatenate([p.casts for p in self.parts])
        film = np.isin(material, mat.FILMS)
        hair = np.isin(material, (mat.RIBBON, mat.SHELL))
        order = np.concatenate(
            [
                np.where(~film & ~hair)[0],
                np.where(material == mat.RIBBON)[0],
                np.where(material == mat.SHELL)[0],
                np.where(film)[0],
            ]
        )
        self.tri, self.material = np.ascontiguousarray(joined[order]), np.ascontiguousarray(material[order])
        self._opaque = int((~film).sum())
        self._films = np.arange(self._opaque, len(order), dtype=np.int32)
        self._casts = np.where(casts[order])[0].astype(np.int32)
        per_vertex = np.zeros(num, np.int32)
        per_vertex[joined.ravel()] = np.repeat(material, 3)
        self._vertex_material = np.where(per_vertex == mat.SCALP, mat.SKIN, per_vertex).astype(np.int32)
        self.uv, self.rest = (np.concatenate([getattr(p, k) for p in self.parts]).astype(f4) for k in ("uv", "rest"))
        self.att = np.concatenate([p.att for p in self.parts]).astype(f4)
        self._aux = np.zeros((num, 2), f4)
        self._aux[self._slices[0]] = self._skin_shine
        self._tangent0 = np.zeros((num, 3), f4)
        self._tangent0[self._slices[0]] = self._skin_tangents
        self.points, self.normals, self._tangent, self._screen, self._in_light = (
            np.zeros((num, 3), f4) for _ in range(5)
        )
        self._lit, self._away = np.zeros((num, 8), f4), np.zeros(num, bool)
        self._mesh_normals = np.zeros_like(self.neutral)
        self._colours()

    def _colours(self) -> None:
        a, b = np.zeros((2, mat.NUM_MATERIALS, 3), np.float32)
        who, hair = self.who, np.array(self.who.hair_rgb)
        a[mat.GUM], a[mat.TONGUE], a[mat.TEETH] = (
            mat.linear(who.gum_rgb),
            mat.linear(who.tongue_rgb),
            mat.linear(who.teeth_rgb),
        )
        a[mat.SOCKET] = mat.linear(who.gum_rgb) * [0.6, 0.4, 0.4]
        a[mat.OCCLUSION], a[mat.LASH] = [0.10, 0.04, 0.03], [0.03, 0.02, 0.02]
        a[mat.CLOTH], b[mat.CLOTH] = mat.linear(who.cloth_rgb), mat.linear(who.cloth2_rgb)
        a[mat.SHELL], b[mat.SHELL] = mat.linear(hair * 0.8), mat.linear(np.clip(hair * 1.35 + 0.02, 0, 1))
        a[mat.RIBBON], b[mat.RIBBON] = mat.linear(hair * 0.85), mat.linear(np.clip(hair * 1.5 + 0.03, 0, 1))
        a[mat.RIGID] = mat.linear(who.glasses_rgb)
        self._colour_a, self._colour_b = a, b

    def _bake_visibility(self, num_directions: int = 40) -> None:
        """Ambient visibility of every mesh vertex, mouth closed and open, from depth maps of many directions."""
        g = np.arange(num_directions) + 0.5
        polar, azimuth = np.arccos(1 - 1.75 * g / num_directions), np.pi * (1 + 5**0.5) * g
        dome = np.stack([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)], 1)
        dome = dome @ np.array([[1, 0, 0], [0, 0.62, 0.78], [0, -0.78, 0.62]]).T  # tilted towards the front
        z = np.zeros((256, 256), np.float32)
        out = []
        for weights in ({}, OPEN_MOUTH):
            points = self.pose(weights)
            normals, seen, total = self._mesh_normals.copy(), np.zeros(len(points)), np.full(len(points), 1e-6)
            q = np.zeros_like(points)
            for d in dome:
                view = light_view(d)
                project(self.points, view, 256, 256, self._screen)
                depth_map(self._screen, self.tri, self.material, mat.CULL, self._casts, z)
                project((points + normals * 0.12).astype(np.float32), view, 256, 256, q)
                x, y = (np.clip(q[:, k].astype(int), 0, 255) for k in (0, 1))
                share = np.clip(normals @ d, 0, 1) + 0.15
                seen += share * (q[:, 2] <= z[y, x] + 0.006)
                total += share
            out.append(np.clip((seen / total - 0.06) / 0.80, 0.02, 1) ** 0.9)
        both = np.stack(out)[:, self.vertex]
        teeth, eyes = self.mesh.groups["teeth"][self.vertex], self.mesh.groups["eyes"][self.vertex]
        both[:, teeth] = np.array([0.16, 0.30])[:, None] + np.array([0.6, 0.65])[:, None] * both[:, teeth]
        both[:, eyes] = np.clip(both[:, eyes] * 0.62 + 0.22, 0, 1)
        self._visibility = both.astype(np.float32)

    def hold(self, parts: Sequence[MeshPart]) -> None:
        """Let the person hold some parts (with a `carrier`) instead of those held before; needs a new `pose`."""
        if tuple(parts) != tuple(self.parts[len(self._own) :]):
            self.parts = [*self._own, *parts]
            self._assemble()

    # ---- per frame ----------------------------------------------------------------------------------------------

    def pose(
        self,
        weights: Mapping[str, float],
        tongue: Tongue = FLAT,
        pose: Pose = STRAIGHT,
        carried: Float | None = None,
    ) -> Float:
        """Move everything.

        Args:
            carried: (P, 3, 4) moves of held things in the head's axes, by their `carrier`; NaN = not there.
        Returns: the (V, 3) posed mesh vertices in world cm.
        """
        v = self.mesh.express(self.neutral, weights)
        if tongue.up or tongue.forward or tongue.back:
            v[:, 1] += self._tip * np.float32(tongue.up) + self._body * np.float32(tongue.back)
            v[:, 2] += self._tip * np.float32(tongue.forward)
        moves = moves_of(pose)
        out, scratch = np.empty_like(v), np.empty_like(v)
        move_rigid(v, v, moves, self.neck_weight, out, scratch)
        vertex_normals(out, self.mesh.tri, self._mesh_normals)
        first = self._slices[0]
        self.points[first], self.normals[first] = out[self.vertex], self._mesh_normals[self.vertex]
        self._tangent[first] = self._tangent0[first] @ moves[1, :, :3].T
        moved = v - self.neutral
        for part, where in zip(self.parts[1:], self._slices[1:], strict=True):
            p = part.points if part.skin_verts is None else part.points + moved[part.skin_verts]
            how = moves
            if part.carrier is not None:
                place = carry(moves[1], NOWHERE if carried is None else carried[part.carrier])
                how = np.stack([place, place])
            move_rigid(p, part.normals, how, part.weight, self.points[where], self.normals[where])
        return out

    def landmarks(self, weights: Mapping[str, float], pose: Pose) -> Float:
        """(68, 3) world cm of the landmarks, without moving the rest."""
        verts = self.mesh.landmarks
        out = self.neutral[verts]
        for name, weight in weights.items():
            out += self._landmark_shapes[name] * np.float32(weight)
        moves = moves_of(pose)
        torso, head = (out @ m[:, :3].T + m[:, 3] for m in moves)
        w = self.neck_weight[verts][:, None]
        return torso + w * (head - torso)

    def screen(self) -> Float:
        """(R, 3) where the last picture has its vertices, two samples a pixel; a copy."""
        return self._screen.copy()

    def draw(
        self,
        canvas: Canvas,
        view_projection: Float,
        eye: Float,
        light: Light,
        mouth_open: float,
        background: Float,
        exposure: Exposure = INSTANT,
        before: Float | None = None,
    ) -> Bytes:
        """Picture of the posed head.

        Args:
            mouth_open: jaw drop that shows between the lips, blends the baked visibility (0 closed, 0.5 open).
            background: (H, W, 3) float32 in 0 … 255.
            exposure: how long the shutter is open; needs `before`, the `screen` of the frame before.
        Returns: (H, W, 3) uint8 RGB; a view of the canvas, overwritten by the next call.
        """
        k = float(np.clip(mouth_open / 0.5, 0, 1))
        self.att[self._slices[0], 0] = self._visibility[0] * (1 - k) + self._visibility[1] * k
        view, n = light_view(light.directions[0]), canvas.shadow.shape[0]
        project(self.points, view, n, n, self._screen)
        depth_map(self._screen, self.tri, self.material, mat.CULL, self._casts, canvas.shadow)
        project(self.points + self.normals * np.float32(0.1), view, n, n, self._in_light)
        light_vertices(
            self.points,
            self.normals,
            self._tangent,
            self.att,
            self.rest,
            self._vertex_material,
            mat.LIGHT,
            mat.DEPTH_SHADE,
            self._aux,
            np.asarray(eye, np.float32),
            light.directions,
            light.colours,
            light.sky,
            light.ground,
            light.gloss,
            self._in_light,
            canvas.shadow,
            self._lit,
            self._away,
        )
        project(self.points, view_projection, 2 * canvas.size, 2 * canvas.size, self._screen)
        canvas.z[:], canvas.index[:] = 2.0, -1
        raster(
            self._screen,
            self.tri,
            self.material,
            self._opaque,
            mat.CULL,
            self._away,
            self.uv,
            self.rest,
            self.att,
            self._strands,
            canvas.z,
            canvas.index,
        )
        resolve(
            self._screen,
            self.tri,
            self.material,
            self.uv,
            self.rest,
            self.att,
            self._lit,
            self._face,
            self._scalp,
            self._iris,
            self._strands,
            self._colour_a,
            self._colour_b,
            float(self.who.stripes_per_cm),
            canvas.index,
            canvas.colour,
            canvas.cover,
        )
        blend_films(
            self._screen,
            self.tri,
            self.material,
            self._films,
            self.att,
            self._lit,
            self._colour_a,
            mat.FILM_ALPHA,
            canvas.z,
            canvas.colour,
        )
        if before is not None and (exposure.shutter or exposure.readout):
            buffers = canvas.index, canvas.colour, canvas.cover, canvas.summed
            expose(exposure, self._screen, before, self.tri, *buffers)
        develop(canvas.colour, canvas.cover, background, light.exposure, light.tint, canvas.out)
        return canvas.out
