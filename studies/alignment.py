"""Where the alignment puts the brow and nose points of each person, and how still it holds them.

    python studies/alignment.py BUILD... [--only grid] [--truth SYNTH]

BUILD is the output of `latentsync data build`; people are its identities. All distances are pixels of a 256 crop, the
largest of the three points. SYNTH, a folder of `latentsync synth`, gives the same for the true 68 landmarks that the
released models' points are means of: what of the distance to the template is the template's and not our mesh's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from latentsync.data.manifest import read_manifest
from latentsync.data.stages.face_scores import template_points
from latentsync.faces.alignment import alignment_matrix, transform

SIDE = 256
GROUPS = (range(17, 22), range(22, 27), range(27, 36))


def placed(folder: Path, resolution: int) -> np.ndarray:
    """(F, 3, 2) points of a clip's frames, pixels of a 256 crop."""
    with np.load(folder / "face.npz") as face:
        pairs = zip(face["frame_to_crop"], face["points"], strict=True)
        return np.stack([transform(matrix, points) for matrix, points in pairs]) * (SIDE / resolution)


def far(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(F,) largest distance of the three points from a place (3, 2)."""
    return np.linalg.norm(points - place, axis=-1).max(axis=-1)


def spread(values: np.ndarray) -> str:
    return ", ".join(f"{np.percentile(values, p):.2f}" for p in (50, 95, 99, 100))


def of_truth(folder: Path) -> np.ndarray:
    """(3, 2) mean place of the true landmarks' means over synthetic people, each frame aligned by them."""
    places = []
    for path in sorted(folder.glob("id*.npz")):
        with np.load(path) as truth:
            points = np.stack([truth["landmarks"][:, list(group)].mean(axis=1) for group in GROUPS], axis=1)
        places.append(np.mean([transform(alignment_matrix(p, SIDE), p) for p in points], axis=0))
    return np.mean(places, axis=0)


def show(name: str, place: np.ndarray) -> None:
    offset = place - template_points(SIDE)
    named = zip(("left brow", "right brow", "nose"), offset, strict=True)
    parts = ", ".join(f"{part} ({x:+.1f}, {y:+.1f})" for part, (x, y) in named)
    print(f"{name}: {parts}; {np.linalg.norm(offset, axis=1).max():.1f} from the template")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", type=Path, nargs="+")
    parser.add_argument("--only", default="", help="people whose name holds this")
    parser.add_argument("--truth", type=Path, help="folder of synthetic clips with their truth")
    args = parser.parse_args()
    by_person: dict[str, list[np.ndarray]] = {}
    for build in args.builds:
        rows, settings = read_manifest(build)
        for row in rows:
            if row["kept"] and args.only in row["identity"]:
                clip = placed(build / "clips" / row["clip_id"], settings["faces"]["resolution"])
                by_person.setdefault(row["identity"], []).append(clip)
    homes = {name: np.concatenate(clips).mean(axis=0) for name, clips in by_person.items()}
    common = np.mean(list(homes.values()), axis=0)
    clips = [clip for own in by_person.values() for clip in own]
    own = np.concatenate([far(clip, clip.mean(axis=0)) for clip in clips])
    still = np.concatenate([far(clip, homes[name]) for name, clips in by_person.items() for clip in clips])
    print(f"{len(clips)} clips of {len(homes)} people; median, 95 %, 99 % and greatest distance:")
    print("a frame from its clip's mean place:", spread(own))
    print("a frame from its person's mean place:", spread(still))
    print("a person's mean place from that of all people:", spread(far(np.stack(list(homes.values())), common)))
    print("a frame from the mean place of all people:", spread(np.concatenate([far(clip, common) for clip in clips])))
    show("mean place of all people", common)
    if args.truth is not None:
        show("true 68 landmarks of synthetic people", of_truth(args.truth))


if __name__ == "__main__":
    main()
