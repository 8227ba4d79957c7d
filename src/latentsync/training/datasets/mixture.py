"""Several sources as one: drawn by ratio, then by person, then by clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.config.checked import as_kind, refuse_unknown
from latentsync.config.loader import load_preset
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.training.datasets.cache import ArrayCache
from latentsync.training.datasets.clips import FPS, AnyClip, num_frames
from latentsync.training.datasets.folder import folder_clips
from latentsync.training.datasets.seen import Piece, with_seen_mouths
from latentsync.training.datasets.shards import is_shards, shard_clips
from latentsync.training.datasets.synthetic import synth_config, synthetic_clips


@dataclass(frozen=True)
class Source:
    """Clips that belong together. `ratio`: how often it is drawn, beside the other sources' ratios."""

    name: str
    clips: tuple[AnyClip, ...]
    ratio: float = 1.0

    @cached_property
    def by_person(self) -> dict[str, tuple[AnyClip, ...]]:
        """Who speaks → clips, in the order of the clips."""
        people: dict[str, list[AnyClip]] = {}
        for clip in self.clips:
            people.setdefault(clip.person, []).append(clip)
        return {person: tuple(clips) for person, clips in people.items()}


@dataclass(frozen=True)
class Mixture:
    """Sources of one split."""

    sources: tuple[Source, ...]

    def draw(self, rng: np.random.Generator) -> AnyClip:
        """A source by its ratio, then each of its people alike, then each of that person's clips alike."""
        ratios = np.cumsum([source.ratio for source in self.sources])
        chance = rng.random(3)
        source = self.sources[min(int(np.searchsorted(ratios, chance[0] * ratios[-1], "right")), len(ratios) - 1)]
        people = tuple(source.by_person.values())
        clips = people[int(chance[1] * len(people))]
        return clips[int(chance[2] * len(clips))]

    def __iter__(self) -> Iterator[AnyClip]:
        for source in self.sources:
            yield from source.clips

    def __len__(self) -> int:
        return sum(len(source.clips) for source in self.sources)

    @property
    def people(self) -> set[str]:
        """Everybody who speaks in it."""
        return {clip.person for clip in self}

    def only(self, keep: Any) -> Mixture:
        """The clips for which `keep(clip)` is true; sources without any are gone."""
        left = [Source(s.name, tuple(c for c in s.clips if keep(c)), s.ratio) for s in self.sources]
        return Mixture(tuple(source for source in left if source.clips))


@dataclass(frozen=True)
class TrainingData:
    """What a task is given.

    Attributes:
        train, val: no person is in both.
        cache: for what is computed once per clip.
    """

    train: Mixture
    val: Mixture
    cache: ArrayCache

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from others: sources, ratios, clips and their lengths; not where they lie."""
        digest = hashlib.sha256()
        for mixture in (self.train, self.val):
            for source in mixture.sources:
                lines = [f"{clip.path.name} {clip.person} {num_frames(clip)}" for clip in source.clips]
                digest.update("\n".join([f"{source.ratio}", *lines, ""]).encode())
        return {"clips": len(self.train), "held_out": len(self.val), "sha256": digest.hexdigest()[:16]}


def open_data(
    sources: Sequence[str | Path | Mapping[str, Any]], cache: Path | None = None, val: str = "val"
) -> TrainingData:
    """Open training data before any work.

    Args:
        sources: each a folder of prepared clips, a build of `latentsync data build --training`, a folder or URL of
            shards; or a mapping with `path` or `synth` (settings of `SynthConfig`, and `val_identities`), and if wanted
            `ratio` and `name`; or a YAML file with a list of all of these under `sources`.
        cache: folder for what is computed once per clip; None = the user's cache folder.
        val: split of the held-out people.
    Raises: LatentSyncError, ConfigError: a source is missing, empty, or of another rate; a person in both splits.
    """
    if not sources:
        raise ConfigError("data", None, "name at least one folder of clips")
    sources = [inner for given in sources for inner in _listed(given)]
    arrays = ArrayCache(cache)
    parts: dict[str, list[Source]] = {"train": [], val: []}
    for given in sources:
        opened = {split: _open(given, split, arrays) for split in parts}
        for split, source in opened.items():
            if source is not None:
                parts[split].append(source)
        if all(source is None for source in opened.values()):
            raise LatentSyncError(f"{_name_of(given)}: no clips for training or validation. Prepare some first")
    for split, what in (("train", "to learn from"), (val, "of people to be judged on")):
        if not parts[split]:
            fix = f"Give somebody to it: latentsync data split OUT --given NAME={split}, or add clips of other people"
            raise LatentSyncError(f"{', '.join(map(_name_of, sources))}: no clips {what} (split {split!r}). {fix}")
    data = TrainingData(Mixture(tuple(parts["train"])), Mixture(tuple(parts[val])), arrays)
    both = sorted(data.train.people & data.val.people)
    if both:
        raise LatentSyncError(f"{both[0]}: is in split train and in {val}. Deal the people anew, by person not by clip")
    return data


def _listed(given: str | Path | Mapping[str, Any]) -> Sequence[str | Path | Mapping[str, Any]]:
    """What a YAML file lists; anything else is itself. Paths in the file are taken from the file's folder."""
    if isinstance(given, Mapping) or Path(given).suffix not in (".yaml", ".yml") or not Path(given).is_file():
        return [given]
    described: Any = load_preset(str(given)).get("sources")
    if not isinstance(described, list) or not described:
        raise ConfigError("data", str(given), "write a list of sources under `sources:`")
    listed: list[Mapping[str, Any]] = []
    for source in described:
        entry = dict(source) if isinstance(source, Mapping) else {"path": str(source)}
        if "path" in entry and "://" not in str(entry["path"]):
            entry["path"] = str(Path(given).parent / str(entry["path"]))
        listed.append(entry)
    return listed


def _name_of(given: str | Path | Mapping[str, Any]) -> str:
    if not isinstance(given, Mapping):
        return str(given)
    return str(given.get("name") or given.get("path") or "synth")


def _open(given: str | Path | Mapping[str, Any], split: str, cache: ArrayCache) -> Source | None:
    """The source's clips of a split, None where it has none of this split."""
    described: Mapping[str, Any] = given if isinstance(given, Mapping) else {"path": str(given)}
    refuse_unknown(described, ("path", "synth", "ratio", "name"), "data")
    ratio = as_kind("data.ratio", described.get("ratio", 1.0), float)
    if not ratio > 0:
        raise ConfigError("data.ratio", described["ratio"], "choose more than 0")
    if ("path" in described) == ("synth" in described):
        raise ConfigError("data", dict(described), "give each source either path or synth")
    if "synth" in described:
        values = dict(described["synth"])
        held_out = int(values.pop("val_identities", max(1, int(values.get("identities", 1)) // 10)))
        clips = synthetic_clips(synth_config(values), split, held_out, cache)
    else:
        clips = _at(str(described["path"]), split, cache)
    name = str(described.get("name") or (Path(str(described["path"])).name if "path" in described else "synth"))
    seen = with_seen_mouths(clips)
    if clips and not seen:
        raise LatentSyncError(f"{name}: something hides the mouth in all of {len(clips)} clips of split {split!r}")
    return Source(name, tuple(seen), ratio) if clips else None


def _at(location: str, split: str, cache: ArrayCache) -> list[AnyClip]:
    if is_shards(location):
        return shard_clips(location, split, cache)
    if not Path(location).is_dir():
        raise LatentSyncError(f"{location}: no such folder. Give prepared clips, a build, or shards")
    try:
        return folder_clips(Path(location), split)
    except LatentSyncError as error:
        if "no prepared clips of split" in str(error):
            return []
        raise


def long_enough(mixture: Mixture, frames: int, leave_out_short: bool = False) -> Mixture:
    """The mixture, checked: every clip has `frames` frames with sound. Shorter pieces of clips are left out.

    Raises: LatentSyncError: some are shorter (or all of them, where short ones are left out).
    """
    mixture = mixture.only(lambda clip: not isinstance(clip, Piece) or clip.num_frames >= frames)
    if not len(mixture):
        raise LatentSyncError(
            f"no clip shows the mouth for {frames} frames ({frames / FPS:.2f} s) in a row: a hand hides it. "
            "Prepare others"
        )
    short = [clip for clip in mixture if num_frames(clip) < frames]
    if not short:
        return mixture
    if not leave_out_short or len(short) == len(mixture):
        least = min(short, key=num_frames)
        advice = "Prepare longer ones" if len(short) == len(mixture) else "Prepare longer ones, or leave_out_short=true"
        raise LatentSyncError(
            f"{len(short)} of {len(mixture)} clips are too short: {frames} frames ({frames / FPS:.2f} s) with sound "
            f"are needed, {least.path.name} has {num_frames(least)}. {advice}"
        )
    left_out = {id(clip) for clip in short}
    return mixture.only(lambda clip: id(clip) not in left_out)
