"""Sound of any file as float samples at exact places, and WAV files."""

from __future__ import annotations

import logging
import math
import wave as wave_format
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from latentsync.core.errors import EmptyAudioError, MediaError
from latentsync.core.files import atomic_path
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Float
from latentsync.media.information import JUMP_S, AudioInfo, joined_ends, probe
from latentsync.media.opening import opened
from latentsync.media.tracks import audio_stream, origin_of

log = logging.getLogger(__name__)

BLOCK_SAMPLES = SPEECH_RATE_HZ

_GAP_S = Fraction(1, 20)
"""Holes and overlaps up to this are rounding of times (millisecond clocks, codec run-in), not silence."""

USUAL_COUNTS = ("1", "2", "3", "4", "5", "6", "7", "8", "16", "24")
"""Numbers of channels that FFmpeg knows an order for where a file names none, as a stereo WAV."""
RATES_HZ = (1_000, 1_000_000)
"""Samples a second of sound that is one: DXD has 352,800, DSD at 22.6 MHz is decoded to no more."""
_FULL_SCALE = {
    "u8": ("u1", 128, 128), "s16": ("<i2", 0, 2**15), "s32": ("<i4", 0, 2**31), "flt": ("<f4", 0, 1),
    "dbl": ("<f8", 0, 1),
}  # fmt: skip
"""Packed formats: type of a sample, its zero, its full scale."""
_NUM_PLANES = 8  # PyAV reads past the end of a frame's pointers from so many planes on
_PREROLL_S = Fraction(1, 2)
"""Decoded before the wanted start and thrown away: codecs need a few packets to settle."""


class AudioReader:
    """Sound as mono 16 kHz float32 in [-1, 1], whatever the file holds.

    Sample 0 is at `start_s` after the container's origin (the same as `VideoReader`'s), so sound that starts late
    begins with silence, and holes are filled with silence. All channels are mixed to one with FFmpeg's default weights
    (stereo: the mean; 5.1: fronts and surrounds at −3 dB below the centre or less, no low-frequency channel), scaled so
    that full scale stays full scale. Packets that cannot be decoded are skipped and counted in `damaged`; eight in a
    row end the sound.

    Args:
        path: any file with sound.
        start_s, end_s: the part to read, exact seconds; None = from the origin, to the end of the sound.
        track: which of several sound tracks, see `tracks.audio_stream`; None = the one marked default.
    Raises: MediaError: the file cannot be read, or has no such track. EmptyAudioError: it has no sound (on reading too:
        nothing decodes).
    """

    def __init__(
        self,
        path: Path | str,
        start_s: Fraction | None = None,
        end_s: Fraction | None = None,
        track: str | None = None,
    ) -> None:
        self.path, self.track = Path(path), track
        media = probe(self.path, track)
        if media.audio is None:
            raise EmptyAudioError(f"{self.path}: no sound in it. Pass a file with speech.")
        self.info: AudioInfo = media.audio
        self.start_s, self.end_s = Fraction(start_s or 0), end_s
        self.damaged = 0

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        return None  # every loop closes its own file

    def blocks(self) -> Iterator[Float]:
        """(n,) float32 blocks of one second (the last one shorter), end to end without gaps."""
        sound = SoundDecoder(self.path, SPEECH_RATE_HZ, "mono", self.start_s, self.end_s, self.track)
        num_samples = 0
        for block in rebuffer(sound.samples(), BLOCK_SAMPLES):
            num_samples += block.shape[1]
            self.damaged = sound.damaged
            yield block[0]
        self.damaged = sound.damaged
        if not num_samples:
            raise EmptyAudioError(f"{self.path}: its sound has zero length. Pass a file with speech.")


class SoundDecoder:
    """Decode, resample and place sound exactly: sample k of the output is at start_s + k / rate.

    Args:
        rate_hz, layout: of the output, e.g. 48000 and "stereo".
        track: see `tracks.audio_stream`.
    """

    def __init__(
        self,
        path: Path,
        rate_hz: int,
        layout: str,
        start_s: Fraction = Fraction(0),
        end_s: Fraction | None = None,
        track: str | None = None,
    ) -> None:
        self.path, self.rate_hz, self.layout, self.track = path, rate_hz, layout, track
        self.start_s, self.end_s = Fraction(start_s), end_s
        self.damaged = 0
        self._jumped = False
        self._gains: dict[str, np.float32] = {}

    def samples(self) -> Iterator[Float]:
        """(channels, n) float32 pieces of any length, end to end."""
        end = None if self.end_s is None else round((self.end_s - self.start_s) * self.rate_hz)
        if end is not None and end <= 0:
            return
        place = 0  # next sample to give, counted from start_s
        at = 0  # where the piece at hand belongs; below 0 while decoding the run-in
        for at_s, piece in self._pieces():
            if at_s is not None:
                at = round((at_s - self.start_s) * self.rate_hz)
            after = at + piece.shape[1]
            if at > place:
                until = at if end is None else min(at, end)
                yield from _silence(piece.shape[0], until - place, self.rate_hz)
                place = until
            piece = piece[:, max(place - at, 0) :]
            if end is not None:
                piece = piece[:, : end - place]
            if piece.shape[1]:
                yield piece
                place += piece.shape[1]
            if end is not None and place >= end:
                return
            at = after

    def _pieces(self) -> Iterator[tuple[Fraction | None, Float]]:
        """Resampled pieces, each with its time from the container's origin, None where it follows on."""
        resampler: av.AudioResampler | None = None
        gain, kind = np.float32(1), ("", "", 0)
        skip = 0
        following: Fraction | None = None
        shift = Fraction(0)
        for time_s, frame in self._frames():
            check_rate(self.path, frame.sample_rate)
            frame = _readable(_named(self.path, frame))
            length_s = Fraction(frame.samples, frame.sample_rate)
            if following is not None and time_s is not None and time_s + shift < following - JUMP_S:
                shift = following - time_s  # a new clock: carry on after the last sample
            now = following if time_s is None else time_s + shift
            if now is None:
                now = Fraction(0)
            before, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
            starts = following is None or abs(now - following) > _GAP_S
            if kind != before and not starts:  # another rate or layout: a new resampler, right after the last sample
                starts, now = True, following or now
            if starts:
                if resampler is not None:
                    yield from ((None, _array(out) * gain) for out in resampler.resample(None))
                resampler = av.AudioResampler(format="flt", layout=self.layout, rate=self.rate_hz)
                following = now
                skip = self._off_grid(now, frame.sample_rate)
            if skip:
                dropped = min(skip, frame.samples)
                now += Fraction(dropped, frame.sample_rate)
                skip, starts, following, length_s = (
                    skip - dropped,
                    True,
                    now,
                    length_s - Fraction(dropped, frame.sample_rate),
                )
                if dropped == frame.samples:
                    continue
                frame = _without_start(frame, dropped)
            frame.pts = None
            gain = self._gain(frame)
            for out in resampler.resample(frame):  # type: ignore[union-attr]
                yield (now if starts else None), _array(out) * gain
                starts = False
            if starts:  # the resampler keeps the first samples back: place what comes out later
                yield now, np.zeros((_channels(self.layout), 0), np.float32)
            following = (following or Fraction(0)) + length_s
        if resampler is not None:
            yield from ((None, _array(out) * gain) for out in resampler.resample(None))

    def _off_grid(self, now: Fraction, rate_hz: int) -> int:
        """Samples to drop after a jump, so that the resampler steps in the same phase as from the start."""
        if not self._jumped:
            return 0
        self._jumped = False
        return -round(now * rate_hz) % (rate_hz // math.gcd(rate_hz, self.rate_hz))

    def _gain(self, frame: av.AudioFrame) -> np.float32:
        """What makes full scale in all channels stay full scale: float mixing in libswresample is not normalised."""
        name = frame.layout.name
        if name not in self._gains:
            try:
                probe_frame = packed_frame(np.ones((len(frame.layout.channels), 1024), np.float32), name)
            except ValueError:  # a bare number of channels has no name to build a frame from
                self._gains[name] = np.float32(1)
                return self._gains[name]
            probe_frame.sample_rate = frame.sample_rate
            mixer = av.AudioResampler(format="flt", layout=self.layout, rate=frame.sample_rate)
            mixed = np.concatenate([_array(out) for out in mixer.resample(probe_frame) + mixer.resample(None)], axis=1)
            self._gains[name] = np.float32(1 / max(float(np.abs(mixed).max()), 1.0))
        return self._gains[name]

    def _frames(self) -> Iterator[tuple[Fraction | None, av.AudioFrame]]:
        with opened(self.path) as container:
            stream = audio_stream(container, self.track)
            if stream is None:
                raise EmptyAudioError(f"{self.path}: no sound in it. Pass a file with speech.")
            origin = origin_of(container)
            tick = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
            counted = container.format.name == "aac"  # ADTS has no clock: FFmpeg counts on at the first frame's rate
            if self.start_s > 1 and not counted and not joined_ends(self.path):
                try:
                    container.seek(int((self.start_s - _PREROLL_S + origin) / tick // 1), stream=stream, backward=True)
                    self._jumped = True
                except FFmpegError:
                    log.debug("%s: cannot jump, reading from its start", self.path)
            run = 0
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except FFmpegError as error:
                    self._count_damage(error)
                    return
                try:
                    frames = packet.decode()
                    run = 0 if frames else run
                except FFmpegError as error:
                    self._count_damage(error)
                    run += 1
                    if run >= 8:
                        return
                    continue
                for frame in frames:
                    known = frame.pts is not None and not counted
                    yield (frame.pts * tick - origin if known else None), frame  # type: ignore[misc, operator]

    def _count_damage(self, error: FFmpegError) -> None:
        self.damaged += 1
        if self.damaged == 1:
            log.warning("%s: damaged, some of its sound is left out (%s)", self.path, error.strerror)


def read_audio(
    path: Path | str, start_s: Fraction | None = None, end_s: Fraction | None = None, track: str | None = None
) -> Float:
    """All of a file's sound, (S,) float32 mono at 16 kHz. See `AudioReader` for places, mixing, tracks and errors."""
    return np.concatenate(list(AudioReader(path, start_s, end_s, track).blocks()))


def write_wav(path: Path | str, wave: Float, rate_hz: int = SPEECH_RATE_HZ) -> None:
    """Write (S,) or (channels, S) float samples as 16-bit WAV, rounded; values outside [-1, 1] are limited.

    Raises: MediaError: the file cannot be written.
    """
    path = Path(path)
    channels = np.atleast_2d(np.asarray(wave, dtype=np.float32))
    codes = np.rint(np.clip(channels, -1.0, 1.0) * 32767).astype("<i2")
    try:
        with atomic_path(path) as part, part.open("wb") as raw, wave_format.open(raw, "wb") as file:
            file.setnchannels(codes.shape[0])
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(np.ascontiguousarray(codes.T).tobytes())
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror}). Choose another place.") from error


def rebuffer(pieces: Iterator[Float], size: int) -> Generator[Float, None, None]:
    """(channels, n) pieces of any length → pieces of `size` samples, the last one shorter."""
    waiting: list[Float] = []
    num_waiting = 0
    for piece in pieces:
        waiting.append(piece)
        num_waiting += piece.shape[1]
        if num_waiting < size:
            continue
        joined = np.concatenate(waiting, axis=1)
        whole = num_waiting // size * size
        for start in range(0, whole, size):
            yield joined[:, start : start + size]
        waiting, num_waiting = [joined[:, whole:]], num_waiting - whole
    if num_waiting:
        yield np.concatenate(waiting, axis=1)


def packed_frame(samples: Float, layout: str) -> av.AudioFrame:
    """A frame of (channels, n) float32 samples, channels side by side: PyAV's planes end at the eighth channel.

    Raises: ValueError: no layout has that name.
    """
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout)


def _array(frame: av.AudioFrame) -> Float:
    """(channels, n) samples of a packed float frame."""
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(frame.layout.channels)).T)


def _readable(frame: av.AudioFrame) -> av.AudioFrame:
    """The same sound, packed where PyAV cannot read its planes: from eight channels on."""
    if not frame.format.is_planar or len(frame.layout.channels) < _NUM_PLANES:
        return frame
    packer = av.AudioResampler(format=frame.format.packed.name, layout=frame.layout, rate=frame.sample_rate)
    return packer.resample(frame)[0]


def check_rate(path: Path, rate_hz: int) -> None:
    """Raises: MediaError: no sound has so many samples a second; a converter to it would need all memory."""
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise MediaError(f"{path}: its sound has {rate_hz} samples a second, which no recording has. Export it again.")


def _named(path: Path, frame: av.AudioFrame) -> av.AudioFrame:
    """The frame itself where FFmpeg knows its channels, else their mean: so many in no known order cannot be weighted.

    Raises: MediaError: a format whose samples PyAV cannot read then.
    """
    if "channels" not in frame.layout.name or frame.layout.name.split()[0] in USUAL_COUNTS:
        return frame
    kind = _FULL_SCALE.get(frame.format.name)
    if kind is None:
        number = frame.layout.name.split()[0]
        raise MediaError(f"{path}: {number} channels of a kind that cannot be mixed. Export it as WAV or with fewer.")
    dtype, zero, full = kind
    codes: Any = np.frombuffer(bytes(frame.planes[0]), dtype)
    count = len(codes) // frame.samples
    samples = codes[: frame.samples * count].reshape(frame.samples, count).mean(axis=1, dtype=np.float64)
    out = packed_frame(((samples - zero) / full).astype(np.float32)[None], "mono")
    out.sample_rate, out.pts = frame.sample_rate, frame.pts
    if frame.time_base is not None:
        out.time_base = frame.time_base
    return out


def _without_start(frame: av.AudioFrame, num_samples: int) -> av.AudioFrame:
    codes: Any = frame.to_ndarray()
    if frame.format.is_planar:
        codes = codes[:, num_samples:]
    else:
        codes = codes[:, num_samples * len(frame.layout.channels) :]
    out = av.AudioFrame.from_ndarray(np.ascontiguousarray(codes), format=frame.format.name, layout=frame.layout.name)
    out.sample_rate = frame.sample_rate
    return out


def _channels(layout: str) -> int:
    return len(av.AudioLayout(layout).channels)


def _silence(num_channels: int, num_samples: int, rate_hz: int) -> Iterator[Float]:
    """In pieces of at most a second, so that an hour of it needs no memory."""
    while num_samples > 0:
        size = min(num_samples, rate_hz)
        yield np.zeros((num_channels, size), np.float32)
        num_samples -= size
