"""What lies between the lips of a photo of a closed mouth that is made to speak, beside the person's real mouths.

python benchmarks/closed_photos.py --data D --vgg vgg16.safetensors --model tiny --sheet sheet.png

Held-out people of `latentsync data build --training`. One frame with closed lips is repeated as a film and driven by
somebody else's speech; where the made mouth is open, what lies between its lips is compared with the same person's
really open mouths. `real` is the floor: half of the real mouths against the other half; `open` is the same clip as a
film, whose person does open the mouth.

colour: distance of the two sets of pixels in CIELAB, sorted along 32 directions (sliced Wasserstein, units of L*).
features: Fréchet distance of mouth crops in the first two stages of a VGG-16 with diagonal covariances, per channel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from latentsync import Lipsync
from latentsync.faces import MeshTracker
from latentsync.faces import topology as mesh
from latentsync.metrics.lips import lip_opening
from latentsync.models.vgg import load_vgg
from latentsync.training.datasets import num_frames, open_data
from latentsync.training.tasks.tiny_unet.validate import drives_of, meshes_of

OPEN = 0.03
"""Openings from which on a mouth is looked into, eye distances."""
SIZE = (64, 40)
"""Of the mouths that are compared, pixels."""
FRAMES = 75
SHOWN = 8
PART = (slice(100, 228), slice(48, 208))


def inside(crops: np.ndarray, meshes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3) between open lips in CIELAB, and crops (m, 40, 64, 3) of these mouths."""
    pixels, mouths = [np.zeros((0, 3), np.float32)], []
    for crop, points, opening in zip(crops, meshes, lip_opening(meshes), strict=True):
        if not opening >= OPEN:
            continue
        lips = points[list(mesh.INNER_LIPS)].astype(np.float32)
        seen = np.zeros(crop.shape[:2], np.uint8)
        cv2.fillPoly(seen, [np.rint(lips).astype(np.int32)], 1)
        lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        pixels.append(lab[cv2.erode(seen, np.ones((3, 3), np.uint8)) > 0])
        (x0, y0), (x1, y1) = lips.min(axis=0) - 4, lips.max(axis=0) + 4
        way = np.float32([[SIZE[0] / (x1 - x0), 0, 0], [0, SIZE[1] / (y1 - y0), 0]])
        way[:, 2] = -way[0, 0] * x0, -way[1, 1] * y0
        mouths.append(cv2.warpAffine(crop, way, SIZE, flags=cv2.INTER_LINEAR))
    return np.concatenate(pixels), np.array(mouths)


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Sliced Wasserstein distance of (n, 3) and (m, 3)."""
    ways = np.random.default_rng(0).standard_normal((32, 3))
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    at = np.linspace(0, 1, 200)
    return float(np.mean([np.abs(np.quantile(a @ w, at) - np.quantile(b @ w, at)).mean() for w in ways]))


@torch.no_grad()
def features(vgg: torch.nn.Module, mouths: np.ndarray) -> list[np.ndarray]:
    """Per stage (n, channels)."""
    x = torch.from_numpy(mouths).permute(0, 3, 1, 2).float() / 127.5 - 1
    return [each.mean((2, 3)).numpy() for each in vgg(x)]


def frechet(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """Diagonal, mean of channels and stages."""
    out = [
        np.square(x.mean(0) - y.mean(0)) + np.square(x.std(0) - y.std(0)) for x, y in zip(a, b, strict=True)
    ]  # fmt: skip
    return float(np.mean([np.sqrt(each.mean()) / np.sqrt(np.square(y).mean()) for each, y in zip(out, b, strict=True)]))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--vgg", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    vgg, tracker = load_vgg(args.vgg, 2).eval(), MeshTracker()
    held_out = [clip for clip in open_data(args.data).val if num_frames(clip) >= FRAMES // 2]
    by_person: dict[str, list] = {}
    for clip in held_out:
        by_person.setdefault(clip.person, []).append(clip)
    people = [clips[0] for clips in by_person.values()][: args.people]
    lipsync = Lipsync.from_pretrained(args.model)
    rows, table = [], []
    print("person                    colour: photo   film  real    features: photo   film   real")
    for drive in drives_of(people, len(people)):
        person, wave = drive.person, drive_speech(drive)
        real = [inside(np.asarray(c.crops), np.asarray(c.mesh)) for c in by_person[person.person]]
        pixels, mouths = np.concatenate([r[0] for r in real]), np.concatenate([r[1] for r in real if len(r[1])])
        count = min(num_frames(person), FRAMES)
        closed = int(np.argmin(lip_opening(np.asarray(person.mesh))))
        photo = np.repeat(np.asarray(person.crops)[closed : closed + 1], count, axis=0)
        line, shown = [], []
        for source in (photo, np.ascontiguousarray(person.crops[:count])):
            made = np.stack(list(lipsync.stream(source, wave)))
            points = meshes_of(made, tracker) - np.float32([80, 96])
            seen, crops = inside(made, points)
            few = len(crops) < 3
            line += [np.nan, np.nan] if few else [colour_distance(seen, pixels),
                                                  frechet(features(vgg, crops), features(vgg, mouths))]  # fmt: skip
            openest = np.argsort(-np.nan_to_num(lip_opening(points)))[: 4 * SHOWN : 4]
            shown.append(np.concatenate([source[closed if source is not photo else 0], *made[openest]], axis=1))
        half = len(mouths) // 2
        floor = (
            colour_distance(pixels[::2], pixels[1::2]),
            frechet(features(vgg, mouths[:half]), features(vgg, mouths[half:])),
        )
        line += floor
        table.append(line)
        print(f"{person.person:28s} {line[0]:10.2f} {line[2]:6.2f} {line[4]:5.2f} "
              f"{line[1]:16.3f} {line[3]:6.3f} {line[5]:6.3f}", flush=True)  # fmt: skip
        rows += [each.reshape(256, -1, 256, 3)[PART[0], :, PART[1]].reshape(128, -1, 3) for each in shown]
    mean = np.nanmean(np.array(table), axis=0)
    print(f"{'mean':28s} {mean[0]:10.2f} {mean[2]:6.2f} {mean[4]:5.2f} {mean[1]:16.3f} {mean[3]:6.3f} {mean[5]:6.3f}")
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.concatenate(rows)[:, :, ::-1])


def drive_speech(drive) -> np.ndarray:
    """(S,) float32."""
    parts = [np.asarray(p.clip.wave, np.float32)[640 * p.start : 640 * (p.start + p.count)] for p in drive.speech]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
