"""What became of a batch: a page with thumbnails, and a table whose cells do nothing when a spreadsheet opens them."""

from __future__ import annotations

import csv
import html
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentsync.core.errors import LatentSyncError
from latentsync.core.files import atomic_path
from latentsync.serve.batch import BatchItem
from latentsync.serve.batch_run import Batch

COLUMNS = ("out", "state", "video", "speech", "frames", "edited", "without_face", "seconds", "frames_per_s", "tries",
           "sha256", "reason", "warnings")  # fmt: skip
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem }
article { border: 1px solid #8886; border-radius: .5rem; padding: .75rem; overflow-wrap: anywhere }
article img { width: 100%; border-radius: .25rem } .failed { border-color: #c33 } p { margin: .25rem 0 }
"""


def row_of(item: BatchItem, row: Mapping[str, Any] | None, error: LatentSyncError | None) -> dict[str, Any]:
    """One film's line."""
    second = item.audio or item.plan
    line: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    line |= {"out": item.out, "video": str(item.video), "speech": str(second), "state": "failed"}
    if error is not None or row is None:
        return line | {"reason": str(error or "it is not in the job table")}
    facts = json.loads(row["result"]) if row["result"] else {}
    if row["started_at"] and row["finished_at"]:
        line["seconds"] = round(row["finished_at"] - row["started_at"], 2)
    if facts:
        line |= {
            "frames": facts["num_frames"], "edited": facts["num_edited"], "without_face": facts["num_without_face"],
            "frames_per_s": round(facts["frames_per_s"], 2), "sha256": facts["sha256"],
        }  # fmt: skip
        line |= {f"score: {name}": round(value, 4) for name, value in (facts.get("scores") or {}).items()}
    reason = json.loads(row["error"])["message"] if row["error"] else ""
    warnings = " | ".join(json.loads(row["warnings"]) if row["warnings"] else [])
    return line | {"state": row["state"], "tries": row["attempt"], "reason": reason, "warnings": warnings}


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe in front."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{cell}"
    return cell


def write_report(
    batch: Batch, made: Sequence[tuple[BatchItem, str | LatentSyncError]]
) -> tuple[Path, list[dict[str, Any]]]:
    """Write report.html, report.csv and the pictures beside the results. Returns: the page, and its lines."""
    lines, cards = [], []
    pictures = batch.out / "report"
    pictures.mkdir(exist_ok=True)
    for item, job in made:
        row = batch.queries.job(job) if isinstance(job, str) else None
        line = row_of(item, row, job if isinstance(job, LatentSyncError) else None)
        lines.append(line)
        cards.append(_card(line, {} if row is None else _pictures(batch, row, pictures)))
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with atomic_path(batch.out / "report.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({key: harmless(value) for key, value in line.items()} for line in lines)
    page = batch.out / "report.html"
    with atomic_path(page) as part:
        part.write_text(_page(lines, cards), "utf-8")
    return page, lines


def _pictures(batch: Batch, row: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Copies of a finished job's pictures, by what they show."""
    found = {}
    facts = json.loads(row["result"]) if row["result"] else {"files": {}}
    for name, suffix in (("thumbnail", ".jpg"), ("strip", ".png"), ("report", ".html")):
        if name in facts["files"]:
            source = batch.files.job_folder(row["id"]) / f"try-{facts['try']}" / facts["files"][name]
            target = folder / f"{row['id']}-{name}{suffix}"
            if source.is_file() and not target.exists():
                shutil.copyfile(source, target)
            if target.is_file():
                found[name] = f"report/{target.name}"
    return found


def _card(line: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    words = [f"<h2>{html.escape(str(line['out']))}</h2>"]
    if "thumbnail" in pictures:
        words.append(
            f'<img src="{pictures["thumbnail"]}" alt="A frame of {html.escape(str(line["out"]))}" loading="lazy">'
        )
    if line["reason"]:
        words.append(f"<p><strong>{html.escape(str(line['state']))}:</strong> {html.escape(str(line['reason']))}</p>")
    else:
        facts = f"{line['frames']} frames, {line['edited']} lip-synced, {line['seconds']} s"
        words.append(f"<p>{html.escape(str(line['state']))}: {html.escape(facts)}</p>")
    scores = [f"{key.removeprefix('score: ')} {value}" for key, value in line.items() if key.startswith("score: ")]
    if scores:
        words.append(f"<p>{html.escape(', '.join(scores))}</p>")
    if line["warnings"]:
        words.append(f"<p>{html.escape(str(line['warnings']))}</p>")
    links = [f'<a href="{pictures[name]}">{text}</a>' for name, text in (("strip", "mouths"), ("report", "scores"))
             if name in pictures]  # fmt: skip
    kind = "" if line["state"] == "done" else ' class="failed"'
    return f"<article{kind}>{''.join(words)}<p>{' · '.join(links)}</p></article>"


def _page(lines: Sequence[Mapping[str, Any]], cards: Sequence[str]) -> str:
    done = sum(line["state"] == "done" for line in lines)
    head = f"{done} of {len(lines)} films done"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{head}</title><style>{STYLE}</style><h1>{head}</h1>"
        f'<p><a href="report.csv">report.csv</a></p><div class="films">{"".join(cards)}</div></html>\n'
    )
