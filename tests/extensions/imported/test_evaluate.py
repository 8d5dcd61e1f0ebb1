"""`bench evaluate`: a model from elsewhere becomes a row that is scored and shown, and never passes for a run trained here."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.cli.progress_bars import QuietDisplay
from bench.diagnostics.symptoms.run_symptoms import symptoms
from bench.extensions.imported.commands import _lines, _rows
from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.evaluation import ModelEvaluation, evaluate
from bench.extensions.imported.predictions import _logits, read_predictions
from bench.extensions.imported.request import EvaluationRequest
from bench.extensions.imported.rows import config_of
from bench.planning.manifest import read_manifest
from bench.planning.plan import CohortRef
from bench.results.score_runs import score_all
from bench.scoring.diagnostics import ORDER, other_order
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, table_facts, write_table
from harmonize.errors import ConfigError, CxrError, DatasetError, StoreError
from harmonize.labels.findings import space
from tests.conftest import Command

pytestmark = pytest.mark.grid
FINDINGS = list(space("shared-9"))


def declared(folder: Path, model: dict[str, Any], **blocks: Any) -> Path:
    outputs = {"kind": "logit", **({} if "predictions" in model else {"names": FINDINGS})}
    content = {"name": "A model", "model": model, "outputs": outputs, "trained_on": {"cohorts": ["nih"]}, **blocks}
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def ask(model: Path, store: Path, grid: str = "tiny") -> ModelEvaluation:
    request = EvaluationRequest.read(model, grid, None, None)
    return evaluate(request, Store.open(store), None, "cpu", 1, QuietDisplay())


@pytest.fixture(scope="module")
def beside(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ModelEvaluation]]:
    """The finished grid with one of its own networks brought back as a model from elsewhere that saw NIH."""
    folder = tmp_path_factory.mktemp("beside")
    shutil.copytree(finished, folder, symlinks=True, dirs_exist_ok=True)
    store = Store.open(folder / "runs", create=False)
    run_id = read_manifest(store, "tiny").runs[0].id
    shutil.copy(store.run_dir(run_id) / "model.safetensors", folder / "w.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
        from timm.data.constants import IMAGENET_DEFAULT_STD as STD

        patch.chdir(folder)
        given = {"size": 64, "channels": 1, "mean": sum(MEAN) / 3, "std": sum(STD) / 3}
        model = declared(folder, {"function": "tests.networks:tiny", "weights": "w.safetensors"}, preprocessing=given)
        yield folder, ask(model, folder / "runs")


def test_its_logits_are_those_of_the_same_network_trained_here(beside: tuple[Path, ModelEvaluation]) -> None:
    folder, found = beside
    store, manifest = Store.open(folder / "runs"), found.manifest
    for cohort in manifest.cohorts:
        tables = [
            pd.read_parquet(store.run_dir(i) / "predictions" / f"{cohort.name}.parquet").set_index("image_id")
            for i in (manifest.runs[0].id, found.run.id)
        ]
        assert list(tables[0].index) == list(tables[1].index)
        assert np.allclose(tables[0], tables[1], atol=1e-5)
    assert found.run.id not in {run.id for run in manifest.runs}


def test_it_is_a_row_with_its_passport_and_where_it_is_not_unseen(beside: tuple[Path, ModelEvaluation]) -> None:
    _, found = beside
    html = found.report.page.read_text()
    assert found.run.passport["seen"] == ["nih"]
    assert "trained elsewhere, had seen Hospital C" in html
    assert "imported models: not counted in the headline" in html
    assert ": used to train this model" in html
    runs = pd.read_parquet(found.report.page.parent / "tables" / "runs.parquet").set_index("run_id")
    assert runs.loc[found.run.id, "kind"] == "external"
    ranks = pd.read_parquet(found.report.page.parent / "tables" / "ranks.parquet")
    assert found.run.id not in set(ranks["run_id"])


def test_a_grid_of_the_store_is_known_by_its_name(
    beside: tuple[Path, ModelEvaluation], here: Command, tmp_path: Path
) -> None:
    before, found = beside
    folder = shutil.copytree(before, tmp_path / "copy", symlinks=True)
    here("score", "--grid", "tiny", "--threshold", "youden", "--as", "other-rule", cwd=folder)
    said = json.loads(here("evaluate", "--model", "model.yaml", "--grid", "other-rule", "--json", cwd=folder).stdout)
    assert said["run"] == found.run.id
    ranks = {row["dataset"]: row["rank"] for row in said["rows"] if row["rank"]}
    assert {"mimic", "brax"} <= ranks.keys()
    assert "nih" not in ranks  # it had seen this hospital


def test_the_commands_know_it_for_what_it_is(
    beside: tuple[Path, ModelEvaluation], here: Command, tmp_path: Path
) -> None:
    folder, found = beside
    own = found.manifest.runs[0].id
    assert "(trained elsewhere)" in here("compare", own, found.run.id, "--cohort", "mimic", cwd=folder).stdout
    printed = "\n".join(_lines(found, _rows(found)))
    assert "Hospital C (NIH layout)" in printed
    assert not re.search(r"\b(mimic|nih|chexpert)\b", printed)  # keys of real datasets
    assert "trained elsewhere: A model" in here("list", "runs", cwd=folder).stdout
    assert "trained elsewhere" in here("reproduce", found.run.id, cwd=folder, code=2).stderr
    checked = json.loads(here("check", "--store", "runs", "--quick", "--json", cwd=folder).stdout)
    assert not [each for each in checked if found.run.id in json.dumps(each) and each["level"] != "good"]


def test_it_has_no_model_card(beside: tuple[Path, ModelEvaluation], here: Command) -> None:
    folder, found = beside
    assert "trained elsewhere" in here("card", found.run.id, cwd=folder, code=2).stderr


def test_its_tracked_parameters_have_its_passport_and_no_training(beside: tuple[Path, ModelEvaluation]) -> None:
    tracking, (_, found) = pytest.importorskip("bench.extensions.tracking.mlflow"), beside
    said = tracking.parameters(found.manifest, found.run)
    assert said["passport.cohorts"] == "nih"
    assert not {"train_on", "seed", "optimizer", "schedule.epochs"} & said.keys()  # nothing was trained here


def test_what_it_does_not_give_is_no_symptom(
    beside: tuple[Path, ModelEvaluation], here: Command, tmp_path: Path
) -> None:
    folder, found = beside
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    store = Store.open(tmp_path / "copy" / "runs", create=False)
    path = store.run_dir(found.run.id) / "trained.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unlearnt": ["Edema", "Pneumonia"]}))
    for file in (store.run_dir(found.run.id) / "predictions").glob("*.parquet"):
        write_table(file, pd.read_parquet(file).assign(Edema=np.float32(0), Pneumonia=np.float32(0)), table_facts(file))
    CheckedFolder(store.run_dir(found.run.id)).record_checksums()
    key = store.root / "scores" / found.run.id / "KEY"
    key.unlink()
    score_all(read_manifest(store, "tiny"), lambda *_: None, 1)
    said = here("check", found.run.id, "--quiet", "--json", cwd=tmp_path / "copy").stdout
    assert not [each for each in json.loads(said) if "constant output" in each["what"]]
    shuffled = next(file for file in (store.run_dir(found.run.id) / "predictions").glob("chexpert.parquet"))
    frame = pd.read_parquet(shuffled)
    frame.iloc[:, 1:] = np.random.default_rng(0).normal(size=(len(frame), len(FINDINGS))).astype(np.float32)
    write_table(shuffled, frame, table_facts(shuffled))
    CheckedFolder(store.run_dir(found.run.id)).record_checksums()
    key.unlink()
    score_all(read_manifest(store, "tiny"), lambda *_: None, 1)
    (near,) = [each for each in symptoms(store, found.run.id) if "AUROC near .5 at the internal hospital" in each.what]
    assert "model.yaml" in near.fix
    assert "schedule" not in near.fix


def test_a_bundle_carries_it_with_its_passport(
    beside: tuple[Path, ModelEvaluation], here: Command, tmp_path: Path
) -> None:
    archive = pytest.importorskip("bench.extensions.bundles.archive")
    folder, found = beside
    here("export", found.run.id, "-o", str(tmp_path / "a.zip"), "--store", "runs", "--quiet", cwd=folder)
    here("merge", str(tmp_path / "a.zip"), "--store", str(tmp_path / "m"), "--quiet", cwd=folder)  # it verifies, too
    (row,) = read_manifest(Store.open(tmp_path / "m"), None).imported
    assert row.passport == found.run.passport
    members = tmp_path / "members"
    members.mkdir()
    archive.unpack(tmp_path / "a.zip", members)
    (members / archive.CHECKSUMS).unlink()
    path = members / "runs" / found.run.id / "trained.json"
    path.write_bytes(canonical_json({**json.loads(path.read_bytes()), "unlearnt": ["Edema"]}))
    archive.pack(members, tmp_path / "b.zip")
    refusal = here("verify", str(tmp_path / "b.zip"), "--quiet", cwd=tmp_path, code=2).stderr
    assert "states that it could not learn Edema, but its labels or logits contradict" in refusal


def test_it_stays_when_the_grid_runs_again_and_goes_when_it_is_removed(
    beside: tuple[Path, ModelEvaluation], command: Command, here: Command, tmp_path: Path
) -> None:
    folder, found = beside
    shutil.copytree(folder / "runs", tmp_path / "runs", symlinks=True)
    here("run", "--grid", "tiny", "--quiet", "--json", cwd=tmp_path)
    assert [run.id for run in read_manifest(Store.open(tmp_path / "runs"), "tiny").imported] == [found.run.id]
    here("remove", found.run.id, "--yes", cwd=tmp_path)
    assert not read_manifest(Store.open(tmp_path / "runs"), "tiny").imported


@pytest.mark.parametrize("as_json", [False, True])
def test_a_row_that_no_longer_compares_is_let_go_with_a_word(
    beside: tuple[Path, ModelEvaluation], here: Command, tmp_path: Path, as_json: bool
) -> None:
    folder, _ = beside
    shutil.copytree(folder / "runs", tmp_path / "runs", symlinks=True)
    store = Store.open(tmp_path / "runs")
    content = read_grid(store, "tiny")
    content["cohorts"][1]["id"] = "0" * 12  # as if this cohort had been another one when the model was evaluated
    write_grid(store, "tiny", content)
    said = here("run", "--grid", "tiny", "--quiet", *["--json"][: int(as_json)], cwd=tmp_path).stdout
    assert not read_manifest(Store.open(tmp_path / "runs"), "tiny").imported
    if as_json:
        assert json.loads(said)["dropped"] == ["A model"]
    else:
        line = next(line for line in said.splitlines() if "A model" in line)
        assert "other cohorts, findings or splits" in line
        assert "bench evaluate --model MODEL.yaml --grid tiny" in line
    again = here("run", "--grid", "tiny", "--quiet", cwd=tmp_path).stdout
    assert "A model" not in again


def scored_elsewhere(folder: Path, store: Path, name: str, tables: dict[str, pd.DataFrame], **blocks: Any) -> Path:
    (folder / name).mkdir()
    for cohort, table in tables.items():
        table.to_csv(folder / name / f"{cohort}.csv", index=False)
    return declared(folder, {"predictions": name}, **blocks)


@pytest.fixture
def truth(finished: Path) -> dict[str, pd.DataFrame]:
    """Answers that follow the labels, with noise, for every image of each cohort of the grid."""
    manifest, tables = read_manifest(Store.open(finished / "runs"), "tiny"), {}
    for cohort in manifest.cohorts:
        table, draw = manifest.table(cohort), np.random.default_rng(3)
        label_NK = (table[FINDINGS].fillna(0).to_numpy() == 1).astype(float)
        value_NK = 1 / (1 + np.exp(-(3 * label_NK - 1.5 + draw.normal(size=label_NK.shape))))
        tables[cohort.name] = pd.DataFrame(value_NK, columns=FINDINGS).assign(image_id=table["image_id"])
    return tables


def refused(model: Path, finished: Path, kind: type[CxrError]) -> CxrError:
    store = Store.open(finished / "runs")
    manifest = read_manifest(store, "tiny")
    refs = [
        CohortRef(
            **{key: getattr(c, key) for key in ("name", "id", "role", "layout", "headline_split")},
            root=finished,
            table=store.root / "cohorts" / f"{c.name}-{c.id}.parquet",
        )
        for c in manifest.cohorts
    ]
    with pytest.raises(kind) as raised:
        read_predictions(ModelDeclaration.read(model), refs, config_of("x", manifest.shared), store)
    return raised.value


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda t: [t.pop(name) for name in list(t) if name != "chexpert"], DatasetError, "no predictions on an external hospital"),
        (lambda t: t.update(nih=t["nih"].iloc[3:]), DatasetError, "3 of 60 images of nih have no prediction"),
        (lambda t: t.update(nih=pd.concat([t["nih"]] * 2)), DatasetError, "occurs twice"),
        (lambda t: t.update(nih=t["nih"].assign(image_id=["", *t["nih"]["image_id"][1:]])), DatasetError, "an image has no image_id"),
        (lambda t: t.update(nih=t["nih"].drop(columns="image_id")), DatasetError, "no column image_id"),
        (lambda t: t.update(nih=t["nih"].drop(columns="Edema")), ConfigError, "different columns: Edema"),
        (lambda t: t.update(nih=t["nih"].replace({"Edema": t["nih"]["Edema"][0]}, 1.5)), ConfigError, "is not a probability"),
        (lambda t: t.update(nih=t["nih"].replace({"Edema": t["nih"]["Edema"][0]}, np.nan)), ConfigError, "nan for"),
        (lambda t: [t.update({k: v.rename(columns={"Edema": "Oedema"})}) for k, v in list(t.items())], ConfigError, "'Oedema'"),
    ],
)  # fmt: skip
def test_predictions_that_cannot_be_compared_are_refused(
    truth: dict[str, pd.DataFrame], finished: Path, tmp_path: Path, spoil: Any, kind: type[CxrError], said: str
) -> None:
    spoil(truth)
    outputs = {"kind": "probability"}
    assert said in refused(scored_elsewhere(tmp_path, finished, "p", truth, outputs=outputs), finished, kind).what


def test_a_wrong_order_of_findings_is_noticed(truth: dict[str, pd.DataFrame], finished: Path, tmp_path: Path) -> None:
    manifest = read_manifest(Store.open(finished / "runs"), "tiny")
    table = truth["chexpert"].reset_index(drop=True)
    label_NK = (manifest.table(manifest.cohorts[0])[FINDINGS].fillna(0).to_numpy() == 1).astype(np.int8)
    common = [FINDINGS[k] for k in np.argsort(-label_NK.sum(0))[:4]]
    found = {}
    for shift in (0, 1):
        names = dict(zip(common, [*common[shift:], *common[:shift]], strict=True))
        model = scored_elsewhere(
            tmp_path, finished, f"p{shift}", {"chexpert": table[["image_id", *common]]},
            outputs={"kind": "probability", "rename": names},
        )  # fmt: skip
        own = ModelDeclaration.read(model).with_names(common)
        frame = _logits(table, common, own, config_of("x", manifest.shared), "here")
        ids = table["image_id"].to_numpy(str)
        logit_NK = frame[common].to_numpy(np.float32)
        state_NK = label_NK[:, [FINDINGS.index(name) for name in common]]
        part = ScoredSplit("chexpert", "test", "phantom", ids, ids, logit_NK, state_NK)
        found[shift] = [symptom.kind for symptom in other_order(part, common)]
    assert found == {0: [], 1: [ORDER]}


def test_a_grid_of_other_cohorts_is_not_mixed(store_copy: Path, tmp_path: Path) -> None:
    store = Store.open(store_copy / "runs")
    content = read_grid(store, "tiny")
    content["cohorts"][1]["id"] = "0" * 12
    write_grid(store, "tiny", content)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "nih.csv").write_text("image_id,Edema\n")
    with pytest.raises(StoreError, match="other cohorts, findings or splits"):
        ask(declared(tmp_path, {"predictions": "p"}), store_copy / "runs")
