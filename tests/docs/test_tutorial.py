"""The tutorial's commands run in their order as they stand there, and the FAQ quotes what the program says."""

import os
import re
from pathlib import Path

import pytest

from tests.forked import shell

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


@pytest.mark.grid
def test_the_tutorial_runs_from_an_empty_folder_to_its_answers(tmp_path: Path) -> None:
    """The commands of the tutorial."""
    (grid,) = re.findall(r"```yaml\n# (first\.yaml)\n(.*?)```", TUTORIAL, re.DOTALL)
    (tmp_path / grid[0]).write_text(grid[1])
    text = "\n".join(re.findall(r"```bash\n(.*?)```", TUTORIAL, re.DOTALL))
    assert text.count("bench ") >= 9
    chosen = {key: value for key, value in os.environ.items() if key not in {"BENCH_DATA", "BENCH_STORE"}}
    done = shell(text, tmp_path, chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "4 of 4 runs done",
        "difference = first - second",
        " · BCE\n",
        " · BCE, weighted\n",
        "first-youden/leaderboard.html",
        "not for clinical use",
    ):
        assert said in done.stdout
    assert (tmp_path / "runs" / "report" / "first" / "leaderboard.html").is_file()


def quoted() -> list[str]:
    return [
        said
        for line in (ROOT / "docs" / "faq.md").read_text().splitlines()
        if line.startswith("**`")
        for said in re.findall(r"`([^`]+)`", line.split(".")[0].split("**")[1])
    ]


@pytest.mark.parametrize("said", quoted())
def test_the_faq_quotes_words_of_the_program(said: str) -> None:
    sources = "".join(path.read_text() for part in ("bench", "harmonize") for path in (ROOT / part).rglob("*.py"))
    assert said in sources
