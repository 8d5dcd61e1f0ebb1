"""What a user sees of a grid on synthetic hospitals: no name and no place of a real hospital, and a note that it is synthetic."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.planning.manifest import read_manifest, trained_on_synthetic
from bench.results.model_card import card
from bench.results.report_tables import tables
from bench.store.checked_files import read_grid, write_grid
from bench.store.store import Store
from bench.system.disclaimer import TRAINED_ON_SYNTHETIC
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from harmonize.labels.findings import labels_yaml
from reports.page import render
from reports.site import write_site

Command = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.grid
DATASETS = labels_yaml()["datasets"]


def real_names(text: str) -> list[str]:
    """Return the titles and places of real datasets in a text; `(MIMIC layout)` is no such name."""
    for texts in DATASETS.values():
        text = text.replace(f"({texts['title'].partition('-')[0]} layout)", "")
    words = [word for texts in DATASETS.values() for word in (texts["title"], texts["place"].partition(",")[0])]
    return [word for word in words if word in text]


@pytest.fixture
def titled(store_copy: Path) -> Store:
    """A store whose grid states the titles of real datasets."""
    store = Store.open(store_copy / "runs", create=False)
    content = read_grid(store, "tiny")
    for cohort in content["cohorts"]:
        cohort["facts"] |= {key: DATASETS[cohort["layout"]][key] for key in ("title", "place", "licence")}
    write_grid(store, "tiny", content)
    return store


def test_page_and_site_of_a_synthetic_store_name_no_real_hospital(titled: Store, tmp_path: Path) -> None:
    manifest = read_manifest(titled, "tiny")
    report = tables(manifest)
    page = render(report)
    assert real_names(page) == []
    assert "Hospital A (CheXpert layout)" in page
    assert f'data-note="{SYNTHETIC_NOTICE}"' in page
    write_site(report, tmp_path / "site")
    for file in (tmp_path / "site").glob("runs/*.html"):
        assert real_names(file.read_text()) == []
    cohorts = pd.read_parquet(tmp_path / "site" / "data" / "cohorts.parquet")
    assert cohorts["title"].str.fullmatch(r"Hospital [A-F] \(\w+ layout\)").all()
    assert set(cohorts["place"]) == {"synthetic"}
    assert set(cohorts["licence"]) == {"synthetic images"}
    for name in ("scores", "gaps", "cohorts"):
        data = tmp_path / "site" / "data"
        assert pq.read_schema(data / f"{name}.parquet").metadata[b"synthetic"] == b"true"
        assert json.loads((data / f"{name}.json").read_text())["synthetic"] is True


def test_the_model_card_of_a_synthetic_store_names_no_real_hospital(titled: Store) -> None:
    manifest = read_manifest(titled, "tiny")
    text = card(manifest, manifest.runs[0])
    assert real_names(text) == []
    assert TRAINED_ON_SYNTHETIC in text
    assert "| finding | Hospital A test |" in text


def test_the_licence_of_an_upload_names_no_real_hospital(titled: Store) -> None:
    hub, manifest = pytest.importorskip("bench.extensions.tracking.hub"), read_manifest(titled, "tiny")
    assert hub.licences(manifest, manifest.runs[0].id)[0] == "internal: Hospital A (CheXpert layout), synthetic images"


def test_commands_state_that_the_images_are_synthetic(finished: Path, here: Command) -> None:
    first, second = Store.open(finished / "runs", create=False).run_ids()[:2]
    pair = ("compare", first, second, "--cohort", "nih")
    printed = here(*pair, "--all", cwd=finished).stdout
    assert printed.startswith(SYNTHETIC_NOTICE)
    assert "\nHospital C (NIH layout), all  auroc\n" in printed
    every = "".join(here("compare", first, second, *brief, cwd=finished).stdout for brief in ((), ("--all",)))
    assert real_names(every) == []
    assert not [name for name in DATASETS if re.search(rf"\b{name}\b", every)]  # keys of real datasets, such as mimic
    assert json.loads(here(*pair, "--json", cwd=finished).stdout)["synthetic"] is True
    assert here(*pair, "--csv", cwd=finished).stdout.splitlines()[1].endswith(",True")
    scored = here("score", "--grid", "tiny", cwd=finished).stdout
    assert SYNTHETIC_NOTICE in scored
    assert max(map(len, scored.splitlines())) <= 80


def test_statistics_state_that_the_images_are_synthetic(finished: Path, here: Command, tmp_path: Path) -> None:
    pytest.importorskip("bench.extensions.cohort_statistics")
    (data,) = (finished / "runs" / "phantom").iterdir()
    said = here("data", "stats", "--data", str(data), "--no-images", cwd=tmp_path).stdout
    assert said.startswith(SYNTHETIC_NOTICE)
    assert "nih is Hospital C (NIH layout)" in said
    assert real_names(said) == []


def test_heat_maps_of_a_run_that_learned_from_drawings_say_so_first(
    finished: Path, here: Command, tmp_path: Path
) -> None:
    pytest.importorskip("bench.extensions.heat_maps")
    run_id = Store.open(finished / "runs", create=False).run_ids()[0]
    image = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    words = ("explain", run_id, str(image), "--finding", "Edema", "-o", str(tmp_path), "--quiet")
    assert here(*words, cwd=finished).stdout.startswith(TRAINED_ON_SYNTHETIC)
    (row,) = json.loads(here(*words, "--json", cwd=finished).stdout)
    assert row["trained_on_synthetic"] is True
    assert row["notice"].startswith(TRAINED_ON_SYNTHETIC)
    assert pd.read_csv(tmp_path / "explained.csv")["trained_on_synthetic"].all()


def test_a_run_folder_without_its_grid_still_states_that_its_images_were_synthetic(
    store_copy: Path, tmp_path: Path
) -> None:
    store = Store.open(store_copy / "runs", create=False)
    run_id = read_manifest(store, "tiny").runs[0].id
    elsewhere = Store.open(tmp_path / "elsewhere")
    shutil.copytree(store.run_dir(run_id), elsewhere.run_dir(run_id))
    assert trained_on_synthetic(elsewhere, run_id)


def test_a_run_of_real_images_or_of_no_readable_grid_is_not_called_synthetic(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs", create=False)
    manifest = read_manifest(store, "tiny")
    run_id = manifest.runs[0].id
    record = store.run_dir(run_id) / "env.json"
    facts = json.loads(record.read_bytes())
    record.write_text(
        json.dumps({key: fact for key, fact in facts.items() if key != "synthetic"})
    )  # as in a run of a bundle
    assert trained_on_synthetic(store, run_id)
    assert not trained_on_synthetic(store, "0" * 12)
    replace(manifest, phantom=False).write()
    assert not trained_on_synthetic(store, run_id)
    (store.root / "grids" / "tiny.json").write_text("{")
    assert not trained_on_synthetic(store, run_id)
