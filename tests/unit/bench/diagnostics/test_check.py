"""`bench check --data`: output, exit codes, and records of what was read."""

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.diagnostics.checks import examine
from harmonize.phantom import PhantomSettings, write_cohorts

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantom cohorts with 8 to 30 images."""
    folder = tmp_path_factory.mktemp("made")
    images = {"chexpert": 30, **dict.fromkeys(("mimic", "nih", "padchest", "vindr", "brax"), 8)}
    write_cohorts(folder / "p", PhantomSettings(images=images, size=64, shortcut=0.0))
    return folder / "p"


@pytest.fixture
def phantom(made: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms that a test may change."""
    shutil.copytree(made, tmp_path / "p")
    return tmp_path / "p"


def records(store: Path) -> int:
    return sum(path.stat().st_size for path in (store / "check").glob("*.records"))


@pytest.mark.slow
def test_sound_phantoms_have_no_fault_and_a_second_check_reads_no_image_again(
    phantom: Path, tmp_path: Path, here: Command
) -> None:
    said = here("check", "--data", "p", "--quiet", cwd=tmp_path).stdout
    assert "note nih: phantom: synthetic" in said
    assert said.splitlines()[-1].startswith("0 faults")
    size = records(tmp_path / "runs")
    assert size > 0
    assert here("check", "--data", "p", "--quiet", cwd=tmp_path).stdout.splitlines()[-1].startswith("0 faults")
    assert records(tmp_path / "runs") == size


@pytest.mark.slow
def test_planted_mistakes_are_faults_and_exit_1(phantom: Path, tmp_path: Path, here: Command) -> None:
    chexpert = sorted((phantom / "chexpert").rglob("view1_frontal.jpg"))
    train = next(path for path in chexpert if "/train/" in str(path))
    valid = next(path for path in chexpert if "/valid/" in str(path))
    valid.write_bytes(train.read_bytes())
    nih, cut, *_ = sorted((phantom / "nih").rglob("*.png"))
    min((phantom / "brax").rglob("*.png")).unlink()
    nih.write_bytes(train.read_bytes())
    cut.write_bytes(cut.read_bytes()[:100])
    done = here("check", "--data", "p", "--json", "--quiet", cwd=tmp_path, code=1)
    found = [c for c in json.loads(done.stdout) if c["level"] in ("fault", "warning")]
    named = {(c["dataset"], c["what"]): c["level"] for c in found}
    assert named[("chexpert", "identical files in two splits")] == "fault"
    assert named[("chexpert", "identical files in chexpert and nih")] == "fault"
    assert named[("nih", "unreadable images")] == "fault"
    assert any(cut.name in c["found"] for c in found)


@pytest.mark.slow
def test_a_quick_check_opens_no_image(phantom: Path, tmp_path: Path, here: Command) -> None:
    for path in (phantom / "nih").rglob("*.png"):
        path.write_bytes(b"no image")
    said = here("check", "--data", "p", "--quick", cwd=tmp_path).stdout
    assert "not opened (--quick)" in said
    assert not (tmp_path / "runs").exists()
    assert "BAD  nih: unreadable images" in here("check", "--data", "p", "--quiet", cwd=tmp_path, code=1).stdout


@pytest.mark.slow
def test_tables_without_images_are_a_warning_of_a_quick_check_and_a_fault_of_a_full_one(
    phantom: Path, tmp_path: Path, here: Command
) -> None:
    for path in (phantom / "nih").rglob("*.png"):
        path.unlink()
    said = here("check", "--data", "p", "--quick", cwd=tmp_path).stdout
    assert "warn nih: absent images: expected all listed images are on disk, none of" in said
    assert "download the images" in said
    assert "ok   nih: images used" in said
    assert said.splitlines()[-1] == "0 faults, 1 warning"
    assert "BAD  nih: refused" in here("check", "--data", "p", "--quiet", cwd=tmp_path, code=1).stdout


@pytest.mark.slow
def test_images_under_other_names_are_a_fault_of_a_quick_check(phantom: Path, tmp_path: Path, here: Command) -> None:
    for path in (phantom / "brax").rglob("*.png"):
        path.rename(path.with_suffix(".jpeg"))
    said = here("check", "--data", "p", "--quick", cwd=tmp_path, code=1).stdout
    assert "BAD  brax: absent images" in said
    assert "but the folder has" in said


@pytest.mark.slow
def test_one_refused_dataset_does_not_hide_the_others(phantom: Path, tmp_path: Path, here: Command) -> None:
    entries = phantom / "nih" / "Data_Entry_2017_v2020.csv"
    entries.write_text(entries.read_text().replace("View Position", "Position"))
    said = here("check", "--data", "p", "--quiet", cwd=tmp_path, code=1).stdout
    assert "BAD  nih: refused: no column 'View Position'" in said
    assert "ok   vindr: images: " in said


@pytest.mark.slow
def test_a_warning_alone_exits_with_0(phantom: Path, tmp_path: Path, here: Command) -> None:
    brax = phantom / "brax" / "master_spreadsheet_update.csv"
    brax.write_text(brax.read_text().replace("StudyDate", "Date"))
    said = here("check", "--data", "p", "--quick", cwd=tmp_path).stdout
    assert "warn brax: master_spreadsheet_update.csv: columns: expected 25 columns, missing: 'StudyDate'" in said
    assert said.splitlines()[-1] == "0 faults, 1 warning"


@pytest.mark.slow
def test_patients_of_two_cohorts_of_one_layout_are_compared(phantom: Path, tmp_path: Path, here: Command) -> None:
    shutil.copytree(phantom / "nih", phantom / "again")
    data = phantom / "data.yaml"
    data.write_text(
        "nih: {layout: nih, root: nih}\nvindr: {layout: vindr, root: vindr}\n"
        "again: {layout: nih, root: again}\npart: {layout: nih, root: nih, limit: 3}\n"
    )
    said = here("check", "--data", str(data), "--quick", cwd=tmp_path).stdout
    assert "warn nih: patients shared with again: expected none, " in said
    assert "note nih: patients shared with part: 3: never train on one cohort and test on the other" in said
    assert "shared with vindr" not in said
    data.write_text(
        data.read_text()
        .replace("root: again}", "root: again, population: elsewhere}")
        .replace("nih}", "nih, population: here}")
    )
    assert "patients shared with again" not in here("check", "--data", str(data), "--quick", cwd=tmp_path).stdout


def test_installed_packages_have_one_line_and_a_missing_one_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "shap" else find(name))
    _, packages, missing, *_ = examine(None, tmp_path / "none", None)
    assert (packages.what, packages.level, packages.found.count(", ")) == ("packages", "ok", 3)
    assert "shap" not in packages.found
    assert (missing.what, missing.level, missing.found) == ("shap", "fault", "missing: pip install unseen-cxr")
