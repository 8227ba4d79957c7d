"""Mutate and use files until a time or a number is reached: `python tests/fuzz/run.py FOLDER --seconds 3600`.

Prints a line for each target: inputs, refused, used. What fails is kept in FOLDER/failed, named by its seed.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.mutator import mutated
from fuzz.targets import Target, all_targets
from latentsync.core.errors import LatentSyncError

HANGS_S = 60
LONGEST_LINE = 2500


def try_one(target: Target, home: Path, seed: int) -> str:
    """ "used" or "refused". Raises: anything else, with the file as it was mutated still there."""
    path = target.files[seed % len(target.files)]
    good = path.read_bytes()
    bad = mutated(good, seed)
    before = listing(home)
    path.write_bytes(bad)
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    try:
        target.use(path)
        outcome = "used"
    except LatentSyncError as error:
        said = str(error)
        assert "\n" not in said and len(said) < LONGEST_LINE, f"not one line: {said!r}"
        outcome = "refused"
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert path.read_bytes() == bad, f"{path} was changed"
    assert listing(home) == before, "files were left"
    path.write_bytes(good)
    return outcome


def listing(home: Path) -> list[str]:
    return sorted(str(path) for path in home.rglob("*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--inputs", type=int, default=10**9, help="of each target, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    home = given.folder / "files"
    targets = {name: each for name, each in all_targets(home).items() if given.target is None or name in given.target}
    counts = {name: Counter[str]() for name in targets}
    began, failed, number = time.monotonic(), 0, 0
    spent = dict.fromkeys(targets, 0.0)
    while number < given.inputs * len(targets) and time.monotonic() - began < given.seconds:
        name = min(targets, key=lambda each: (counts[each].total() >= given.inputs, spent[each]))  # equal time for all
        seed, at = given.seed + counts[name].total(), time.monotonic()
        try:
            counts[name][try_one(targets[name], home, seed)] += 1
        except Exception:
            failed += 1
            counts[name]["failed"] += 1
            path = targets[name].files[seed % len(targets[name].files)]
            kept = given.folder / "failed" / f"{name}-{seed}-{path.name}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(path.read_bytes())
            print(f"{name}, seed {seed}: kept as {kept}\n{traceback.format_exc()}", file=sys.stderr)
            targets |= {each: made for each, made in all_targets(home).items() if each in targets}
        spent[name] += time.monotonic() - at
        number += 1
    for name, found in counts.items():
        told = ", ".join(f"{found[word]} {word}" for word in ("refused", "used", "failed"))
        print(f"{name}: {found.total()} inputs, {told}")
    print(f"{number} inputs, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
