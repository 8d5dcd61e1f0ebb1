"""Nothing that identifies a patient leaves the store: ids, file names and dates are planted, and looked for in all that may be passed on."""

import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.store.checked_folders import CARD

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]

PATIENT, STUDY, FILE, BORN = "MRN7731", "ACC5502", "SMITH_JOHN", "1957-03-14"
PLANTED = (PATIENT, STUDY, FILE, BORN, "19570314")
MAPPING = """
image: "films/{filename}"
patient: mrn
sex: {column: sex, M: [M], F: [F]}
age: {column: age}
findings:
  Pleural Effusion: {column: said, present: [effusion], absent: [nothing]}
  No Finding: {column: said, present: [nothing], absent: [effusion]}
"""
GRID = """
name: planted
title: Planted
evaluate_on: [planted]
min_count: 3
analyses: {attention?: {images: 4, sanity: 2}, acquisition: false, probes: false, transplants: false}
split: {train: 0.6, val: 0.2, test: 0.2}
base:
  train_on: chexpert
  architecture: seresnet_tiny
  weights: none
  channels: 1
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
  schedule: {epochs: 1, batch_size: 32, lr: LR}
sweeps:
  - {seed: [0]}
"""


@pytest.fixture(scope="module")
def planted(finished: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a run was tested on a cohort full of identifiers, and another failed; and all that was printed."""
    folder = tmp_path_factory.mktemp("planted")
    (phantom,) = (finished / "runs" / "phantom").iterdir()
    films = folder / "own" / "films"
    films.mkdir(parents=True)
    random, rows = np.random.default_rng(0), []
    for number in range(40):
        name = f"{FILE}_{number}_19570314_{STUDY}.png"
        cv2.imwrite(str(films / name), random.integers(0, 255, (64, 64), dtype=np.uint8))
        said = "effusion" if number % 2 else "nothing"
        rows.append((name, f"{PATIENT}-{number // 2}", STUDY, BORN, "MF"[number % 2], 66, "scanner A", said))
    (films / rows[0][0]).write_bytes(b"cut off")  # its name belongs into the quarantine, and nowhere else
    columns = ["filename", "mrn", "accession", "born", "sex", "age", "scanner", "said"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "own" / "table.csv", index=False)
    (folder / "own" / "mapping.yaml").write_text(MAPPING)
    (folder / "chexpert").symlink_to(
        phantom / "chexpert"
    )  # externally from phantom.json: its images count as real ones
    (folder / "data.yaml").write_text(
        "chexpert: {layout: chexpert, root: chexpert}\n"
        "planted: {layout: table, root: own, table: table.csv, mapping: mapping.yaml}\n"
    )
    printed = []
    for name, rate in (("good.yaml", "3.0e-3"), ("bad.yaml", "1.0e+30")):
        (folder / name).write_text(GRID.replace("LR", rate).replace("name: planted", f"name: {name[:-5]}"))
        done = command("run", "--grid", name, "--data", "data.yaml", cwd=folder, code=None)
        printed += [done.stdout, done.stderr]
        assert done.returncode == (0 if name == "good.yaml" else 1), done.stderr
    for words in (
        ("report", "--grid", "good", "-o", "page.html", "--quiet"),
        ("report", "--grid", "good", "--site", "site", "--quiet"),
        ("list", "runs"),
        ("check", "--quiet", "--quick"),
    ):
        done = command(*words, cwd=folder, code=None)
        printed += [done.stdout, done.stderr]
    return folder, "\n".join(printed)


def texts(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder; of tables also what is in their cells, of zips the members."""
    for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield f"{path} (cells)", pd.read_parquet(path).to_csv().encode()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path}: {name}", archive.read(name)) for name in archive.namelist())


def leaks(root: Path) -> list[tuple[str, str]]:
    return [(where, word) for where, content in texts(root) for word in PLANTED if word.encode() in content]


@pytest.mark.parametrize("what", ["page.html", "site", "runs/report"])
def test_nothing_that_is_passed_on_names_a_patient(what: str, planted: tuple[Path, str]) -> None:
    """Ids of patients in everything that the program writes for others."""
    folder, _ = planted
    assert any(True for _ in texts(folder / what))
    assert leaks(folder / what) == []


def test_a_bundle_names_no_patient(planted: tuple[Path, str], command: Command) -> None:
    pytest.importorskip("bench.extensions.bundles")
    folder, _ = planted
    exported = command("export", "--grid", "good", "-o", "b.zip", "--quiet", cwd=folder)
    verified = command("verify", "b.zip", "--data", "data.yaml", "--quiet", cwd=folder, code=None)
    assert any(True for _ in texts(folder / "b.zip"))
    assert leaks(folder / "b.zip") == []
    printed = [said for done in (exported, verified) for said in (done.stdout, done.stderr)]
    assert not [word for word in PLANTED for said in printed if word in said]


def test_neither_logs_nor_records_of_runs_nor_model_cards_name_a_patient(planted: tuple[Path, str]) -> None:
    folder, _ = planted
    files = [p for p in (folder / "runs").glob("[0-9a-f][0-9a-f]/*/*") if p.is_file()]
    assert {"log.txt", "env.json", "FAILED", CARD} <= {p.name for p in files}
    assert [leak for path in files for leak in leaks(path)] == []
    assert leaks(folder / "runs" / "scores") == leaks(folder / "runs" / "grids") == []


def test_nothing_that_is_printed_names_a_patient(planted: tuple[Path, str]) -> None:
    printed = planted[1]
    assert "leaderboard:" in printed
    assert not [word for word in PLANTED if word in printed]


def test_what_does_hold_ids_is_what_the_documents_say(planted: tuple[Path, str]) -> None:
    """The owner's store has them: cohort tables, quarantine, predictions, features, maps, caches; and the key of a bundle."""
    folder, _ = planted
    held = {Path(where.partition(" (")[0]).relative_to(folder).parts for where, _ in leaks(folder / "runs")}
    places = {("cohorts" if parts[1] == "cohorts" else "cache" if parts[1] == "cache" else parts[3]) for parts in held}
    assert places <= {"cohorts", "cache", "predictions", "features", "attention"}
    assert {"cohorts", "predictions"} <= places
    assert leaks(folder / "b.key.parquet")
