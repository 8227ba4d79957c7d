"""The dubbing mix of a run: music and effects under the new speech, levels, and what is reported of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from latentsync.audio.activity import speech_activity
from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError
from latentsync.media import AudioReader, Insert, MixPlan
from latentsync.media.information import probe
from latentsync.media.loudness import measure_loudness
from latentsync.media.mixing import WrittenLoudness

log = logging.getLogger(__name__)

MOST_GAIN_DB = 24.0
"""Speech is raised or lowered by no more: farther away lies no dialogue but a mistake."""


@dataclass(frozen=True)
class Levels:
    """What is known of a mix.

    Attributes:
        dialogue_lufs: of the video's own sound where somebody speaks, None = not measured, or nobody does.
        speech_lufs: of each speech, likewise, before its gain. gain_db: of each.
        mix_lufs: of the music and effects.
        written: the result, once it is written.
    """

    dialogue_lufs: float | None = None
    speech_lufs: dict[str, float | None] = field(default_factory=dict)
    gain_db: dict[str, float] = field(default_factory=dict)
    mix_lufs: float | None = None
    written: WrittenLoudness = field(default_factory=WrittenLoudness)

    def as_dict(self) -> dict[str, object]:
        """Plain values, with the result's own."""
        found = self.written.loudness()
        return {
            "dialogue_lufs": _rounded(self.dialogue_lufs),
            "speech_lufs": {name: _rounded(level) for name, level in self.speech_lufs.items()},
            "gain_db": {name: _rounded(gain) for name, gain in self.gain_db.items()},
            "mix_lufs": _rounded(self.mix_lufs),
            "result_lufs": _rounded(found.integrated_lufs),
            "result_true_peak_dbtp": _rounded(found.true_peak_dbtp),
        }


def is_mixed(options: SyncOptions) -> bool:
    """Whether the sound of one speech is more than that speech."""
    return options.mix is not None or options.match_loudness


def check_mix(options: SyncOptions, has_bed: bool) -> None:
    """Raises: ConfigError: no sound is written, or there is nothing to lower. Args: has_bed: speech lies over sound."""
    asked = {"mix": options.mix, "duck": options.duck, "match_loudness": options.match_loudness or None}
    for key, value in asked.items():
        if value is not None and options.keep_audio == "none":
            raise ConfigError(key, value, "leave it out, or keep_audio=none: no sound is written")
    if options.duck is not None and not has_bed:
        raise ConfigError(
            "duck", options.duck, "give --mix FILE too, or a plan with sound: mix; what is to be lowered?"
        )


def mixed(
    video: Path, speeches: Sequence[Insert], options: SyncOptions, base: Path | None, length_s: Fraction
) -> tuple[MixPlan, Levels, list[str]]:
    """The sound of a run with its levels, and warnings.

    Args:
        speeches: in the time of the result. base: the video, where its own sound goes on around them.
        length_s: of the result.
    Raises: MediaError, EmptyAudioError: a sound cannot be read.
    """
    from_s, warnings = options.start_s or Fraction(0), list[str]()
    check_mix(options, options.mix is not None or any(not each.replaces for each in speeches if base is not None))
    levels = Levels()
    if options.match_loudness or is_mixed(options):
        levels = _levels(video, speeches, options)
        if options.match_loudness and levels.dialogue_lufs is None:
            warnings.append(f"nobody is heard to speak in {video.name}: levels are not matched to it")
    inserts = [replace(each, gain=10 ** (levels.gain_db.get(_key(each), 0.0) / 20)) for each in speeches]
    if options.mix is not None:
        bed = Path(options.mix)
        inserts += _beds(bed, speeches, base, from_s, length_s)
        until_s = probe(bed).duration_s
        if until_s is not None and until_s < from_s + length_s - Fraction(1, 2):
            warnings.append(f"{bed.name} ends at {float(until_s):.2f} s, before the result: silence follows")
    spoken = _spoken(speeches) if options.duck else ()
    track = options.audio_track if base is not None else None
    plan = MixPlan(base, tuple(inserts), from_s, track, spoken, options.duck or 0.0, levels.written)
    return plan, levels, warnings


def _beds(
    bed: Path, speeches: Sequence[Insert], base: Path | None, from_s: Fraction, length_s: Fraction
) -> list[Insert]:
    """Music and effects as long as the video: under everything, or, around speeches in a film that has its own, under
    those that take the place of its sound."""
    if base is None:
        return [Insert(bed, Fraction(0), length_s, from_s, replaces=False, is_bed=True)]
    spans: list[tuple[Fraction, Fraction]] = []
    for start, end in sorted((each.at_s, each.at_s + each.duration_s) for each in speeches if each.replaces):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return [Insert(bed, start, end - start, from_s + start, replaces=False, is_bed=True) for start, end in spans]


def _levels(video: Path, speeches: Sequence[Insert], options: SyncOptions) -> Levels:
    """Measured and logged."""
    dialogue = None
    if options.match_loudness and probe(video).audio is not None:
        dialogue = _spoken_lufs(video, None, None)
        log.info("%s: its own dialogue is at %s", video, _words(dialogue))
    said: dict[str, float | None] = {}
    gains: dict[str, float] = {}
    for each in speeches:
        key = _key(each)
        if key in said:
            continue
        whole = measure_loudness(each.path, each.track).integrated_lufs
        level = said[key] = _spoken_lufs(each.path, each.track, whole)
        if dialogue is not None and level is not None:
            gains[key] = max(-MOST_GAIN_DB, min(MOST_GAIN_DB, dialogue - level))
            log.info("%s: %s, changed by %+.1f dB", each.path, _words(level), gains[key])
        else:
            log.info("%s: %s", each.path, _words(level))
    bed = None
    if options.mix is not None:
        bed = measure_loudness(Path(options.mix)).integrated_lufs
        log.info("%s: %s", options.mix, _words(bed))
    return Levels(dialogue, said, gains, bed)


def _spoken_lufs(path: Path, track: str | None, otherwise: float | None) -> float | None:
    """The loudness of a sound where somebody speaks. Args: otherwise: the answer where nobody is heard to."""
    spans = speech_activity(AudioReader(path, track=track).blocks()).spans
    return measure_loudness(path, track, spans=spans).integrated_lufs if spans else otherwise


def _spoken(speeches: Sequence[Insert]) -> tuple[tuple[float, float], ...]:
    """When anybody speaks, in the time of the result."""
    spans = []
    for each in speeches:
        reader = AudioReader(each.path, each.start_s, each.start_s + each.duration_s, each.track)
        at_s = float(each.at_s)
        spans += [(at_s + start, at_s + end) for start, end in speech_activity(reader.blocks()).spans]
    return tuple(sorted(spans))


def _key(insert: Insert) -> str:
    return str(insert.path) if insert.track is None else f"{insert.path}#{insert.track}"


def _words(level: float | None) -> str:
    return "silent" if level is None else f"{level:.1f} LUFS"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
