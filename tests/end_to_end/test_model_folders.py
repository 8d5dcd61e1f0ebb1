"""Models outside a store: an upload is predicted and explained from its folder; combinations of runs, too."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from bench.planning.manifest import Manifest, read_manifest
from bench.runs.image_paths import images_of
from bench.runs.model_folder import load_folder, load_model
from bench.runs.model_reference import config_sha256, folder_of
from bench.runs.new_images import infer
from bench.runs.stored_run import load
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from harmonize.errors import SetupError, StoreError
from tests.conftest import Command, Drawn

pytestmark = pytest.mark.grid
hub = pytest.importorskip("bench.extensions.tracking.hub", reason="`bench upload` writes the folders")
GRID = """name: mix
title: Rows of all kinds
about: for tests
expect: {runs: 4, minutes: 0.5, device: 1 CPU core}
evaluate_on: [nih]
analyses: false
min_count: 3
split: {train: 0.6, val: 0.2, test: 0.2}
phantom: {source: 160, external: 30, size: 64}
base:
  train_on: chexpert
  architecture: seresnet_tiny
  weights: none
  channels: 1
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: histstd_64
  schedule: {epochs: 1, batch_size: 32, lr: 6.0e-3}
sweeps:
  - {seed: 0}
  - {seed: 1, preprocessing: imagenet_64}
  - {task: binary, finding: [Edema, Pleural Effusion]}
tta: [three_views]
ensembles:
  - {name: both, of: {task: multilabel}}
  - {name: both views, of: {task: multilabel}, tta: three_views}
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, command: Command, drawn: Drawn) -> Path:
    """A folder with a finished store of two runs, two binary runs, their TTA rows, two ensembles and a panel."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mix.yaml").write_text(GRID)
    drawn(folder / "mix.yaml", folder)
    command("run", "--grid", "mix.yaml", "--quiet", "--workers", "1", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def manifest(mixed: Path) -> Manifest:
    return read_manifest(Store.open(mixed / "runs", create=False), "mix")


@pytest.fixture(scope="module")
def uploaded(mixed: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of the upload of one row of each kind."""
    folder, by_kind = tmp_path_factory.mktemp("uploaded"), {}
    for row in (manifest.runs[0], *manifest.derived):
        kind = (row.kind or "run") + ("s of views" if row.name == "both views" else "")
        if kind not in by_kind:
            run_id, _, files = hub.files_of(manifest.store, row.id)
            hub.write_folder(files, folder / run_id)
            by_kind[kind] = folder / run_id
    return by_kind


def images(mixed: Path, number: int = 6) -> list[Path]:
    (root,) = (mixed / "runs" / "phantom").glob("*/nih")
    return images_of([root], lambda _: None)[:number]


def stored_logits(store: Store, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(store.run_dir(run_id) / "predictions" / "nih.parquet").set_index("image_id")


POINTS = ["finding", "rule", "threshold", "probability", "platt_a", "platt_b"]
KINDS = ("run", "tta", "ensemble", "ensembles of views", "panel")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_predicts_what_the_store_predicted(
    mixed: Path, manifest: Manifest, uploaded: dict[str, Path], kind: str
) -> None:
    """Predictions of the uploaded folder of each kind of run."""
    paths, run_id = images(mixed), uploaded[kind].name
    table = next((mixed / "runs" / "cohorts").glob("nih-*.parquet"))
    id_by_name = {Path(row.path).name: row.image_id for row in pd.read_parquet(table).itertuples()}
    expected = stored_logits(manifest.store, run_id)
    own, results = load(manifest.store, run_id), []
    for stored in (load_folder(uploaded[kind]), own):
        assert (stored.id, stored.synthetic) == (run_id, True)
        result = infer(stored, paths).table
        assert set(result["finding"]) == set(stored.learned)
        assert len(stored.learned) == (2 if kind == "panel" else 9 - len(stored.unlearnt))
        for row in result.itertuples():
            logit = expected.loc[id_by_name[Path(row.image).name], row.finding]
            assert row.logit == pytest.approx(logit, abs=2e-6)  # a batch of a different size rounds differently
        results.append(result)
        points = pd.read_parquet(manifest.store.root / "scores" / run_id / "operating_points.parquet")
        pd.testing.assert_frame_equal(stored.points[POINTS], points[POINTS], check_dtype=False, check_exact=True)
    pd.testing.assert_frame_equal(*results, check_exact=True)


def test_a_combination_measures_distances_with_its_first_run_with_features(
    mixed: Path, manifest: Manifest, tmp_path: Path
) -> None:
    shutil.copytree(mixed / "runs", tmp_path / "runs", symlinks=True)
    store = Store.open(tmp_path / "runs", create=False)
    ensemble = next(row for row in manifest.derived if row.name == "both")
    sources = [str(source) for source in store.read_json(ensemble.id[:2], ensemble.id, "run.json")["sources"]]
    folder = store.run_dir(sources[1])
    width = np.load(folder / "features" / "nih.npz")["feature"].shape[1]
    feature = np.random.default_rng(0).normal(50, 1, (400, width)).astype(np.float16)
    np.savez(folder / "features" / "chexpert.npz", patient_id=np.arange(400).astype("U"), feature=feature)
    CheckedFolder(folder).record_checksums()
    path = images(mixed, 1)
    found = infer(load(store, ensemble.id), path)
    assert (found.measured_by, found.num_validation) == (sources[1], 200)
    alone = infer(load(store, sources[1]), path)
    pd.testing.assert_series_equal(found.table["distance"], alone.table["distance"])
    assert "far from the images of the internal hospital" in found.table["warnings"].iloc[0]
    first = infer(load(store, sources[0]), path)
    assert "at least 40 internal patients are needed" in first.no_distances
    assert first.table["distance"].isna().all()


def test_the_commands_take_a_folder_without_a_store(
    mixed: Path, manifest: Manifest, tmp_path: Path, here: Command
) -> None:
    run_id = next(row.id for row in manifest.derived if row.name == "both views")
    said = here("upload", run_id[:6], "--folder", str(tmp_path / "model"), "--store", "runs", cwd=mixed).stdout
    assert "model.safetensors" in said
    empty = tmp_path / "empty"
    empty.mkdir()
    image = str(images(mixed, 1)[0])
    arguments = (image, "--json", "--quiet")
    own = json.loads(here("predict", str(tmp_path / "model"), *arguments, cwd=empty).stdout)
    stored = json.loads(here("predict", run_id, *arguments, "--store", str(mixed / "runs"), cwd=empty).stdout)
    assert own.pop("distances")["not_available"] == "there are no stored features of internal images"
    stored.pop("distances")  # only the store has features, here of too few patients
    assert own == stored
    assert list(empty.iterdir()) == []
    here("upload", run_id, "--folder", str(tmp_path / "model"), "--store", "runs", cwd=mixed, code=2)  # not empty
    here("upload", run_id, "--store", "runs", cwd=mixed, code=2)  # neither a repository nor a folder


def test_a_folder_is_explained(uploaded: dict[str, Path], mixed: Path, here: Command, tmp_path: Path) -> None:
    pytest.importorskip("bench.extensions.heat_maps")
    words = (str(images(mixed, 1)[0]), "--finding", "Edema", "-o", str(tmp_path))
    here("explain", str(uploaded["panel"]), *words, cwd=tmp_path)
    assert pd.read_csv(tmp_path / "explained.csv")["finding"].tolist() == ["Edema"]
    refused = here("explain", str(uploaded["ensembles of views"]), *words, cwd=tmp_path, code=2).stderr
    assert "has several networks or views, so it has no heat map" in refused
    assert "explain one of its runs" in refused


def test_a_repository_of_the_hub_is_downloaded_and_offline_the_fix_is_named(
    uploaded: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def offline(*_: object, **_options: object) -> str:
        raise OSError("outgoing traffic has been disabled")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(SetupError, match=r"(?s)traffic has been disabled.*hf download lab/tiny --local-dir FOLDER"):
        folder_of("lab/tiny")
    asked: list[object] = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda repository, allow_patterns: asked.append((repository, allow_patterns)) or str(uploaded["panel"]),
    )
    assert load_model("lab/tiny", Path("nowhere")).id == uploaded["panel"].name
    ((repository, patterns),) = asked
    assert repository == "lab/tiny"
    assert "config.json" in patterns
    with pytest.raises(StoreError, match="no such folder"):
        folder_of("./missing")
    with pytest.raises(StoreError, match="no model"):
        folder_of(f"{tmp_path.parent}/{tmp_path.name}")


@pytest.fixture
def copied(uploaded: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the upload of a run, which a test may change."""
    return Path(shutil.copytree(uploaded["run"], tmp_path / "model"))


def changed(folder: Path, change: Callable[[dict[str, object]], object]) -> Path:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content | {"sha256": config_sha256(content)}))
    return folder


@pytest.mark.parametrize("column", ["threshold", "platt_a", "platt_b"])
def test_changed_thresholds_and_calibrators_are_refused(column: str, copied: Path) -> None:
    path = copied / "config.json"
    content = json.loads(path.read_text())
    assert load_folder(copied).points[column].notna().any()
    for row in content["operating_points"]:
        row[column] = 0.001
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"config\.json is not what was uploaded"):
        load_folder(copied)
    del content["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"config\.json is not what was uploaded"):
        load_folder(copied)


def test_changed_or_missing_files_of_a_folder_are_refused(copied: Path) -> None:
    weights = copied / "model.safetensors"
    intact = load_file(weights)
    save_file({name: values + 1 if values.ndim else values for name, values in intact.items()}, weights)
    with pytest.raises(StoreError, match=r"model\.safetensors is not what was uploaded"):
        load_folder(copied)
    weights.unlink()
    with pytest.raises(StoreError, match="its weights are missing"):
        load_folder(copied)
    changed(copied, lambda content: content["document"]["config"].update(seed=7))
    with pytest.raises(StoreError, match="does not match the run id"):
        load_folder(copied)
    changed(copied, lambda content: content["document"]["config"].update(seed=8))
    path = copied / "config.json"
    path.write_text(path.read_text().replace('"seed": 8', '"seed": 9'))
    with pytest.raises(StoreError, match=r"config\.json is not what was uploaded"):
        load_folder(copied)
    (copied / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(StoreError, match="describes no run of this program"):
        load_folder(copied)
    (copied / "config.json").write_text("[]")
    with pytest.raises(StoreError):
        load_folder(copied)


def test_the_reference_histogram_travels_with_the_weights(copied: Path) -> None:
    assert (copied / "reference.json").is_file()
    (copied / "reference.json").unlink()
    with pytest.raises(StoreError, match="histogram reference of histstd"):
        load_folder(copied)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"use": "loud:network", "with": {}}, "loud:network"),
        ({"use": "bench.models.network:timm_model", "with": {"name": "hf-hub:a/b"}}, "hf-hub"),
        (
            {"use": "bench.models.network:timm_model", "with": {"name": "resnet18", "checkpoint_path": "x"}},
            "checkpoint_path",
        ),
    ],
)
def test_code_that_a_folder_names_is_not_imported(
    copied: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object], named: str
) -> None:
    (copied / "loud.py").write_text(f"open({str(copied / 'owned')!r}, 'w')")
    monkeypatch.syspath_prepend(copied)
    from bench.store.store import canonical_json, short_hash

    def point_elsewhere(content: dict[str, object]) -> None:
        content["document"]["entries"]["architecture"].update(entry)  # type: ignore[index]
        content["run"] = short_hash(canonical_json(content["document"]))

    changed(copied, point_elsewhere)
    with pytest.raises(SetupError, match=f"(?s)not in the registry.*{named}.*--trust"):
        load_folder(copied)
    assert not (copied / "owned").exists()


def test_each_finding_of_a_panel_is_explained_by_its_network(mixed: Path, uploaded: dict[str, Path]) -> None:
    (image,) = images(mixed, 1)
    explain_image = pytest.importorskip("bench.extensions.heat_maps.explain_image").explain_image
    panel = load_folder(uploaded["panel"])
    source = next(source for source in panel.sources if source.run.config.finding == "Edema")
    (own,), (alone,) = (explain_image(each, image, ["Edema"]).finding_maps for each in (panel, source))
    np.testing.assert_array_equal(own.heat, alone.heat)
    assert own.logit == alone.logit


def test_every_kind_of_row_has_a_card_that_names_its_networks(manifest: Manifest, uploaded: dict[str, Path]) -> None:
    for row in (*manifest.runs, *manifest.derived):
        card = (manifest.store.run_dir(row.id) / "MODEL_CARD.md").read_text()
        assert all(f"run {network}" in card for network in row.of)
    cards = {kind: (folder / "README.md").read_text() for kind, folder in uploaded.items()}
    assert "rotated by 7°" in cards["tta"]
    assert "rotated by 7°" in cards["ensembles of views"]
    assert "mean probability" in cards["ensemble"]
    assert "Cardiomegaly" not in cards["panel"]
    assert all("bench predict OWNER/NAME IMAGE.png" in card for card in cards.values())
