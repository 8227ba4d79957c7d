"""Mouth strips: the mouth at even steps of time, source above result, for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from latentsync.core.errors import MediaError, NoFaceError
from latentsync.core.files import atomic_path
from latentsync.core.values import AlignedFace, Bytes, Float, Frame
from latentsync.faces import FaceFollower, MeshTracker, PeopleFollower, Wanted, extract_crop
from latentsync.faces.protocol import FaceTracker
from latentsync.media.pixels import to_bytes
from latentsync.media.reader import VideoReader

CROP_PX = 256
"""The faces are looked at as a 256 px network sees them."""

MOUTH_BOX = (56, 96, 200, 240)
"""The mouth with chin and nose in that crop (x0, y0, x1, y1); chosen by eye on real clips of two people."""

LONGEST_S = Fraction(8)
"""With more than this the steps of a 16-column strip are too wide to follow a mouth."""

_GAP_PX, _HEAD_PX, _LABEL_PX = 2, 18, 64
_INK, _PAPER = (40, 40, 40), 255

Found = TypeVar("Found")


def mouth_strip(
    source_path: Path,
    result_path: Path,
    out_png: Path,
    columns: int = 16,
    *,
    start_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
    choice: str = "largest",
    tracker: FaceTracker | None = None,
) -> Path:
    """Write the strip of a result beside its source.

    The face is followed in the source; both rows are cut with the same transforms, so a difference is a difference of
    pixels. Column k shows result time t_k and source time start_s + t_k; both are read up to the end of the shorter, at
    most `LONGEST_S`. Where a short video was repeated for a long speech, only its first time is shown.

    Args:
        start_s: where in the source the result begins.
        end_s: where the part of the source that was used ends; None = at its end.
        choice: which face, as in `SyncOptions.face`.
        tracker: None = a `MeshTracker` with the installed networks.
    Returns: `out_png`.
    Raises: MediaError: a video cannot be read, or the picture not be written. NoFaceError: no face in that part.
    """
    length_s = LONGEST_S if end_s is None else min(LONGEST_S, end_s - start_s)
    follower = FaceFollower(tracker or MeshTracker(), choice, CROP_PX)
    with (
        VideoReader(source_path, start_s=start_s, end_s=start_s + length_s) as source,
        VideoReader(result_path) as result,
    ):
        times_s = _times(source, result, start_s, length_s, columns)
        seen = [  # cut at once: sixteen tiles are small, sixteen frames are not
            None if face is None else (face, _mouth(frame, face))
            for frame, face in _at(follower.follow(source), [start_s + time_s for time_s in times_s])
        ]
        pairs = [
            (time_s, before[1], _mouth(frame, before[0]))
            for time_s, before, (frame, _) in zip(times_s, seen, _at(_faceless(result), times_s), strict=False)
            if before is not None
        ]
    if not pairs:
        raise NoFaceError(
            f"{source_path}: no face in the first {float(length_s):g} s to draw a strip of. Leave --strip out."
        )
    picture = draw_strip(
        [before for _, before, _ in pairs], [after for *_, after in pairs], [time for time, *_ in pairs]
    )
    save_png(out_png, picture)
    return out_png


def people_strip(
    source: Iterable[Frame],
    result_path: Path,
    out_png: Path,
    people: Sequence[Wanted],
    columns: int = 16,
    *,
    tracker: FaceTracker | None = None,
) -> Path:
    """Write one picture with a pair of rows for each person, in which a title names its face.

    The columns of a person are even steps through its own spans, end to end, at most `LONGEST_S` of them. The source is
    followed from its beginning to the last moment shown, so that each face is chosen as it was chosen in the run.

    Args:
        source: frames in the time of the result. people: as they were wanted there.
        tracker: None = a `MeshTracker` with the installed networks.
    Returns: `out_png`.
    Raises: MediaError: see `mouth_strip`. NoFaceError: none of them is seen at the moments shown; one who is not, while
        others are, has no rows.
    """
    with VideoReader(result_path) as result:
        last_s = result.info.duration_s
    moments = sorted((time_s, one) for one, wanted in enumerate(people) for time_s in _spoken(wanted, columns, last_s))
    times_s = [time_s for time_s, _ in moments]
    follower = PeopleFollower(tracker or MeshTracker(), people, CROP_PX)
    seen = []
    for (_, one), (frame, faces) in zip(moments, _at(follower.follow(source), times_s), strict=False):
        face = faces[one]
        seen.append(None if face is None else (face, _mouth(frame, face)))
    rows: list[list[tuple[Fraction, Bytes, Bytes]]] = [[] for _ in people]
    with VideoReader(result_path) as result:
        for (time_s, one), before, (frame, _) in zip(moments, seen, _at(_faceless(result), times_s), strict=False):
            if before is not None:
                rows[one].append((time_s, before[1], _mouth(frame, before[0])))
    if not any(rows):
        raise NoFaceError(f"{result_path}: nobody is seen at the moments of a strip. Leave --strip out.")
    sheets = [
        _titled(
            f"face {Path(wanted.choice).name}",
            draw_strip([b for _, b, _ in row], [a for *_, a in row], [t for t, *_ in row]),
        )
        for wanted, row in zip(people, rows, strict=True)
        if row
    ]
    width = max(sheet.shape[1] for sheet in sheets)
    wide = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=_PAPER) for s in sheets]
    save_png(out_png, np.concatenate(wide))
    return out_png


def draw_strip(before: Sequence[Bytes], after: Sequence[Bytes], times_s: Sequence[Fraction | float]) -> Bytes:
    """Two rows of tiles with their times above: (H, W, 3) uint8 RGB.

    Args:
        before, after: as many (h, w, 3) uint8 RGB tiles each, all of one size.
    """
    if not before or len(before) != len(after) or len(before) != len(times_s):
        raise ValueError(
            f"draw_strip: {len(before)}, {len(after)} tiles and {len(times_s)} times; expected equal, not 0"
        )
    height, width = before[0].shape[:2]
    sheet = np.full(
        (_HEAD_PX + 2 * (height + _GAP_PX), _LABEL_PX + len(before) * (width + _GAP_PX), 3), _PAPER, dtype=np.uint8
    )
    for row, (name, tiles) in enumerate((("source", before), ("result", after))):
        y = _HEAD_PX + row * (height + _GAP_PX)
        _write(sheet, name, (6, y + height // 2))
        for column, tile in enumerate(tiles):
            x = _LABEL_PX + column * (width + _GAP_PX)
            sheet[y : y + height, x : x + width] = tile
    for column, time_s in enumerate(times_s):
        _write(sheet, f"{float(time_s):.2f} s", (_LABEL_PX + column * (width + _GAP_PX) + 4, _HEAD_PX - 5))
    return sheet


def save_png(path: Path, picture: Bytes) -> None:
    """Write an RGB picture, whole or not at all. Raises: MediaError: it cannot be written."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    if not encoded:
        raise MediaError(f"{path}: the picture could not be encoded")
    try:
        with atomic_path(path) as part:
            part.write_bytes(data.tobytes())
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror}). Choose another place.") from error


def _times(
    source: VideoReader, result: VideoReader, start_s: Fraction, longest_s: Fraction, columns: int
) -> list[Fraction]:
    """The middles of `columns` equal parts of the time that both videos have, `longest_s` at most."""
    lengths = [longest_s]
    if source.info.duration_s is not None:
        lengths.append(source.info.duration_s - start_s)
    if result.info.duration_s is not None:
        lengths.append(result.info.duration_s)
    length_s = max(min(lengths), Fraction(0))
    return [length_s * (2 * column + 1) / (2 * columns) for column in range(columns)]


def _spoken(wanted: Wanted, columns: int, last_s: Fraction | None) -> Iterator[Fraction]:
    """The middles of `columns` equal parts of the spans laid end to end, as far as `LONGEST_S` and the video's end."""
    spans = wanted.spans or ((Fraction(0), LONGEST_S),)
    if last_s is not None:
        spans = tuple((start_s, min(end_s, last_s)) for start_s, end_s in spans if start_s < last_s)
    length_s = min(sum((end_s - start_s for start_s, end_s in spans), Fraction(0)), LONGEST_S)
    for column in range(columns):
        left_s = length_s * (2 * column + 1) / (2 * columns)
        for start_s, end_s in spans:
            if left_s < end_s - start_s:
                yield start_s + left_s
                break
            left_s -= end_s - start_s


def _titled(text: str, sheet: Bytes) -> Bytes:
    band = np.full((_HEAD_PX, sheet.shape[1], 3), _PAPER, dtype=np.uint8)
    _write(band, text, (6, _HEAD_PX - 5))
    return np.concatenate([band, sheet])


def _at(stream: Iterable[tuple[Frame, Found]], times_s: Sequence[Fraction]) -> Iterator[tuple[Frame, Found]]:
    """The items that are on at each of the rising times; the last one again where the stream ends before."""
    now: tuple[Frame, Found] | None = None
    stream = iter(stream)
    coming = next(stream, None)
    for time_s in times_s:
        while coming is not None and (now is None or coming[0].time_s <= time_s):
            now, coming = coming, next(stream, None)
        if now is None:
            return
        yield now


def _faceless(frames: Iterable[Frame]) -> Iterator[tuple[Frame, AlignedFace | None]]:
    return ((frame, None) for frame in frames)


def _mouth(frame: Frame, face: AlignedFace) -> Bytes:
    x0, y0, x1, y1 = MOUTH_BOX
    crop: Float = extract_crop(frame.picture, face.frame_to_crop, CROP_PX)
    return to_bytes(np.ascontiguousarray(crop[y0:y1, x0:x1]))


def _write(sheet: Bytes, text: str, place: tuple[int, int]) -> None:
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
