"""Every command and snippet of the documents is run by a test, or listed here with the reason why not."""

import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.store.store import Store
from tests.conftest import Command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN_BY = {
    "add.md": "test_contributing.py",
    "heat-maps.md": "test_every_document.py",
    "library.md": "test_library.py",
    "one-run.md": "test_every_document.py",
    "sharing.md": "test_sharing_commands.py",
    "store.md": "test_bundle_commands.py",
    "tutorial.md": "test_tutorial.py",
    "your-own-model.md": "test_own_model.py",
}
NOT_RUN = {  # they are held to the commands' options by test_docs.py all the same
    "README.md": "installs and tests the project, as CI does, or needs the datasets; `tox -e wheel` runs the demo of the wheel",
    "CONTRIBUTING.md": "installs and tests the project, as CI does",
    "algorithms.md": "takes minutes; test_algorithm_runs.py compares algorithms on a small grid",
    "benchmarks.md": "benchmarks take an hour; test_harness.py runs some in small",
    "estimates.md": "needs three labeled hospitals; test_estimate.py and test_labels_needed.py run the commands on small grids",
    "faq.md": "needs the datasets; test_tutorial.py holds its quotes to the program",
    "leaderboard.md": "needs the datasets; test_readers_command.py runs the command on a small grid",
    "predecessors.md": "needs the datasets; test_whole_studies.py runs the twins in small",
    "real-data.md": "needs real radiographs; test_cohort_wiring.py, test_check.py and test_data_stats.py run the same on tables made here",
    "reporting.md": "names no run; test_errors_and_card.py runs the command on a small grid",
    "running.md": "needs a cluster, or the datasets; test_cli.py runs the dry run, test_executors.py and test_team.py each executor",
}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def test_every_document_with_commands_is_run_or_says_why_not() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    spoken = {page.name for page in pages if blocks(page, "bash") or blocks(page, "python")}
    assert spoken == RUN_BY.keys() | NOT_RUN.keys()
    assert not RUN_BY.keys() & NOT_RUN.keys()
    for document, test in RUN_BY.items():
        assert document in (ROOT / "tests" / "docs" / test).read_text()
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", "".join(NOT_RUN.values()))) <= tests


@pytest.fixture
def inbox(store_copy: Path) -> Path:
    """A store beside the files that the documents speak of: images, a folder and a list of them, a mask."""
    (images,) = (store_copy / "runs" / "phantom").iterdir()
    png, dicom = min(images.rglob("nih/**/*.png")), sorted(images.rglob("vindr/**/*.dicom"))[:2]
    for name, source in {"chest.png": png, "image.png": png, "inbox/a.png": png, "chest.dcm": dicom[0], "image.dcm": dicom[0], "other.dcm": dicom[1]}.items():  # fmt: skip
        (store_copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, store_copy / name)
    (store_copy / "list.csv").write_text("path\nchest.png\n")
    side = cv2.imread(str(png), cv2.IMREAD_GRAYSCALE).shape
    mask = np.zeros(side, np.uint8)
    mask[side[0] // 2 :, side[1] // 2 :] = 255
    cv2.imwrite(str(store_copy / "heart.png"), mask)
    return store_copy


@pytest.mark.grid
@pytest.mark.parametrize(
    "document",
    ["one-run.md", "extensions/heat-maps.md"],
)
def test_the_commands_of_a_document_run_in_their_order(
    document: str, inbox: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = Store.open(inbox / "runs", create=False).run_ids()[0]
    done = 0
    text = re.sub(r"## Score again in another way\n.*?(?=\n## )", "", (DOCS / document).read_text(), flags=re.DOTALL)
    # test_rescore.py runs what is left out here, and reads its results
    for line in "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["bench"]:
            words = words[1 : words.index(">") if ">" in words else None]
            here(*(run_id if word == "3fa9" else word for word in words), cwd=inbox)
            done += 1
    assert done >= 3
    monkeypatch.chdir(inbox)
    for block in blocks(DOCS / document, "python"):
        exec(compile(block.replace("3fa9", run_id), document, "exec"), {})
