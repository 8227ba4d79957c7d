"""Prepare clips for training: follow the face, cut aligned crops, read the speech. The code is that of inference."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

import numpy as np

from latentsync.core.errors import LatentSyncError
from latentsync.faces import FaceFollower, FaceTracker, MeshTracker, extract_crop
from latentsync.faces.alignment import transform
from latentsync.media import VideoReader, read_audio

log = logging.getLogger(__name__)


def prepare_clip(
    video: Path, wave: Path | None, out: Path, tracker: FaceTracker, meta: dict[str, object], resolution: int = 256
) -> int:
    """Write `crops.npy`, `mesh.npy`, `wave.npy` and `meta.json` (last, so that a folder with it is complete) to `out`.

    Returns: number of frames.
    Raises: LatentSyncError: some frame has no face, or there are fewer than 24 frames.
    """
    out.mkdir(parents=True, exist_ok=True)
    crops, meshes = [], []
    follower = FaceFollower(tracker, "largest", resolution)
    with VideoReader(video) as reader:
        for frame, face in follower.follow(reader):
            if face is None:
                raise LatentSyncError(f"{video.name}: frame {frame.index} has no usable face")
            crop = extract_crop(frame.picture, face.frame_to_crop, resolution)
            crops.append(np.rint(crop.clip(0, 1) * 255).astype(np.uint8))
            meshes.append(transform(face.frame_to_crop, face.landmarks))
    if len(crops) < 24:
        raise LatentSyncError(f"{video.name}: {len(crops)} frames, at least 24 are needed")
    np.save(out / "crops.npy", np.stack(crops))
    np.save(out / "mesh.npy", np.stack(meshes).astype(np.float32))
    np.save(out / "wave.npy", read_audio(wave or video).astype(np.float32))
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    return len(crops)


def main() -> None:
    """`python -m latentsync.training.prepare --list clips.jsonl --out FOLDER`.

    Each line of the list: {"video": path, "wave": path or null, "name": unique, "person", "split", "in_sync"}.
    """
    parser = argparse.ArgumentParser(description=main.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tracker = MeshTracker()
    for line in args.list.read_text().splitlines():
        entry = json.loads(line)
        out = args.out / entry["name"]
        if (out / "meta.json").exists():
            continue
        wave = Path(entry["wave"]) if entry.get("wave") else None
        try:
            meta = {k: entry[k] for k in ("person", "split", "in_sync")} | {"source": Path(entry["video"]).name}
            count = prepare_clip(Path(entry["video"]), wave, out, tracker, meta)
            log.info("%s: %d frames", entry["name"], count)
        except LatentSyncError as error:
            shutil.rmtree(out)  # made by this call, incomplete
            log.warning("left out: %s", error)


if __name__ == "__main__":
    main()
