"""Who says what in one film, and the audio features of it: from a speech or a plan to the speakers of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from latentsync.audio.streaming import Sound
from latentsync.config.options import SyncOptions
from latentsync.config.plan import Plan, PlanEntry, load_plan, refuse_beside_plan
from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.faces import Wanted
from latentsync.media import AudioPlan, AudioReader, Insert, MixPlan, VideoReader, fit_length
from latentsync.media.lengths import FittedFrames
from latentsync.pipeline.mix import Levels, check_mix, is_mixed, mixed
from latentsync.pipeline.preflight import check_faces
from latentsync.pipeline.speech import (
    ROUNDING_S,
    cut_speech,
    length_words,
    name_tracks,
    sound_s,
    speech_length,
    unspoken,
)

SAMPLE_S = Fraction(1, SPEECH_RATE_HZ)
"""Sound that passes a frame's end by less makes no frame: rates are rounded so."""
HEARD_FURTHER_S = 60
"""Seconds of a longer speech that are analysed beyond the video."""


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """One speech of one person.

    Attributes:
        sound: the speech, from the moment that is heard at `start_s`.
        start_s, end_s: its range in the time of the frames; None = from the first frame, to the last.
        length_s: after the speech silence is heard up to here, in its own time.
        fades_in, fades_out: the new mouth comes and goes over a few frames at that end of the range.
        name: the file of the speech, for errors; None = it has none.
    """

    sound: Sound
    start_s: Fraction = Fraction(0)
    end_s: Fraction | None = None
    length_s: Fraction = Fraction(0)
    fades_in: bool = False
    fades_out: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Speaker:
    """One person: which face, and what it says, in order. A part without an end is the only one."""

    face: str
    parts: tuple[SpeechSegment, ...]

    @property
    def wanted(self) -> Wanted:
        """The face to follow, and when."""
        ends = [(part.start_s, part.end_s) for part in self.parts if part.end_s is not None]
        return Wanted(self.face, tuple(ends) or None)


@dataclass(frozen=True, slots=True)
class Script:
    """A run before it begins.

    Attributes:
        frames: of the result's length and in its time. duration_s: that length, seconds.
        track: the sound of the result.
        levels: of the sound, where they were measured.
        first_pass_s: how long frames come forwards and for the first time; None = not known.
    """

    speakers: tuple[Speaker, ...]
    frames: FittedFrames
    duration_s: Fraction
    track: AudioPlan | MixPlan | None
    warnings: tuple[str, ...] = ()
    first_pass_s: Fraction | None = None
    levels: Levels | None = None


def one_speech(audio: Path, reader: VideoReader, options: SyncOptions) -> Script:
    """One person, one speech from the beginning.

    Raises: MediaError: the speech cannot be read. EmptyAudioError: there is none in it.
    """
    start_s, track = options.audio_start_s or Fraction(0), options.audio_track
    name_tracks(audio, track)
    until_s, said_s = _needed(audio, start_s, track, reader, options)
    sound = AudioReader(audio, start_s, until_s, track).blocks
    speech_s = speech_length(audio, start_s, track) if said_s is None else said_s
    warnings: list[str] = unspoken(audio, start_s, track, until_s)
    frames, total_s = _fitted(reader, speech_s, options, warnings)
    speakers = (Speaker(options.face, (SpeechSegment(sound, length_s=total_s, name=str(audio)),)),)
    track_plan: AudioPlan | MixPlan = AudioPlan(audio, start_s, mode=options.keep_audio, track=track)
    levels = None
    check_mix(options, options.mix is not None)
    if is_mixed(options):
        speech = Insert(audio, Fraction(0), total_s, start_s, replaces=False, track=track)
        track_plan, levels, given = mixed(reader.path, [speech], options, None, total_s)
        warnings += given
    end_s = _end_of(reader, options, [])
    first_s = None if end_s is None else min(end_s - (options.start_s or 0), total_s)
    return Script(speakers, frames, total_s, track_plan, tuple(warnings), first_s, levels)


def _needed(
    audio: Path, start_s: Fraction, track: str | None, reader: VideoReader, options: SyncOptions
) -> tuple[Fraction | None, Fraction | None]:
    """Where a speech need not be read on, and its length by its header; None, None = it is read to its end.

    Cut to the video, a speech of an hour for a few frames is heard a minute further than they last: more than the
    audio encoder looks ahead.
    """
    end_s = _end_of(reader, options, [])
    said_s = AudioReader(audio, start_s, track=track).info.duration_s
    if options.length != "video" or end_s is None or said_s is None:
        return None, None
    until_s = start_s + max(Fraction(0), end_s - (options.start_s or 0)) + HEARD_FURTHER_S
    return (until_s, said_s - start_s) if said_s > until_s else (None, None)


def planned(plan: Plan | Path, reader: VideoReader, options: SyncOptions) -> Script:
    """Several people or speeches, each in its range; the result is as long as the video.

    Raises: ConfigError: see `load_plan`; words that mean no face, entries outside the video, or for one face at one
        time; a length that is not the video's. MediaError, EmptyAudioError: a speech cannot be read.
    """
    refuse_beside_plan(options)
    plan = plan if isinstance(plan, Plan) else load_plan(plan, reader.info.fps)
    warnings: list[str] = []
    check_faces(plan, options)
    video_s = _end_of(reader, options, warnings)
    if video_s is None:
        raise LatentSyncError(f"{reader.path}: its length is not known. Pass --end")
    from_s = options.start_s or Fraction(0)
    entries = tuple(_ended(entry, plan, reader, options, warnings) for entry in plan.entries)
    plan = Plan(entries, plan.name)  # now that all ends are known: does anybody say two things at once?
    inside = [entry for entry in entries if _end(entry) > from_s and entry.start_s < video_s]
    if not inside:
        raise ConfigError("plan", plan.name, "no entry lies in the chosen part of the video; see --start and --end")
    if len(inside) < len(entries):
        left_out = f"{len(entries) - len(inside)} of {len(entries)} entries of the plan"
        warnings.append(f"{left_out} lie outside --start and --end and were left out")
    for path, sound_track in dict.fromkeys((entry.audio, entry.audio_track) for entry in inside):
        name_tracks(path, sound_track)
        warnings += unspoken(path, track=sound_track)
    name_tracks(reader.path, options.audio_track)
    speakers = tuple(
        Speaker(face or options.face, tuple(_parts(own, from_s, video_s)))
        for face, own in Plan(tuple(inside), plan.name).by_face().items()
    )
    inserts = [_insert(entry, from_s) for entry in inside]
    length_s = video_s - from_s
    track, levels, given = mixed(reader.path, inserts, options, reader.path, length_s)
    warnings += given
    sound = None if options.keep_audio == "none" else track
    frames = fit_length(reader, None, "none")
    return Script(speakers, frames, length_s, sound, tuple(warnings), length_s, levels if is_mixed(options) else None)


def _ended(entry: PlanEntry, plan: Plan, reader: VideoReader, options: SyncOptions, warnings: list[str]) -> PlanEntry:
    """The entry with its face and its end."""
    whole_s = reader.info.duration_s
    if whole_s is not None and entry.start_s >= whole_s:
        raise ConfigError("plan", plan.name, f"{entry.words}: the video ends at {float(whole_s):g} s")
    said_s = sound_s(entry.audio, entry.audio_track) - entry.audio_start_s
    if said_s <= 0:
        raise ConfigError("plan", plan.name, f"{entry.words}: the speech ends before audio_start")
    end_s = entry.start_s + said_s if entry.end_s is None else entry.end_s
    last_s = end_s if whole_s is None else min(end_s, whole_s)
    if entry.start_s + said_s > last_s + ROUNDING_S:
        late_s = float(entry.start_s + said_s - last_s)
        warnings.append(f"{entry.audio.name} is {late_s:.2f} s longer than its range and was cut")
    return replace(entry, face=options.face if entry.face is None else entry.face, end_s=end_s)


def _parts(entries: Sequence[PlanEntry], from_s: Fraction, video_s: Fraction) -> Iterator[SpeechSegment]:
    touching = {second.start_s for first, second in pairwise(entries) if first.end_s == second.start_s}
    for entry in entries:
        end_s = _end(entry)
        length_s = end_s - entry.start_s
        sound = AudioReader(entry.audio, entry.audio_start_s, entry.audio_start_s + length_s, entry.audio_track).blocks
        yield SpeechSegment(
            sound,
            entry.start_s - from_s,
            end_s - from_s,
            length_s,
            fades_in=entry.start_s > from_s and entry.start_s not in touching,
            fades_out=end_s < video_s and end_s not in touching,
            name=str(entry.audio),
        )


def _insert(entry: PlanEntry, from_s: Fraction) -> Insert:
    at_s = max(entry.start_s, from_s)
    skipped_s = at_s - entry.start_s
    return Insert(
        entry.audio,
        at_s - from_s,
        _end(entry) - at_s,
        entry.audio_start_s + skipped_s,
        replaces=entry.sound == "replace",
        track=entry.audio_track,
    )


def _end(entry: PlanEntry) -> Fraction:
    if entry.end_s is None:
        raise ValueError(f"{entry.words}: its end is not known yet")
    return entry.end_s


def _fitted(
    reader: VideoReader, speech_s: Fraction, options: SyncOptions, warnings: list[str]
) -> tuple[FittedFrames, Fraction]:
    """Frames of the wanted length, and that length in seconds."""
    end = _end_of(reader, options, warnings)
    own_s = None if end is None else max(Fraction(0), end - (options.start_s or 0))
    if options.length == "video":
        if own_s is not None:
            warnings.extend(cut_speech(speech_s, own_s))
        return fit_length(reader, None, "none"), own_s or speech_s
    if options.length in (None, "audio"):
        if own_s is not None:
            warnings.extend(length_words(own_s, speech_s))
        return fit_length(reader, speech_s - SAMPLE_S, "ping_pong"), speech_s
    if own_s is None:
        raise LatentSyncError(f"{reader.path}: its length is not known. Choose --length audio or video")
    wanted = max(own_s, speech_s)
    return fit_length(reader, max(own_s, speech_s - SAMPLE_S), options.length), wanted


def _end_of(reader: VideoReader, options: SyncOptions, warnings: list[str]) -> Fraction | None:
    """Where the chosen part of the video ends, seconds from its start; None = not known. An end after it is warned of.

    Raises: LatentSyncError: the part begins where the video is over.
    """
    whole_s = reader.info.duration_s
    if whole_s is not None and options.start_s is not None and options.start_s >= whole_s:
        raise LatentSyncError(f"{reader.path}: it ends at {float(whole_s):g} s. Choose a --start before that")
    if whole_s is not None and options.end_s is not None and options.end_s > whole_s + ROUNDING_S:
        warnings.append(f"the video ends at {float(whole_s):g} s, before --end {float(options.end_s):g}")
    known = [end_s for end_s in (whole_s, options.end_s) if end_s is not None]
    return min(known, default=None)
