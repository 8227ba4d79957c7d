"""Surfaces of smoothly joined rounded rods: distance field, then surface nets (Gibson 1998)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synth.arrays import Bools, Ints, Real

FAR_CM = 10.0


@dataclass(frozen=True, eq=False)
class Rod:
    """A rod with round ends from `start` to `end` (3,), cm, whose radius changes evenly between the two."""

    start: Real
    end: Real
    radius: tuple[float, float]

    def along(self, points: Real) -> Real:
        """(…) place of the nearest point of the axis, 0 at `start`, 1 at `end`."""
        axis = self.end - self.start
        out: Real = np.clip((points - self.start) @ axis / max(float(axis @ axis), 1e-9), 0, 1)
        return out

    def distance(self, points: Real) -> Real:
        """(…) distance to the surface, negative inside."""
        t = self.along(points)
        nearest = self.start + t[..., None] * (self.end - self.start)
        out: Real = np.linalg.norm(points - nearest, axis=-1) - (self.radius[0] * (1 - t) + self.radius[1] * t)
        return out


def join(a: Real, b: Real, width_cm: float) -> Real:
    """Union of two distance fields, rounded where they meet (polynomial smooth minimum)."""
    h = np.maximum(width_cm - np.abs(a - b), 0) / width_cm
    out: Real = np.minimum(a, b) - h * h * width_cm / 4
    return out


class Field:
    """Distance field on a grid; rods are only evaluated around themselves."""

    def __init__(self, low: Real, high: Real, step_cm: float) -> None:
        self.low, self.step = np.asarray(low, float), step_cm
        self.shape = tuple(int(n) for n in np.ceil((np.asarray(high) - low) / step_cm).astype(int) + 1)
        self.values = np.full(self.shape, FAR_CM, np.float32)

    def add(self, rods: list[Rod], inner_cm: float, outer_cm: float) -> None:
        """Join the rods with each other over `inner_cm`, and the result with what is there over `outer_cm`."""
        group = np.full(self.shape, FAR_CM, np.float32)
        for rod in rods:
            reach = max(rod.radius) + max(inner_cm, outer_cm) + 2 * self.step
            a = np.floor((np.minimum(rod.start, rod.end) - reach - self.low) / self.step).astype(int)
            b = np.ceil((np.maximum(rod.start, rod.end) + reach - self.low) / self.step).astype(int)
            box = tuple(slice(int(max(i, 0)), int(max(j, 0))) for i, j in zip(a, b, strict=True))
            points = self.low + self.step * np.stack(
                np.meshgrid(*(np.arange(s.start, min(s.stop, n)) for s, n in zip(box, self.shape, strict=True)),
                            indexing="ij"), -1
            )  # fmt: skip
            group[box] = join(group[box], rod.distance(points).astype(np.float32), inner_cm)
        self.values = join(self.values, group, outer_cm)

    def surface(self) -> tuple[Real, Ints]:
        """Points (N, 3) in cm and triangles (T, 3), facing out, of the surface where the distance is 0."""
        d = self.values
        inside = d < 0
        corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        nx, ny, nz = (n - 1 for n in d.shape)

        def part(a: Real, c: tuple[int, int, int]) -> Real:
            return a[c[0] : nx + c[0], c[1] : ny + c[1], c[2] : nz + c[2]]

        count = sum(part(inside, c).astype(np.int8) for c in corners)
        cells = np.argwhere((count > 0) & (count < 8))
        number = np.full((nx, ny, nz), -1, np.int32)
        number[tuple(cells.T)] = np.arange(len(cells))
        total, crossings = np.zeros((len(cells), 3)), np.zeros(len(cells))
        for c in corners:
            for axis in range(3):
                if c[axis]:
                    continue
                e = tuple(v + (k == axis) for k, v in enumerate(c))
                da, db = (d[tuple((cells + np.array(q)).T)] for q in (c, e))
                cross = (da < 0) != (db < 0)
                t = np.where(cross, da / np.where(cross, da - db, 1), 0)
                at = cells + np.array(c) + t[:, None] * np.eye(3)[axis]
                total += at * cross[:, None]
                crossings += cross
        points = self.low + self.step * total / crossings[:, None]
        return points, self._triangles(inside, number)

    @staticmethod
    def _triangles(inside: Bools, number: Ints) -> Ints:
        """Two triangles for each grid edge that crosses the surface, between the four cells around it."""
        out = []
        for axis in range(3):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            ahead = np.roll(inside, -1, axis)
            edge = np.argwhere(inside != ahead)
            limit = np.array(number.shape)
            edge = edge[
                (edge[:, axis] < limit[axis]) & (edge[:, [u, v]] >= 1).all(1) & (edge[:, [u, v]] < limit[[u, v]]).all(1)
            ]
            steps = []
            for a, b in ((1, 1), (0, 1), (0, 0), (1, 0)):
                cell = edge.copy()
                cell[:, u] -= a
                cell[:, v] -= b
                steps.append(number[tuple(cell.T)])
            quad = np.stack(steps, 1)
            flip = ~inside[tuple(edge.T)]
            quad[flip] = quad[flip][:, ::-1]
            out += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
        return np.concatenate(out).astype(np.int32)
