"""The table of a paper: names of the field, reasons for what is missing, the best in bold."""

from __future__ import annotations

import csv
import io

from latentsync.evaluation.distributions import Distribution
from latentsync.evaluation.field import NO_TRUTH, SCORES, field_html, field_tables, latex, summary_csv
from latentsync.evaluation.results import UNTOUCHED, Row, SuiteOptions, SuiteResult
from latentsync.metrics.frechet import Frechet


def result() -> SuiteResult:
    rows = [
        Row(protocol, system, f"{person}{number}", person, (), scores)
        for protocol, given in (("paired", {"ssim_face": 0.7, "lmd_pct": 2.0, "lse_c": 6.0}), ("cross", {"lse_c": 5.0}))
        for shift, system in enumerate(("ours_1", "theirs", UNTOUCHED))
        for person in ("anna", "ben")
        for number in range(2)
        for scores in [{name: value + 0.1 * shift for name, value in given.items()}]
    ]
    distributions = [Distribution("FID", "paired", "ours_1", Frechet(12.0, "net", 20, 20))]
    missing = {"FVD": "i3d_torchscript.pt is not here: latentsync models fetch i3d", "CSIM": "sface is not here"}
    return SuiteResult(
        [], SuiteOptions(), rows, methods=["ours_1", "theirs"], missing=missing, distributions=distributions
    )


def test_every_column_of_the_field_is_there_or_says_why() -> None:
    paired, cross = field_tables(result())
    assert list(paired.lines) == ["ours_1", "theirs", UNTOUCHED]
    assert paired.lines["theirs"]["SSIM"].num == 4 and abs(paired.lines["theirs"]["SSIM"].mean - 0.8) < 1e-9
    assert paired.lines["ours_1"]["FID"].mean == 12.0
    assert set(paired.why) == {"FVD", "CSIM", "LSE-D", "PSNR", "LPIPS"}
    assert "models fetch i3d" in paired.why["FVD"]
    assert cross.why["SSIM"] == cross.why["LMD"] == NO_TRUTH
    for table in (paired, cross):
        having = {score for line in table.lines.values() for score in line}
        assert having | set(table.why) == set(SCORES) and not having & set(table.why)


def test_latex_marks_the_best_method_and_escapes() -> None:
    text = latex(result())
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    assert r"ours\_1 & 6.00 & \textbf" not in body  # LSE-C of theirs is higher
    assert r"\textbf{6.10}" in body and r"\textbf{2.00}" in body  # lower LMD is better; the baseline takes no part
    assert body.count(r"\\") == 1 + 3
    columns = {line.count("&") for line in body.splitlines() if "&" in line}
    assert columns == {4}
    assert "% FVD: -, because i3d_torchscript.pt is not here: latentsync models fetch i3d" in text
    assert text.count(r"\begin{table}") == 2 and "4 clips of 2 people" in text


def test_the_summary_has_a_line_for_each_method_and_the_reason_in_place_of_a_mean() -> None:
    lines = list(csv.DictReader(io.StringIO(summary_csv(result()))))
    assert [(line["protocol"], line["method"]) for line in lines[:3]] == [
        ("paired", "ours_1"), ("paired", "theirs"), ("paired", UNTOUCHED),
    ]  # fmt: skip
    assert (lines[0]["clips"], lines[0]["people"], lines[0]["SSIM"]) == ("4", "2", "0.7")
    assert float(lines[0]["SSIM_low"]) <= 0.7 <= float(lines[0]["SSIM_high"])
    assert lines[0]["FVD"].startswith("– (i3d_torchscript.pt is not here")


def test_the_page_shows_the_same() -> None:
    page = field_html(result())
    assert page.count("<h3>") == 2 and "<b>6.10</b>" in page
    assert "CSIM: –, because sface is not here" in page
