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


@pytest.mark.parametrize(
    ("name", "where", "value", "path", "words"),
    [
        ("rates", "number", "rate", "docs/scores.md", "contain the true rate in {:.1f} to 100 % of samples"),
        ("pairs", "part", "mean gap", "docs/scores.md", "contain the truth in {:.1f} to 100 %"),
    ],
)
def test_a_document_states_the_lowest_and_highest_coverage(
    name: str, where: str, value: str, path: str, words: str
) -> None:
    rows = table(name)
    coverage = 100 * rows.loc[rows[where] == value, "coverage"]
    assert coverage.max() > 99.5
    assert words.format(coverage.min() + 1e-9) in text(path)


def test_documents_and_method_name_the_cells_outside_93_to_98_percent() -> None:
    scores, method = text("docs/scores.md"), text("reports/templates/method.html.j2")
    rates = table("rates")["coverage"]
    assert f"In {(rates > 0.98).sum()} of {len(rates)} cases, they are wider than necessary" in scores
    pairs = table("pairs").query("part == 'difference'")
    assert (pairs["coverage"] >= 0.93).all()
    auprc = table("areas").query("part == 'auprc'")["coverage"]
    assert f"| {auprc.min():.3f} to {auprc.max():.3f} |".replace("0.", ".") in scores
    assert (auprc >= 0.93).all()
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
