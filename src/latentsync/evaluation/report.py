"""A suite's result as JSON, CSV and one self-contained HTML page, the worst clips first."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latentsync import __version__
from latentsync.core.escaping import csv_cell, html_text, utf8
from latentsync.core.files import atomic_path
from latentsync.evaluation.field import field_html, latex, summary_csv
from latentsync.evaluation.protocols import EXPLAINED, Protocol
from latentsync.evaluation.results import Evidence, Row, SuiteResult, systems_of
from latentsync.evaluation.scoring import ABOUT
from latentsync.evaluation.speech import GRID_HZ
from latentsync.evaluation.svg import curves_svg
from latentsync.metrics.statistics import Interval, bootstrap_mean

Table = dict[str, dict[str, Interval]]
"""score → system → mean and interval."""

WORST_BY = {
    "paired": "lmd_pct",
    "reconstruction": "lmd_pct",
    "cross": "cross_r",
    "silent": "still_share",
    "shifted": "cross_r",
    "single": "leakage",
}
"""The score that decides which clip of a protocol is worst."""


def tables(rows: Sequence[Row], methods: Sequence[str] = ()) -> dict[Protocol, Table]:
    """Mean and 95 % interval of each score, by protocol and system; persons are resampled, not clips.

    Args: methods: what was under test, in the order of its columns.
    """
    systems = systems_of(rows, methods)
    found: dict[Protocol, Table] = {}
    for protocol in EXPLAINED:
        own = [row for row in rows if row.protocol == protocol]
        table: Table = {}
        for name in ABOUT:
            for system in systems:
                having = [row for row in own if row.system == system and name in row.scores]
                if having:
                    table.setdefault(name, {})[system] = bootstrap_mean(
                        [row.scores[name] for row in having], [row.person for row in having]
                    )
        if table:
            found[protocol] = table  # type: ignore[index]
    return found


def as_dict(result: SuiteResult, about: dict[str, Any]) -> dict[str, Any]:
    """Everything but the pictures, ready for JSON. `about`: model, networks, date, as the caller knows them."""
    options = asdict(result.options)
    options["keep_folder"] = None if result.options.keep_folder is None else str(result.options.keep_folder)
    return {
        "latentsync": __version__,
        "about": about,
        "options": options,
        "clips": [
            {"id": clip.clip_id, "file": clip.path.name, "person": clip.person, "sha256": clip.sha256}
            for clip in result.clips
        ],
        "scores": {name: {"label": note.label, "better": note.better} for name, note in ABOUT.items()},
        "tables": {
            protocol: {name: {s: asdict(cell) for s, cell in row.items()} for name, row in table.items()}
            for protocol, table in tables(result.rows, result.methods).items()
        },
        "missing": result.missing,
        "distributions": [asdict(line) for line in result.distributions],
        "mouths": [asdict(line) | {"over_floor": line.over_floor} for line in result.mouths],
        "rows": [asdict(row) for row in result.rows],
        "failed": [{"clip": clip, "protocol": protocol, "why": why} for clip, protocol, why in result.failed],
    }


def write_report(result: SuiteResult, folder: Path, about: dict[str, Any], with_latex: bool = False) -> dict[str, Path]:
    """Write report.json, scores.csv, summary.csv and report.html, and with `with_latex` summary.tex, into a folder that
    exists; each appears whole or not at all."""
    texts = {
        "report.json": json.dumps(as_dict(result, about), indent=1, ensure_ascii=False, default=_plain),
        "scores.csv": scores_csv(result.rows),
        "summary.csv": summary_csv(result),
        "report.html": html(result, about),
    }
    if with_latex:
        texts["summary.tex"] = latex(result)
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / name
        with atomic_path(paths[name]) as part:
            part.write_bytes(utf8(text).encode("utf-8"))
    return paths


def scores_csv(rows: Sequence[Row]) -> str:
    """One line a row, one column a score; empty where it does not apply."""
    names = [name for name in ABOUT if any(name in row.scores for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["protocol", "system", "clip", "person", *names])
    for row in rows:
        scores = [f"{row.scores[name]:.6g}" if name in row.scores else "" for name in names]
        writer.writerow(map(csv_cell, [row.protocol, row.system, row.clip_id, row.person, *scores]))
    return text.getvalue()


def html(result: SuiteResult, about: dict[str, Any]) -> str:
    """The page: what was run, a table per protocol, then every case with its curves and strip, the worst first."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8>", "<title>LatentSync evaluation</title>", STYLE]
    parts += ["<h1>LatentSync evaluation</h1>", _about(result, about)]
    found = tables(result.rows, result.methods)
    if result.methods:
        parts.append(field_html(result))
    for protocol, table in found.items():
        parts.append(f"<h2>{protocol}</h2><p>{html_text(EXPLAINED[protocol])}</p>{_table(table, result.systems)}")
    if result.mouths:
        parts.append(_mouths(result))
    if result.failed:
        lines = "".join(f"<li>{html_text(c)}, {html_text(p)}: {html_text(why)}" for c, p, why in result.failed)
        parts.append(f"<h2>Could not be done</h2><ul>{lines}</ul>")
    for protocol in found:
        cases = worst_first([e for e in result.evidence if e.row.protocol == protocol])
        parts.append(f"<h2>{protocol}: every clip, worst first</h2>{_LEGEND}")
        parts += [_case(evidence) for evidence in cases]
    return "\n".join(parts) + "\n</html>\n"


def worst_first(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Sorted by the protocol's deciding score; a case without that score comes first."""

    def badness(item: Evidence) -> float:
        name = WORST_BY[item.row.protocol]
        value = item.row.scores.get(name)
        if value is None:
            return -np.inf
        return -value if ABOUT[name].better == "lower" else value

    return sorted(evidence, key=badness)


def _about(result: SuiteResult, about: dict[str, Any]) -> str:
    facts = {
        "latentsync": __version__,
        **about,
        "clips": f"{len(result.clips)} of {len({clip.person for clip in result.clips})} people",
        "seed": about.get("seed", result.options.seed),
        "interval": "95 % bootstrap over people",
    }
    rows = "".join(f"<tr><th>{html_text(key)}<td>{html_text(value)}" for key, value in facts.items())
    return f"<table class=facts>{rows}</table>"


def _table(table: Table, systems: Sequence[str]) -> str:
    systems = [system for system in systems if any(system in row for row in table.values())]
    head = "".join(f"<th>{html_text(system)}" for system in systems)
    lines = []
    for name, row in table.items():
        digits = ABOUT[name].digits
        cells = "".join(f"<td>{_cell(row[s], digits) if s in row else '–'}" for s in systems)
        lines.append(f"<tr><th title='{name}'>{html_text(ABOUT[name].label)} <i>{ABOUT[name].better}</i>{cells}")
    return f"<table><tr><th>mean [95 % interval]{head}{''.join(lines)}</table>"


def _cell(cell: Interval, digits: int) -> str:
    return f"{cell.mean:.{digits}f} <small>[{cell.low:.{digits}f}, {cell.high:.{digits}f}]</small>"


def _mouths(result: SuiteResult) -> str:
    lines = "".join(
        f"<tr><th>{html_text(line.protocol)}, {html_text(line.system)}<td>{_cell(line.frechet, 4)}"
        f"<td>{_cell(line.frechet_floor, 4)}<td><b>{line.over_floor:.2f}</b><td>{_cell(line.nearest, 3)}"
        f"<td>{_cell(line.nearest_floor, 3)}<td>{line.frechet.num}"
        for line in result.mouths
    )
    return (
        "<h2>Inside of open mouths</h2><p>Features of the inside against the same person's real mouths; the floor is "
        "the distance of other real mouths of that person. 1.00 = as near as real ones are to each other.</p>"
        f"<table><tr><th><th>Fréchet<th>floor<th>over floor<th>nearest shape<th>floor<th>people{lines}</table>"
    )


def _case(evidence: Evidence) -> str:
    row = evidence.row
    curves = [("old", "old mouth", evidence.old)]
    if evidence.speaker is not None:
        curves.append(("speaker", "speaker's own mouth", evidence.speaker))
    curves.append(("result", "result", evidence.opening))
    scores = ", ".join(f"{name} {row.scores[name]:.{ABOUT[name].digits}f}" for name in ABOUT if name in row.scores)
    picture = base64.b64encode(evidence.strip).decode("ascii")
    return (
        f"<section><h3>{html_text(row.clip_id)} <small>{html_text(row.person)}, {html_text(row.system)}</small></h3>"
        f"{curves_svg(curves, evidence.loudness, GRID_HZ)}"
        f'<img alt="source above, result below" src="data:image/jpeg;base64,{picture}">'
        f"<p class=scores>{html_text(scores)}</p></section>"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_LEGEND = (
    "<p class=legend>Lip opening over eye distance: <b class=result>result</b>, <b class=speaker>the speaker's own"
    "</b>, <b class=old>the old mouth</b>; grey bars: level of the sound. Strip: source above, result below.</p>"
)

STYLE = """<style>
:root{color-scheme:light dark;--ink:light-dark(#222,#ddd);--weak:light-dark(#999,#777);--line:light-dark(#ddd,#444)}
body{font:15px/1.45 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:var(--ink)}
table{border-collapse:collapse;margin:.6rem 0;display:block;overflow-x:auto}
td,th{border-bottom:1px solid var(--line);padding:.25rem .6rem;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,.facts td{text-align:left;font-weight:400}
small,i{color:var(--weak)}
section{border-top:1px solid var(--line);margin:1.2rem 0}
svg,img{width:100%;max-width:760px;display:block}
svg text{font-size:10px;fill:var(--weak)}
polyline{fill:none;stroke-width:1.6}
polyline.result{stroke:#d9480f}polyline.speaker{stroke:#1971c2;stroke-dasharray:4 2}polyline.old{stroke:var(--weak)}
b.result{color:#d9480f}b.speaker{color:#1971c2}b.old{color:var(--weak)}
.sound{fill:var(--line)}.axis{stroke:var(--line)}.scores{font-size:.85rem;color:var(--weak)}
</style>"""
