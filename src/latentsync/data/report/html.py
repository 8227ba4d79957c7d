"""report.html: what came in, what was kept, what was not and why, on one self-contained page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentsync import __version__
from latentsync.core.errors import MediaError
from latentsync.core.escaping import html_text
from latentsync.core.files import write_text
from latentsync.core.reading import read_json
from latentsync.data.manifest import SCORES, read_manifest
from latentsync.data.report.advice import advice
from latentsync.data.report.pictures import spread, strip
from latentsync.data.report.svg import funnel, histogram
from latentsync.data.settings import data_settings
from latentsync.data.stages import limits_of, stage_names
from latentsync.data.stages.limits import Limit

Row = Mapping[str, Any]
PER_REASON = 8
"""Clips shown of each reason, and of those kept."""


def write_report(folder: Path, out: Path | None = None, pictures: bool = True) -> Path:
    """Write the page for a build.

    Args:
        out: where to; None = report.html in the build's folder.
        pictures: with contact sheets (they need the inputs where they were, for clips without crops).
    Raises: MediaError: there is no build.
    """
    rows, settings = read_manifest(folder)
    target = out or folder / "report.html"
    run = _json(folder / "build.json")
    text = page(folder, rows, settings, run, pictures)
    write_text(target, text)
    return target


def page(folder: Path, rows: Sequence[Row], settings: Mapping[str, Any], run: Mapping[str, Any], pictures: bool) -> str:
    """The whole page as HTML."""
    limits = limits_of(data_settings(settings))
    kept = [row for row in rows if row["kept"]]
    minutes = sum(row["duration_s"] for row in kept) / 60
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Data report</title>",
        _STYLE,
        f"<h1>Data report</h1><p>{len(kept)} clips of {len({row['source'] for row in rows})} sources kept, "
        f"{minutes:.1f} minutes, {len({row['identity'] for row in kept})} identities. latentsync {__version__}.</p>",
        f"<h2>Funnel</h2>{funnel(funnel_steps(rows))}",
        f"<h2>Reasons</h2>{_reasons(rows)}",
        "<h2>To keep more</h2><ul>",
        *(f"<li>{html_text(line)}" for line in advice(rows, limits)),
        f"</ul><h2>Scores</h2>{_LEGEND}<div class=grid>{''.join(_histograms(rows, limits))}</div>",
        f"<h2>Identities</h2>{_identities(rows)}",
    ]
    if run.get("stages"):
        parts.append(f"<h2>Time of the last run</h2>{_times(run)}")
    if pictures:
        parts += ["<h2>Clips</h2>", *_sheets(folder, rows, run.get("inputs"))]
    parts.append(f"<h2>Settings</h2><pre>{html_text(json.dumps(settings, indent=1, ensure_ascii=False))}</pre>")
    return "\n".join(parts) + "\n</html>\n"


def funnel_steps(rows: Sequence[Row]) -> list[tuple[str, int, float]]:
    """(stage, clips that passed it, their seconds). Clips count as they are at the end: parts, not sources."""
    out, left = [], list(rows)
    out.append(("found", len(left), sum(row["duration_s"] for row in left)))
    for name in stage_names():
        left = [row for row in left if row["kept"] or row["stage"] != name]
        out.append((name, len(left), sum(row["duration_s"] for row in left)))
    return out


def _reasons(rows: Sequence[Row]) -> str:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if not row["kept"]:
            found.setdefault((row["stage"], row["reason"]), []).append(row)
    if not found:
        return "<p>None: everything was kept.</p>"
    order = {name: index for index, name in enumerate(stage_names())}
    lines = []
    for (stage, reason), out in sorted(found.items(), key=lambda item: (order.get(item[0][0], -1), -len(item[1]))):
        values = sorted(row["value"] for row in out if row["value"] is not None)
        limit = next((row["limit"] for row in out if row["limit"] is not None), None)
        span = f"{values[0]:.4g} … {values[-1]:.4g}" if values else ""
        given = "" if limit is None else f"{limit:g}"
        example = f"{out[0]['source']}" + (f": {out[0]['detail'].splitlines()[-1]}" if out[0]["detail"] else "")
        lines.append(
            f"<tr><td>{html_text(stage)}<td>{html_text(reason)}<td class=n>{len(out)}<td class=n>{span}"
            f"<td class=n>{given}"
            f"<td>{html_text(example[:160])}"
        )
    return f"<table><tr><th>stage<th>reason<th>clips<th>measured<th>limit<th>for example{''.join(lines)}</table>"


def _histograms(rows: Sequence[Row], limits: Sequence[Limit]) -> list[str]:
    made = []
    for name in ("duration_s", *SCORES):
        good = [row[name] for row in rows if row["kept"] and row[name] is not None]
        bad = [row[name] for row in rows if not row["kept"] and row[name] is not None and row["num_frames"]]
        lines = [(limit.value, limit.kind) for limit in limits if limit.score == name]
        drawn = histogram(good, bad, lines, name)
        if drawn:
            made.append(f"<figure><figcaption>{name}</figcaption>{drawn}</figure>")
    return made


def _identities(rows: Sequence[Row]) -> str:
    clips, minutes, parts = Counter[str](), Counter[str](), {}
    for row in rows:
        if row["kept"]:
            clips[row["identity"]] += 1
            minutes[row["identity"]] += row["duration_s"] / 60
            parts[row["identity"]] = row["split"]
    totals = Counter(parts.values())
    head = ", ".join(f"{part}: {totals[part]}" for part in ("train", "val", "test"))
    lines = [
        f"<tr><td>{html_text(name)}<td>{html_text(parts[name])}<td class=n>{count}<td class=n>{minutes[name]:.2f}"
        for name, count in clips.most_common(200)
    ]
    return f"<p>{head}</p><table><tr><th>identity<th>split<th>clips<th>minutes{''.join(lines)}</table>"


def _times(run: Mapping[str, Any]) -> str:
    lines = []
    for name in stage_names():
        given = run["stages"].get(name) if isinstance(run["stages"], dict) else None
        if isinstance(given, dict) and {type(given.get(key)) for key in ("steps", "seconds", "frames")} <= {int, float}:
            rate = given["frames"] / given["seconds"] if given["seconds"] else 0
            lines.append(
                f"<tr><td>{html_text(name)}<td class=n>{html_text(given['steps'])}"
                f"<td class=n>{html_text(given['seconds'])}<td class=n>{rate:.0f}"
            )
    return (
        f"<p>{html_text(run.get('engine'))} engine, {html_text(run.get('workers'))} workers, "
        f"{html_text(run.get('wall_s'))} s.</p>"
        f"<table><tr><th>stage<th>steps<th>seconds of work<th>frames/s{''.join(lines)}</table>"
    )


def _sheets(folder: Path, rows: Sequence[Row], inputs: str | None) -> list[str]:
    groups: dict[str, list[Row]] = {"kept": [row for row in rows if row["kept"]]}
    for row in rows:
        if not row["kept"]:
            groups.setdefault(f"{row['stage']}: {row['reason']}", []).append(row)
    made = []
    for name, group in groups.items():
        if not group:
            continue
        made.append(f"<h3>{html_text(name)} ({len(group)})</h3><div class=sheet>")
        made += [_card(folder, row, inputs) for row in spread(group, PER_REASON)]
        made.append("</div>")
    return made


def _card(folder: Path, row: Row, inputs: str | None) -> str:
    inputs = inputs if isinstance(inputs, str) and "\0" not in inputs else None
    source = None if not inputs else Path(inputs) / row["source"] if Path(inputs).is_dir() else Path(inputs)
    if source is not None and Path(inputs or "").is_dir() and ".." in Path(row["source"]).parts:
        source = None
    drawn = strip(folder, row, source)
    picture = f'<img src="{drawn}" alt="start, middle and end">' if drawn else "<div class=none>no picture</div>"
    value = "" if row["value"] is None else f" {row['value']:.3g}"
    value += "" if row["limit"] is None else f" (limit {row['limit']:g})"
    return (
        f"<figure>{picture}<figcaption>{html_text(row['source'])} {row['start_s']:.1f} s + {row['duration_s']:.1f} s"
        f"{html_text(value)}</figcaption></figure>"
    )


def _json(path: Path) -> dict[str, Any]:
    """What a build says of its last run; nothing where that is not to be understood."""
    try:
        content = read_json(path)
    except (MediaError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


_LEGEND = "<p><b class=kept>kept</b> and <b class=out>rejected</b> clips; lines are limits.</p>"

_STYLE = """<style>
:root{color-scheme:light dark;--ink:light-dark(#222,#ddd);--weak:light-dark(#999,#777);--line:light-dark(#ddd,#444)}
body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--ink)}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border-bottom:1px solid var(--line);padding:.2rem .6rem;text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:.6rem}
figure{margin:0}figcaption{font-size:.8rem;color:var(--weak);overflow-wrap:anywhere}
img,svg{width:100%;display:block}svg.wide{max-width:760px}svg text{font-size:11px;fill:var(--ink)}
rect.kept{fill:#1971c2}rect.out{fill:var(--weak)}b.kept{color:#1971c2}b.out{color:var(--weak)}
.limit{stroke:#d9480f;stroke-width:1.5}.axis{stroke:var(--line)}
.none{aspect-ratio:3;display:grid;place-items:center;background:var(--line);color:var(--weak)}
pre{overflow-x:auto;font-size:.8rem}
</style>"""
