"""External cohorts that share images or patients with the internal cohort stop a grid before training."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from native_tables import TABLES, written

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.external_overlap import find_equal_tables
from bench.planning.image_caches import DecodedImages, prepare
from bench.planning.manifest import planned_manifest
from bench.planning.overlap import refuse_internal_again
from bench.planning.plan import Plan, make_plan
from bench.planning.planned_grid import ComparedCohorts
from bench.store.store import Store
from harmonize.cohorts.cohort import load
from harmonize.cohorts.specs import read_data
from harmonize.datasets import nih
from harmonize.errors import ConfigError, DatasetError
from harmonize.phantom import PhantomSettings, twin
from tests.unit.bench.planning.test_plan import GRID, MAPPING, patients, silent

SETTINGS = PhantomSettings(seed=5, size=128)
INTERNAL, COPIES = 59, 6


@pytest.fixture(scope="module")
def radiographs() -> dict[str, list[np.ndarray]]:
    numbers = {"chexpert": INTERNAL, "nih": 8}
    return {
        site: [(twin(SETTINGS, site, i).image * 255).round().astype(np.uint8) for i in range(number)]
        for site, number in numbers.items()
    }


def encoded_again(image: np.ndarray, number: int) -> bytes:
    """Return an image as JPEG of another size and of quality 50 to 95."""
    scale = (0.7, 1.3, 1.8)[number % 3]
    resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 50 + 9 * (number % 6)])[1].tobytes()


def write(root: Path, files: list[bytes], prefix: str) -> None:
    root.mkdir()
    table = patients(len(files))
    for name, content in zip(table["file"], files, strict=True):
        (root / name).write_bytes(content)
    table.assign(patient=prefix + table["patient"]).to_csv(root / "table.csv", index=False)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def write_cohorts(folder: Path, radiographs: dict[str, list[np.ndarray]]) -> None:
    """Write an internal cohort, and an external cohort that ends in COPIES encoded copies of internal images."""
    # one gray value, except one pixel: it can be decoded, but not compared
    nearly_blank = np.full((70, 80), 9, np.uint8)
    nearly_blank[0, 0] = 14
    blank = png(nearly_blank)
    internal = [png(image) for image in radiographs["chexpert"]]
    copies = [encoded_again(image, i) for i, image in enumerate(radiographs["chexpert"][:COPIES])]
    write(folder / "internal", [*internal, blank], "")
    write(folder / "far", [*(png(image) for image in radiographs["nih"]), blank, *copies], "b")
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "grid.yaml").write_text(GRID)


def table_entry(name: str) -> dict[str, object]:
    return {"layout": "table", "root": name, "table": "table.csv", "mapping": "mapping.yaml"}


def planned(folder: Path, grid: str = GRID, **cohorts: dict[str, object]) -> Plan:
    (folder / "grid.yaml").write_text(grid)
    (folder / "data.yaml").write_text(yaml.safe_dump(cohorts, sort_keys=False))
    registry = Registry.read()
    asked = Grid.read(str(folder / "grid.yaml"), registry)
    return make_plan(asked, registry, Store.open(folder / "runs"), folder / "data.yaml", None, 1, "", silent)


def images_of(folder: Path, **far: object) -> DecodedImages:
    plan = planned(folder, internal=table_entry("internal"), far=table_entry("far") | far)
    return prepare(plan, 1, silent)


@pytest.mark.slow
def test_images_that_were_encoded_again_stop_the_grid_until_they_are_excluded(
    tmp_path: Path, radiographs: dict[str, list[np.ndarray]]
) -> None:
    write_cohorts(tmp_path, radiographs)
    # the first copy is exact
    (tmp_path / "far" / "9.png").write_bytes((tmp_path / "internal" / "0.png").read_bytes())
    with pytest.raises(DatasetError) as error:
        images_of(tmp_path).compared()
    path = tmp_path / "runs" / "cohorts" / "copies-far.csv"
    assert f"{COPIES} images of far are copies of images of internal (1 exact, {COPIES - 1} near)" in error.value.what
    assert "e.g. 9.png = 0.png" in error.value.what
    assert str(path) in error.value.what
    assert "`exclude:`" in error.value.fix
    listed = pd.read_csv(path, dtype=str)
    first = len(radiographs["nih"]) + 1
    assert listed["image_id"].tolist() == [f"{first + i}.png" for i in range(COPIES)]
    assert listed["patient_id"].tolist() == [f"bp{first + i}" for i in range(COPIES)]
    assert listed["internal_image_id"].tolist() == [f"{i}.png" for i in range(COPIES)]
    assert listed["kind"].tolist() == ["exact", *["near"] * (COPIES - 1)]

    images = images_of(tmp_path, exclude=str(path))
    assert images.compared()[1].lists == {}
    manifest = planned_manifest(images.plan, images.caches, 0)
    assert manifest.cohorts[1].flow["listed_in_exclude"] == COPIES
    assert manifest.compared == ComparedCohorts((), True, (), ())


@pytest.mark.slow
def test_a_list_that_is_in_use_is_not_overwritten(tmp_path: Path, radiographs: dict[str, list[np.ndarray]]) -> None:
    write_cohorts(tmp_path, radiographs)
    with pytest.raises(DatasetError):
        images_of(tmp_path).compared()
    path = tmp_path / "runs" / "cohorts" / "copies-far.csv"
    pd.read_csv(path, dtype=str).iloc[1:].to_csv(path, index=False)
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=r"1 images of far .* copies-far\+2.csv|copies-far\+2.csv"):
        images_of(tmp_path, exclude=str(path)).compared()
    assert path.read_bytes() == before
    both = [str(path), str(path.with_name("copies-far+2.csv"))]
    assert images_of(tmp_path, exclude=both).compared()[1].lists == {}


@pytest.mark.slow
def test_hashes_are_computed_once_for_each_build(tmp_path: Path, radiographs: dict[str, list[np.ndarray]]) -> None:
    write_cohorts(tmp_path, radiographs)

    def hashes() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in sorted((tmp_path / "runs" / "cache").glob("*/*/hashes-*.npy"))}

    with pytest.raises(DatasetError):
        images_of(tmp_path).compared()
    first = hashes()
    with pytest.raises(DatasetError):
        images_of(tmp_path).compared()
    assert len(first) == 2
    assert hashes() == first, "the second time reads the stored hashes"
    damaged = Path(next(iter(first)))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(DatasetError):
        images_of(tmp_path).compared()
    assert set(hashes()) == set(first)

    (tmp_path / "far" / "0.png").write_bytes(png(radiographs["chexpert"][20]))
    images = images_of(tmp_path)
    assert len(hashes()) == 1, "a new build removes the hashes of the old build"
    with pytest.raises(DatasetError, match=f"{COPIES + 1} images"):
        images.compared()


def write_nih(root: Path, first_patient: int) -> None:
    rng = np.random.default_rng(first_patient)
    table = TABLES["nih"]().iloc[[0] * 40].reset_index(drop=True)
    number = np.arange(40) // 2 + first_patient
    names = [f"{patient:08d}_{k % 2:03d}.png" for k, patient in enumerate(number)]
    table = table.assign(image_id=names, patient_id=number.astype(str), study_id=names, split="")
    table["age"] = 50 + number % 9
    table["path"] = [f"images_001/images/{name}" for name in names]
    table["native:labels"] = ["No Finding", "Edema"] * 20
    nih.write(table, root)
    (root / "images_001" / "images").mkdir(parents=True, exist_ok=True)
    for path in table["path"]:
        cv2.imwrite(str(root / path), rng.integers(0, 255, (70, 80)).astype(np.uint8))


def nih_entry(root: str, **more: object) -> dict[str, object]:
    return {"layout": "nih", "root": root, **more}


@pytest.mark.slow
def test_patients_of_two_cohorts_of_one_layout_must_differ(tmp_path: Path) -> None:
    write_nih(tmp_path / "internal", 1)
    write_nih(tmp_path / "far", 16)  # shares the patients 16 to 20
    with pytest.raises(DatasetError) as error:
        planned(tmp_path, internal=nih_entry("internal"), far=nih_entry("far"))
    path = tmp_path / "runs" / "cohorts" / "patients-far.csv"
    assert "5 patients of internal are also in far (e.g. the patient of image 00000016_000.png)" in error.value.what
    assert str(path) in error.value.what
    assert path.read_text() == "patient_id\n16\n17\n18\n19\n20\n"
    plan = planned(tmp_path, internal=nih_entry("internal"), far=nih_entry("far", exclude=str(path)))
    assert plan.cohorts["far"].flow["listed_in_exclude"] == 10
    assert planned_manifest(plan, {}, 0).compared == ComparedCohorts(("far",), False, (), ())


def test_patients_of_different_populations_are_not_compared(tmp_path: Path) -> None:
    write_nih(tmp_path / "internal", 1)
    write_nih(tmp_path / "far", 16)
    entries = {"internal": nih_entry("internal", population="one"), "far": nih_entry("far", population="two")}
    assert planned_manifest(planned(tmp_path, **entries), {}, 0).compared == ComparedCohorts((), False, (), ())


@pytest.mark.slow
def test_patients_of_one_population_are_compared_across_tables(tmp_path: Path) -> None:
    for name, number in (("internal", 60), ("far", 4)):
        write(tmp_path / name, [bytes([i]) for i in range(number)], "")
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    entries = {name: table_entry(name) for name in ("internal", "far")}
    far = patients(4).assign(patient=["p0", "x", "y", "z"], finding="Pneumonia")
    far.to_csv(tmp_path / "far" / "table.csv", index=False)
    assert planned(tmp_path, **entries).cohorts, "two tables may use equal ids for different patients"
    with pytest.raises(DatasetError, match="1 patients of internal are also in far"):
        planned(tmp_path, **{name: entry | {"population": "city"} for name, entry in entries.items()})


def written_layouts(folder: Path, *layouts: str) -> Path:
    """Write the example of each layout, and return a data file."""
    for layout in layouts:
        written(layout, folder / layout)
    data = folder / "layouts.yaml"
    data.write_text(yaml.safe_dump({layout: {"layout": layout, "root": layout} for layout in layouts}))
    return data


def test_rsna_and_siim_are_the_hospital_of_nih(tmp_path: Path) -> None:
    specs = read_data(written_layouts(tmp_path, "nih", "rsna", "siim", "shenzhen"))
    nih_cohort, rsna, siim, shenzhen = (load(specs[name]) for name in ("nih", "rsna", "siim", "shenzhen"))
    for one, other in ((nih_cohort, rsna), (rsna, nih_cohort), (siim, rsna)):
        with pytest.raises(ConfigError, match="images of one hospital"):
            refuse_internal_again(one, [shenzhen, other])
    refuse_internal_again(shenzhen, [nih_cohort, rsna])
    scored = {cohort.name: cohort.table for cohort in (shenzhen, rsna, nih_cohort, siim)}
    found = find_equal_tables([shenzhen, rsna, nih_cohort, siim], scored)
    assert [overlap.cohorts for overlap in found] == [("rsna", "nih"), ("rsna", "siim")]
    assert [(overlap.images, overlap.patients) for overlap in found] == [(None, None)] * 2
