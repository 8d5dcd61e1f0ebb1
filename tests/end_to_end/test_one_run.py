"""`bench predict`, as a user starts it on a finished grid."""

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.cli.predict import evidence_notes
from bench.results.stored_runs import training_remark
from bench.runs.elsewhere import call_of, worth_of
from bench.runs.image_paths import images_of
from bench.runs.new_images import COLUMNS, DISTANCES, RULES, infer, load
from bench.scoring.image_distances import DEFAULT, ImageDistances
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.errors import DatasetError, StoreError
from reports import verdicts
from reports.report_data.report_data import read
from reports.tables import Tables

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"


@pytest.fixture(scope="module")
def store(finished: Path) -> Store:
    return Store.open(finished / "runs", create=False)


def first_of(store: Store) -> str:
    return store.run_ids()[0]


def of_nih(store: Store, number: int = 6) -> tuple[pd.DataFrame, list[Path]]:
    """Return some rows of the synthetic NIH cohort and their files."""
    (path,) = store.root.glob("cohorts/nih-*.parquet")
    (root,) = store.root.glob("phantom/*/nih")
    table = pd.read_parquet(path).head(number)
    return table, [root / each for each in table["path"]]


@pytest.mark.grid
def test_files_get_the_logits_that_the_grid_predicted_and_the_calls_of_its_thresholds(store: Store) -> None:
    run_id = first_of(store)
    table, paths = of_nih(store)
    found = infer(load(store, run_id[:7]), paths)
    assert tuple(found.table.columns) == COLUMNS
    assert len(found.skipped) == 0
    known = pd.read_parquet(store.run_dir(run_id) / "predictions" / "nih.parquet").set_index("image_id")
    points = pd.read_parquet(store.root / "scores" / run_id / "operating_points.parquet")
    points = points.set_index(["finding", "rule"])
    for row in found.table.to_dict("records"):
        image = table["image_id"].iloc[paths.index(Path(row["image"]))]
        logit = float(known.loc[image, row["finding"]])
        assert row["logit"] == pytest.approx(logit, abs=1e-4)
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
        fit = points.loc[(row["finding"], "f1_max")]
        calibrated = 1 / (1 + np.exp(-(fit["platt_a"] * logit + fit["platt_b"])))
        assert row["calibrated"] == pytest.approx(calibrated, abs=1e-4, nan_ok=True)
        for rule in RULES:
            threshold = points.loc[(row["finding"], rule), "threshold"]
            if np.isnan(threshold):
                assert np.isnan(row[f"call_{rule}"])
            elif abs(threshold - logit) > 1e-3:
                assert row[f"call_{rule}"] == (logit >= threshold)


@pytest.mark.grid
def test_a_run_that_trains_in_bf16_predicts_in_bf16_and_states_what_that_changes_or_in_fp32(
    store_copy: Path, here: Command
) -> None:
    text = TINY.read_text().replace("base:", "base:\n  precision: bf16").replace("name: tiny", "name: half")
    (store_copy / "half.yaml").write_text(text.replace("seed: [0, 1]", "predictions: [as_trained, fp32]"))
    before = set(Store.open(store_copy / "runs", create=False).run_ids())
    here("run", "--grid", "half.yaml", "--quiet", cwd=store_copy)
    store = Store.open(store_copy / "runs", create=False)
    table, paths = of_nih(store, 20)
    stored_of = {
        (stored := load(store, run_id)).run.config.predictions: stored for run_id in {*store.run_ids()} - before
    }
    logit_of = {}
    for key, stored in stored_of.items():
        found = infer(stored, paths).table.pivot(index="image", columns="finding", values="logit")
        known = pd.read_parquet(store.run_dir(stored.id) / "predictions" / "nih.parquet").set_index("image_id")
        logit_of[key] = known.loc[table["image_id"], found.columns].to_numpy()
        again = found.loc[[str(path) for path in paths]].to_numpy()
        np.testing.assert_allclose(logit_of[key], again, rtol=0, atol=1e-5 if key == "fp32" else 1e-2)
    largest = np.abs(logit_of["fp32"] - logit_of["as_trained"]).max()
    assert 1e-5 < largest < 0.1 * logit_of["fp32"].std()  # both have the same weights
    assert training_remark(store, stored_of["fp32"].id) == ""
    auroc = CheckedFolder(store.run_dir(stored_of["as_trained"].id)).json("trained.json")["val_auroc"]
    assert auroc["bf16"] == pytest.approx(auroc["fp32"], abs=0.02)
    stated = f"predicted in bf16: val AUROC {auroc['bf16']:.4f}, in fp32 {auroc['fp32']:.4f}"
    assert training_remark(store, stored_of["as_trained"].id) == stated


@pytest.mark.grid
def test_files_that_cannot_be_used_are_named_and_the_others_go_on(
    store: Store, finished: Path, here: Command, tmp_path: Path
) -> None:
    _, paths = of_nih(store, 1)
    whole = paths[0].read_bytes()
    for name, content in {
        "a.png": whole,
        "b\udcff.png": whole,  # a name that is not UTF-8
        "cut.png": whole[: len(whole) // 2],
        "<script>.jpg": b"",
        "no.dcm": b"x",
    }.items():
        (tmp_path / name).write_bytes(content)
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((90, 90), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "wide.png"), np.random.default_rng(0).integers(0, 256, (20, 90)).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    said = here("predict", first_of(store), str(tmp_path), "--json", "--quiet", cwd=finished)
    answer = json.loads(said.stdout)
    assert answer["trained_on_synthetic"] is True
    assert answer["notice"] == f"{TRAINED_ON_SYNTHETIC} {NOTICE}"
    assert [Path(each["image"]).name for each in answer["images"]] == ["a.png", "b\\udcff.png", "wide.png"]
    assert sorted(Path(each["image"]).name for each in answer["skipped"]) == [
        "<script>.jpg",
        "cut.png",
        "flat.png",
        "no.dcm",
        "pipe.png",
    ]
    assert all(each["reason"] for each in answer["skipped"])
    assert not any(word in said for said in answer["images"][0]["warnings"] for word in ("shape", "enlarged", "lungs"))
    wide = " ".join(answer["images"][2]["warnings"])
    assert "90 x 20 pixels is not a shape of a chest radiograph" in wide
    assert "enlarged from 20" in wide
    assert "(training images: " in wide
    said = here("predict", first_of(store), str(tmp_path), "--csv", "--finding", "Edema", "--quiet", cwd=finished)
    table = pd.read_csv(io.StringIO(said.stdout))
    assert tuple(table.columns) == (*COLUMNS, "trained_on_synthetic")
    assert table["trained_on_synthetic"].all()
    assert said.stderr.startswith(TRAINED_ON_SYNTHETIC)
    assert table["finding"].unique().tolist() == ["Edema"]
    as_text = pd.read_csv(io.StringIO(said.stdout), dtype=str)
    assert as_text["call_f1_max"].isin(["0", "1"]).all()  # not 1.0
    assert "not for clinical use" in said.stderr
    assert "skipped" in said.stderr
    said = here("predict", first_of(store), str(tmp_path / "cut.png"), cwd=finished, code=1)
    assert "not for clinical use" in said.stdout
    assert said.stdout.startswith(TRAINED_ON_SYNTHETIC)
    assert "at a new hospital" not in said.stdout


@pytest.mark.grid
def test_a_prediction_states_the_verdicts_of_the_page(store: Store, here: Command, finished: Path) -> None:
    run_id, (_, paths) = first_of(store), of_nih(store, 1)
    data = read(Tables.load(store.root / "report" / "tiny" / "tables"))
    (run,) = (run for run in data.ranked_runs if run.id == run_id)
    of_page = verdicts.of_findings(data, run)
    found = infer(load(store, run_id), paths).table.set_index("finding")
    assert set(found.index) == set(of_page)
    for finding, row in found.iterrows():
        assert row["verdict"] == of_page[finding].state
        numbers = of_page[finding].number
        assert row[["auroc", "auroc_low", "auroc_high"]].tolist() == pytest.approx(
            [numbers.value, numbers.low, numbers.high], nan_ok=True
        )
    said = here("predict", run_id, str(paths[0]), "--quiet", cwd=finished).stdout
    for finding, row in found.iterrows():
        line = re.search(rf"  {finding} .*", said).group()
        assert row["verdict"] in line
        assert ("positive" in line or "negative" in line) <= (row["verdict"] == verdicts.USEFUL)
        assert row["threshold_f1_max"] != row["threshold_f1_max"] or f"{row['threshold_f1_max']:.3f}" in line
        assert (row["probability"] >= row["threshold_f1_max"]) == (row["call_f1_max"] == 1)


def test_only_a_finding_that_is_useful_at_a_new_hospital_has_a_call() -> None:
    row = {"call_f1_max": 1.0, "hospital": "", "auroc": 0.8, "auroc_low": 0.72, "auroc_high": 0.9}
    calls = {state: call_of(row | {"verdict": state}, "f1_max") for state in verdicts.OF_FINDING}
    assert calls.pop(verdicts.USEFUL) == "positive"
    assert set(calls.values()) == {"no call"}
    assert call_of(row | {"verdict": np.nan}, "f1_max") == "no call"
    assert worth_of(row | {"verdict": verdicts.USEFUL}) == "useful at a new hospital: 0.80 [0.72, 0.90]"
    wrong = {"verdict": verdicts.WRONG, "hospital": "Hospital B", "auroc": 0.2, "auroc_low": 0.1, "auroc_high": 0.3}
    assert worth_of(row | wrong) == "wrong way round at Hospital B: 0.20 [0.10, 0.30]"
    table = pd.DataFrame({"verdict": [verdicts.USEFUL, verdicts.CHANCE], "auroc": [0.8, np.nan]})
    assert evidence_notes(table)[1].startswith("no call: ")
    assert "expected AUROC" not in " ".join(evidence_notes(table.assign(auroc=np.nan)))
    (unknown,) = evidence_notes(table.assign(verdict=np.nan))
    assert "nothing is known" in unknown


def with_features(run: Path, feature_ND: np.ndarray) -> None:
    """Replace the stored internal features of a run; each image is of another patient."""
    ids = np.array([f"p{number}" for number in range(len(feature_ND))])
    np.savez(run / "features" / "chexpert.npz", patient_id=ids, feature=feature_ND.astype(np.float16))
    CheckedFolder(run).record_checksums()


@pytest.mark.grid
def test_the_distance_of_an_image_is_that_of_its_stored_features(
    store_copy: Path, here: Command, tmp_path: Path
) -> None:
    store = Store.open(store_copy / "runs", create=False)
    run_id = first_of(store)
    features = store.run_dir(run_id) / "features"
    with np.load(features / "nih.npz") as stored:
        of_patient = dict(zip(stored["patient_id"], stored["feature"], strict=True))
    # internal features like those of nih, so that the percentiles of its images are anywhere between 0 and 100
    some = np.stack(list(of_patient.values())).astype(np.float64)
    random = np.random.default_rng(0)
    with_features(
        store.run_dir(run_id),
        some[random.integers(0, len(some), 400)] + random.normal(0, some.std() / 3, (400, some.shape[1])),
    )
    with np.load(features / "chexpert.npz") as stored:
        distances = ImageDistances.fit(stored["feature"], stored["patient_id"])
    table, paths = of_nih(store, 20)
    first = table.assign(path=paths).drop_duplicates("patient_id")  # the stored features are those of this image
    said = here("predict", run_id, *map(str, first["path"]), "--csv", "--quiet", cwd=store_copy).stdout
    found = pd.read_csv(io.StringIO(said)).drop_duplicates("image")
    expected = distances.percentiles(np.stack([of_patient[patient] for patient in first["patient_id"]]))
    one_rank = 100 / (distances.num_validation + 1)  # rounding to float16 may move an image by one rank
    np.testing.assert_allclose(found[list(DISTANCES[1:])].to_numpy(), expected, rtol=0, atol=one_rank + 1e-9)
    np.testing.assert_array_equal(found["distance"], found[f"distance_{DEFAULT}"])
    assert expected.std() > 5
    answer = json.loads(here("predict", run_id, str(paths[0]), "--json", "--quiet", cwd=store_copy).stdout)
    assert answer["distances"] == {"measured_by": run_id, "validation_images": 200, "not_available": None}
    assert [answer["images"][0][name] for name in DISTANCES] == found[list(DISTANCES)].iloc[0].tolist()
    said = here("predict", run_id, str(paths[0]), "--quiet", cwd=store_copy).stdout
    assert f"distance: percentile {answer['images'][0]['distance']:.1f} among 200 internal validation images" in said


@pytest.mark.grid
def test_a_far_image_has_a_warning_and_a_run_without_features_says_so(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs", create=False)
    run_id = first_of(store)
    folder, (_, (path,)) = store.run_dir(run_id), of_nih(store, 1)
    width = np.load(folder / "features" / "nih.npz")["feature"].shape[1]
    with_features(folder, np.random.default_rng(0).normal(50, 1, (400, width)))  # no image has such features
    said = here("predict", run_id, str(path), "--quiet", cwd=store_copy).stdout
    assert "distance: percentile 99.5 among 200 internal validation images" in said
    assert "warning: the image is far from the images of the internal hospital (beyond the 99th percentile)" in said
    with_features(folder, np.ones((400, width)))
    said = here("predict", run_id, str(path), "--quiet", cwd=store_copy).stdout
    assert "distances: not available (all internal images have the same features)" in said
    (folder / "features" / "chexpert.npz").write_bytes(b"damaged")
    said = here("predict", run_id, str(path), "--quiet", cwd=store_copy).stdout
    assert "distances: not available (run " in said
    (folder / "features" / "chexpert.npz").unlink()
    answer = json.loads(here("predict", run_id, str(path), "--json", "--quiet", cwd=store_copy).stdout)
    assert answer["distances"]["not_available"] == "there are no stored features of internal images"
    assert [answer["images"][0][name] for name in DISTANCES] == [None] * 4
    assert answer["images"][0]["findings"]


@pytest.mark.grid
def test_a_wrong_request_says_what_to_do(store: Store, finished: Path, here: Command, tmp_path: Path) -> None:
    _, paths = of_nih(store, 1)
    image, run_id = str(paths[0]), first_of(store)
    for arguments, what in (
        (["predict", "nonsense", image], "no run 'nonsense'"),
        (["predict", "", image], "no run ''"),
        (["predict", run_id, image, "--finding", "Gout"], "no finding 'Gout'"),
        (["predict", run_id, image, "--finding", "Hernia"], "was not trained on 'Hernia'"),
        (["predict", run_id, image, "--at", "best"], "unknown threshold rule 'best'"),
        (["predict", run_id, str(tmp_path)], "no images below this folder"),
    ):
        said = here(*arguments, cwd=finished, code=2).stderr
        assert what in said
        assert "Traceback" not in said


@pytest.mark.grid
def test_a_run_without_its_files_is_refused_with_the_mend(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs", create=False)
    run_id = first_of(store)
    (store.run_dir(run_id) / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"model\.safetensors is damaged"):
        load(store, run_id)
    (store.run_dir(run_id) / "DONE").unlink()
    with pytest.raises(StoreError, match="is not finished"):
        load(store, run_id)


@pytest.mark.grid
def test_without_scores_and_images_of_internal_there_are_probabilities_alone(store_copy: Path) -> None:
    import shutil

    store = Store.open(store_copy / "runs", create=False)
    _, paths = of_nih(store, 2)
    shutil.rmtree(store.root / "scores")
    shutil.rmtree(store.root / "cache")
    stored = load(store, first_of(store))
    assert stored.usual == {}
    table = infer(stored, paths).table
    assert table["probability"].between(0, 1).all()
    assert table["calibrated"].isna().all()
    assert table[[f"call_{rule}" for rule in RULES]].isna().all(axis=None)


def test_images_are_files_folders_and_lists(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    files = [tmp_path / "in" / "a.PNG", tmp_path / "in" / "deep" / "b.dcm"]
    for file in files:
        file.write_bytes(b"x")
    (tmp_path / "in" / "IM000001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / "IM2.ima").write_bytes(b"\xff\xd8\xff")
    files = sorted([*files, tmp_path / "in" / "IM000001", tmp_path / "in" / "IM2.ima"])
    (tmp_path / "list.csv").write_text("path,age\nin/a.PNG,3\nin/missing.png,4\n,5\n")
    assert images_of([tmp_path / "in"]) == files
    for name in ("c.txt", "d.txt", "deep/e.TIF", "f"):
        (tmp_path / "in" / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"no PNG, JPEG or DICOM: 2 .txt, 1 (.tif, 1 without|without ending, 1 .tif)"):
        assert images_of([tmp_path / "in"]) == files
    for name in ("c.txt", "d.txt", "deep/e.TIF", "f"):
        (tmp_path / "in" / name).unlink()
    assert images_of([files[0], tmp_path / "in"]) == files
    assert images_of([tmp_path / "list.csv"]) == [tmp_path / "in" / "a.PNG", tmp_path / "in" / "missing.png"]
    (tmp_path / "other.csv").write_text("file\nin/a.PNG\n")
    (tmp_path / "none.csv").write_text("path,age\n,5\n")
    unlisted = ((tmp_path / "other.csv", "no column"), (tmp_path / "none.csv", "names no image"))
    for wrong, said in (*unlisted, (tmp_path / "gone", "no such file")):
        with pytest.raises(DatasetError, match=said):
            images_of([wrong])
