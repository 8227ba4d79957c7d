"""The table of a paper: a line for each method, a column for each score by the field's name, as CSV, HTML and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from latentsync.core.escaping import csv_cell, html_text
from latentsync.evaluation.protocols import EXPLAINED, Protocol
from latentsync.evaluation.results import REAL, SHUFFLED, SuiteResult
from latentsync.metrics.statistics import Interval, bootstrap_mean

SCORES = {
    "LSE-C": ("lse_c", "higher", 2),
    "LSE-D": ("lse_d", "lower", 2),
    "FID": (None, "lower", 2),
    "FVD": (None, "lower", 2),
    "SSIM": ("ssim_face", "higher", 3),
    "PSNR": ("psnr_face_db", "higher", 1),
    "LPIPS": ("lpips", "lower", 3),
    "CSIM": ("csim", "higher", 3),
    "LMD": ("lmd_pct", "lower", 2),
}
"""Field's name → ours (None = a distance of distributions), which way is better, and digits."""
NEED_TRUTH = ("SSIM", "PSNR", "LPIPS", "LMD")
NO_TRUTH = "there is no real video of these words in this face"
NOTES = (
    "SSIM, PSNR and LPIPS of the whole aligned face crop; LMD in % of the distance of the outer eye corners; LSE-C and "
    "LSE-D with face boxes of our mesh; FID and FVD of aligned crops. Compare with figures of the same table only."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure; `low` and `high` where it is a mean over clips, `num` clips or samples behind it."""

    mean: float
    num: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FieldTable:
    """One protocol.

    Attributes:
        lines: method → score → cell; a score that is missing has none.
        why: score that no line has → the reason.
        clips: method → clips scored.
    """

    protocol: Protocol
    lines: dict[str, dict[str, Cell]]
    why: dict[str, str]
    clips: dict[str, int]


def field_tables(result: SuiteResult) -> list[FieldTable]:
    """A table for each protocol, methods first, then the baselines that have such scores."""
    made = []
    for protocol in EXPLAINED:
        rows = [row for row in result.rows if row.protocol == protocol]
        names = [name for name in result.systems if any(row.system == name for row in rows)]
        lines: dict[str, dict[str, Cell]] = {}
        for name in names:
            if name == REAL or name.endswith(SHUFFLED):
                continue
            own = [row for row in rows if row.system == name]
            lines[name] = {}
            for score, (key, _, _) in SCORES.items():
                having = [row for row in own if key in row.scores]
                if key is not None and having:
                    found = bootstrap_mean([row.scores[key] for row in having], [row.person for row in having])
                    lines[name][score] = _cell(found)
            for line in result.distributions:
                if (line.protocol, line.system) == (protocol, name):
                    lines[name][line.name] = Cell(line.frechet.distance, line.frechet.num_a)
        if lines:
            clips = {name: len({row.clip_id for row in rows if row.system == name}) for name in lines}
            made.append(FieldTable(protocol, lines, _why(result, protocol, lines), clips))  # type: ignore[arg-type]
    return made


def _cell(found: Interval) -> Cell:
    return Cell(found.mean, found.num, found.low, found.high)


def _why(result: SuiteResult, protocol: str, lines: dict[str, dict[str, Cell]]) -> dict[str, str]:
    why = {}
    for score in SCORES:
        if any(score in line for line in lines.values()):
            continue
        if score in NEED_TRUTH and protocol not in ("paired", "reconstruction"):
            why[score] = NO_TRUTH
        elif score in result.missing:
            why[score] = result.missing[score]
        elif score in ("LSE-C", "LSE-D") and protocol == "silent":
            why[score] = "there is no speech"
        elif score in ("FID", "FVD"):
            why[score] = "two samples are needed on either side (FVD: clips of 16 frames)"
        else:
            why[score] = "no judge was asked for"
    return why


def best(table: FieldTable, score: str, methods: Sequence[str]) -> str | None:
    """The method with the best mean, of those that are under test."""
    having = [name for name in methods if score in table.lines.get(name, {})]
    if len(having) < 2:
        return None
    sign = 1 if SCORES[score][1] == "higher" else -1
    return max(having, key=lambda name: sign * table.lines[name][score].mean)


def summary_csv(result: SuiteResult) -> str:
    """protocol, method, clips, people, then mean, low and high of each score; the reason in place of a missing mean."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["protocol", "method", "clips", "people", *(f"{s}{end}" for s in SCORES for end in ("", "_low", "_high"))]
    )
    for table in field_tables(result):
        for name, line in table.lines.items():
            people = {row.person for row in result.rows if (row.protocol, row.system) == (table.protocol, name)}
            cells: list[str] = []
            for score in SCORES:
                cell = line.get(score)
                if cell is None:
                    cells += [f"– ({table.why.get(score, 'none')})", "", ""]
                else:
                    cells += [_plain(cell.mean), _plain(cell.low), _plain(cell.high)]
            writer.writerow(map(csv_cell, [table.protocol, name, table.clips[name], len(people), *cells]))
    return text.getvalue()


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def field_html(result: SuiteResult) -> str:
    """The tables for people; every missing column says why."""
    parts = ["<h2>By the field's names</h2>", f"<p class=legend>{html_text(NOTES)}</p>"]
    for table in field_tables(result):
        head = "".join(f"<th>{score} {'↑' if SCORES[score][1] == 'higher' else '↓'}" for score in SCORES)
        lines = []
        for name, line in table.lines.items():
            cells = "".join(f"<td>{_html_cell(table, line.get(s), s, name, result.methods)}" for s in SCORES)
            lines.append(f"<tr><th>{html_text(name)} <small>{table.clips[name]} clips</small>{cells}")
        why = "".join(f"<li>{score}: –, because {html_text(text)}" for score, text in table.why.items())
        parts.append(f"<h3>{table.protocol}</h3><table><tr><th>{head}{''.join(lines)}</table><ul>{why}</ul>")
    return "".join(parts)


def _html_cell(table: FieldTable, cell: Cell | None, score: str, name: str, methods: Sequence[str]) -> str:
    if cell is None:
        return f"<span title='{html_text(table.why.get(score, 'not of this one'))}'>–</span>"
    digits = SCORES[score][2]
    text = f"{cell.mean:.{digits}f}"
    if name == best(table, score, methods):
        text = f"<b>{text}</b>"
    span = "" if cell.low is None else f" <small>[{cell.low:.{digits}f}, {cell.high:.{digits}f}]</small>"
    return text + span


def latex(result: SuiteResult) -> str:
    """The tables for a paper: booktabs, the best method in bold, what is missing as a comment with its reason."""
    parts = [
        r"% needs \usepackage{booktabs}",
        *(_latex_table(table, result) for table in field_tables(result) if set(SCORES) - set(table.why)),
    ]
    return "\n".join(parts) + "\n"


def _latex_table(table: FieldTable, result: SuiteResult) -> str:
    shown = [score for score in SCORES if score not in table.why]
    arrows = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
    head = ["Method", *(f"{score} {arrows[SCORES[score][1]]}" for score in shown)]
    rows = [head] + [
        [_escaped(name), *(_latex_cell(table, line.get(score), score, name, result.methods) for score in shown)]
        for name, line in table.lines.items()
    ]
    lines = [" & ".join(row) + r" \\" for row in rows]
    counts = sorted(set(table.clips.values()))
    clips = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    people = len({row.person for row in result.rows if row.protocol == table.protocol})
    caption = _escaped(f"{table.protocol}: {clips} clips of {people} people. {NOTES}")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(shown)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            *(f"% {score}: -, because {text}" for score, text in table.why.items()),
        ]
    )


def _latex_cell(table: FieldTable, cell: Cell | None, score: str, name: str, methods: Sequence[str]) -> str:
    if cell is None:
        return "--"
    text = f"{cell.mean:.{SCORES[score][2]}f}"
    return f"\\textbf{{{text}}}" if name == best(table, score, methods) else text


def _escaped(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
