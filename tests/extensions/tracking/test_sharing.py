"""`bench track` and `bench upload`: what is handed on, what never is, and what is said when it cannot be."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import build_hf_headers

from bench.extensions.tracking import hub
from bench.extensions.tracking import mlflow as tracking
from bench.planning.manifest import read_manifest
from bench.store.checked_files import read_grid, write_cohort, write_grid
from bench.store.store import Store, table_facts, write_table
from bench.system import hub_client as hubclient
from bench.system.hub_client import check_name
from harmonize.errors import ConfigError, SetupError, StoreError

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def private(store: Store) -> set[str]:
    """Return every id of a patient, a study or an image of the store, and every path of an image."""
    found: set[str] = set()
    for path in (store.root / "cohorts").glob("*.parquet"):
        table = pd.read_parquet(path)
        found |= {
            str(v) for c in ("image_id", "patient_id", "study_id", "path") if c in table for v in table[c].unique()
        }
    return {each for each in found if len(each) >= 6}


def test_runs_are_tracked_and_read_back_and_a_second_time_nothing_changes(store_copy: Path, here: Command) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    where = ("track", "--to", "sqlite:///mlflow.db", "--quiet")
    assert "2 new, 0 changed, 0 same" in here(*where, cwd=store_copy).stdout
    from mlflow import MlflowClient

    store = Store.open(store_copy / "runs", create=False)
    client = MlflowClient(f"sqlite:///{store_copy}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    found = {run.data.tags["unseen.run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(found) == store.run_ids()
    run_id, run = next(iter(found.items()))
    folder = store.run_dir(run_id)
    scores = pd.read_parquet(store.root / "scores" / run_id / "scores.parquet")
    for metric in ("auroc", "auprc"):
        rows = scores[(scores["metric"] == metric) & (scores["dataset"] == "nih") & (scores["subgroup"] == "all")]
        row = rows[(rows["finding"] == "macro") & (rows["calibrator"] == "none")].iloc[0]
        told = [run.data.metrics[f"{metric}/nih/macro{bound}"] for bound in ("", "/low", "/high")]
        assert told == pytest.approx(row[["value", "low", "high"]].tolist())
    assert run.data.params["schedule.lr"] == "0.006"
    assert (
        run.data.metrics["cost/process_memory_bytes"]
        == json.loads((folder / "cost.json").read_text())["peak_memory_bytes"]
    )
    assert run.data.tags["mlflow.source.git.commit"] == json.loads((folder / "env.json").read_text())["commit"]
    nih = pd.read_parquet(next((store.root / "cohorts").glob("nih-*.parquet")))
    assert run.data.metrics["data/nih/images"] == len(nih)
    assert run.data.metrics["data/nih/with Edema"] == (nih["Edema"] == 1).sum()
    curve = client.get_metric_history(run.info.run_id, "curve/val_auroc")
    history = pd.read_parquet(folder / "history.parquet")
    assert [point.value for point in curve] == pytest.approx(history["val_auroc"].tolist())
    assert [point.step for point in curve] == [1, 2]
    assert run.info.status == "FINISHED"
    content = (store_copy / "mlflow.db").read_bytes().decode(errors="replace")
    assert not [each for each in private(store) if each in content]
    assert str(store_copy) not in "".join(value for one in found.values() for value in one.data.tags.values())

    said = json.loads(here(*where, "--json", cwd=store_copy).stdout)
    assert (said["new"], said["changed"], sorted(said["same"])) == ([], [], store.run_ids())
    path = folder / "history.parquet"
    write_table(path, history.assign(train_loss=history["train_loss"] + 1))
    assert "0 new, 1 changed, 1 same" in here(*where, cwd=store_copy).stdout
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_an_address_that_is_no_database_is_refused(finished: Path, here: Command) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    said = here("track", "--to", "mlflow.db", "--quiet", cwd=finished, code=2).stderr
    assert "--to sqlite:///mlflow.db" in said


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    manifest = read_manifest(Store.open(finished / "runs", create=False), None)
    with pytest.raises(SetupError, match=r"unseen-cxr\[mlflow\]"):
        tracking.track(manifest, [manifest.runs[0].id], "http://localhost:1", "x", lambda *_: None)


def test_a_mean_of_runs_is_tracked_under_its_name_with_what_they_share(store_copy: Path, here: Command) -> None:
    """What is tracked and compared of an ensemble and of test-time augmentation."""
    text = (Path(__file__).parents[3] / "grids" / "tiny.yaml").read_text().replace("name: tiny", "name: mean")
    (store_copy / "mean.yaml").write_text(f"{text}\ntta: [three_views]\nensembles: [{{name: both}}]\n")
    here("run", "--grid", "mean.yaml", "--quiet", "--workers", "1", cwd=store_copy)
    manifest = read_manifest(Store.open(store_copy / "runs"), "mean")
    own, other, *_, mean = (*manifest.runs, *manifest.derived)
    assert {tracking.parameters(manifest, run)["seed"] for run in (own, other)} == {"0", "1"}
    shared = tracking.parameters(manifest, mean)
    assert "seed" not in shared
    assert shared["optimizer"] == "adamw"
    said = here("compare", mean.id, own.id, "--cohort", "nih", "--grid", "mean", cwd=store_copy).stdout
    assert "both (mean of SE-ResNet-10 (tiny) seeds 0, 1)" in said
    name = next(run.id for run in manifest.derived if run.kind == "tta")
    assert "TTA, three views" in here("compare", name, own.id, "--cohort", "nih", cwd=store_copy).stdout


def test_a_dry_run_lists_what_would_leave_and_nothing_else_may(finished: Path, here: Command) -> None:
    store = Store.open(finished / "runs", create=False)
    run_id = store.run_ids()[0]
    said = json.loads(here("upload", run_id[:6], "--repo", "lab/tiny", "--dry-run", "--json", cwd=finished).stdout)
    assert [each["name"] for each in said["files"]] == ["model.safetensors", "README.md", "config.json"]
    assert said["files"][0]["bytes"] == (store.run_dir(run_id) / "model.safetensors").stat().st_size
    assert not said["uploaded"]
    text = here("upload", run_id, "--repo", "lab/tiny", "--dry-run", cwd=finished).stdout
    assert f"{said['files'][0]['bytes']:,} bytes  model.safetensors" in text
    assert "nothing was sent" in text
    scripted = here("upload", run_id, "--folder", "new", "--yes", "--dry-run", cwd=finished).stdout
    assert "model.safetensors" in scripted
    _, _, files = hub.files_of(store, run_id)
    sent = "".join(each.source.decode() for each in files if isinstance(each.source, bytes))
    assert not [each for each in private(store) if each in sent]
    config = json.loads(next(each.source for each in files if each.name == "config.json"))
    assert config["document"]["config"]["architecture"] == "seresnet_tiny"
    assert len(config["findings"]) == 9


def test_the_card_has_the_metadata_that_the_hub_reads(finished: Path) -> None:
    store = Store.open(finished / "runs", create=False)
    _, _, files = hub.files_of(store, store.run_ids()[0])
    found = ModelCard(next(each.source for each in files if each.name == "README.md").decode())
    assert found.data.pipeline_tag == "image-classification"
    assert "synthetic-data" in found.data.tags
    results = {result.dataset_type: result for result in found.data.eval_results}
    assert list(results) == ["chexpert", "mimic", "nih", "padchest", "vindr", "brax"]
    scores = pd.read_parquet(store.root / "scores" / store.run_ids()[0] / "scores.parquet")
    rows = scores[(scores["metric"] == "auroc") & (scores["dataset"] == "nih") & (scores["finding"] == "macro")]
    row = rows[(rows["subgroup"] == "all") & (rows["calibrator"] == "none")].iloc[0]
    assert results["nih"].metric_value == pytest.approx(row["value"], abs=1e-4)
    assert found.text.lstrip().startswith("# ")


def test_a_text_that_names_a_patient_does_not_leave(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs", create=False)
    path = next((store.root / "cohorts").glob("nih-*.parquet"))
    table = pd.read_parquet(path)
    manifest = read_grid(store, "tiny")
    patient = "PATIENT-0042"
    write_cohort(path, table.assign(patient_id=patient), table_facts(path)["id"])
    manifest["runs"][0]["titles"]["architecture"] = f"Net for {patient}"
    write_grid(store, "tiny", manifest)
    said = here("upload", manifest["runs"][0]["id"], "--repo", "a/b", "--dry-run", cwd=store_copy, code=2).stderr
    assert "README.md contains 1 ids or paths of nih" in said
    assert "nothing was sent" in said


IDS = [
    ("Doe, Jane", "Net of Doe, Jane"),
    ("900012", "Net (patient 900012)"),
    ("a_1;bc", "Net a_1;bc"),
    ("Müller 7", "Net Müller 7"),
    ("900012", "Net 900012,900023"),
]


def test_ids_with_separators_are_found(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs", create=False)
    path = next((store.root / "cohorts").glob("nih-*.parquet"))
    table, cohort_id, content = pd.read_parquet(path), table_facts(path)["id"], read_grid(store, "tiny")
    run_id, titles = content["runs"][0]["id"], content["runs"][0]["titles"]
    for patient, title in IDS:
        write_cohort(path, table.assign(patient_id=patient), cohort_id)
        titles["architecture"] = "Net"
        write_grid(store, "tiny", content)
        hub.files_of(store, run_id)
        titles["architecture"] = title
        write_grid(store, "tiny", content)
        with pytest.raises(StoreError, match=r"README.md contains 1 ids or paths of nih"):
            hub.files_of(store, run_id)


def test_numbers_and_words_that_only_resemble_ids_do_not_stop_an_upload(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs", create=False)
    path = next((store.root / "cohorts").glob("nih-*.parquet"))
    table, cohort_id, content = pd.read_parquet(path), table_facts(path)["id"], read_grid(store, "tiny")
    content["runs"][0]["titles"]["architecture"] = "Net 0.900012, sha a900012b, subject12s, 2024"
    write_grid(store, "tiny", content)
    for patient in ("900012", "ubject12", "2024"):
        write_cohort(path, table.assign(patient_id=patient), cohort_id)
        hub.files_of(store, content["runs"][0]["id"])


def test_sending_needs_a_yes_and_a_hub(finished: Path, monkeypatch: pytest.MonkeyPatch, here: Command) -> None:
    run_id = Store.open(finished / "runs", create=False).run_ids()[0]
    assert "--yes" in here("upload", run_id, "--repo", "lab/tiny", "--json", cwd=finished, code=2).stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = here("upload", run_id, "--repo", "lab/tiny", "--yes", cwd=finished, code=2).stderr
    assert "HF_HUB_OFFLINE" in said
    assert "--dry-run" in said
    assert "OWNER/NAME" in here("upload", run_id, "--repo", "tiny", "--dry-run", cwd=finished, code=2).stderr


def test_requests_to_the_hub_say_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    assert "torch/" in build_hf_headers()["user-agent"]
    hubclient.api()
    assert "torch/" not in build_hf_headers()["user-agent"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: build_hf_headers()["user-agent"])
    assert "torch/" not in hubclient.download("timm/resnet10t.c3_in1k", "model.safetensors")


def test_a_run_without_weights_or_scores_does_not_leave(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs", create=False)
    first, second = store.run_ids()
    (store.run_dir(first) / "model.safetensors").unlink()
    with pytest.raises(StoreError, match="no weights in this store"):
        hub.files_of(store, first)
    (store.root / "scores" / second / "KEY").unlink()
    with pytest.raises(StoreError, match="bench score"):
        hub.files_of(store, second)
    with pytest.raises(ConfigError):
        check_name("a/b/c")


def test_a_folder_with_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigError, match="not empty"):
        hub.write_folder([], tmp_path)
