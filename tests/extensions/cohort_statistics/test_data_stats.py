"""`bench data stats`: text, JSON, and refused options."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harmonize.phantom import PhantomSettings, write_cohorts

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
        assert f"\n{name}  " in said
    for part in ("Images:", "Findings:", "No clear label:", "Demographics:", "Splits", "Pixels:"):
        assert part in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_json_has_consistent_counts(phantoms: Path, here: Command, tmp_path: Path) -> None:
    stats = json.loads(here("data", "stats", "--data", str(phantoms), "--json", "--sample", "5", cwd=tmp_path).stdout)
    assert stats["schema"] == 3
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
    said = here("data", "stats", "--data", "data", "--no-images", cwd=tmp_path).stdout
    assert "- absent" not in said
    assert "Pixels" not in said
    assert "the cohort has no images" in here("data", "stats", "--data", "data", cwd=tmp_path, code=2).stderr


def test_a_cohort_without_a_readable_image_has_a_row_of_dashes(phantoms: Path, here: Command, tmp_path: Path) -> None:
    data = as_real(phantoms, tmp_path)
    for image in data.rglob("*.png"):
        image.write_bytes(b"")
    rows = here("data", "stats", "--data", "data", "--sample", "3", cwd=tmp_path).stdout.splitlines()
    assert [*["nih", "0", "of", "3"], *["-"] * 6] in [row.split() for row in rows]


def test_one_bad_dataset_does_not_hide_the_others(phantoms: Path, here: Command, tmp_path: Path) -> None:
    data = as_real(phantoms, tmp_path)
    (data / "mimic").mkdir()
    done = here("data", "stats", "--data", "data", "--no-images", cwd=tmp_path, code=1)
    assert "error: mimic: " in done.stderr
    assert "\nnih  " in done.stdout


def test_contradictory_options_and_missing_data_are_refused(here: Command, tmp_path: Path) -> None:
    said = here("data", "stats", "--no-images", "--seed", "1", cwd=tmp_path, code=2).stderr
    assert said.startswith("error: --seed is only valid without --no-images")
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
