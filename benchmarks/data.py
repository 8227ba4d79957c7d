"""The data pipeline's processor time and frames a second, by stage and end to end: one process, a pool, the naive way.

    python benchmarks/data.py FOLDER [--workers 2] [--limit 10] [--set segments.min_s=2] [--ways naive,serial,local]

The naive way is what one would script first: the same stages one after the other over all files, every step ending
before the next begins, and each stage opened anew for each clip.

Wall times mean something on an idle machine only. Processor times (all threads, workers included) hold on a busy one
too: `computed` is what they come to on so many idle cores if none of them ever waits, so an upper bound.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from latentsync.data.api import BuildOptions, build
from latentsync.data.clip import Clip
from latentsync.data.runners.base import Plan, Step, Tally, Worker
from latentsync.data.settings import DataSettings, data_settings, parse_change
from latentsync.data.sources import Speaker, begin, find_sources
from latentsync.data.stages import make_stages
from latentsync.data.workspace import Workspace, claimed
from latentsync.media.information import probe


@dataclass
class Spent:
    """Wall and processor time of a way, and what it came to."""

    kept: int
    wall_s: float
    cpu_s: float
    tally: Tally | None = None


def naive(folder: Path, out: Path, settings: DataSettings) -> int:
    """Kept clips."""
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
    return sum(clip.rejected is None for clip in clips)


def cpu_s() -> float:
    """Processor time so far: this process and its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def spend(way: str, folder: Path, out: Path, settings: DataSettings, workers: int) -> Spent:
    wall, cpu = time.perf_counter(), cpu_s()
    if way == "naive":
        kept, tally = naive(folder, out, settings), None
    else:
        result = build(folder, out, settings, BuildOptions(engine=way, workers=workers))  # type: ignore[arg-type]
        kept, tally = result.num_kept, result.tally
    return Spent(kept, time.perf_counter() - wall, cpu_s() - cpu, tally)


def line(way: str, spent: Spent, frames: int, source_s: float, cores: int) -> dict[str, object]:
    given: dict[str, object] = {
        "way": way,
        "kept": spent.kept,
        "wall_s": round(spent.wall_s, 1),
        "cpu_s": round(spent.cpu_s, 1),
        "cpu_s_per_source_minute": round(60 * spent.cpu_s / source_s, 1),
        "computed": {
            "idle_cores": cores,
            "frames_per_s": round(frames * cores / spent.cpu_s),
            "times_real_time": round(source_s * cores / spent.cpu_s, 1),
        },
    }
    if spent.tally is not None:
        tally = spent.tally
        given["stage_cpu_ms_per_frame"] = {
            stage: round(1000 * s / tally.frames[stage], 2) for stage, s in tally.cpu_s.items() if s > 0.01
        }
    return given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=10, help="use the first N files")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--ways", default="naive,serial,local")
    args = parser.parse_args()
    settings = data_settings(dict(parse_change(change) for change in args.changes))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "raw").mkdir()
        for file in sorted(path for path in args.folder.iterdir() if path.is_file())[: args.limit]:
            shutil.copyfile(file, root / "raw" / file.name)
        frames, source_s = 0, 0.0
        for file in (root / "raw").iterdir():
            info = probe(file).video
            if info is not None and info.duration_s is not None:
                frames += round(info.duration_s * info.fps)
                source_s += float(info.duration_s)
        for way in args.ways.split(","):
            cores = args.workers if way == "local" else 1
            spent = spend(way, root / "raw", root / way, settings, args.workers)
            print(json.dumps(line(way, spent, frames, source_s, cores)), flush=True)


if __name__ == "__main__":
    main()
