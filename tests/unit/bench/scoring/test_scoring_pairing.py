import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.scoring.across_runs.paired_runs import COLUMNS, GAP, ScoredRun, differences
from bench.scoring.across_runs.paired_tests import holm
from bench.scoring.influence import Influence
from bench.scoring.metrics import auroc
from bench.scoring.metrics_of_split import Key
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit
from tests.unit.bench.scoring import test_score_run
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts


def blurred(part: ScoredSplit, seed: int, noise: float = 0.5) -> ScoredSplit:
    draw = np.random.default_rng(seed)
    return dataclasses.replace(part, logit=(part.logit + draw.normal(0, noise, part.logit.shape)).astype(np.float32))


def runs(noise: float = 0.5) -> tuple[ScoredRun, ScoredRun]:
    return (
        ScoredRun(FINDINGS, "chexpert", parts()),
        ScoredRun(FINDINGS, "chexpert", [blurred(part, seed, noise) for seed, part in enumerate(parts())]),
    )


def half(influences: list[Influence], own: list[list[float]]) -> float:
    """Return the half width of a difference: that of the influences, times how much wider the two own intervals are than theirs."""
    of_own = sum(((value - low) ** 2 + (high - value) ** 2) / 2 for value, low, high in own)
    of_alone = sum(influence.error**2 for influence in influences)
    return float((influences[0] - influences[1]).error * np.sqrt(of_own / of_alone))


def cell(table: pd.DataFrame, dataset: str, finding: str) -> pd.Series:
    [row] = table[(table["dataset"] == dataset) & (table["finding"] == finding)].to_dict("records")
    return pd.Series(row)


def test_differences_are_those_of_the_scores_with_paired_intervals() -> None:
    first, second = runs()
    table = differences(first, second, Key("auroc"), QUICK)
    assert tuple(table.columns) == COLUMNS
    scored = [score_run("r", FINDINGS, "chexpert", run.scored_splits, QUICK) for run in (first, second)]
    for dataset in ("nih", "vindr", "external"):
        row = cell(table, dataset, "macro")
        macros = [each.scores.query("finding == 'macro' and metric == 'auroc'").set_index("dataset") for each in scored]
        values = [each.loc[dataset, "value"] for each in macros]
        assert [row["first"], row["second"]] == pytest.approx(values)
        influences = [each.estimates[f"auroc/{dataset}"].influence for each in scored]
        own = [each.loc[dataset, ["value", "low", "high"]].tolist() for each in macros]
        assert [row["low"], row["high"]] == pytest.approx(row["difference"] + half(influences, own) * np.array([-1, 1]))
    assert (table["note"] == "").all()
    assert (table["split"] != "val").all()
    singles = table[(table["finding"] != "macro") & (table["dataset"] != "external")]
    np.testing.assert_allclose(singles["p_holm"], holm(singles["p"].to_numpy()))
    assert (singles["p_bh"] <= singles["p_holm"] + 1e-12)[singles["p"].notna()].all()
    one = differences(first, second, Key("auroc"), QUICK, ["nih"])
    assert (one["p_holm"] <= table[table["dataset"] == "nih"]["p_holm"].to_numpy() + 1e-12)[one["p"].notna()].all()


def test_the_gap_is_compared_on_shared_patients_of_internal_and_external() -> None:
    first, second = runs()
    table = differences(first, second, GAP, QUICK)
    scored = [score_run("r", FINDINGS, "chexpert", run.scored_splits, QUICK) for run in (first, second)]
    row = cell(table, "external", "macro")
    gaps = [each.gaps.query("dataset == 'external' and finding == 'macro'").iloc[0] for each in scored]
    assert row["difference"] == pytest.approx(gaps[0].value - gaps[1].value)
    influences = [each.estimates["gap/external"].influence for each in scored]
    own = [gap[["value", "low", "high"]].tolist() for gap in gaps]
    assert [row["low"], row["high"]] == pytest.approx(row["difference"] + half(influences, own) * np.array([-1, 1]))
    in_one = [
        np.where(np.arange(len(FINDINGS)), p.logit, q.logit) for p, q in zip(parts(), second.scored_splits, strict=True)
    ]
    other = dataclasses.replace(first, scored_splits=[p.of_run(x) for p, x in zip(parts(), in_one, strict=True)])
    equal = differences(first, other, GAP, QUICK).query("note != ''").dropna(subset="first")
    assert set(equal["finding"]) == set(table.dropna(subset="first")["finding"]) - {FINDINGS[0], "macro"}
    assert (equal[["low", "high"]] == 0).all(axis=None)
    elsewhere = dataclasses.replace(second, internal="nih")
    assert differences(first, elsewhere, GAP, QUICK).empty


@pytest.mark.parametrize("key", [Key("auroc"), GAP])
def test_a_hospital_of_children_is_compared_but_in_no_mean(key: Key) -> None:
    children = dataclasses.replace(test_score_run.part("guangzhou", "test", 9, 2.0), of_children=True)
    first, second = runs()
    more = [
        dataclasses.replace(run, scored_splits=[*run.scored_splits, split])
        for run, split in ((first, children), (second, blurred(children, 9)))
    ]
    table, without = differences(*more, key, QUICK), differences(first, second, key, QUICK)
    assert "guangzhou" in set(table["dataset"])
    columns = ["first", "second", "difference", "low", "high"]
    for finding in ("macro", FINDINGS[0]) if key == GAP else ("macro",):
        row, expected = (cell(each, "external", finding)[columns].tolist() for each in (table, without))
        assert row == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("key", [Key("npv", operating_point="youden"), Key("ece", "platt"), Key("ace"), Key("auprc")])
def test_any_scored_metric_can_be_compared(key: Key) -> None:
    first, second = runs()
    row = cell(differences(first, second, key, QUICK), "nih", "Edema")
    for name, run in (("first", first), ("second", second)):
        scores = score_run("r", FINDINGS, "chexpert", run.scored_splits, QUICK).scores
        names = ["metric", "calibrator", "operating_point"]
        found = scores[
            (scores[names] == list(key)).all(axis=1) & (scores["dataset"] == "nih") & (scores["finding"] == "Edema")
        ]
        assert row[name] == pytest.approx(found["value"].item())


def test_an_unknown_metric_is_rejected() -> None:
    with pytest.raises(KeyError, match="no metric"):
        differences(*runs(), Key("aurocc"), QUICK)


def test_a_run_does_not_differ_from_itself_and_differs_from_a_noisy_copy() -> None:
    first, _ = runs()
    same = differences(first, first, Key("auroc"), QUICK)
    known = same[same["first"].notna()]
    assert (known[["difference", "low", "high"]] == 0).all(axis=None)
    assert (known[["p", "p_holm"]] == 1).all(axis=None)
    assert (known["note"] == "both runs have the same logits").all()
    _, ruined = runs(noise=50.0)
    table = differences(first, ruined, Key("auroc"), QUICK)
    assert (table[table["finding"] == "macro"]["p"] < 1e-6).all()
    singles = table[table["p_delong"].notna()]
    assert (singles["p_delong"] < 0.01).all()
    assert np.corrcoef(np.log(singles["p"]), np.log(singles["p_patient"]))[0, 1] > 0.9


@pytest.mark.parametrize("key", [Key("auroc"), Key("auprc"), GAP, Key("sensitivity", operating_point="youden")])
def test_two_perfect_runs_differ_by_0_with_an_interval(key: Key) -> None:
    """No patient has an influence on two perfect separations, although few patients cannot show that the runs are equal."""

    def perfect(scale: float) -> ScoredRun:
        splits = [
            dataclasses.replace(part, logit=(scale * (part.state == 1) + part.logit / 1e3).astype(np.float32))
            for part in parts()
        ]
        return ScoredRun(FINDINGS, "chexpert", splits)

    table = differences(perfect(5.0), perfect(7.0), key, QUICK)
    known = table[table["first"].notna()]
    assert len(known) > 3
    np.testing.assert_allclose(known["difference"], 0, atol=1e-12)
    assert (known["low"] < -1e-3).all()
    assert (known["high"] > 1e-3).all()
    np.testing.assert_allclose(known["p"], 1)


def test_two_perfect_runs_have_no_interval_of_a_difference_in_errors_that_no_patient_influences() -> None:
    runs = [
        ScoredRun(FINDINGS, "chexpert", [part.of_run(np.where(part.state == 1, x, -x)) for part in parts()])
        for x in np.float32([3, 5])
    ]
    known = differences(*runs, Key("brier"), QUICK).dropna(subset="first")
    assert len(known)
    assert (known["difference"] > 1e-3).all()
    assert known[["low", "high", "p"]].isna().all(axis=None)


@pytest.mark.parametrize("kind", ["equal logits", "one patient", "one positive", "all positive"])
def test_degenerate_data_give_no_difference_without_width(kind: str) -> None:
    def degenerate(run: ScoredRun, level: float) -> ScoredRun:
        splits = []
        for part in run.scored_splits:
            state, logit, patient = part.state.copy(), part.logit.copy(), part.patient_id.copy()
            if kind == "equal logits":
                logit[:] = level
            elif kind == "one patient":
                patient[:] = "p"
            else:
                state[:] = kind == "all positive"
                state[0] = 1
            splits.append(dataclasses.replace(part, state=state, logit=logit, patient_id=patient))
        return dataclasses.replace(run, scored_splits=splits)

    first, second = (degenerate(run, level) for run, level in zip(runs(), (1.0, 2.0), strict=True))
    settings = dataclasses.replace(QUICK, min_count=1)
    table = differences(first, second, Key("auroc"), settings)
    assert len(table)
    stated = table[table["low"].notna()]
    assert (stated["low"] < stated["high"]).all()
    if kind == "equal logits":
        assert len(stated)
        np.testing.assert_allclose(stated["difference"], 0, atol=1e-12)


def test_only_shared_images_and_findings_are_scored() -> None:
    first, _ = runs()
    order = np.random.default_rng(0).permutation(200)
    fewer = []
    for part in first.scored_splits:
        fields = {name: getattr(part, name)[order] for name in ("image_id", "patient_id", "logit", "state")}
        fields |= {name: fields[name][:, [1, 0]] for name in ("logit", "state")}
        fewer.append(dataclasses.replace(part, **fields))
    table = differences(first, ScoredRun(("Pneumonia", "Edema"), "chexpert", fewer), Key("auroc"), QUICK)
    assert set(table["finding"]) == {"Edema", "Pneumonia", "macro"}
    known = table[table["first"].notna()]
    assert (known["difference"] == 0).all(), "the same logits, in another order"
    rows = np.sort(order)[first.scored_splits[3].state[np.sort(order), 0] != -1]
    value = auroc((first.scored_splits[3].state[rows, 0] == 1).astype(np.int8), first.scored_splits[3].logit[rows, 0])
    assert cell(table, "vindr", "Edema")["first"] == pytest.approx(value)
    table_without_edema = differences(first, dataclasses.replace(first, unlearned=["Edema"]), Key("auroc"), QUICK)
    assert "Edema" not in set(table_without_edema["finding"])


def test_a_hospital_that_is_internal_to_one_run_is_scored_on_its_test_split() -> None:
    first, second = runs()
    external = [
        dataclasses.replace(part, dataset="chexpert", split="all", patient_id=first.scored_splits[1].patient_id)
        for part in second.scored_splits
        if part.split == "all"
    ]
    table = differences(first, ScoredRun(FINDINGS, "nih", external), Key("auroc"), QUICK)
    assert set(zip(table["dataset"], table["split"], strict=True)) == {("chexpert", "test")}
    nothing = differences(first, ScoredRun(FINDINGS, "nih", []), Key("auroc"), QUICK)
    assert nothing.empty
    assert tuple(nothing.columns) == COLUMNS
