"""Full states on disk: a folder per state, tensors in safetensors, the rest in JSON; whole or not at all, no pickle."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.config import renamed
from latentsync.core.errors import LatentSyncError, MediaError
from latentsync.core.files import DISK_FULL
from latentsync.core.reading import read_json

log = logging.getLogger(__name__)

FORMAT = 1
FULL = DISK_FULL
"""No space, over quota, and what Windows calls the former (elsewhere 112 is a lost host); safetensors tells them in
words alone."""
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
Groups = dict[str, dict[str, Tensor]]


def write_state(folder: Path, step: int, parts: list[Groups], facts: Mapping[str, Any], keep: int) -> Path:
    """Write `folder/step-XXXXXXXX`, then delete all but the newest `keep` states.

    The state is written under another name, flushed to disk and renamed: killed at any moment, this leaves the states
    before it as they were.

    Args:
        parts: tensors of each part by group.
        facts: what JSON can hold: counters, settings, identity of the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    for again in count(1):
        if not target.exists():
            break
        target = folder / f"step-{step:08d}-{again:02d}"  # the one of the same step stays until this one is whole
    part = folder / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        sizes = {}
        for index, groups in enumerate(parts):
            for group, tensors in groups.items():
                path = part / f"{index}.{group}.safetensors"
                save_file({n: t.detach().to("cpu").contiguous().clone() for n, t in tensors.items()}, path)
                sizes[path.name] = path.stat().st_size
                _flush(path)
        path = part / "state.json"
        path.write_text(json.dumps({"format": FORMAT, "files": sizes, **facts}, indent=1) + "\n", "utf-8")
        _flush(path)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _flush(folder)
    for old in states(folder)[:-keep]:
        _remove(old)
    return target


@contextmanager
def explain_full_disk(out: Path) -> Iterator[None]:
    """Raises: LatentSyncError: within, a file of the run in `out`, or one elsewhere that the error names, could not be
    written since the disk is full; or tensors could not since that is not allowed (other files' `OSError` says so)."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, SafetensorError) and _is_given(error, DENIED):
            raise LatentSyncError(
                f"{out}: may not be written. Check its permissions, or choose another --out."
            ) from error
        if getattr(error, "errno", None) not in FULL and not _is_given(error, FULL):
            raise
        kept = states(out / "states") if (out / "states").is_dir() else []
        at = f" from {kept[-1].name}" if kept else ""
        named = getattr(error, "filename", None)
        place = out if named is None or Path(named).is_relative_to(out) else Path(named).parent
        raise LatentSyncError(f"{place}: the disk is full. Free space; the same command then goes on{at}.") from error


def _is_given(error: BaseException, codes: Iterable[int]) -> bool:
    """Whether safetensors tells one of these codes of the system."""
    return any(f"(os error {code})" in str(error) for code in codes)


_FILE = re.compile(r"\d+\.\w+\.safetensors")


def states(folder: Path) -> list[Path]:
    """Finished states, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def clean(folder: Path) -> None:
    """Delete what a killed run left half written."""
    for left in folder.glob(".step-*.part"):
        shutil.rmtree(left, ignore_errors=True)


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole state and its facts; a damaged one is passed over with a warning.

    Raises: LatentSyncError: there are states, and none is whole.
    """
    found = states(folder)
    for path in reversed(found):
        try:
            facts = read_json(path / "state.json")
            strange = [n for n in facts["files"] if not _FILE.fullmatch(n)]
            damaged = strange or [n for n, size in facts["files"].items() if (path / n).stat().st_size != size]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MediaError) as error:
            damaged = [str(error)]
            facts = {}
        if not damaged and facts.get("format") == FORMAT:
            return path, facts
        log.warning("%s: damaged (%s); the state before it is used", path, ", ".join(damaged) or "another format")
    if found:
        raise LatentSyncError(f"{folder}: none of the {len(found)} states can be read. Choose another --out.")
    return None


def read_tensors(path: Path, facts: Mapping[str, Any]) -> list[Groups]:
    """The tensors of a state, on the CPU. Raises: LatentSyncError: a file is damaged."""
    parts: list[Groups] = []
    for name in sorted(facts["files"]):
        index, group, _ = name.split(".")
        while len(parts) <= int(index):
            parts.append({})
        try:
            parts[int(index)][group] = renamed.tensors(load_file(path / name))
        except (SafetensorError, OSError) as error:
            raise LatentSyncError(
                f"{path / name}: damaged ({error}). Delete the folder {path} to use the last one."
            ) from error
    return parts


def differences(now: Mapping[str, Any], then: Mapping[str, Any], free: frozenset[str] = frozenset()) -> list[str]:
    """`name then → now` of every leaf in which two trees differ, except those named in `free` (dotted)."""
    flat_now, flat_then = dict(_leaves(now)), dict(_leaves(then))
    names = sorted((set(flat_now) | set(flat_then)) - free)
    missing = "nothing"
    return [
        f"{name} {_short(flat_then.get(name, missing))} → {_short(flat_now.get(name, missing))}"
        for name in names
        if flat_now.get(name, missing) != flat_then.get(name, missing)
    ]


def _leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _remove(path: Path) -> None:
    """Delete a state so that it never looks whole while it is half gone."""
    away = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    path.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _flush(path: Path) -> None:
    """Make the disk hold what was written (a power cut forgets the rest)."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network disks refuse for folders
        log.debug("%s: fsync refused", path)
    finally:
        os.close(handle)


def copies(groups: Mapping[str, Mapping[str, Tensor]]) -> Groups:
    """The tensors, copied, where they are: a state in memory."""
    return {name: {n: t.detach().clone() for n, t in tensors.items()} for name, tensors in groups.items()}
