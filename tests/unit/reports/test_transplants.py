"""The section on the region transplant test: effects with controls, escaping of names, and missing data."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.analyses.shortcuts import effects
from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.opening import opening
from reports.sections.transplants import transplants
from reports.tables import Tables
from tests.nonempty import nonempty
from tests.synthetic import Invented, tables
from tests.unit.bench.analyses.test_effects import predictions

KINDS = (
    "marker",
    "corner",
    "border",
    "intensity",
    "resolution",
    "erased",
    "toggled",
    "lungs_masked",
    "lungs_only",
    "jpeg",
    "jpeg_low",
    "clahe",
    "causal",
)


def asked(num: int = 4, finding: str = "Pleural Effusion", *, caught: bool = True, phantom: bool = False) -> Tables:
    """Return invented tables in which a marker of the internal hospital moves one finding, or none."""
    made = tables(Invented(runs=num, phantom=phantom))
    internal = str(made.meta["source"])
    rng = np.random.default_rng(0)
    rows = []
    for k, run in enumerate(made["runs"]["run_id"]):
        for kind in KINDS:
            alone = kind in ("erased", "toggled", "lungs_masked", "lungs_only", "jpeg_low", "clahe")
            for host in ("external", "mimic", internal):
                for name in (finding, "Edema", "macro"):
                    big = caught and kind == "marker" and name == finding
                    for measure in ("abs_dp", "dp", "flip_rate", "auroc"):
                        effect = (0.5 if big else 0.01) + 0.001 * k + 0.001 * rng.random()
                        if measure == "auroc":
                            effect = -0.2 if kind == "erased" and host == internal and caught else 0.0
                        half = 0.02 if measure != "auroc" or effect else 0.05
                        donor = "" if alone else "external" if host == internal else internal
                        control = float("nan") if kind.startswith(("lungs", "clahe")) else 0.02
                        rows.append(
                            (
                                run,
                                kind,
                                donor,
                                host,
                                name,
                                "all",
                                measure,
                                effect + 0.02,
                                control,
                                effect,
                                effect - half,
                                effect + half,
                                50,
                            )
                        )
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["transplants"]))
    return Tables(made.meta, made.frames | {"transplants": frame})


@pytest.mark.slow
def test_a_simulated_shortcut_is_named_with_its_control_and_its_cost() -> None:
    html = str(transplants(read(asked())).html)
    assert "4 of 4 runs use a marker of CheXpert to predict Pleural Effusion" in html
    assert "a control patch without a marker" in html
    assert "With all markers erased, the internal AUROC of Pleural Effusion changes by" in html
    assert "nan" not in html


@pytest.mark.slow
@pytest.mark.parametrize("phantom", [True, False])
def test_the_first_screen_shows_a_pair_of_images_for_synthetic_hospitals_only(phantom: bool) -> None:
    made, finding = asked(phantom=phantom), "Pleural Effusion"
    row = ("mimic", finding, 0.034, 0.8, 82, b"webp")
    pairs = [(run, *row) for run in made["runs"]["run_id"]]
    pairs = pd.DataFrame(pairs, columns=list(SCHEMAS["marker_example"]))
    html = str(opening(read(Tables(made.meta, made.frames | {"marker_example": pairs}))).html)
    assert html.count("<img") == phantom
    assert ("gives Pleural Effusion the probability .03 and .80 (the median change of 82 images)" in html) == phantom
    assert ("the marker changes the predicted probability of Pleural Effusion" in html) == (not phantom)
    assert "xrays" not in str(opening(read(asked(phantom=phantom, caught=False))).html)


@pytest.mark.slow
def test_without_a_shortcut_the_page_says_so() -> None:
    html = str(transplants(read(asked(caught=False))).html)
    assert "0 of 4 runs use a marker of CheXpert to predict a finding" in html
    assert "4 runs use a marker of CheXpert to predict Pleural" not in html


@pytest.mark.slow
def test_a_reaction_to_jpeg_or_clahe_is_stated_and_is_no_shortcut() -> None:
    made = asked(4, caught=False)
    rows = made["transplants"].copy()
    first = rows["run_id"] == rows["run_id"].iloc[0]
    big = first & (rows["kind"] == "clahe") & (rows["finding"] == "Edema") & (rows["measure"] == "abs_dp")
    rows.loc[big, ["effect", "low", "high"]] = (0.3, 0.25, 0.35)
    html = str(transplants(read(Tables(made.meta, made.frames | {"transplants": rows}))).html)
    assert "CLAHE (contrast enhancement): in 1 of 4 runs, the probability of Edema changes by more than .050" in html
    assert "Stored as JPEG of quality 25: in 0 of 4 runs, a probability clearly changes by more than .050" in html
    assert "Stored with the JPEG quality of CheXpert: in 0 of 4 runs, a probability clearly changes" in html
    assert "0 of 4 runs use a marker of CheXpert to predict a finding" in html


@pytest.mark.slow
def test_without_transplants_there_is_no_section_and_the_ranking_shows_the_probe() -> None:
    made = tables(Invented(runs=3))
    assert transplants(read(made)).html == ""
    assert re.search(r">Shortcut<.{0,400}>accuracy<", render(made))
    assert re.search(r">Shortcut<.{0,400}>change in p<", render(asked(3)))


@pytest.mark.slow
def test_a_hostile_finding_is_escaped() -> None:
    html = str(transplants(read(asked(finding="<script>alert(1)</script>"))).html)
    assert "<script>" not in html


@pytest.mark.slow
def test_the_correlation_has_its_uncertainty_and_no_causal_words() -> None:
    html = str(transplants(read(asked(8))).html)
    heading = re.search(r"<h4>([^<]*ρ[^<]*)</h4>", html)
    assert heading is not None
    assert re.search(r"ρ −?\.\d{3} \[−?\.\d{3}, −?\.\d{3}\]", heading[1])
    part = html[heading.start() :].lower()
    assert not any(word in part for word in ("because", "causes", "due to", "leads to", "explains"))


def test_one_run_without_markers_still_shows_the_rest() -> None:
    made = asked(1)
    rest = made["transplants"]
    rest = rest[~rest["kind"].isin(["marker", "erased", "toggled", "causal"])].reset_index(drop=True)
    html = str(transplants(read(Tables(made.meta, made.frames | {"transplants": rest}))).html)
    assert "could not be tested: too few images have one" in html
    assert "gray values" in html


@pytest.mark.slow
def test_a_change_that_moves_no_probability_has_a_reason_in_place_of_an_interval() -> None:
    change = predictions()
    same = replace(change, after=change.before, control=change.before)
    effects_of_same = effects.effects(same, ("Edema", "Pneumonia"), np.zeros(2))
    found = effects.rows({("corner", "a", "b"): effects_of_same}).query("finding == 'macro' and subset == 'all'")
    made = asked()
    table, columns = made["transplants"], ["value", "control", "effect", "low", "high"]
    for _, row in nonempty(found.iterrows()):
        cells = (table["measure"] == row["measure"]) & (table["kind"] == "corner")
        table.loc[cells, columns] = row[columns].to_numpy(float)
    html = str(transplants(read(made)).html)
    changed, flips = re.findall(r'<td data-l="(?:minus control|flips)">(.*?)</td>', html[html.index("orners") :])[:2]
    assert changed == '<span class="v">.000</span><span class="s">– all images change equally</span>'
    assert re.search(r"−\.0\d\d", flips), "few images do not show that none ever flips"
