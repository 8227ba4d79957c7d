"""Frames a second of the data pipeline, by stage and end to end: one process, a pool, and the naive way.

    python benchmarks/data.py FOLDER [--workers 2] [--limit 10] [--set segments.min_s=2]

The naive way is what one would script first: the same stages one after the other over all files, every step ending
before the next begins, and each stage opened anew for each clip.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from latentsync.data.api import BuildOptions, build
from latentsync.data.clip import Clip
from latentsync.data.runners.base import Plan, Step, Worker
from latentsync.data.settings import DataSettings, data_settings, parse_change
from latentsync.data.sources import Speaker, begin, find_sources
from latentsync.data.stages import make_stages
from latentsync.data.workspace import Workspace, claimed


def naive(folder: Path, out: Path, settings: DataSettings) -> tuple[int, float]:
    """(kept clips, seconds)."""
    begun = time.perf_counter()
    workspace = Workspace(out)
    stages = make_stages(settings.resolved())
    with claimed(workspace):
        clips: list[Clip] = begin(find_sources(str(folder), Speaker()), workspace, 1)
        for index in range(len(stages)):
            after: list[Clip] = []
            for clip in clips:
                if clip.rejected is None:
                    worker = Worker(Plan(stages, workspace))
                    after += worker.do(Step(index, clip)).clips
                    worker.close()
            clips = after
    return sum(clip.rejected is None for clip in clips), time.perf_counter() - begun


def engine(folder: Path, out: Path, settings: DataSettings, name: str, workers: int) -> dict[str, object]:
    result = build(folder, out, settings, BuildOptions(engine=name, workers=workers))  # type: ignore[arg-type]
    tally = result.tally
    frames = tally.frames["probe"]
    return {
        "way": f"{name}, {workers} workers",
        "kept": result.num_kept,
        "wall_s": round(tally.wall_s, 1),
        "source_frames_per_s": round(frames / tally.wall_s, 1),
        "stage_frames_per_s": {stage: round(tally.frames[stage] / s) for stage, s in tally.seconds.items() if s > 0.01},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=10, help="use the first N files")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    args = parser.parse_args()
    settings = data_settings(dict(parse_change(change) for change in args.changes))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "raw").mkdir()
        for file in sorted(path for path in args.folder.iterdir() if path.is_file())[: args.limit]:
            shutil.copyfile(file, root / "raw" / file.name)
        kept, seconds = naive(root / "raw", root / "naive", settings)
        print(json.dumps({"way": "naive", "kept": kept, "wall_s": round(seconds, 1)}))
        print(json.dumps(engine(root / "raw", root / "serial", settings, "serial", 1)))
        print(json.dumps(engine(root / "raw", root / "local", settings, "local", args.workers)))


if __name__ == "__main__":
    main()
