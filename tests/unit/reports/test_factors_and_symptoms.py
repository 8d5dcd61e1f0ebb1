"""The sections on ablation, symptoms and label mappings."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic

from reports.drawing import svg
from reports.page import render
from reports.schemas.tables import INVERTED, SCHEMAS
from reports.sections import factors
from reports.tables import Tables
from tests.nonempty import nonempty

HOSTILE = "<script>alert(1)</script>"


def frame(name: str, *rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(SCHEMAS[name]))


def page(**frames: pd.DataFrame) -> str:
    tables = synthetic.tables(synthetic.Invented(runs=3))
    return render(Tables(tables.meta, {**tables.frames, **frames}))


@pytest.mark.slow
def test_a_grid_without_factors_and_symptoms_has_neither_section() -> None:
    text = page()
    assert 'id="symptoms"' not in text
    assert 'id="factors"' not in text


@pytest.mark.slow
def test_warnings_are_one_quiet_line_below_the_ranking_with_advice() -> None:
    run_id = str(synthetic.tables(synthetic.Invented(runs=3))["runs"]["run_id"].iloc[0])
    found = (run_id, "nih", "Edema", INVERTED, 0.41, 0.36, 0.46, 0.012, f"compare {HOSTILE}")
    text = page(diagnostics=frame("diagnostics", found))
    line = text.index("<summary>1 warning about 1 run</summary>")
    assert text.index('id="ranking"') < text.index('id="symptoms"') < line < text.index('id="group-hospitals"')
    assert "[.360, .460]" in text
    assert ".012" in text[line : text.index('id="group-hospitals"')]
    assert "inverted or mislabeled<" in text
    assert HOSTILE not in text
    constant = page(diagnostics=frame("diagnostics", (*found[:3], "constant output", *found[4:])))
    assert '<summary><span class="warn">1 warning about 1 run</span></summary>' in constant


@pytest.mark.slow
def test_only_levels_that_clearly_change_the_auroc_are_in_the_title() -> None:
    rows = [
        ("auroc", "loss", "focal", "bce", 0.012, 0.004, 0.020, 0.003, 6, 6, 0.004, np.nan, np.nan),
        ("auroc", "optimizer", HOSTILE, "adamw", -0.004, -0.012, 0.004, 0.4, 1, 1, np.nan, np.nan, np.nan),
    ]
    text = page(ablation=frame("ablation", *rows))
    assert "Clear mean change of the external AUROC: focal (+.012)" in text
    assert HOSTILE not in text


@pytest.mark.slow
def test_a_level_with_one_pair_or_with_large_variation_between_pairs_is_not_in_the_title() -> None:
    for num_pairs, spread in ((1, np.nan), (2, 0.001), (6, 0.012)):
        row = (
            "auroc",
            "loss",
            "focal",
            "bce",
            0.012,
            0.004,
            0.020,
            0.003,
            num_pairs,
            num_pairs,
            spread,
            np.nan,
            np.nan,
        )
        text = page(ablation=frame("ablation", row))
        few = "Too few pairs of runs for a verdict on any factor"
        assert (
            few if num_pairs < 3 else "No factor changes the mean external AUROC more than pairs of runs vary"
        ) in text


@pytest.mark.slow
def test_one_pair_of_recipes_with_three_seeds_each_may_be_clear_and_fewer_pairs_of_runs_have_no_verdict() -> None:
    effect = ("auroc", "loss", "focal", "bce", 0.012, 0.004, 0.020, 0.003, 1)
    three = page(ablation=frame("ablation", (*effect, 3, np.nan, 0.002, 0.022)))
    assert "Clear mean change of the external AUROC: focal (+.012)" in three
    assert ">higher mean<" in three
    two = page(ablation=frame("ablation", (*effect, 2, np.nan, 0.002, 0.022)))
    assert "too few pairs" in two
    unclear = ("auroc", "loss", "focal", "bce", 0.012, -0.004, 0.028, 0.003, 1, 2, np.nan, -0.006, 0.03)
    for few in (two, page(ablation=frame("ablation", unclear))):
        assert "Too few pairs of runs for a verdict on any factor" in few
    assert ">higher mean<" not in two


@pytest.mark.slow
def test_one_pair_of_recipes_is_clear_only_if_it_is_clear_among_all_pairs_of_the_ranking() -> None:
    effect = ("auroc", "loss", "focal", "bce", 0.012, 0.004, 0.020, 0.003, 1, 3, np.nan)
    text = page(ablation=frame("ablation", (*effect, -0.001, 0.025)))
    assert "No factor clearly changes the mean external AUROC" in text
    assert "no clear mean change" in text
    assert ">higher mean<" not in text


@pytest.mark.slow
def test_a_surrogate_without_predictive_value_shows_no_importance() -> None:
    effect = ("auroc", "loss", "focal", "bce", 0.001, -0.004, 0.006, 0.8, 2, 2, 0.004, np.nan, np.nan)
    good = frame("surrogate", ("auroc", "loss", 0.01, 0.6, 0.4, 24), ("auroc", "size", 0.02, 0.6, 0.4, 24))
    poor = frame("surrogate", ("auroc", "", np.nan, 0.05, -0.3, 24))
    assert "size .020; loss .010" in page(ablation=frame("ablation", effect), surrogate=good)
    assert "this page does not rank the factors" in page(ablation=frame("ablation", effect), surrogate=poor)


@pytest.mark.slow
def test_mean_shap_values_of_levels_are_listed_for_a_surrogate_with_predictive_value() -> None:
    effect = frame(
        "ablation", ("auroc", "loss", "focal", "bce", 0.001, -0.004, 0.006, 0.8, 2, 2, 0.004, np.nan, np.nan)
    )
    good = frame("surrogate", ("auroc", "loss", 0.01, 0.6, 0.4, 24))
    single = frame(
        "factor_shap",
        *(
            ("auroc", "loss", level, f"r{k}", shap)
            for k, (level, shap) in enumerate([("bce", 0.02), ("bce", 0.01), ("focal", -0.015), (HOSTILE, -0.02)])
        ),
    )
    shown = page(ablation=effect, surrogate=good, factor_shap=single)
    first, second = (">bce</td><td>+.015<", ">focal</td><td>−.015<")
    assert shown.index(first) < shown.index(second)
    assert "This explains the random forest, not the networks" in shown
    assert HOSTILE not in shown
    none = page(ablation=effect, surrogate=good)
    assert "explains the random forest" not in none


@pytest.mark.slow
def test_other_label_mappings_have_the_mean_auroc_of_each_finding() -> None:
    run_id = str(synthetic.tables(synthetic.Invented(runs=3))["runs"]["run_id"].iloc[0])
    row = (run_id, "nih", "broad")
    cells = frame("mappings", (*row, HOSTILE, 0.73, 0.7, 0.76, 300, 39), (*row, "macro", 0.71, 0.7, 0.72, 300, 39))
    text = page(mappings=cells)
    rows = text[text.index('id="mappings"') :]
    assert '<td class="l">Mean of findings</td><td class="l">broad</td><td>.710</td>' in rows
    assert "<td>.730</td><td>39</td>" in rows
    assert HOSTILE not in text
    assert 'id="mappings"' not in page()


def test_the_axis_of_a_metric_has_ticks_on_both_sides_of_zero() -> None:
    for reach in nonempty(np.geomspace(0.006, 0.6, 60)):
        ticks = re.findall(r'y="25"[^>]*>([^<]+)<', factors._axis("gap", svg.Scale(-reach, reach, 6, 200)))
        assert len(ticks) >= 3
        assert "0" in ticks
