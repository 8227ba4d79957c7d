"""What is reported of a speech before a run: its length, its sound tracks, and whether anybody speaks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from latentsync.audio.activity import speech_activity
from latentsync.audio.streaming import measure
from latentsync.core.errors import EmptyAudioError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float
from latentsync.media import AudioReader
from latentsync.media.information import probe

log = logging.getLogger(__name__)

ROUNDING_S = Fraction(1, 25)
"""Lengths of files that differ by less are equal: no warning is worth it."""

WHOLE_PACKETS = ("aac", "aac_latm", "ac3", "eac3", "dca", "mp2")
"""Names of decoders whose sound FFmpeg gives with the last packet's filling."""

PACKET_S = Fraction(1, 20)
"""More than the longest packet of those in use: 2048 samples of HE-AAC at 44.1 kHz are 46 ms."""


def name_tracks(path: Path, track: str | None) -> None:
    """Log which sound track of a file is used, where there are several."""
    found = probe(path, track)
    if found.audio is not None and len(found.sounds) > 1:
        have = ", ".join(each.words for each in found.sounds)
        log.info("%s: sound track %d is used of %s (see --audio-track)", path, found.audio.number, have)


def speech_length(path: Path, start_s: Fraction, track: str | None) -> Fraction:
    """How long a file's sound is heard from a moment on, to the sample at 16 kHz.

    Some codecs come in whole packets, whose last one is filled up. What the container says is believed then where it is
    a packet shorter at most; else what does not fill 10 ms is left out, so that the filling makes no frame.

    Raises: MediaError: it cannot be read. EmptyAudioError: there is less than 20 ms of it.
    """
    reader = AudioReader(path, start_s, track=track)
    if start_s and reader.info.duration_s is not None and start_s >= reader.info.duration_s:
        raise EmptyAudioError(f"{path}: it ends at {float(reader.info.duration_s):g} s. Choose an --audio-start before")
    num_samples = 0

    def counted() -> Iterator[Float]:
        nonlocal num_samples
        for block in reader.blocks():
            num_samples += len(block)
            yield block

    num_steps = measure(counted, str(path)).num_steps
    exact_s, said_s = Fraction(num_samples, SPEECH_RATE_HZ), reader.info.duration_s
    said_s = None if said_s is None else said_s - start_s
    if reader.info.codec not in WHOLE_PACKETS:
        return exact_s
    if said_s is not None and exact_s - PACKET_S <= said_s <= exact_s:
        return said_s
    return Fraction(num_steps, 100)


def unspoken(
    audio: Path, start_s: Fraction = Fraction(0), track: str | None = None, end_s: Fraction | None = None
) -> list[str]:
    """A warning where nobody speaks in a sound: noise, tones and silence move no mouth."""
    if speech_activity(AudioReader(audio, start_s, end_s, track).blocks()).spans:
        return []
    return [f"no speech is heard in {audio.name}: there is nothing for the mouth to say"]


def sound_s(path: Path, track: str | None) -> Fraction:
    """Length of a file's sound: as the file says, else counted.

    Raises: MediaError, EmptyAudioError: it cannot be read, or there is none.
    """
    reader = AudioReader(path, track=track)
    said = probe(path).duration_s if reader.info.duration_s is None else reader.info.duration_s
    return said or Fraction(sum(len(block) for block in reader.blocks()), SPEECH_RATE_HZ)


def cut_speech(speech_s: Fraction, video_s: Fraction) -> list[str]:
    """A warning where a speech is longer than the video that it was cut to."""
    if speech_s <= video_s + ROUNDING_S:
        return []
    return [f"the speech is {float(speech_s - video_s):.2f} s longer than the video and was cut"]


NOTICED_S = 0.5
"""Lengths that differ by more are worth a word before and after a run."""
STILL_S = Fraction(1, 5)
"""A shorter video is a picture, which has no direction to play in."""


def length_words(video_s: Fraction, speech_s: Fraction) -> list[str]:
    """What becomes of a video whose length is not the speech's, where the speech decides, with the setting."""
    difference = float(speech_s - video_s)
    if difference > NOTICED_S and video_s > STILL_S:
        return [
            f"the speech is {difference:.1f} s longer than the video: the video runs on backwards and forwards "
            "(see --length for others)."
        ]
    if difference < -NOTICED_S:
        return [f"the speech is {-difference:.1f} s shorter than the video: the rest is cut (--length video keeps it)."]
    return []
