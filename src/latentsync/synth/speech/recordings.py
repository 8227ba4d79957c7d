"""Real recordings with transcripts as voices: a folder of sound or video files, English."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from latentsync.core.errors import ConfigError, MediaError
from latentsync.synth.speech.aligned import align, has_aligner, unknown_words
from latentsync.synth.speech.engines import Utterance

log = logging.getLogger(__name__)
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".mpg", ".mov", ".mkv", ".webm")


@dataclass(frozen=True, slots=True)
class Recording:
    """A sound or video file and the words that are said in it."""

    path: Path
    text: str


def _transcripts(folder: Path) -> dict[str, list[Recording]]:
    """Recordings by speaker."""
    out: dict[str, list[Recording]] = defaultdict(list)
    table = folder / "manifest.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                path = folder / (row.get("file") or "?")
                if row.get("text") and path.is_file():
                    out[row.get("person") or path.parent.name].append(Recording(path, row["text"]))
        return out
    for path in sorted(folder.rglob("*.txt")):
        sounds = [path.with_suffix(s) for s in SOUNDS if path.with_suffix(s).is_file()]
        if sounds:
            out[str(path.parent)].append(Recording(sounds[0], path.read_text(encoding="utf-8").strip()))
    return out


@lru_cache(maxsize=4)
def speakers(folder: Path) -> tuple[tuple[Recording, ...], ...]:
    """Recordings whose words can be aligned, grouped by speaker, in a fixed order.

    A transcript is NAME.txt beside NAME.wav (or .flac, .mp4, …) with one folder a speaker, or a line of `manifest.csv`
    with the columns file, text and, if known, person.

    Raises: ConfigError: no aligner, or nothing that can be used.
    """
    if not has_aligner():
        raise ConfigError("recordings", str(folder), "run `pip install latentsync[synth-align]` first")
    groups, left_out = [], 0
    for _, found in sorted(_transcripts(folder).items()):
        good = tuple(r for r in found if not unknown_words(r.text))
        left_out += len(found) - len(good)
        if good:
            groups.append(good)
    if left_out:
        log.warning("%s: %d recordings are left out, they have words that the aligner does not know", folder, left_out)
    if not groups:
        raise ConfigError(
            "recordings", str(folder), "give a folder with NAME.wav and NAME.txt pairs, or a manifest.csv"
        )
    return tuple(groups)


@lru_cache(maxsize=64)
def speech_of(recording: Recording) -> Utterance | None:
    """The sound with its phones; None where words and sound do not fit."""
    from latentsync.media.audio import read_audio

    audio = read_audio(recording.path)
    try:
        phones = align(audio, recording.text)
    except MediaError as error:
        log.warning("%s: left out: %s", recording.path.name, error)
        return None
    return Utterance(audio, phones, f"recording:{recording.path.stem}", recording.text)
