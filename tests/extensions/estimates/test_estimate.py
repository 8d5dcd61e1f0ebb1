"""`bench estimate`: expected scores at a hospital without labels, and what is refused, with what, where and fix."""

import json
import re
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import api
from bench.extensions.estimates import hospital_logits as hospital_logits_module
from bench.extensions.estimates.expected_at_hospital import expected_scores
from bench.extensions.estimates.hospital_logits import hospital_logits
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import IMPORTED
from bench.results.read_predictions import load_scores
from bench.runs.new_images import Inference
from bench.store.checked_files import read_grid, write_grid
from bench.store.store import Store
from harmonize.errors import ConfigError
from reports import verdicts
from reports.report_data.report_data import read
from reports.schemas.select import select
from reports.tables import Tables
from tests.conftest import Command
from tests.manifests import invented_run

pytestmark = pytest.mark.grid
Change = Callable[[dict[str, Any]], None]


def manifest_of(folder: Path) -> Manifest:
    return read_manifest(Store.open(folder / "runs", create=False), "tiny")


def predictions(folder: Path, run_id: str, cohort: str) -> pd.DataFrame:
    return pd.read_parquet(manifest_of(folder).store.run_dir(run_id) / "predictions" / f"{cohort}.parquet")


def new_hospital(folder: Path, into: Path) -> Path:
    """Write logits like those of labeled hospitals, but of other images: mixtures of the logits of two images each."""
    into.mkdir()
    for run in manifest_of(folder).runs:
        table = predictions(folder, run.id, "nih")
        findings = [name for name in table if name != "image_id"]
        mean, other = table[findings].mean(), table[findings].sample(frac=1, random_state=0).to_numpy()
        table[findings] = (mean + 0.8 * (table[findings] - mean) + 0.6 * (other - mean.to_numpy())).astype(np.float32)
        table.assign(image_id=[f"new{i}" for i in range(len(table))]).to_csv(into / f"{run.id}.csv", index=False)
    return into


@pytest.fixture(scope="module")
def logits(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the logits of a new hospital, for both runs. Tests only read it."""
    return new_hospital(finished, tmp_path_factory.mktemp("new") / "logits")


@pytest.fixture
def own_logits(logits: Path, tmp_path: Path) -> Path:
    """Logits that a test may change."""
    shutil.copytree(logits, tmp_path / "logits")
    return tmp_path / "logits"


def first_file(folder: Path) -> Path:
    return min(folder.glob("*.csv"))


def refused(said: str, *parts: str) -> None:
    lines = said.splitlines()
    assert lines[0].startswith("error: ")
    assert [line.strip().partition(":")[0] for line in lines[:3]] == ["error", "where", "fix"]
    assert "Traceback" not in said
    for part in parts:
        assert part in said


def test_the_help_has_examples(here: Command, tmp_path: Path) -> None:
    shown = here("estimate", "--help", cwd=tmp_path).stdout
    assert "Examples:" in shown
    assert "bench estimate inbox/ --grid main-study" in shown
    assert "bench estimate --logits logits" in shown
    assert "Estimate scores" in here("--help", cwd=tmp_path).stdout


def test_the_table_has_a_row_for_each_run_finding_and_quantity(finished: Path, logits: Path, here: Command) -> None:
    """`bench estimate` as a table; the first test that needs the shared grid often makes it, and compiles the scoring."""
    done = here("estimate", "--logits", str(logits), "--csv", cwd=finished)
    table = pd.read_csv(StringIO(done.stdout))
    assert len(table) == 2 * 10 * 6
    assert table["synthetic"].all()
    stated = table["reason"].isna()
    assert stated.any()
    assert not stated.all()
    numbers = table[["low", "value", "high"]]
    assert numbers[stated].notna().all(axis=None)
    assert numbers[~stated].isna().all(axis=None)
    assert ((numbers[stated] >= 0) & (numbers[stated] <= 1)).all(axis=None)
    assert (numbers[stated].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert "For research only" in done.stderr


PREDICTED = ["predicted", "predicted_low", "predicted_high"]


def test_without_any_image_the_interval_is_the_prediction_interval(finished: Path, here: Command) -> None:
    table = pd.read_csv(StringIO(here("estimate", "--grid", "tiny", "--csv", cwd=finished).stdout))
    assert table["value"].isna().all()
    assert table["reason"].dropna().str.contains("images needed|hospitals needed|no finding has a value").all()
    manifest = manifest_of(finished)
    run_ids = [run.id for run in manifest.runs]
    scores = select(load_scores(manifest, run_ids, "scores"))
    external = scores[scores["dataset"].isin([cohort.name for cohort in manifest.external])]
    assert external.groupby("run_id").size().to_dict() == dict.fromkeys(run_ids, 5)
    for run_id, rows in external.groupby("run_id"):
        known = api.next_hospital(*(rows[name].tolist() for name in ("value", "low", "high")))
        row = table[(table["run_id"] == run_id) & (table["finding"] == "macro") & (table["quantity"] == "auroc")]
        expected = [known[name] for name in ("value", "new_low", "new_high")]
        # the command fits the AUROC of each finding, the function the macros; hospitals lack one to four of six findings
        assert row[PREDICTED].to_numpy()[0] == pytest.approx(expected, abs=0.03)
    known = table[table[PREDICTED].notna().all(axis=1)]
    assert {*known["quantity"]} == {"auroc", "sensitivity", "specificity"}
    assert (known["finding"] == "macro").sum() == 6


def test_without_images_the_text_names_the_first_run_of_the_page_and_the_verdicts(
    finished: Path, here: Command
) -> None:
    text = " ".join(here("estimate", "--grid", "tiny", cwd=finished).stdout.split())
    assert "What to expect at a hospital without its images; 95 % prediction intervals" in text
    data = read(Tables.load(finished / "runs" / "report" / "tiny" / "tables"))
    assert "At one more hospital like these" in text
    assert all(verdict.state in text for verdict in verdicts.of_findings(data, data.ranked[0].members[0]).values())
    assert "*: not from its images; 95 % prediction interval for any hospital like the 5 labeled ones" in text
    assert "90 %" not in text
    document = json.loads(here("estimate", "--grid", "tiny", "--json", cwd=finished).stdout)
    assert (document["level"], document["predicted_level"], document["images"]) == (0.9, 0.95, 0)
    assert document["recipes"] == [[run.id for run in recipe.members] for recipe in data.ranked]


def test_few_images_do_not_change_what_is_predicted(finished: Path, own_logits: Path, here: Command) -> None:
    for file in own_logits.glob("*.csv"):
        pd.read_csv(file).head(30).to_csv(file, index=False)
    few, none = (
        pd.read_csv(StringIO(here("estimate", *more, "--grid", "tiny", "--csv", cwd=finished).stdout))
        for more in (("--logits", str(own_logits)), ())
    )
    assert few["value"].isna().all()
    pd.testing.assert_frame_equal(few[PREDICTED], none[PREDICTED])
    text = " ".join(here("estimate", "--logits", str(own_logits), cwd=finished).stdout.split())
    assert "no estimate: 30 of 50 images needed" in text
    assert "30 images, but no estimate from them (reasons below); 95 % prediction intervals" in text
    assert "90 %" not in text
    assert "Estimates from images need 50 images." in text
    assert re.search(r"0\.\d{3}\* \[0\.\d{3}, 0\.\d{3}\]", text)


def test_json_text_and_table_agree(finished: Path, logits: Path, here: Command) -> None:
    arguments = ("estimate", "--logits", str(logits))
    document = json.loads(here(*arguments, "--json", cwd=finished).stdout)
    assert document["images"] == 60
    assert document["synthetic"] is True
    assert len(document["learned_from"]) == 5
    ids = [run.id for run in manifest_of(finished).runs]
    assert list(document["ranks"]) == ids
    assert set(document["may_be_best"]) <= set(ids)
    table = pd.read_csv(StringIO(here(*arguments, "--csv", cwd=finished).stdout))
    values = [np.nan if row["value"] is None else row["value"] for row in document["rows"]]
    assert np.allclose(values, table["value"], atol=1e-6, equal_nan=True)
    text = here(*arguments, cwd=finished).stdout
    macro = table.query("finding == 'macro' and quantity == 'auroc'").set_index("run_id")["value"]
    for run_id, value in macro.items():
        line = next(line for line in text.splitlines() if run_id in line and "Findings of" not in line)
        assert ("-" if np.isnan(value) else f"{value:.3f}") in line.split()
    assert text.startswith("Synthetic images")
    assert "Learned from 5 labeled hospitals: Hospital B" in text


def test_one_run_can_be_chosen_by_the_start_of_its_id(finished: Path, logits: Path, here: Command) -> None:
    run_id = manifest_of(finished).runs[1].id
    done = here("estimate", "--logits", str(logits), "--run", run_id[:4], "--run", run_id, "--json", cwd=finished)
    document = json.loads(done.stdout)
    assert document["ranks"] == {run_id: [1, 1]}
    assert (
        "expected scores at this hospital"
        in here("estimate", "--logits", str(logits), "--run", run_id, cwd=finished).stdout
    )


@pytest.mark.parametrize("name", ["mean_gap", "cbpe", "atc"])
def test_each_kind_of_estimator_can_be_chosen(name: str, finished: Path, logits: Path, here: Command) -> None:
    done = here("estimate", "--logits", str(logits), "--estimator", name, "--json", cwd=finished)
    document = json.loads(done.stdout)
    assert document["estimator"] == name
    stated = {row["quantity"] for row in document["rows"] if row["value"] is not None and row["finding"] != "macro"}
    assert name != "atc" or stated <= {"accuracy"}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--labels", "{labels}"], ["--labels is only valid with IMAGE or --logits"]),
        (["--save-logits", "x"], ["--save-logits is only valid with IMAGE or --logits"]),
        (["x.png", "--logits", "{logits}"], ["IMAGE and --logits are given together", "give one of them"]),
        (["missing.png"], ["no such file or folder", "missing.png"]),
        (
            ["--logits", "{logits}", "--run", "zzz"],
            ["no run 'zzz'", "bench list runs", "{first}"],
        ),
        (["--logits", "{logits}", "--run", ""], ["2 finished runs of the grid match ''", "{first}"]),
        (
            ["--logits", "{logits}", "--estimator", "cbpr"],
            ["unknown estimator 'cbpr'", "choose from: mean_gap, cbpe, atc"],
        ),
        (["--logits", "{logits}", "--grid", "other"], ["no grid 'other'", "tiny"]),
        (["x.png", "--device", "gpu"], ["gpu"]),
        (["--logits", "nowhere"], ["no logits of run {first}", "nowhere", "add {first}.csv or .parquet"]),
    ],
)
def test_a_wrong_request_says_what_to_do(
    arguments: list[str], parts: list[str], finished: Path, logits: Path, here: Command
) -> None:
    words = {"logits": str(logits), "labels": str(first_file(logits)), "first": manifest_of(finished).runs[0].id}
    said = here("estimate", *(a.format(**words) for a in arguments), cwd=finished, code=2).stderr
    refused(said, *(part.format(**words) for part in parts))


def edited(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        table = pd.read_csv(path, dtype={"image_id": str})
        changed = change(table)
        (table if changed is None else changed).to_csv(path, index=False)

    return edit


DAMAGES = {
    "missing file": (lambda path: path.unlink(), ["no logits of run {run}", "add {run}.csv or .parquet"]),
    "empty file": (lambda path: path.write_bytes(b""), ["the file is empty", "{run}.csv", "give a table with a header"]),
    "not a table": (
        lambda path: path.rename(path.with_suffix(".parquet")), ["cannot read the table", "{run}.parquet"]
    ),
    "no image column": (edited(lambda t: t.drop(columns="image_id")), ["no column 'image_id'"]),
    "no finding": (edited(lambda t: t.drop(columns="Edema")), ["no column 'Edema'", "a column of logits for each"]),
    "NaN": (edited(lambda t: t.assign(Edema=np.nan)), ["logits", "give a finite number for each image and finding"]),
    "infinite": (edited(lambda t: t.assign(Edema=np.inf)), ["give a finite number"]),
    "text": (edited(lambda t: t.assign(Edema="high")), ["a logit is no finite number", "give a finite number"]),
    "too large": (edited(lambda t: t.assign(Edema=1e300)), ["give a finite number"]),
    "probabilities": (
        edited(lambda t: t.assign(**{c: 1 / (1 + np.exp(-t[c])) for c in t if c != "image_id"})),
        ["these are probabilities or percentages, not logits", "log(p / (1 - p))"],
    ),
    "repeated image": (edited(lambda t: pd.concat([t, t[:1]])), ["an image is listed twice", "give each image once"]),
    "fewer images": (edited(lambda t: t[1:]), ["or the runs have different images", "predict the same images"]),
    "other images": (edited(lambda t: t.assign(image_id=t["image_id"] + "x")), ["or the runs have different images"]),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_unusable_logits_are_refused(damage: str, finished: Path, own_logits: Path, here: Command) -> None:
    path = first_file(own_logits)
    damaged, parts = DAMAGES[damage]
    damaged(path)
    said = here("estimate", "--logits", str(own_logits), cwd=finished, code=2).stderr
    if damage in ("fewer images", "other images"):  # whichever run is read second is named
        refused(said, *parts)
    else:
        refused(said, *(part.format(run=path.stem) for part in parts))


def test_images_in_another_order_and_parquet_give_the_same_numbers(
    finished: Path, own_logits: Path, here: Command
) -> None:
    before = here("estimate", "--logits", str(own_logits), "--csv", cwd=finished).stdout
    path = first_file(own_logits)
    table = pd.read_csv(path).sample(frac=1, random_state=0)
    path.unlink()
    table.to_parquet(path.with_suffix(".parquet"))
    after = here("estimate", "--logits", str(own_logits), "--csv", cwd=finished).stdout
    one, two = (pd.read_csv(StringIO(text)) for text in (before, after))
    pd.testing.assert_frame_equal(one, two, atol=1e-6)


def test_constant_logits_of_one_finding_are_no_error(finished: Path, own_logits: Path, here: Command) -> None:
    for path in own_logits.glob("*.csv"):
        edited(lambda t: t.assign(Edema=0.25))(path)
    rows = json.loads(here("estimate", "--logits", str(own_logits), "--json", cwd=finished).stdout)["rows"]
    assert {row["finding"] for row in rows if row["value"] is not None} - {"macro"}
    edema = [row for row in rows if row["finding"] == "Edema"]
    assert {row["reason"] for row in edema} <= {"all images have the same logit", "2 of 3 labeled hospitals needed"}
    assert any(row["reason"].startswith("all images") for row in edema)


def test_with_few_images_no_cell_has_a_number(finished: Path, own_logits: Path, here: Command) -> None:
    for path in own_logits.glob("*.csv"):
        edited(lambda t: t[:49])(path)
    done = here("estimate", "--logits", str(own_logits), "--json", cwd=finished)
    rows = json.loads(done.stdout)["rows"]
    reasons = {row["reason"] for row in rows if row["finding"] != "macro"}
    assert "49 of 50 images needed" in reasons
    assert all(reason.endswith(("images needed", "labeled hospitals needed")) for reason in reasons)
    assert all(row["value"] is None for row in rows)


def changed_grid(folder: Path, change: Change) -> Path:
    store = Store.open(folder / "runs", create=False)
    content = read_grid(store, "tiny")
    change(content)
    write_grid(store, "tiny", content)
    return folder


@pytest.mark.parametrize("num", [0, pytest.param(1, marks=pytest.mark.thorough), 2])
def test_with_fewer_than_three_labeled_hospitals_every_cell_says_so(
    num: int, store_copy: Path, logits: Path, here: Command
) -> None:
    changed_grid(store_copy, lambda content: content.update(cohorts=content["cohorts"][: 1 + num]))
    arguments = ("estimate", "--logits", str(logits))
    rows = json.loads(here(*arguments, "--json", cwd=store_copy).stdout)["rows"]
    cells = [row for row in rows if row["finding"] != "macro"]
    assert all(row["value"] is None for row in rows)
    reasons = {row["reason"] for row in cells}
    assert f"{num} of 3 labeled hospitals needed" in reasons
    assert all(reason.endswith("of 3 labeled hospitals needed") for reason in reasons)
    text = here(*arguments, cwd=store_copy).stdout
    assert f"The grid has {num} labeled hospital{'' if num == 1 else 's'}; 3 are needed." in text
    assert "No score at a new hospital can be predicted" in text
    assert "nan" not in text.lower().split()
    assert "is estimated:\n  no estimate: " in text
    assert "Edema" not in text  # no table without a number
    assert "leave out" not in text


def test_runs_with_different_findings_are_refused(store_copy: Path, logits: Path, here: Command) -> None:
    def fewer(content: dict[str, Any]) -> None:
        content["runs"][1]["config"] |= {"task": "binary", "finding": "Edema"}

    changed_grid(store_copy, fewer)
    manifest = manifest_of(store_copy)
    first, second = (run.id for run in manifest.runs)
    choose = ("--run", first, "--run", second)
    said = here("estimate", "--logits", str(logits), *choose, cwd=store_copy, code=2).stderr
    refused(said, f"runs {first} and {second} have different findings", "--run ID")
    here("estimate", "--logits", str(logits), "--run", first, cwd=store_copy)


def test_an_unfinished_grid_is_refused(store_copy: Path, logits: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    for run_id in store.run_ids():
        shutil.rmtree(store.run_dir(run_id))
    said = here("estimate", "--logits", str(logits), cwd=store_copy, code=2).stderr
    refused(said, "no finished run is ranked", "bench run --grid tiny")


def test_runs_without_scores_are_scored_first(store_copy: Path, logits: Path, here: Command) -> None:
    words = ("estimate", "--logits", str(logits), "--csv", "--quiet")
    said = here(*words, cwd=store_copy).stdout
    shutil.rmtree(store_copy / "runs" / "scores")
    assert here(*words, cwd=store_copy).stdout == said


def test_labels_of_the_new_hospital_are_in_no_argument(finished: Path, logits: Path) -> None:
    manifest = manifest_of(finished)
    tables = {run.id: pd.read_csv(logits / f"{run.id}.csv") for run in manifest.runs}
    plain = expected_scores(manifest, tables).table
    with_labels = {run_id: table.assign(label=1, **{"Edema label": 0}) for run_id, table in tables.items()}
    pd.testing.assert_frame_equal(expected_scores(manifest, with_labels).table, plain)


def test_a_labeled_finding_without_a_measured_score_is_named(finished: Path, logits: Path, tmp_path: Path) -> None:
    manifest = manifest_of(finished)
    tables = {run.id: pd.read_csv(logits / f"{run.id}.csv") for run in manifest.runs}
    image_id = next(iter(tables.values()))["image_id"]
    labels = pd.DataFrame({"image_id": image_id, "Edema": np.arange(len(image_id)) % 2, "Pneumonia": ""})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    result = expected_scores(manifest, tables, labels=tmp_path / "labels.csv")
    assert set(result.measured["finding"]) == {"Edema"}
    assert [note for note in result.notes if "is measured" in note] == [
        "No score of Pneumonia is measured: too few labels, or too few patients of internal validation."
    ]


def test_images_are_predicted_and_their_logits_can_be_used_again(finished: Path, tmp_path: Path, here: Command) -> None:
    here(
        "data",
        "phantom",
        str(tmp_path / "new"),
        "--source",
        "30",
        "--external",
        "60",
        "--size",
        "64",
        "--seed",
        "5",
        "--quiet",
        cwd=tmp_path,
    )
    saved = tmp_path / "saved"
    done = here(
        "estimate", str(tmp_path / "new" / "nih"), "--save-logits", str(saved), "--json", "--quiet", cwd=finished
    )
    first = json.loads(done.stdout)
    again = json.loads(here("estimate", "--logits", str(saved), "--json", cwd=finished).stdout)
    assert again["images"] == first["images"] >= 50
    one, two = (pd.DataFrame(document["rows"]) for document in (first, again))
    pd.testing.assert_frame_equal(one, two, atol=1e-5)


def test_an_imported_model_needs_logits(finished: Path) -> None:
    grid = manifest_of(finished)
    imported = [invented_run("123456789abc", kind=IMPORTED)]
    with pytest.raises(ConfigError, match="123456789abc was trained elsewhere") as refused:
        hospital_logits(grid, imported, [finished / "a.png"], "cpu", lambda *_: None)
    assert "--logits FOLDER with 123456789abc.csv" in refused.value.fix


def test_files_that_are_no_images_are_refused(finished: Path, tmp_path: Path, here: Command) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    said = here("estimate", str(tmp_path / "in"), "--quiet", cwd=finished, code=2).stderr
    refused(said, "no image can be used", "a.png")
    said = here("estimate", str(tmp_path / "in"), "--estimator", "cbpr", cwd=finished, code=2).stderr
    refused(said, "unknown estimator 'cbpr'")  # before any image is read


def test_the_page_has_the_numbers_of_the_table(finished: Path, logits: Path, tmp_path: Path, here: Command) -> None:
    page = tmp_path / "estimate.html"
    document = json.loads(here("estimate", "--logits", str(logits), "--json", "-o", str(page), cwd=finished).stdout)
    text = page.read_text(encoding="utf-8")
    macro = [row for row in document["rows"] if row["finding"] == "macro" and row["quantity"] == "auroc"]
    for row in macro:
        assert row["run_id"] in text
        assert row["value"] is None or f"{row['value']:.3f}".removeprefix("0") in text


def test_images_that_look_wrong_are_counted_in_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = ["", "looks inverted; mean gray: 9", "looks inverted", "looks upside down", "no lungs found"]
    table = pd.DataFrame({"image": list("abcde"), "finding": "Edema", "logit": 0.5, "warnings": warnings})
    result = Inference("r", table, pd.DataFrame({"image": ["f"], "reason": ["empty file"]}))
    monkeypatch.setattr(hospital_logits_module, "infer", lambda *_: result)
    monkeypatch.setattr(hospital_logits_module, "load", lambda *_: None)
    run = SimpleNamespace(id="r", is_imported=False, config=SimpleNamespace(findings=("Edema",)))
    manifest = SimpleNamespace(store=None, scored_findings=lambda of: of.config.findings)
    _, notes = hospital_logits(manifest, [run], [Path("a")], "cpu", lambda *_: None)  # type: ignore[arg-type]
    assert notes == [
        "1 files are left out, e.g. f: empty file",
        "3 of 5 images may be wrong, most often: looks inverted",
    ]
