"""What a user can choose for one lip-sync run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Rational, Real
from os import PathLike
from typing import Literal, get_args

from latentsync.core.errors import ConfigError
from latentsync.core.time import as_written

Length = Literal["audio", "video", "loop", "ping_pong", "hold"]
Silence = Literal["model", "original", "closed"]
NoFace = Literal["pass", "fail"]
Paste = Literal["mouth", "compatible"]
KeepAudio = Literal["copy", "encode", "none"]
Tracks = Literal["keep", "speech"]
Render = Literal["full", "smart"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncOptions:
    """Options of `Lipsync.__call__` and of `latentsync sync`, with the model's own defaults where None.

    Attributes:
        steps: denoising steps; None = the checkpoint's default.
        guidance: classifier-free guidance scale, 1 = off; None = the checkpoint's default.
        seed: the noise of chunk k is a function of (seed, k).
        face: which face to edit: "largest", "left", "right", an index from the left ("0", "1", …), "x,y" or
            "x,y,w,h" in frame pixels or, where no number is above 1, in shares of the frame, or the path of a picture
            of the person.
        length: which length the result has. "audio": as long as the speech (the video is cut, or extended forwards and
            backwards); "video": as long as the video; "loop", "ping_pong", "hold": as long as the longer of the two,
            the video being repeated, run forwards and backwards, or held on its last frame. None = "audio" for one
            speech, "video" with a plan, which takes no other.
        silence: what the mouth does where nobody speaks: what the model says, the original pixels, or a closed mouth;
            None = the checkpoint's default.
        no_face: frames without a face pass through untouched, or the run fails.
        start_s, end_s: part of the video to use, in seconds from its start; None = from the start, to the end. A float
            is taken as it is written: 0.4 is 2/5.
        audio_start_s: seconds of the speech that are left out at its beginning; None = none. Not with a plan, whose
            entries say it.
        audio_track: which sound track of the speech (with a plan: of the video) is used where there are several: a
            number from 0, or a language as "deu" or "de"; None = the one marked default.
        overlap_frames: frames shared by neighbouring chunks and cross-faded; None = the checkpoint's default.
        block_cache_interval: 1 = every step computes everything; n = the deep blocks are computed each n-th step.
        paste: "mouth" = only the masked region, feathered; "compatible" = the whole aligned face, as released.
        codec, crf, pixel_format: of the written video; None = follow the source.
        keep_audio: "copy" = the speech stream as it is where the container can hold it; "encode"; "none" = no sound.
        mix: a file with music and effects, as long as the video, to lie under the speech (with a plan: where a speech
            takes the place of the video's own sound); None = none.
        duck: decibels by which that (with a plan: the video's own sound under `sound: mix` too) is lowered while
            somebody speaks; None = not.
        match_loudness: the speech is brought to the loudness of the video's own dialogue.
        tracks: "keep" = the video's further sound tracks, subtitles, chapters, attachments and cover go along where the
            container can hold them; "speech" = the picture and the speech only.
        render: "full" = every frame is encoded; "smart" = in H.264 and HEVC, closed groups of pictures without an
            edited frame are copied as they are, where the file allows it.
        provenance: write into the container's metadata that the lips are synthetic.
    """

    steps: int | None = None
    guidance: float | None = None
    seed: int = 1247
    face: str = "largest"
    length: Length | None = None
    silence: Silence | None = None
    no_face: NoFace = "pass"
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    audio_start_s: Fraction | None = None
    audio_track: str | None = None
    overlap_frames: int | None = None
    block_cache_interval: int = 1
    paste: Paste = "mouth"
    codec: str | None = None
    crf: float | None = None
    pixel_format: str | None = None
    keep_audio: KeepAudio = "copy"
    mix: str | None = None
    duck: float | None = None
    match_loudness: bool = False
    tracks: Tracks = "keep"
    render: Render = "full"
    provenance: bool = True

    def __post_init__(self) -> None:
        for key, kind in (("length", Length), ("silence", Silence), ("no_face", NoFace), ("paste", Paste),
                          ("keep_audio", KeepAudio), ("tracks", Tracks), ("render", Render)):  # fmt: skip
            if getattr(self, key) not in (*get_args(kind), *((None,) if key in ("length", "silence") else ())):
                raise ConfigError(key, getattr(self, key), f"choose one of {', '.join(get_args(kind))}")
        for key in ("steps", "seed", "overlap_frames", "block_cache_interval"):
            if not isinstance(getattr(self, key), (Integral, type(None))):
                raise ConfigError(key, getattr(self, key), "give a whole number")
        if isinstance(self.face, bool) or not isinstance(self.face, (str, Integral, PathLike)):
            raise ConfigError("face", self.face, "give a word like 'largest', an index, a place, or a picture's path")
        object.__setattr__(self, "face", str(self.face))
        object.__setattr__(self, "audio_track", checked_track(self.audio_track))
        for key in ("guidance", "crf", "start_s", "end_s", "audio_start_s", "duck"):
            check_number(key, getattr(self, key))
        for key in ("start_s", "end_s", "audio_start_s"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, as_written(getattr(self, key)))
        _in_range("steps", self.steps, 1, 1000)
        _in_range("guidance", self.guidance, 1.0, 20.0)
        _in_range("seed", self.seed, 0, 2**63 - 1)
        _in_range("overlap_frames", self.overlap_frames, 0, 15)
        _in_range("block_cache_interval", self.block_cache_interval, 1, 100)
        _in_range("crf", self.crf, 0, 63)
        _in_range("duck", self.duck, 0, 60)
        if not isinstance(self.mix, (str, PathLike, type(None))) or self.mix == "":
            raise ConfigError("mix", self.mix, "give the path of a file with music and effects")
        object.__setattr__(self, "mix", None if self.mix is None else str(self.mix))
        _in_range("start_s", self.start_s, 0, None)
        _in_range("audio_start_s", self.audio_start_s, 0, None)
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ConfigError("end_s", float(self.end_s), "choose an end after the start")


def checked_track(value: object) -> str | None:
    """A sound track as text. Raises: ConfigError: neither a number from 0 nor a word."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value if value is None else value.strip()
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0:
        return str(value)
    raise ConfigError("audio_track", value, "give the number of a sound track, from 0, or a language such as 'deu'")


def check_number(key: str, value: object) -> None:
    """Raises: ConfigError: neither None nor a finite real number."""
    if value is None or isinstance(value, Rational):
        return
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ConfigError(key, value, "give a number")


def _in_range(key: str, value: float | Fraction | None, low: float, high: float | None) -> None:
    if value is not None and (value < low or (high is not None and value > high)):
        raise ConfigError(key, value, f"choose {low} or more" if high is None else f"choose {low} to {high}")
