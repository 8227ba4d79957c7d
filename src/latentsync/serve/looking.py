"""What is found out about uploads, in a process of its own: a file that kills a decoder does not kill the service."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.core.errors import MediaError

TEXT_BYTES = 1024
PREVIEW_PX = 640
FRAME_PX = 1280
_PLAYLISTS = ("hls", "concat", "dash", "sdp", "rtsp", "imf", "applehttp")


def die_with_parent() -> None:
    """At the start of a process of the pool: end when the service has ended, however it did."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


HEAD_BYTES = 1024
"""Of a text, by which a Git LFS pointer or a web page is known."""


def describe(path: Path) -> dict[str, Any]:
    """What kind of file it is, its length and size of picture. A playlist, which could name other files, is none."""
    from latentsync.media.information import probe
    from latentsync.media.opening import not_media

    if _is_text(path):
        with path.open("rb") as file:
            what = not_media(file.read(HEAD_BYTES))
        return {"kind": "other", "reason": what and f"is {what}"}

    try:
        found = probe(path)
    except MediaError as error:
        return {"kind": "other", "reason": str(error).removeprefix(f"{path}: ")}
    if found.container.split(",")[0] in _PLAYLISTS:
        return {"kind": "other"}
    info: dict[str, Any] = {"kind": "audio" if found.audio else "other"}
    if found.video is not None:
        still = found.container.endswith("_pipe") or found.container.startswith("image2")
        info = {
            "kind": "image" if still else "video", "width": found.video.width, "height": found.video.height,
            "fps": None if still else float(found.video.fps), "has_audio": found.audio is not None,
        }  # fmt: skip
    length_s = found.duration_s if found.video is None else found.video.duration_s or found.duration_s
    audio_s = None if found.audio is None else found.audio.duration_s
    return info | {
        "duration_s": None if length_s is None else float(length_s),
        "audio_s": None if audio_s is None else float(audio_s),
    }


def _is_text(path: Path) -> bool:
    """Whether it begins like text: FFmpeg takes some texts as lists of other files, and opens those."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    begin = head[:TEXT_BYTES]
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in begin)
    return not begin or printable == len(begin) or b"#EXTM3U" in begin or b"<MPD" in head or b"ffconcat" in begin


def inspect(
    video: Path,
    audio: Path | None,
    audio_track: str | None,
    face_model: Path | None,
    offline: bool,
    names: Mapping[str, str],
) -> dict[str, Any]:
    """A look before a run, as plain values. Raises: LatentSyncError; in it files are called as the user called them."""
    from latentsync.faces import MeshTracker
    from latentsync.pipeline.preflight import look

    found = look(video, audio, audio_track, tracker=MeshTracker(model_folder=face_model, offline=offline))
    time_s, faces = _numbered(found.samples)
    return {
        "video": {
            "width": found.width, "height": found.height, "fps": float(found.fps), "codec": found.codec,
            "duration_s": None if found.duration_s is None else float(found.duration_s), "pix_fmt": found.pix_fmt,
            "is_variable_rate": found.is_variable_rate, "rotation": found.rotation,
            "is_interlaced": found.is_interlaced, "timecode": found.timecode,
        },
        "audio": None if found.audio_duration_s is None else {"duration_s": float(found.audio_duration_s)},
        "sounds": [each.words for each in found.sounds],
        "frame": {"time_s": time_s},
        "faces": [_shown(face, index, found.width, found.height) for index, face in enumerate(faces)],
        "num_sampled": len(found.samples),
        "num_with_face": found.num_with_face,
        "most_faces": found.most_faces,
        "num_cuts": found.num_cuts,
        "warnings": [_warning(text, names) for text in found.warnings],
    }  # fmt: skip


def _numbered(samples: Any) -> tuple[float, list[Any]]:
    """The first sampled frame that shows all faces there ever are at once, and its faces from left to right."""
    most = max((len(faces) for _, faces in samples), default=0)
    for time_s, faces in samples:
        if len(faces) == most:
            return float(time_s), sorted(faces, key=lambda face: face.box_xyxy[0] + face.box_xyxy[2])
    return 0.0, []


def _shown(face: Any, index: int, width: int, height: int) -> dict[str, Any]:
    x0, y0, x1, y1 = face.box_xyxy
    left, top = max(0, x0), max(0, y0)
    return {
        "index": index, "box": [x0, y0, x1, y1],
        "share": [x0 / width, y0 / height, x1 / width, y1 / height],
        "choice": f"{left},{top},{max(2, x1 - left)},{max(2, y1 - top)}",
        "width_px": face.width_px, "turn_deg": round(face.turn_deg, 1), "too_small": face.is_too_small,
    }  # fmt: skip


def _warning(text: str, names: Mapping[str, str]) -> dict[str, Any]:
    """A warning with the setting that it names, if it names one."""
    for path, name in names.items():
        text = text.replace(path, name)
    option = next((word.strip("(),.:;") for word in text.split() if word.lstrip("(").startswith("--")), None)
    return {"text": text, "setting": option}


def still(video: Path, at_s: float, out: Path) -> None:
    """Write one frame as a JPEG. Raises: MediaError: the video cannot be read, or is over by then."""
    import cv2

    from latentsync.core.files import atomic_path
    from latentsync.media import VideoReader

    with VideoReader(video, Fraction(str(max(0.0, at_s)))) as reader:
        frame = next(iter(reader), None)
    if frame is None:
        raise MediaError(f"the video ends before {at_s:g} s")
    picture = _fit(frame.picture.rgb(), FRAME_PX)
    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise MediaError("the frame cannot be written as a picture")
    with atomic_path(out) as part:
        part.write_bytes(coded.tobytes())


def _fit(rgb: Any, longest_px: int, even: bool = False) -> Any:
    """A picture whose longer side is at most `longest_px`; `even` = sides that 4:2:0 can hold."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    step = 2 if even else 1
    sides = max(2, round(width * scale / step) * step), max(2, round(height * scale / step) * step)
    return rgb if sides == (width, height) else cv2.resize(rgb, sides, interpolation=cv2.INTER_AREA)


def small_video(video: Path, out: Path, sound: Path | None, like: Path | None = None, **part: Any) -> None:
    """Write a small H.264 copy that browsers play.

    Args:
        sound: file whose sound goes with it; None = none.
        like: a result whose frames these are to lie beside: as long, and repeated in the same way.
        part: start_s, end_s (of the video), length (see `SyncOptions`), for `like`.
    Raises: MediaError.
    """
    from latentsync.media import AudioPlan, VideoReader, VideoWriter
    from latentsync.media.information import probe

    with VideoReader(video, part.get("start_s"), part.get("end_s")) as reader:
        info = reader.info
        frames: Iterator[Any] = iter(reader)
        if like is not None:
            frames = _beside(reader, like, part.get("length"))
        first = _fit(_blank(info.height, info.width), PREVIEW_PX, even=True)
        small = replace(
            info, width=first.shape[1], height=first.shape[0], codec="h264", pix_fmt="yuv420p", bit_depth=8,
            hdr=None, is_interlaced=False, first_field=None, has_hidden_alpha=False,
        )  # fmt: skip
        track = None
        if sound is not None and probe(sound).audio is not None:
            begins = info.start_s if sound == video else Fraction(0)
            track = AudioPlan(sound, start_s=begins, mode="encode")
        with VideoWriter(out, small, "h264", 26, "yuv420p", None, track) as writer:
            for frame in frames:
                writer.write(_scaled(frame))


def _blank(height: int, width: int) -> Any:
    import numpy as np

    return np.empty((height, width, 3), np.uint8)


def _scaled(frame: Any) -> Any:
    from latentsync.core.values import Frame
    from latentsync.media import RgbPicture

    return Frame(frame.index, frame.time_s, RgbPicture(_fit(frame.picture.rgb(), PREVIEW_PX, even=True)))


def _beside(reader: Any, like: Path, length: str | None) -> Iterator[Any]:
    """The source's frames in the order and number of a result's."""
    from latentsync.media import VideoReader, fit_length

    modes = {None: "ping_pong", "audio": "ping_pong", "video": "none"}
    with VideoReader(like) as result:
        length_s = result.info.duration_s
    if length_s is None:
        return iter(reader)
    mode = modes.get(length, length)
    tick = Fraction(1, 1000)  # rounding of containers: a frame that begins at the very end is none
    return iter(fit_length(reader, length_s - tick if mode != "none" else None, mode))  # type: ignore[arg-type]
