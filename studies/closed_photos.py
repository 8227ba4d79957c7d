"""What lies between the lips of a photo of a closed mouth that is made to speak, beside the person's real mouths.

python studies/closed_photos.py --data D --model tiny --sheet sheet.png

Held-out people of `latentsync data build --training`. One frame with closed lips is repeated as a film and driven by
somebody else's speech; its open mouths are compared with the same person's real ones (`metrics.mouth`: Fréchet and
nearest-mouth distance of features, and the floor of real mouths against real ones). `film` is the clip itself, whose
person does open the mouth; `real` the floor. `--own` leaves the second reference what it is: nothing is lent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from latentsync import Lipsync
from latentsync.faces import MeshTracker
from latentsync.generation.tiny import references
from latentsync.metrics.lips import lip_opening
from latentsync.metrics.mouth import Features, mouth_distance, open_mouths, vgg_features
from latentsync.training.datasets import num_frames, open_data
from latentsync.training.tasks.tiny_unet.validate import Drive, drives_of, meshes_of

FRAMES = 75
SHOWN = 8
"""ReferenceLips of a row of the sheet, the widest first, every fourth."""
PART = (slice(100, 228), slice(48, 208))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--own", action="store_true", help="lend nothing")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    if args.own:
        references.with_open_mouth = lambda frames: frames  # type: ignore[assignment]
    features, tracker = vgg_features(), MeshTracker()
    held_out = [clip for clip in open_data(args.data).val if num_frames(clip) >= FRAMES // 2]
    by_person: dict[str, list] = {}
    for clip in held_out:
        by_person.setdefault(clip.person, []).append(clip)
    people = [clips[0] for clips in by_person.values()][: args.people]
    lipsync = Lipsync.from_pretrained(args.model)
    rows, table = [], []
    print("person                      Fréchet: photo   film   real   nearest: photo   film   real   mouths")
    for drive in drives_of(people, len(people)):
        person, wave = drive.person, speech_of(drive)
        real = looked_into(features, [(np.asarray(c.crops), np.asarray(c.mesh)) for c in by_person[person.person]])
        count = min(num_frames(person), FRAMES)
        closed = int(np.argmin(lip_opening(np.asarray(person.mesh))))
        photo = np.repeat(np.asarray(person.crops)[closed : closed + 1], count, axis=0)
        found = []
        for source in (photo, np.ascontiguousarray(person.crops[:count])):
            made = np.stack(list(lipsync.stream(source, wave)))
            points = meshes_of(made, tracker) - np.float32([80, 96])
            found.append(mouth_distance(looked_into(features, [(made, points)]), real))
            openest = np.argsort(-np.nan_to_num(lip_opening(points)))[: 4 * SHOWN : 4]
            rows.append(np.concatenate([photo[0], *made[openest]], axis=1))
        if found[0] is None or found[1] is None:
            print(f"{person.person:28s} too few open mouths", flush=True)
            continue
        two = [(each.frechet, each.nearest) for each in found] + [(found[1].frechet_floor, found[1].nearest_floor)]
        table.append([*(each[0] for each in two), *(each[1] for each in two)])
        print(line(person.person, table[-1]), f"{found[0].num:8d} {found[1].num}", flush=True)
    if table:
        print(line("mean", list(np.mean(table, axis=0))))
    if args.sheet:
        cut = [row.reshape(256, -1, 256, 3)[PART[0], :, PART[1]].reshape(128, -1, 3) for row in rows]
        cv2.imwrite(str(args.sheet), np.concatenate(cut)[:, :, ::-1])


def looked_into(features: Features, clips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Features and shapes of the open mouths of (crops, meshes)."""
    mouths = [open_mouths(crops, meshes) for crops, meshes in clips]
    return (
        np.concatenate([features(each.pictures, each.inside) for each in mouths]),
        np.concatenate([each.shapes for each in mouths]),
    )


def line(name: str, numbers: list[float]) -> str:
    """One row of the table."""
    return f"{name:28s}" + "".join(
        f"{value:{width}.3f}" for value, width in zip(numbers, (15, 7, 7, 16, 7, 7), strict=True)
    )


def speech_of(drive: Drive) -> np.ndarray:
    """(S,) float32."""
    parts = [np.asarray(p.clip.wave, np.float32)[640 * p.start : 640 * (p.start + p.count)] for p in drive.speech]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
