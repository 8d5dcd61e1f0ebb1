"""`bench score --predictions FILE --labels FILE`: any model's table is scored without store, grid and images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.cli.score_files import NO_INTERVAL
from bench.results.prediction_files import read_labeled_predictions
from harmonize.errors import CxrError
from tests.conftest import Command

FINDINGS = ("Edema", "Enlarged Cardiomediastinum")
Tables = tuple[pd.DataFrame, pd.DataFrame]


def tables(num: int = 300) -> Tables:
    """Return predictions (probabilities) and labels of `num` images, three images of each patient."""
    draw = np.random.default_rng(0)
    ids = [f"i{k}" for k in range(num)]
    labels = pd.DataFrame({"image_id": ids, "patient_id": [f"p{k // 3}" for k in range(num)]})
    predictions = pd.DataFrame({"image_id": ids})
    for finding in FINDINGS:
        label = draw.random(num) < 0.3
        labels[finding] = label.astype(int)
        predictions[finding] = expit(2 * label - 1 + draw.normal(size=num))
    return predictions.sample(frac=1, random_state=1), labels


def write(folder: Path, predictions: pd.DataFrame, labels: pd.DataFrame) -> tuple[str, ...]:
    predictions.to_csv(folder / "p.csv", index=False)
    labels.to_csv(folder / "l.csv", index=False)
    return "score", "--predictions", "p.csv", "--labels", "l.csv"


def test_the_scores_are_those_of_scikit_learn(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    shown = json.loads(here(*write(tmp_path, predictions, labels), "--json", cwd=tmp_path).stdout)
    assert shown["clustered"]
    assert (shown["images"], shown["patients"], shown["outputs"]) == (300, 100, "probability")
    rows = {(row["finding"], row["metric"]): row for row in shown["rows"]}
    joined = labels.merge(predictions, on="image_id", suffixes=("", "_p"))
    aurocs = [roc_auc_score(joined[f], joined[f"{f}_p"]) for f in FINDINGS]
    assert [rows[f, "auroc"]["value"] for f in FINDINGS] == pytest.approx(aurocs)
    assert rows["macro", "auroc"]["value"] == pytest.approx(np.mean(aurocs))
    edema = average_precision_score(joined["Edema"], joined["Edema_p"])
    assert rows["Edema", "auprc"]["value"] == pytest.approx(edema)
    assert rows["Edema", "brier"]["value"] == pytest.approx(((joined["Edema"] - joined["Edema_p"]) ** 2).mean())
    assert all(row["low"] < row["value"] < row["high"] for row in rows.values() if row["metric"] == "auroc")


def test_uncertain_and_unmentioned_labels_are_read_as_asked(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    labels.loc[:59, "Edema"], labels.loc[60:119, "Edema"] = -1, -2
    label_of = {"uncertain-present": {-1: 1, -2: 0}, "uncertain-absent": {-1: 0, -2: 0}, "unmentioned-dropped": {}}
    words, joined = write(tmp_path, predictions, labels), labels.merge(predictions, on="image_id", suffixes=("", "_p"))
    for reading, label in label_of.items():
        shown = json.loads(here(*words, "--json", "--labels-read", reading, cwd=tmp_path).stdout)
        truth = joined["Edema"].replace(label)
        known = truth >= 0
        row = next(row for row in shown["rows"] if (row["finding"], row["metric"]) == ("Edema", "auroc"))
        assert (shown["labels_read"], row["n"]) == (reading, known.sum())
        assert row["value"] == pytest.approx(roc_auc_score(truth[known], joined.loc[known, "Edema_p"]))
    error = here(*words, "--labels-read", "present", cwd=tmp_path, code=2).stderr
    assert "unknown value of --labels-read: 'present'" in error
    text = here(*words, "--labels-read", "uncertain-absent", cwd=tmp_path).stdout
    assert "Labels are read as uncertain-absent." in text


def test_the_text_fits_80_columns_and_states_the_clusters(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    lines = here(*write(tmp_path, predictions, labels), cwd=tmp_path).stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("300 images"))]
    assert max(map(len, table)) <= 80
    assert any(line.startswith("macro of 2") for line in table)
    assert "Intervals: 95 %, over 100 patients, each with all images" in "\n".join(lines)
    alone = here(*write(tmp_path, predictions, labels.drop(columns="patient_id")), cwd=tmp_path).stdout
    assert "There is no column patient_id: each image counts as a patient" in alone


def test_an_inverted_column_and_a_misspelled_one_have_a_note(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    sound = json.loads(here(*write(tmp_path, predictions, labels), "--json", cwd=tmp_path).stdout)["notes"]
    assert not any("below .5" in note or "inverted" in note for note in sound)
    wrong = predictions.assign(Edema=1 - predictions["Edema"]).rename(columns={FINDINGS[1]: FINDINGS[1].lower()})
    words = write(tmp_path, wrong, labels)
    notes = json.loads(here(*words, "--json", cwd=tmp_path).stdout)["notes"]
    advice = "inverted or mislabeled: check in both files that the higher value means present."
    assert f"Edema: {advice}" in notes
    left = f"no predictions of them: {FINDINGS[1]} (did you mean {FINDINGS[1].lower()!r}?)."
    assert f"Not scored, because there are {left}" in notes
    assert "Edema: inverted or mislabeled" in here(*words, cwd=tmp_path).stdout
    both = predictions.assign(**{name: 1 - predictions[name] for name in FINDINGS})
    notes = json.loads(here(*write(tmp_path, both, labels), "--json", cwd=tmp_path).stdout)["notes"]
    assert f"macro: {advice}" in notes


def test_exchanged_columns_and_ids_of_other_rows_have_a_note(tmp_path: Path, here: Command) -> None:
    predictions, labels = (
        t.sort_values("image_id").assign(Pneumonia=lambda t: np.roll(t["Edema"], 9)) for t in tables()
    )
    exchanged = predictions.rename(columns=dict(zip(FINDINGS, FINDINGS[::-1], strict=True)))
    shifted = predictions.assign(image_id=np.roll(predictions["image_id"], 3))
    for wrong, note in (
        (exchanged, "findings in another order"),
        (shifted, "hardly better than chance: check that ids"),
    ):
        assert f"macro: {note}" in here(*write(tmp_path, wrong, labels), cwd=tmp_path).stdout


def test_clusters_make_the_intervals_wider(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables(100)
    tripled = [pd.concat([table.assign(image_id=table["image_id"] + k) for k in "abc"]) for table in tables(100)]
    tripled[1]["patient_id"] = tripled[1]["image_id"].str[:-1]
    widths = []
    for clustered in (True, False):
        given = tripled[1] if clustered else tripled[1].drop(columns="patient_id")
        shown = json.loads(here(*write(tmp_path, tripled[0], given), "--json", cwd=tmp_path).stdout)
        row = next(row for row in shown["rows"] if (row["finding"], row["metric"]) == ("Edema", "auroc"))
        widths.append(row["high"] - row["low"])
    assert widths[0] > 1.4 * widths[1]
    assert len(predictions) == len(labels)


def test_logits_probabilities_and_parquet_give_the_same_scores(tmp_path: Path) -> None:
    predictions, labels = tables()
    write(tmp_path, predictions, labels)
    logits = predictions.copy()
    for finding in FINDINGS:
        logits[finding] = np.log(logits[finding]) - np.log1p(-logits[finding])
    logits.to_parquet(tmp_path / "logits.parquet")
    labels.to_parquet(tmp_path / "l.parquet")
    csv = read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    parquet = read_labeled_predictions(tmp_path / "logits.parquet", tmp_path / "l.parquet")
    assert (csv.outputs, parquet.outputs) == ("probability", "logit")
    [first], [second] = csv.run.scored_splits, parquet.run.scored_splits
    np.testing.assert_allclose(first.logit, second.logit, atol=1e-5)
    np.testing.assert_array_equal(first.state, second.state)
    assert second.patient_id.tolist() == labels["patient_id"].tolist()


def test_labels_that_are_not_stated_are_not_scored(tmp_path: Path) -> None:
    predictions, labels = tables()
    labels["Edema"] = labels["Edema"].astype(str)
    labels.loc[:3, "Edema"] = ["", "-1", "-2", "1.0"]
    labels["Mass"] = 1
    write(tmp_path, predictions, labels)
    given = read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    [split] = given.run.scored_splits
    assert split.labels()[:4, 0].tolist() == [-1, -1, 0, 1]
    assert any("no predictions of them: Mass" in note for note in given.notes)
    fewer = labels.iloc[:200]
    write(tmp_path, predictions, fewer)
    assert any(
        "100 predictions are left out" in n
        for n in read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv").notes
    )


def changed(table: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    """Return the table with another cell. `row` counts as in a spreadsheet: the header is row 1."""
    out = table.reset_index(drop=True).astype(object)
    out.loc[row - 2, column] = value
    return out


def spoiled(kind: str) -> Tables:
    predictions, labels = tables()
    if kind == "text":
        return changed(predictions, 5, "Edema", "high"), labels
    if kind == "empty":
        return changed(predictions, 7, "Edema", ""), labels
    if kind == "label":
        return predictions, changed(labels, 9, "Edema", "yes")
    if kind == "patient":
        return predictions, changed(labels, 4, "patient_id", "")
    if kind == "twice":
        return predictions, changed(labels, 6, "image_id", "i0")
    if kind == "missing":
        return predictions[predictions["image_id"] != "i2"], labels
    if kind == "no id":
        return predictions.rename(columns={"image_id": "image"}), labels
    return predictions.rename(columns={"Edema": "Oedema", FINDINGS[1]: "Heart"}), labels


@pytest.mark.parametrize(
    ("kind", "what", "fix"),
    [
        ("text", "row 5, column Edema: 'high' is not a finite number", "one number"),
        ("empty", "row 7, column Edema: '' is not a finite number", "one number"),
        ("label", "row 9, column Edema: 'yes' is not a label", "1 (present)"),
        ("patient", "row 4, column patient_id: '' is not a patient", "remove the column"),
        ("twice", "row 6, column image_id: 'i0' occurs twice", "one row"),
        ("missing", "1 of 300 labeled images have no prediction, e.g. 'i2' in row 4 of l.csv", "predict all"),
        ("no id", "no column image_id", "rename 'image' to image_id"),
        ("names", "no finding in common: predictions of Oedema, Heart, labels of Edema", "same name"),
    ],
)
def test_errors_name_row_and_column(kind: str, what: str, fix: str, tmp_path: Path) -> None:
    write(tmp_path, *spoiled(kind))
    with pytest.raises(CxrError) as error:
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    assert what in error.value.what
    assert str(tmp_path) in error.value.where
    assert fix in error.value.fix


def test_a_value_outside_0_and_1_is_no_probability(tmp_path: Path) -> None:
    predictions, labels = tables()
    write(tmp_path, changed(predictions, 8, "Edema", 1.5), labels)
    with pytest.raises(CxrError, match=r"row 8, column Edema: '1\.5' is not a probability"):
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv", outputs="probability")
    with pytest.raises(CxrError, match="none is negative: probabilities, percentages or logits") as error:
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    assert "--outputs logit" in error.value.fix
    assert read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv", outputs="logit").outputs == "logit"


@pytest.mark.parametrize(
    ("change_p", "change_l", "parts"),
    [
        (lambda p: p.assign(Edema=100 * p["Edema"]), None, ["percentages", "divide percentages by 100"]),
        (lambda p: p.assign(Edema=(255 * p["Edema"]).round()), None, ["column Edema", "none is negative"]),
        (
            lambda p: p.assign(Edema=p["Edema"] - 0.5),
            None,
            [f"column {FINDINGS[1]}", "probabilities", "--outputs logit"],
        ),
        (
            lambda p: p.assign(**np.log(p[list(FINDINGS)])),
            None,
            ["no prediction is positive", "exp(x)", "--outputs logit"],
        ),
        (
            lambda p: p.rename(columns=dict(zip(FINDINGS, "ab", strict=True))),
            lambda t: t.rename(columns=dict(zip(FINDINGS, "ab", strict=True))),
            ["no label space has a, b", '--findings "a,b"'],
        ),
        (lambda p: p.assign(patient_id="p1"), None, ["row 2", "'p0' is another patient in p.csv (297 such cells)"]),
        (
            lambda p: p.assign(image_id="\u00e9" + p["image_id"]),
            lambda t: t.assign(image_id="e\u0301" + t["image_id"]),
            ["the Unicode form differs"],
        ),
        (None, lambda t: changed(t, 4, "patient_id", "nan"), ["row 4, column patient_id: 'nan' is not a patient"]),
        (lambda p: p.assign(image_id=p["image_id"].str[1:] + ".0"), "digits", ["decimal point", "'0'", "'0.0'"]),
        (lambda p: p.assign(image_id=p["image_id"] + ".png"), None, ["endings of file names", "'i0'", "'i0.png'"]),
        (lambda p: p.assign(image_id="png/" + p["image_id"]), None, ["folders", "'i0'", "'png/i0'"]),
        (lambda p: p.assign(image_id=p["image_id"].str.upper()), None, ["upper and lower case", "'I0'"]),
        (lambda p: p.assign(image_id="x" + p["image_id"]), None, ["'i0' in row 2", "p.csv has ids such as 'x"]),
        (lambda p: p.assign(Edema=p["Edema"].map("{:.3f}".format).str.replace(".", ",")), None, ["decimal points"]),
        (
            None,
            lambda t: t.assign(patient_id="8.39860488694292E+35"),
            ["'patient_id'", "'8.39860488694292E+35'", "spreadsheet"],
        ),
        (None, lambda t: t.assign(patient_id="9007199254740993.0"), ["'9007199254740993.0'", "rounded"]),
        (None, lambda t: t.assign(image_id=[f"1.0{k}E+12" for k in range(len(t))]), ["'image_id'", "'1.00E+12'"]),
    ],
)
def test_the_cause_is_named_with_ids_of_both_tables(
    change_p: Any, change_l: Any, parts: list[str], tmp_path: Path
) -> None:
    predictions, labels = tables()
    if change_l == "digits":
        labels["image_id"], change_l = labels["image_id"].str[1:], None
    write(tmp_path, change_p(predictions) if change_p else predictions, change_l(labels) if change_l else labels)
    with pytest.raises(CxrError) as error:
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda p: p.assign(Edema=p["Edema"].where(p.index > 0, -1e-9)), "probabilities: all are in [0, 1]"),
        (lambda p: p.assign(**p[list(FINDINGS)] / 100), f"No probability of {', '.join(FINDINGS)} is above 0.01"),
        (lambda p: p.assign(**{"sex": 1, "Unnamed: 0": range(len(p))}), "no label space has sex, Unnamed: 0."),
    ],
)
def test_doubtful_columns_have_a_note(change: Any, note: str, tmp_path: Path) -> None:
    predictions, labels = tables()
    write(tmp_path, change(predictions), labels.assign(**{"sex": 1, "Unnamed: 0": range(len(labels))}))
    read = read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    assert (read.outputs, read.run.findings) == ("probability", FINDINGS)
    assert any(note in line for line in read.notes), read.notes


def test_patient_ids_that_look_alike_are_stated(tmp_path: Path) -> None:
    predictions, labels = tables(40)
    assert labels["patient_id"].nunique() < 40
    for ids, num in ((range(40), 0), ([f"{k // 2}.0" if k % 2 else k // 2 for k in range(40)], 1)):
        write(tmp_path, predictions, labels.assign(patient_id=list(ids)))
        notes = read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv").notes
        assert sum("40 ids look alike: '0' = '0.0'" in note for note in notes) == num


@pytest.mark.parametrize("table", ["p.csv", "l.csv"])
def test_another_separator_is_named(table: str, tmp_path: Path) -> None:
    write(tmp_path, *tables())
    path = tmp_path / table
    path.write_text(path.read_text().replace(",", ";").replace(".", ","))
    with pytest.raises(CxrError, match=r"separated by ';'") as error:
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.csv")
    assert error.value.where == str(path)


def test_rounded_ids_of_a_parquet_table_are_refused(tmp_path: Path) -> None:
    predictions, labels = tables(40)
    write(tmp_path, predictions, labels)
    labels.assign(patient_id=8.39860488694292e35).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(CxrError, match="'patient_id' have scientific notation"):
        read_labeled_predictions(tmp_path / "p.csv", tmp_path / "l.parquet")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--predictions", "p.csv"], "--labels is missing"),
        (["--labels", "l.csv"], "--predictions is missing"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--grid", "demo"], "--grid is only valid for a grid"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--outputs", "score"], "unknown value of --outputs: 'score'"),
        (["--predictions", "p.csv", "--labels", "none.csv"], "cannot read the table"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--findings", "Edma"], "no column 'Edma'"),
        (["--outputs", "logit"], "--outputs is only valid with --predictions"),
    ],
)
def test_wrong_options_are_refused(options: list[str], what: str, tmp_path: Path, here: Command) -> None:
    write(tmp_path, *tables())
    refusal: Any = here("score", *options, cwd=tmp_path, code=2).stderr
    assert what in refusal
    assert "fix:" in refusal


def test_calls_in_place_of_predictions_are_named(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    assert "different values" not in here(*write(tmp_path, predictions, labels), cwd=tmp_path).stdout
    predictions["Edema"] = (predictions["Edema"] > 0.5).astype(int)
    shown = json.loads(here(*write(tmp_path, predictions, labels), "--json", cwd=tmp_path).stdout)
    note = "Only one or two different values: Edema. With calls, AUROC and AUPRC are too low."
    assert note in shown["notes"]


def test_a_finding_that_is_named_twice_counts_once(tmp_path: Path, here: Command) -> None:
    words = write(tmp_path, *tables())
    once = here(*words, "--findings", ",".join(FINDINGS), cwd=tmp_path).stdout
    assert here(*words, "--findings", ",".join([FINDINGS[0], *FINDINGS]), cwd=tmp_path).stdout == once


def test_a_missing_score_has_its_reason_in_json(tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    labels["Edema"] = [1, *[0] * 299]
    shown = json.loads(here(*write(tmp_path, predictions, labels), "--json", cwd=tmp_path).stdout)
    reason = {(row["finding"], row["metric"]): row["reason"] for row in shown["rows"] if row["value"] is None}
    assert reason["Edema", "auroc"] == "Fewer than 10 patients with or without the finding"
    assert {row["reason"] for row in shown["rows"] if row["low"] is not None} == {None}


@pytest.mark.parametrize("case", ["one patient", "one positive patient", "equal", "separated"])
def test_a_score_has_an_interval_with_a_width_or_a_reason_in_json(case: str, tmp_path: Path, here: Command) -> None:
    predictions, labels = tables()
    if case == "one patient":
        labels["patient_id"] = "p"
    elif case == "one positive patient":
        labels["Edema"] = (labels["patient_id"] == "p7").astype(int)
    else:
        predictions["Edema"] = 0.5 if case == "equal" else 0.1 + 0.8 * labels["Edema"]
    words = (*write(tmp_path, predictions, labels), "--min-count", "1", "--json")
    rows = json.loads(here(*words, cwd=tmp_path).stdout)["rows"]
    without = {(row["finding"], row["metric"]) for row in rows if row["reason"] == NO_INTERVAL}
    assert (("Edema", "brier") in without) == (case != "one positive patient")
    for row in (row for row in rows if (row["finding"], row["metric"]) not in without):
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1, row
        assert row["low"] < row["high"], row
