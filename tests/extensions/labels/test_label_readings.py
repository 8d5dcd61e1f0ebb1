"""The gap under each way to read uncertain and unmentioned labels, recomputed from raw labels with scikit-learn."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.settings import Settings
from bench.extensions.labels.gap_note import gap_note
from bench.extensions.labels.readings_section import label_readings
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.opening import opening
from reports.tables import Tables
from tests.conftest import Command
from tests.end_to_end.test_rescore import tables as stored_tables
from tests.nonempty import nonempty
from tests.synthetic import Invented, tables
from tests.unit.bench.scoring.test_hospital_means import fitted

FINDINGS = ("Edema", "Mass")
SETTINGS = Settings()
READ_AS = {  # the label of each state: an independent statement of the conventions
    "standard": {1: 1, 0: 0, -2: 0},
    "uncertain-present": {1: 1, 0: 0, -2: 0, -1: 1},
    "uncertain-absent": {1: 1, 0: 0, -2: 0, -1: 0},
    "unmentioned-dropped": {1: 1, 0: 0},
}
OTHERS = [name for name in READ_AS if name != "standard"]


def split(dataset: str, name: str, states: tuple[int, ...] = (1, 0, -1, -2, -3)) -> ScoredSplit:
    """Return 240 images of 120 patients; the logits of uncertain images lie between those of the others."""
    draw = np.random.default_rng(list(f"{dataset}/{name}".encode()))
    state = draw.choice(np.array(states, np.int8), (240, 2))
    logit = (draw.normal(size=state.shape) + np.select([state == 1, state == -1], [1.5, 0.6], 0)).astype(np.float32)
    ids = np.array([f"{dataset}-{name}-{i}" for i in range(240)], object)
    return ScoredSplit(dataset, name, "report", ids, np.array([f"p{i // 2}" for i in range(240)], object), logit, state)


def splits() -> list[ScoredSplit]:
    return [split("here", "val"), split("here", "test"), split("far", "all"), split("plain", "all", (1, 0))]


def auroc(scored: ScoredSplit, reading: str) -> float:
    """Return the macro AUROC from raw labels."""
    values = []
    for k in range(len(FINDINGS)):
        known = [i for i, state in enumerate(scored.state[:, k]) if state in READ_AS[reading]]
        values.append(roc_auc_score([READ_AS[reading][scored.state[i, k]] for i in known], scored.logit[known, k]))
    return float(np.mean(values))


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "here", splits(), SETTINGS)


def gaps_of(scores: RunScores) -> pd.DataFrame:
    return scores.detail["reading_gaps"].set_index(["reading", "dataset"])


def test_each_gap_is_that_of_the_raw_labels(scored: RunScores) -> None:
    _, test, *external = splits()
    table = gaps_of(scored)
    assert list(dict.fromkeys(table.index.get_level_values("reading"))) == OTHERS
    for reading in OTHERS:
        expected = {there.dataset: auroc(test, reading) - auroc(there, reading) for there in external}
        expected["external"] = float(np.mean(list(expected.values())))
        assert table.loc[reading, "value"].to_dict() == pytest.approx(expected, abs=1e-12)
        assert table.loc[reading, "internal"].to_numpy() == pytest.approx(auroc(test, reading), abs=1e-12)
        rows = table.loc[reading]
        assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
        for dataset, value in expected.items():
            estimate = scored.estimates[f"reading_gap/{reading}/{dataset}"]
            assert estimate.value == pytest.approx(value)
            assert estimate.influence.error > 0.01


def test_the_shares_of_changed_labels_are_those_of_the_raw_states(scored: RunScores) -> None:
    _, test, far, _ = splits()
    table = gaps_of(scored)
    for reading, state in (("uncertain-present", -1), ("uncertain-absent", -1), ("unmentioned-dropped", -2)):
        row = table.loc[reading, "far"]
        assert row["changed"] == pytest.approx((far.state == state).mean())
        assert row["changed_internal"] == pytest.approx((test.state == state).mean())
        assert table.loc[(reading, "plain"), "changed"] == 0
        assert table.loc[(reading, "external"), "changed"] == pytest.approx((far.state == state).mean() / 2)


def test_under_another_reading_a_grid_has_the_scores_that_the_first_grid_states_for_it(scored: RunScores) -> None:
    for reading in OTHERS:
        read_so = [replace(each, reading=reading) for each in splits()]
        again = score_run("abc", FINDINGS, "here", read_so, replace(SETTINGS, reading=reading))
        macros = again.gaps[again.gaps["finding"] == "macro"].set_index("dataset")
        stated = gaps_of(scored).loc[reading]
        columns = ["value", "low", "high", "internal", "external"]
        pd.testing.assert_frame_equal(stated[columns], macros.loc[stated.index, columns], check_names=False, atol=1e-7)
        back = gaps_of(again).loc["standard", "value"]
        own = scored.gaps[scored.gaps["finding"] == "macro"].set_index("dataset")["value"]
        assert back.to_dict() == pytest.approx(own.to_dict(), abs=1e-12)
        assert reading not in gaps_of(again).index


def test_a_finding_with_too_few_labels_leaves_both_gaps() -> None:
    _, test, far, _ = every = splits()
    absent = np.flatnonzero(far.state[:, 1] == 0)
    far.state[absent[5:], 1] = -2  # only five images say that there is no Mass
    row = gaps_of(score_run("abc", FINDINGS, "here", every, SETTINGS)).loc["unmentioned-dropped", "far"]
    assert row["num_findings"] == 1
    edema = [replace(each, logit=each.logit[:, [0, 0]], state=each.state[:, [0, 0]]) for each in (test, far)]
    assert row["value"] == pytest.approx(
        auroc(edema[0], "unmentioned-dropped") - auroc(edema[1], "unmentioned-dropped")
    )
    assert row["same_findings"] == pytest.approx(auroc(edema[0], "standard") - auroc(edema[1], "standard"))


def test_the_gap_before_has_the_mean_of_the_grid_if_a_hospital_lacks_a_finding() -> None:
    third = split("third", "all")
    third.state[:, 1] = -3
    scores = score_run("abc", FINDINGS, "here", [*splits(), third], SETTINGS)
    own = scores.gaps[scores.gaps["finding"] == "macro"].set_index("dataset")["value"].to_dict()
    for reading in OTHERS:
        assert gaps_of(scores).loc[reading, "same_findings"].to_dict() == pytest.approx(own, abs=1e-12)


def test_a_pool_is_read_hospital_by_hospital() -> None:
    ash, birch, far = split("ash", "test"), split("birch", "test"), split("far", "all")
    ids = np.array([f"{one.dataset}/{image}" for one in (ash, birch) for image in one.image_id], object)
    patient, logit, state = (
        np.concatenate([getattr(one, name) for one in (ash, birch)]) for name in ("patient_id", "logit", "state")
    )
    pool = ScoredSplit("ash+birch", "test", "report", ids, patient, logit, state)
    row = gaps_of(score_run("abc", FINDINGS, "ash+birch", [pool, far], SETTINGS)).loc["uncertain-present", "far"]
    mean = (auroc(ash, "uncertain-present") + auroc(birch, "uncertain-present")) / 2
    assert row["internal"] == pytest.approx(mean, abs=1e-12)


def test_without_uncertain_and_unmentioned_labels_there_are_no_readings() -> None:
    plain = [split("here", "val", (1, 0)), split("here", "test", (1, 0)), split("plain", "all", (1, 0))]
    scores = score_run("abc", FINDINGS, "here", plain, SETTINGS)
    assert not len(scores.detail["reading_gaps"])
    assert not [name for name in scores.estimates if name.startswith("reading_gap/")]


def study(*verdicts: tuple[str, float, int]) -> Tables:
    """Return a study with gaps at one hospital: reading, mean gap, number of recipes with a lower AUROC."""
    made = tables(Invented(runs=2))
    rows = []
    for reading, value, worse in verdicts:
        num = 5 if reading == "unmentioned-dropped" else 9
        changed = 0.0 if reading == "standard" else 0.06
        for dataset, inside in (("mimic", changed), ("external", changed / 5)):
            interval = (value - 0.03, value + 0.03)
            counts = (2, worse, 0, *interval, 0.101 if num == 5 else value, num)
            rows.append((reading, dataset, value, *interval, *counts, changed, inside))
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["mean_reading_gaps"]))
    return Tables(made.meta, {**made.frames, "mean_reading_gaps": frame})


DISAGREE = (
    ("standard", 0.075, 2),
    ("uncertain-present", 0.026, 0),
    ("uncertain-absent", 0.066, 2),
    ("unmentioned-dropped", 0.095, 2),
)


@pytest.mark.parametrize(
    ("runs", "worse", "under_other", "said"), [(250, 188, 180, False), (250, 188, 60, True), (3, 3, 2, True)]
)
def test_a_reading_is_named_if_it_moves_more_than_a_few_of_many_recipes(
    runs: int, worse: int, under_other: int, said: bool
) -> None:
    made = study(("standard", 0.075, worse), ("uncertain-present", 0.07, under_other))
    made.frames["mean_reading_gaps"]["num_runs"] = runs
    recipes = f"the mean gap is .070 and clear; {under_other} of {runs} runs have a clearly lower AUROC."
    assert gap_note(read(made))[1].endswith(recipes) == said


def test_a_reading_with_other_numbers_of_better_recipes_alone_is_named() -> None:
    made = study(("standard", 0.075, 1), ("uncertain-present", 0.075, 1))
    rows = made.frames["mean_reading_gaps"]
    rows.loc[rows["reading"] == "uncertain-present", "num_better"] = 1
    assert gap_note(read(made))[1].endswith("the mean gap is .075 and clear; 1 of 2 runs has a clearly higher AUROC.")


def test_the_page_states_the_gap_under_each_reading_beside_the_gap() -> None:
    data = read(study(*DISAGREE))
    said = "If uncertain labels count as present, the mean gap is .026 and unclear; no run has a clearly lower AUROC."
    assert gap_note(data) == ("label-readings", said)
    # another verdict matters more than a larger change
    farther = read(study(*DISAGREE[:3], ("unmentioned-dropped", 0.175, 2)))
    assert gap_note(farther)[1] == said
    agree = read(study(*((name, value, 2) for name, value, _ in DISAGREE)))
    assert gap_note(agree)[1].startswith("If uncertain labels count as present, the mean gap is .026")
    assert gap_note(read(study(DISAGREE[0], *DISAGREE[2:])))[1] == "", (
        "the other gaps lie inside the interval of the page"
    )
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", str(opening(data).html)))
    assert said in text
    section = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", str(label_readings(data).html)))
    assert (
        "Mean over hospitals .075 [.045, .105] .026 [−.004, .056] 1 % of labels .066 [.036, .096] 1 % of labels"
        in section
    )
    assert "Labels changed at the internal hospital – 6 % 6 % 6 %" in section
    assert "smallest number at a hospital 9 9 9 5" in section
    assert "nan" not in section


def test_without_the_table_the_page_says_nothing_about_readings() -> None:
    data = read(tables(Invented(runs=3)))
    assert (gap_note(data)[1], str(label_readings(data).html)) == ("", "")


@pytest.mark.grid
def test_labels_that_are_read_in_another_way_give_the_gaps_that_the_first_scores_state(
    store_copy: Path, command: Command
) -> None:
    asked = ("--labels-read", "uncertain-present", "--quiet")
    command("score", "--grid", "tiny", "--as", "present", *asked, cwd=store_copy)
    keys = ["run_id", "dataset", "finding"]
    stated = stored_tables(store_copy, "", "reading_gaps").query("reading == 'uncertain-present'")
    first, again = (
        stored_tables(store_copy, grid, "gaps").query("finding != 'macro' and dataset != 'external'").set_index(keys)
        for grid in ("", "as-present")
    )
    # as present, uncertain labels can give a finding enough patients; the first scores have no gap of it
    both = again[first["value"].notna()].dropna(subset="value")
    for run_id, rows in nonempty(list(both.groupby("run_id"))):
        table = rows["external"].droplevel("run_id").unstack("finding")
        table = table.loc[:, table.count() > 1]
        inside = rows["internal"].groupby("finding").first()[table.columns].mean()
        of_run = stated[stated["run_id"] == run_id].set_index("dataset")["value"]
        assert of_run[table.index].to_numpy() == pytest.approx(inside - fitted(table.to_numpy()), abs=1e-9)
