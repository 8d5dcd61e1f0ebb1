"""Test that the steps of "Add a dataset" in docs/dev/add.md, in a copy of the project, add a dataset completely."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
SECTION = (PROJECT / "docs" / "dev" / "add.md").read_text().partition("\n## Add a dataset\n")[2].partition("\n## ")[0]

LOADED = """
from pathlib import Path
import harmonize
from harmonize.cohorts.specs import with_gold
from harmonize.ground_truth.ground_truth import truth_of
from pictures import ramp, save

data = Path("data")
rows = ["{0}a.png,{0}-1,PA,F,61,labeler,1.0,0.0", "{0}b.png,{0}-1,AP,F,62,radiologist,,1.0", "{0}c.png,{0}-2,,,,labeler,,-1.0"]
lines = [row.format(k) for k in range(8) for row in rows]
for number, line in enumerate(lines):
    save(data / "mercy/images" / line.split(",")[0], ramp(64 + number, 64))
(data / "mercy/mercy_labels.csv").write_text("\\n".join(["image,patient,view,sex,age,reader,No Finding,Edema", *lines]) + "\\n")
(data / "mercy/mercy_boxes.csv").write_text("image_id,finding,x_min,y_min,x_max,y_max\\n0b.png,Edema,8,8,16,32\\n")

specs = with_gold(harmonize.read_data(data), ["mercy-gold"])
cohort = harmonize.load(specs["mercy"])
print(list(specs), len(cohort.table), int((cohort.table["Edema"] == 1).sum()), cohort.table["Pneumonia"].isna().all())
print(len(harmonize.load(specs["mercy-gold"]).table))
truth = truth_of("mercy", data / "mercy", cohort.table)
print(truth.source, int(truth.masks("0b.png", (65, 64))["Edema"].sum()))
"""


def insert_under_datasets(path: Path, lines: str) -> None:
    """Insert lines at the start of the top-level key `datasets`."""
    path.write_text(re.sub(r"^datasets:.*\n", lambda key: key.group() + lines, path.read_text(), flags=re.MULTILINE))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with these steps done."""
    root = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("kernels-*", "*.pyc.*")  # bytecode stays valid; not what is being written
    for folder in ("bench", "harmonize", "reports", "tests", "grids"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=ignored)
    for file in ("registry.yaml", "conftest.py", "pyproject.toml"):
        shutil.copy(PROJECT / file, root / file)
    blocks = re.findall(r"```\w+\n# (\S+\.\w+): [^\n]*\n(.*?)```", SECTION, re.DOTALL)
    adapter, labels, registry = blocks
    assert [name for name, _ in blocks] == [
        "harmonize/datasets/mercy.py",
        "harmonize/labels/labels.yaml",
        "registry.yaml",
    ]
    (root / adapter[0]).write_text(adapter[1])
    insert_under_datasets(root / labels[0], labels[1])
    insert_under_datasets(root / registry[0], registry[1])
    return root


def run(root: Path, *arguments: str) -> str:
    """Run Python in the copy and return what it prints."""
    paths = os.pathsep.join([str(root), str(root / "tests")])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")} | {"PYTHONPATH": paths}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, f"{arguments}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.slow
def test_a_new_dataset_can_be_loaded_with_gold_subset_and_boxes(project: Path) -> None:
    assert run(project, "-c", LOADED).splitlines() == [
        "['mercy', 'mercy-gold'] 16 8 True",
        "8",
        f"boxes {8 * 24}",
    ]
    assert "mercy" in run(project, "-m", "bench.cli", "data", "stats", "--data", "data", "--no-images")
    assert "counts are not compared" in run(project, "-m", "bench.cli", "check", "--data", "data", "--quick")


@pytest.mark.slow
def test_the_tests_of_every_layout_pass_for_a_new_dataset(project: Path) -> None:
    files = ("layouts", "labelmap", "spaces", "cohorts", "cohort_choices", "inspect", "specs_and_splits")
    selection = "mercy or every_layout or published_fact or data_folder or without_a_gold"
    paths = [f"tests/unit/harmonize/test_{file}.py" for file in files]
    output = run(project, "-m", "pytest", "-q", "-k", selection, *paths, "tests/contracts/test_metrics_and_datasets.py")
    assert int(re.findall(r"(\d+) passed", output)[0]) > 10
