"""Lists of test clips: fixed by content hash, split by person."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.data.sources import Speaker

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")
COLUMNS = ("file", "person", "sha256", "phones")

Phones = tuple[tuple[float, float, str], ...]
"""(start_s, end_s, label) of each speech sound, seconds from the clip's start."""


@dataclass(frozen=True, slots=True)
class TestClip:
    """One clip of a suite.

    Attributes:
        path: the video, with its own speech.
        person: who is in it; clips of one person are never split and are resampled together.
        sha256: of the file's content, hexadecimal.
        phones: sounds with times where they are known (synthetic heads, forced alignment), else empty.
    """

    __test__ = False

    path: Path
    person: str
    sha256: str
    phones: Phones = ()

    @property
    def clip_id(self) -> str:
        """Short name: stem and the first digits of the hash."""
        return f"{self.path.stem}-{self.sha256[:8]}"


UNKNOWN = ""
"""The person of a clip that nothing is said of; `people.grouped_by_face` gives it a name."""


def clips_of(source: Path, speaker: Speaker | None = None) -> list[TestClip]:
    """The clips of a folder or of a list; a video is a clip by itself.

    A folder: its videos, sorted, hidden ones left out; the person is the sub-folder's name, and `UNKNOWN` where the
    file lies at the top: a flat folder does not say who is who. A list: CSV with the columns file (relative to the
    list), person, and optionally sha256 and phones (a JSON file of [start_s, end_s, label]). A hash that is given must
    fit.

    Args: speaker: who is in a file by its name below the folder, instead of all that.
    Raises: MediaError: nothing there, a file is missing, or its content is not what the list was made for.
    """
    if source.is_dir():
        files = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(source).parts)
            and path.is_file()
        )
        clips = [
            TestClip(path, path.parent.name if path.parent != source else UNKNOWN, file_sha256(path)) for path in files
        ]
    elif source.is_file() and source.suffix.lower() in SUFFIXES:
        clips = [TestClip(source, source.stem, file_sha256(source))]
    elif source.is_file():
        clips = _read_list(source)
    else:
        raise MediaError(f"{source}: no such folder or list. Give a folder of videos or a CSV list")
    if not clips:
        raise MediaError(f"{source}: no clips in it. Put videos ({', '.join(SUFFIXES)}) there")
    if speaker is None or speaker.pattern is None:
        return clips
    root = source if source.is_dir() else source.parent
    return [replace(clip, person=speaker.of(_below(clip.path, root), None)) for clip in clips]


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _read_list(path: Path) -> list[TestClip]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{path}: neither a video nor a CSV list. Give a folder of videos or a list") from error
    if rows and not {"file", "person"} <= set(rows[0]):
        raise MediaError(f"{path}: needs the columns file and person (optional: sha256, phones) in its first line")
    clips = []
    for row in rows:
        video = path.parent / row["file"]
        if not video.is_file():
            raise MediaError(f"{path}: {video} is missing. Fetch it, or take its line out")
        found, wanted = file_sha256(video), (row.get("sha256") or "").strip().lower()
        if wanted and wanted != found:
            raise MediaError(f"{video}: SHA-256 is {found[:12]}…, the list says {wanted[:12]}…. Fetch the right file")
        phones = row.get("phones")
        clips.append(TestClip(video, row["person"], found, read_phones(path.parent / phones) if phones else ()))
    return clips


def read_phones(path: Path) -> Phones:
    """Speech sounds from a JSON file: a list of [start_s, end_s, label]. Raises: MediaError: not readable as that."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple((float(start), float(end), str(label)) for start, end, label in rows)
    except (OSError, ValueError, TypeError) as error:
        raise MediaError(f"{path}: not a JSON list of [start_s, end_s, label] ({error})") from error


def write_list(clips: Sequence[TestClip], path: Path) -> None:
    """Write a CSV list with hashes (without phones), so that a later run meets the same files."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS[:3])
        for clip in clips:
            inside = clip.path.resolve().is_relative_to(path.resolve().parent)
            name = clip.path.resolve().relative_to(path.resolve().parent) if inside else clip.path.resolve()
            writer.writerow([name.as_posix(), clip.person, clip.sha256])


def spread(clips: Sequence[TestClip], count: int | None) -> list[TestClip]:
    """At most `count` clips, dealt round the persons in order, so that few clips still mean many people; None = all."""
    if count is None or count >= len(clips):
        return list(clips)
    waiting: dict[str, list[TestClip]] = {}
    for clip in clips:
        waiting.setdefault(clip.person, []).append(clip)
    chosen: list[TestClip] = []
    while len(chosen) < count:
        for queue in waiting.values():
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen


def split_by_person(clips: Sequence[TestClip], test_share: float, seed: int) -> tuple[list[TestClip], list[TestClip]]:
    """Deal whole persons into (train, test), at least one each; the same seed and persons give the same split.

    Raises: ConfigError: fewer than two persons or a share outside (0, 1).
    """
    persons = sorted({clip.person for clip in clips})
    if len(persons) < 2:
        raise ConfigError("clips", len(persons), "give clips of two or more persons to split")
    if not 0 < test_share < 1:
        raise ConfigError("test_share", test_share, "choose between 0 and 1")
    random.Random(seed).shuffle(persons)
    count = min(len(persons) - 1, max(1, round(test_share * len(persons))))
    test = set(persons[:count])
    return [clip for clip in clips if clip.person not in test], [clip for clip in clips if clip.person in test]
