"""Documents and page state the coverage that the committed tables of simulations have."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "benchmarks" / f"{name}.csv")


def text(path: str) -> str:
    return (ROOT / path).read_text()


def percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0")


def test_the_readme_states_the_coverage_of_areas_and_the_false_differences() -> None:
    areas, claims = table("areas"), table("coverage").set_index("claim")["found"]
    found = areas.loc[areas["part"] == "auroc", "coverage"]
    readme = text("README.md")
    assert f"contain the true AUROC in {percent(found.min() - 1e-9)} to {percent(found.max())} % of samples" in readme
    assert f"contain it in {percent(claims['AUROC: analytic interval by image (DeLong)'])} %" in readme
    (false,) = table("pairs").query("part == 'ranks' and runs == 24 and step == 0")["false"]
    assert f"wrongly shows a difference in {percent(false)} % of samples" in readme


def test_results_of_the_benchmark_are_those_of_the_table() -> None:
    found = table("coverage").set_index("claim")["found"]
    rows = re.findall(
        r"^\| ([^|]+?)(?: \(DeLong; not used\))? \| 0\.[09]5 \| ([\d.]+) \|",
        text("benchmarks/RESULTS.md"),
        re.MULTILINE,
    )
    assert len(rows) == 7
    for claim, share in rows:
        assert found[claim if claim in found else f"{claim} (DeLong)"] == float(share), claim


CLAIMS = "claim.str.endswith('interval') and claim.str.contains('{}') and not claim.str.contains('gap')"


@pytest.mark.parametrize(
    ("column", "rows", "words"),
    [
        ("areas.coverage", "part == 'family'", "six runs) | {:.3f} to {:.3f} |"),
        ("areas.coverage", "part == 'mean'", "five findings or hospitals | {:.3f} to {:.3f} |"),
        ("areas.coverage", "part == 'gap'", "mean over three | {:.3f} to {:.3f} |"),
        ("areas.coverage", "part == 'auprc'", "prevalence 2 to 20 % | {:.3f} to {:.3f} |"),
        ("coverage.found", CLAIMS.format("Brier score|NLL"), "contain the true value in {:.0f} to {:.0f} % of cases."),
        ("coverage.found", CLAIMS.format("^ECE"), "the true ECE in {:.0f} to {:.0f} % of cases for a finding"),
        ("coverage.found", CLAIMS.format("^macro ECE"), "in {:.0f} to {:.0f} % for the mean over findings"),
        ("coverage.found", CLAIMS.format("drift of ECE"), "possible bias of each: {:.0f} to {:.0f} %, too wide"),
        ("rates.coverage", "number == 'rate'", "contain the true rate in {:.1f} to {:.0f} % of samples"),
        ("pairs.coverage", "part == 'mean gap'", "contain the truth in {:.1f} to {:.0f} %"),
        ("pairs.coverage", "part == 'ranks'", "the true ranks in {:.1f} to {:.0f} % of samples"),
        ("pairs.coverage", "part == 'difference' and auroc == .75", "in {:.1f} to {:.1f} % of samples at"),
        ("pairs.coverage", "part == 'difference' and auroc == .9", "in {:.1f} to {:.1f} % at .90"),
        ("pairs.coverage", "part == 'difference' and auroc > .9", "it is too wide ({:.0f} to {:.0f} %)"),
        ("calibration.found", "measure == 'slope'", "slope contain the true value in {:.1f} to {:.1f} %"),
        ("calibration.found", "measure == 'intercept'", "of the intercept in {:.1f} to {:.1f} %"),
        ("calibration.found", "measure == 'observed_expected'", "of O:E in {:.1f} to {:.1f} %"),
        ("calibration_curves.found", "'curve' < measure < 'd'", "contains the true share in {:.1f} to {:.1f} %"),
        ("calibration_curves.found", "measure == 'slope'", "slope {:.1f} to {:.1f} %"),
        ("calibration_curves.found", "measure == 'intercept'", "intercept {:.1f} to {:.1f} %"),
        ("local_labels.coverage", "score == 'auroc'", "contain the true AUROC in {:.0f} to {:.0f} % of samples"),
        ("local_labels.coverage", "score != 'auroc'", "the other scores in {:.0f} to {:.0f} %"),
        ("expected.coverage", "sd > 0", "contain the measured score in {:.0f} to {:.0f} % of cases"),
        ("expected.mean", "sd > 0", "those of a mean over findings in {:.0f} to {:.0f} %"),
    ],
)
def test_a_document_states_the_lowest_and_highest_coverage(column: str, rows: str, words: str) -> None:
    name, _, column = column.partition(".")
    found = table(name).query(rows)[column] * (1 if "|" in words else 100)
    documents = [text(f"docs/{path}.md") for path in ("scores", "extensions/decisions", "extensions/estimates")]
    stated = words.format(found.min() + 1e-9, found.max()).replace(" 0.", " .")
    assert sum(document.count(stated) for document in documents) == 1


def test_the_table_of_areas_has_each_case_of_one_area() -> None:
    rows = re.findall(
        r"^\| (\d+), (one|1 to 30) per patient \|((?: \.\d{3} \|){5})$", text("docs/scores.md"), re.MULTILINE
    )
    areas = table("areas").query("part == 'auroc'").set_index(["images", "positives"])["coverage"]
    assert len(rows) == 6
    for positives, images, cells in rows:
        found = areas["independent" if images == "one" else "clustered", int(positives)]
        assert [float(cell) for cell in cells.split("|")[:-1]] == pytest.approx(found.tolist(), abs=6e-4)


def test_documents_and_method_name_the_cells_outside_93_to_98_percent() -> None:
    scores, method = text("docs/scores.md"), text("reports/templates/method.html.j2")
    rates = table("rates")["coverage"]
    assert f"In {(rates > 0.98).sum()} of {len(rates)} cases, they are wider than necessary" in scores
    auprc = table("areas").query("part == 'auprc'")["coverage"]
    missed = table("areas").query("kind == 'missed'")
    shares = f"{100 * missed['coverage'].min():.1f} to {100 * missed['coverage'].max():.1f} % of samples"
    widths = missed["width"] / missed["oracle"]
    assert f"{shares}, at {widths.min():.1f} to {widths.max():.1f} times this range" in scores
    assert f"in {100 * auprc.min():.0f} to {100 * auprc.max():.0f} % of simulated cases" in method
    ece = table("coverage").set_index("claim").loc["macro ECE, calibrated run (0.000): interval", "found"]
    assert f"contains the true value in {100 * ece:.0f} % of simulated cases" in method
    benefits = table("benefits")["coverage"]
    missed = (benefits < 0.93).sum() + (benefits > 0.98).sum()
    assert f"missed in {missed} of {len(benefits)} cases" in text("docs/extensions/decisions.md")
