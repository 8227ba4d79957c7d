"""A component in a folder, replaced so that whoever loads it meanwhile finds whole files."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from torch import nn

from latentsync.training.engine.task import Task


def export_component(task: Task, network: nn.Module, folder: Path) -> None:
    """Let the task write its component beside `folder`, then move the files in."""
    fresh = _beside(folder)
    try:
        fresh.mkdir(parents=True)
        task.export(network, fresh)
        replace_files(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def replace_files(source: Path, folder: Path, copy: bool = False) -> None:
    """Move (or copy) every file under `source` into `folder`, each whole or not at all."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            part = _beside(target)
            shutil.copyfile(path, part)
            part.replace(target)
        else:
            path.replace(target)


def forget_run(out: Path) -> None:
    """Delete the run in a folder: what the loop writes there, and nothing else."""
    for name in ("states", "component", "best", "pictures", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("log.jsonl", "run.json"):
        (out / name).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
