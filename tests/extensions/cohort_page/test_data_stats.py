"""`bench data stats`: text, JSON, page, and refused options."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.extensions.cohort_page.data_pictures import caption
from harmonize.phantom import PhantomSettings, write_cohorts
from tests.hand import cohort

Command = Callable[..., "subprocess.CompletedProcess[str]"]
DEMO = Path(__file__).parents[3] / "grids" / "demo.yaml"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    images = {"chexpert": 60, **dict.fromkeys(("mimic", "nih", "padchest", "vindr", "brax"), 12)}
    write_cohorts(folder / "p", PhantomSettings(images=images, size=64, shortcut=0.0))
    return folder / "p"


def as_real(phantoms: Path, target: Path) -> Path:
    """Copy the NIH phantom without the file that marks it as synthetic."""
    import shutil

    shutil.copytree(phantoms / "nih", target / "data" / "nih")
    return target / "data"


@pytest.mark.slow
def test_the_text_lists_every_cohort_and_every_part(phantoms: Path, here: Command, tmp_path: Path) -> None:
    said = here("data", "stats", "--data", str(phantoms), "--quiet", cwd=tmp_path).stdout
    for name in ("chexpert", "mimic", "nih", "padchest", "vindr", "brax"):
        assert f"{name}: 0 shared patients" in said
    for part in ("Images:", "Findings:", "No clear label:", "Co-occurrence:", "Demographics:", "Splits", "Pixels:"):
        assert part in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_json_has_consistent_counts(phantoms: Path, here: Command, tmp_path: Path) -> None:
    stats = json.loads(here("data", "stats", "--data", str(phantoms), "--json", "--sample", "5", cwd=tmp_path).stdout)
    assert stats["schema"] == 1
    assert stats["failed"] == {}
    for cohort_stats in stats["cohorts"]:
        flow = {row["step"]: row for row in cohort_stats["flow"]}
        lost = sum(row["images"] for row in cohort_stats["flow"] if row["kind"] == "loss")
        assert flow["found"]["images"] - lost == flow["used"]["images"] == cohort_stats["images"]
        assert sum(split["images"] for split in cohort_stats["splits"]) == cohort_stats["images"]
        assert cohort_stats["pixels"]["drawn"] == 5
        assert len(cohort_stats["findings"]) == 9


@pytest.mark.slow
def test_no_images_needs_only_the_tables(phantoms: Path, here: Command, tmp_path: Path) -> None:
    data = as_real(phantoms, tmp_path)
    for image in data.rglob("*.png"):
        image.unlink()
    said = here("data", "stats", "--data", "data", "--no-images", "--html", "a/page.html", cwd=tmp_path).stdout
    assert "- absent" not in said
    assert "Pixels" not in said
    page = (tmp_path / "a" / "page.html").read_text()
    assert "tables only" in page
    assert "<img" not in page
    assert "the cohort has no images" in here("data", "stats", "--data", "data", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_a_page_shows_pictures_of_phantoms(phantoms: Path, here: Command, tmp_path: Path) -> None:
    here("data", "stats", "--data", str(phantoms), "--html", "page.html", "--quiet", cwd=tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure><img") == 72  # twelve per cohort
    variants = len(re.findall(r"<td><img", page))
    assert variants == 6 * 3 * (1 + len(set(re.findall(r'alt="(\w+_\d+)"', page))))
    assert "clahe_224" in page


@pytest.mark.slow
def test_images_of_patients_need_with_images_and_then_the_page_warns(
    phantoms: Path, here: Command, tmp_path: Path
) -> None:
    as_real(phantoms, tmp_path)
    here("data", "stats", "--data", "data", "--html", "page.html", "--quiet", cwd=tmp_path)
    assert "<img" not in (tmp_path / "page.html").read_text()
    here("data", "stats", "--data", "data", "--html", "page.html", "--with-images", "--quiet", cwd=tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert "<img" in page
    assert "forbid publishing it" in page


def test_one_bad_dataset_does_not_hide_the_others(phantoms: Path, here: Command, tmp_path: Path) -> None:
    data = as_real(phantoms, tmp_path)
    (data / "mimic").mkdir()
    done = here("data", "stats", "--data", "data", "--html", "page.html", "--no-images", cwd=tmp_path, code=1)
    assert "error: mimic: " in done.stderr
    assert "nih: 0 shared patients" in done.stdout
    assert "mimic could not be read" in (tmp_path / "page.html").read_text()


def test_contradictory_options_and_missing_data_are_refused(here: Command, tmp_path: Path) -> None:
    said = here("data", "stats", "--no-images", "--with-images", cwd=tmp_path, code=2).stderr
    assert said.startswith("error: --with-images is only valid with --html and without --no-images")
    assert "no such file or folder" in here("data", "stats", "--data", "nowhere", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_without_data_the_phantoms_of_the_demo_grid_are_described(here: Command, tmp_path: Path) -> None:
    large, few = "source: 2250, external: 320, size: 128", "source: 60, external: 12, size: 64"
    assert large in DEMO.read_text()
    (tmp_path / "grids").mkdir()  # a grid in the working directory comes before the shipped one
    (tmp_path / "grids" / "demo.yaml").write_text(DEMO.read_text().replace(large, few))
    done = here("data", "stats", "--no-images", cwd=tmp_path)
    assert "without --data: uses synthetic cohorts of the grid demo" in done.stderr
    assert "chexpert" in done.stdout


@pytest.mark.parametrize(
    ("row", "words"),
    [(0, "No Finding"), (2, "Pneumonia?, Edema"), (4, "Pneumonia, Edema?"), (5, "none of the findings")],
)
def test_the_caption_lists_present_and_uncertain_findings(row: int, words: str) -> None:
    assert caption(cohort(), row) == words


@pytest.mark.slow
def test_a_grid_gives_the_splits_and_the_label_space(phantoms: Path, here: Command, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "evaluate_on: [mimic]\nsplit: {train: 0.6, val: 0.2, test: 0.2}\nbase: {train_on: chexpert, architecture: resnet18, "
        "optimizer: adamw, loss: bce, uncertainty: u_ignore, preprocessing: imagenet_64, space: chexpert-5}\n"
    )
    asked = ("--data", str(phantoms), "--no-images", "--quiet", "--grid", "grid.yaml")
    said = here("data", "stats", *asked, cwd=tmp_path).stdout
    assert "(train 0.6, val 0.2, test 0.2)" in said
    assert "split shares: those of the grid" in said
    assert "Pneumonia" not in said
