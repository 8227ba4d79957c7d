"""Does the file truly decode, picture and sound, to its end, and where is it damaged?"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.core.errors import EmptyAudioError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Frame
from latentsync.data.clip import Clip, Json, Rejected
from latentsync.data.stages.base import PlainStage
from latentsync.media.audio import AudioReader
from latentsync.media.information import MediaInfo, VideoInfo, probe
from latentsync.media.reader import GAP_FRAMES, VideoReader

SOUND_PACKETS_PER_S = 43
"""A packet of the usual codecs holds 1,024 samples at 44.1 kHz: only for the share of damaged ones."""


class Probe(PlainStage):
    """Decodes everything once and keeps what later stages need to know: exact times, rate, size, damaged spans."""

    name = "probe"
    version = 2

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        path = Path(clip.source.path)
        track = self.config.audio_track
        media = probe(path, track)
        if media.video is None:
            return self.no("no_video", detail="only sound in it")
        if media.audio is None:
            return self.no("no_sound", detail="only pictures in it")
        picture = self._picture(path, media.video)
        if isinstance(picture, Rejected):
            return picture
        sound = self._sound(path, track)
        if isinstance(sound, Rejected):
            return sound
        chosen: dict[str, Json] = {"sound_track": media.audio.number} if len(media.sounds) > 1 else {}
        return [clip.known(**picture, **sound, **chosen, **_about(media))]

    def _picture(self, path: Path, info: VideoInfo) -> dict[str, Json] | Rejected:
        with VideoReader(path, info=info) as reader:
            times: list[Fraction] = []
            bad: list[bool] = []
            seen_key = False
            for frame in reader:
                seen_key = seen_key or _flag(frame, "key_frame")
                times.append(frame.time_s)
                bad.append(not seen_key or _flag(frame, "is_corrupt"))
            packets = reader.damaged
        if not seen_key:  # a codec that does not say: nothing can be told from it
            bad = [False] * len(bad)
        if not times:
            return self.no("no_frames", 0, 1, "no picture can be decoded")
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / info.fps
        end_s = times[-1] + step
        spans = damaged_spans(times, bad, end_s, 1 / info.fps)
        total = end_s - times[0]
        share = float(sum((end - start for start, end in spans), Fraction(0)) / total) if total else 1.0
        if share > self.config.max_damaged_share:
            where = ", ".join(f"{float(start):.2f} to {float(end):.2f} s" for start, end in spans[:4])
            return self.no("damaged_picture", share, self.config.max_damaged_share, f"share of the time: {where}")
        steps = np.diff(np.array([float(time) for time in times]))
        return {
            "first_s": str(times[0]),
            "end_s": str(end_s),
            "source_frames": len(times),
            "mean_fps": round(float(1 / step), 4),
            "variable_rate": bool(len(steps) and steps.max() - steps.min() > 0.25 * steps.mean()),
            "damaged_spans": json.dumps([[str(start), str(end)] for start, end in spans]),
            "damaged_packets": packets,
        }

    def _sound(self, path: Path, track: str | None) -> dict[str, Json] | Rejected:
        reader = AudioReader(path, track=track)
        count, powers = 0, []
        try:
            for block in reader.blocks():
                count += len(block)
                whole = block[: len(block) // 320 * 320].reshape(-1, 320)
                powers.append((whole.astype(np.float64) ** 2).mean(axis=1))
        except EmptyAudioError as error:
            return self.no("no_sound", detail=str(error))
        levels = np.concatenate(powers)
        loud_db = 10 * np.log10(max(float(np.percentile(levels, 90)) if len(levels) else 0.0, 1e-10))
        if loud_db < self.config.min_speech_db:
            return self.no("silent", loud_db, self.config.min_speech_db, "the sound has no speech level anywhere, dB")
        packets = max(reader.damaged + count / SPEECH_RATE_HZ * SOUND_PACKETS_PER_S, 1)
        if reader.damaged / packets > self.config.max_damaged_share:
            share = reader.damaged / packets
            return self.no("damaged_sound", share, self.config.max_damaged_share, f"{reader.damaged} damaged packets")
        return {
            "sound_start_s": str(reader.info.start_s),
            "sound_end_s": str(Fraction(count, SPEECH_RATE_HZ)),
            "damaged_sound_packets": reader.damaged,
            "loud_db": round(float(loud_db), 2),
        }


def damaged_spans(
    times: list[Fraction], bad: list[bool], end_s: Fraction, frame_s: Fraction
) -> list[tuple[Fraction, Fraction]]:
    """Spans (start_s, end_s) of damaged frames, and holes where frames are missing, rising and apart.

    Args:
        times: of the frames that were decoded.
        bad: the decoder says that this one is not whole, or it comes before the first key frame.
        frame_s: nominal length of a frame.
    """
    spans: list[tuple[Fraction, Fraction]] = []
    for time_s, after_s, damaged in zip(times, [*times[1:], end_s], bad, strict=True):
        hole = after_s - time_s > GAP_FRAMES * frame_s
        if not damaged and not hole:
            continue
        start = time_s if damaged else time_s + frame_s
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], after_s)
        else:
            spans.append((start, after_s))
    return spans


def _flag(frame: Frame, name: str) -> bool:
    return bool(getattr(getattr(frame.picture, "frame", None), name, name == "key_frame"))


def _about(media: MediaInfo) -> dict[str, Json]:
    info, sound = media.video, media.audio
    if info is None or sound is None:
        raise ValueError("a file with picture and sound is expected")
    return {"fps": str(info.fps), "width": info.width, "height": info.height, "codec": info.codec,
            "container": media.container, "sound_codec": sound.codec, "sound_rate_hz": sound.rate_hz}  # fmt: skip
