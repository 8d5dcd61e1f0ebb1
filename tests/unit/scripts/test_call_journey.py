"""The counts of scripts/call_journey.py on a tree of six small modules."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "call_journey.py"
TREE = {
    "bench/cli/main.py": """
from bench.planning import plan
from bench.store.files import write as save

def run():
    from bench.runs.one import train
    plan.make()
    train(plan.make())
    save()

def unused():
    run()
""",
    "bench/planning/plan.py": """
from bench.store.files import read

def make():
    return _checked(read())

def _checked(table):
    return rows(table)

def rows(table):
    return make if table else None
""",
    "bench/runs/one.py": """
from bench.planning.protocol import scored
from harmonize import load

def train(plan):
    load()
    scored()
""",
    "bench/planning/protocol.py": "def scored(): pass",
    "bench/store/files.py": "def read(): pass\ndef write(): pass",
    "harmonize/__init__.py": "from harmonize.images import load",
    "harmonize/images.py": "def load(): pass",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, source in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def counted(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), "--root", str(tree), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_stops_are_in_the_order_of_calls_and_steps_back_to_a_package_are_climbs(tree: Path) -> None:
    header, counts, *steps = counted(tree, "--steps", "bench.cli.main.run").stdout.splitlines()
    assert header.split() == ["function", "stops", "files", "climbs"]
    assert counts.split() == ["bench.cli.main.run", "8", "6", "3"]
    assert [step.strip() for step in steps] == [
        "bench.cli.main.run", "bench.planning.plan.make", "bench.store.files.read", "^ bench.planning.plan.rows",
        "bench.runs.one.train", "harmonize.images.load", "^ bench.planning.protocol.scored", "^ bench.store.files.write",
    ]  # fmt: skip


def test_a_street_has_no_climb(tree: Path) -> None:
    assert counted(tree, "bench.runs.one.train").stdout.splitlines()[1].split()[1:] == ["3", "3", "0"]


def test_a_name_that_is_no_function_is_refused(tree: Path) -> None:
    refused = counted(tree, "bench.cli.main.walk")
    assert refused.returncode
    assert "bench.cli.main.walk is not a function" in refused.stderr


LIMITS = {  # function: stops, climbs
    "bench.cli.main.run": (370, 46),  # each hook of an extension is a climb to the list of extensions and back
    "bench.runs.run_one.run_one": (70, 22),
    "bench.scoring.score_run.score_run": (80, 5),
}


@pytest.fixture(scope="module")
def journeys() -> dict[str, list[str]]:
    """The counts of the project's own journeys, by function."""
    done = counted(SCRIPT.parents[1], *LIMITS)
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize("function", LIMITS)
def test_the_project_s_own_journeys_stay_short(function: str, journeys: dict[str, list[str]]) -> None:
    stops, _, climbs = map(int, journeys[function])
    assert stops < LIMITS[function][0]
    assert climbs < LIMITS[function][1], "a helper calls back into a package that the journey had left"
