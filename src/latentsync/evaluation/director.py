"""One result on one page, for somebody who has to say yes or no: in time, picture, before and after."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from latentsync.evaluation.results import MODEL, UNTOUCHED, SuiteResult
from latentsync.evaluation.scoring import Scores
from latentsync.evaluation.svg import curves_svg
from latentsync.evaluation.sync_lines import IN_TIME_MS, UNSURE, SyncLine
from latentsync.evaluation.watching import GRID_HZ

GOOD_SHARPNESS, LEAKING, TREMBLING = 0.85, 0.3, 1.3
"""Below the first the mouth is softer than the face; above the others the old mouth shows, or the face trembles (by
eye)."""


def director_page(
    scored: SuiteResult,
    lines: Sequence[SyncLine],
    facts: Mapping[str, Any],
    style: str,
    videos: tuple[Path, Path] | None = None,
    page_folder: Path | None = None,
) -> str:
    """The page as HTML.

    Args:
        scored: of `score_result`. lines: of the whole result.
        videos: source and result, shown beside each other by their place relative to `page_folder`; None = not shown.
    """
    scores = {row.system: row.scores for row in scored.rows}
    ours, before = scores.get(MODEL, {}), scores.get(UNTOUCHED, {})
    evidence = scored.evidence[0]
    strip = base64.b64encode(evidence.strip).decode("ascii")
    curves = curves_svg(
        [("old", "the mouth before", evidence.old), ("result", "the new mouth", evidence.opening)],
        evidence.loudness,
        GRID_HZ,
    )
    rows = "".join(f"<tr><th>{escape(str(key))}<td>{escape(str(value))}" for key, value in facts.items())
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>How did it come out?</title>",
        style,
        f"<h1>How did it come out?</h1><p><b>{escape(headline(lines))}</b></p>",
        _videos(videos, page_folder),
        "<h2>In time with the speech?</h2>",
        _sync_table(lines),
        f"<p>{escape(sync_words(before, ours))}</p>",
        "<h2>The picture</h2><ul>",
        *(f"<li>{escape(text)}" for text in picture_words(ours)),
        "</ul><h2>The mouth over time</h2><p class=legend>How far the mouth is open: <b class=result>new</b>, "
        "<b class=old>before</b>; grey: how loud the speech is. Below: before above, after below.</p>",
        curves,
        f'<img alt="before above, after below" src="data:image/jpeg;base64,{strip}">',
        f"<h2>What was run</h2><table class=facts>{rows}</table></html>\n",
    ]
    return "\n".join(parts)


def headline(lines: Sequence[SyncLine]) -> str:
    """The verdict in one sentence."""
    judged = [line for line in lines if line.confidence == line.confidence]  # not NaN
    if not judged:
        return "There is too little speech or face to say whether the mouth is in time."
    off = [line for line in judged if line.confidence < UNSURE or abs(line.late_ms) > IN_TIME_MS]
    if not off:
        return "The mouth is in time with the speech, all along."
    worst = max(off, key=lambda line: line.end_s - line.start_s)
    return f"Look at {worst.start_s:.1f} to {worst.end_s:.1f} s: {worst.words}." + (
        f" {len(off)} of {len(judged)} places need a look." if len(judged) > 1 else ""
    )


def sync_words(before: Scores, ours: Scores) -> str:
    """The sync score before and after, and how to read it."""
    if "lips_confidence" not in ours:
        return "No sync score: there is too little speech in what was measured."
    old = f"{before['lips_confidence']:.2f} before, " if "lips_confidence" in before else ""
    return (
        f"Sync score: {old}{ours['lips_confidence']:.2f} after. Real videos of people speaking have 0.4 to 0.8, "
        "a mouth that says something else stays below 0.3 or so."
    )


def picture_words(ours: Scores) -> list[str]:
    """What a viewer would notice, with the figure."""
    found = []
    if (sharp := ours.get("sharpness_ratio")) is not None:
        words = "as sharp as the rest of the film" if sharp >= GOOD_SHARPNESS else "softer than before"
        found.append(f"The mouth is {words}: {100 * sharp:.0f} % of the detail it had.")
    if (leak := ours.get("leakage")) is not None:
        words = "does not follow the old words" if leak < LEAKING else "still follows the old words in part"
        found.append(f"The mouth {words} (correlation above chance {leak:.2f}).")
    if (jitter := ours.get("jitter_ratio")) is not None:
        words = "as calm as before" if jitter < TREMBLING else "less calm than before"
        found.append(f"The face is {words} ({jitter:.2f} times the trembling).")
    if (step := ours.get("border_step")) is not None:
        words = "No border is to be seen" if abs(step) < 1 else "A border around the mouth may be seen"
        found.append(f"{words} ({step:+.1f} levels of 255).")
    return found


def _sync_table(lines: Sequence[SyncLine]) -> str:
    if not lines:
        return "<p>Nobody is seen for long enough to be judged.</p>"
    rows = "".join(
        f"<tr><th>shot {line.shot}, person {line.person}<td>{line.start_s:.1f} – {line.end_s:.1f} s"
        f"<td>{escape(line.words)}<td>{'–' if line.confidence != line.confidence else f'{line.confidence:.2f}'}"
        for line in lines
    )
    return f"<table><tr><th><th>from – to<th>verdict<th>how sure{rows}</table>"


def _videos(videos: tuple[Path, Path] | None, folder: Path | None) -> str:
    if videos is None or folder is None:
        return ""
    places = [quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()) for path in videos]
    shown = "".join(
        f"<figure style='flex:1;margin:0'><video controls preload=metadata style='width:100%' src='{place}'></video>"
        f"<figcaption>{name}</figcaption></figure>"
        for place, name in zip(places, ("before", "after"), strict=True)
    )
    return f"<div style='display:flex;gap:1rem'>{shown}</div>"
