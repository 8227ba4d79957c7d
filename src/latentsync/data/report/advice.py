"""What to change to keep more, from the measured values of what was rejected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentsync.data.stages.limits import Limit

ABOUT = {
    "too_short": ("segments.min_s", "shots are shorter than the least length"),
    "face_too_short": ("segments.min_s", "the face is seen without a gap for less than the least length"),
    "too_short_after_sync": ("segments.min_s", "moving the sound left too little"),
    "too_slow": ("normalise.min_fps", "the source has fewer frames a second"),
    "silent": ("probe.min_speech_db", "the sound is very quiet"),
    "damaged_picture": ("probe.max_damaged_share", "too much of the picture is damaged; smaller damage is cut out"),
    "damaged_sound": ("probe.max_damaged_share", "too much of the sound is damaged"),
    "offset_uncertain": (
        "sync_limits.correct_above",
        "an offset was seen, not surely; with out_of_sync=keep it is kept for its looks",
    ),
    "no_face": (None, "nobody to be seen, or too small or turned away: nothing to change here"),
    "no_sound": (None, "add the sound, or leave these files out"),
    "no_video": (None, "sound files; leave them out"),
    "unreadable": (None, "export these files again, or check their permissions"),
    "duplicate": (None, "the same content is there under another name; nothing is lost"),
    "damaged_span": (None, "only the damaged part is lost"),
}


def advice(rows: Sequence[Mapping[str, Any]], limits: Sequence[Limit]) -> list[str]:
    """One sentence for each reason, the most frequent first."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row["kept"]:
            by_reason.setdefault(row["reason"], []).append(row)
    known = {limit.reason: limit for limit in limits}
    said = []
    for reason, out in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        limit = known.get(reason)
        setting, why = (limit.setting, f"{limit.score} beyond the limit") if limit else ABOUT.get(reason, (None, ""))
        sentence = f"{len(out)} × {reason}" + (f": {why}" if why else "")
        values = sorted(row["value"] for row in out if row["value"] is not None and math.isfinite(row["value"]))
        if setting is not None and values:
            rising = limit.kind == "max" if limit else reason.startswith("damaged")
            middle = values[len(values) // 2] if not rising else values[(len(values) - 1) // 2]
            gained = sum(value <= middle if rising else value >= middle for value in values)
            sentence += f". --set {setting}={_round(middle, rising):g} would let {gained} of them go on"
        said.append(sentence + ".")
    return said


def _round(value: float, up: bool) -> float:
    """Two significant digits, on the side that lets the value pass."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return round((math.ceil if up else math.floor)(value / unit) * unit, 10)
