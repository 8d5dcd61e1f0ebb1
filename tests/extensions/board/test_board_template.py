"""The repository template of a board: its scripts check, accept and build as they stand there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.extensions.board.decisions import read
from bench.extensions.board.rules import Rules
from bench.extensions.board.submit import SubmissionRequest, submit
from tests.conftest import Once
from tests.extensions.board.laboratories import RULES, laboratories, quiet, rules
from tests.forked import shell
from tests.nonempty import nonempty

TEMPLATE = Path(__file__).parents[3] / "bench" / "extensions" / "board" / "repository"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=M", "-c", "user.email=m@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.thorough
@pytest.mark.grid
def test_the_scripts_accept_a_pull_request_and_build_the_site(finished: Path, once: Once, tmp_path: Path) -> None:
    labs = once("laboratories", lambda folder: laboratories(finished, folder))
    board = shutil.copytree(TEMPLATE, tmp_path / "board")
    rules(board, url="")
    git(board, "init", "--quiet", "--initial-branch", "main")
    git(board, "add", ".")
    git(board, "commit", "--quiet", "-m", "Begin")
    git(board, "checkout", "--quiet", "-b", "theirs")
    request = SubmissionRequest(labs / "a.zip", board, "lab-a", "Laboratory A", "CC-BY-4.0", {})
    assert submit(request, Registry.read(), quiet).folder is not None
    git(board, "add", ".")
    git(board, "commit", "--quiet", "-m", "Submit")
    git(board, "checkout", "--quiet", "main")
    identity = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "M")
    identity |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "m@example.org")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **identity}
    script = 'export -f bench\n./accept.sh lab-a theirs M "every number agrees"\n./check.sh HEAD~1\n'
    done = shell(script, board, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 row, 1 ranked" in done.stdout
    assert [each.why for each in read(board)] == ["every number agrees"]
    assert "Laboratory A" in (board / "site" / "index.html").read_text()
    assert git(board, "status", "--porcelain") == "", "the site is ignored, everything else is committed"
    (board / "decisions.jsonl").write_bytes(b"")
    done = shell("export -f bench\n./check.sh HEAD\n", board, environment)
    assert done.returncode == 2
    assert "changed or removed" in done.stderr
    done = shell(f"export -f bench\n./check.sh {'1' * 40}\n", board, environment)
    assert done.returncode == 2
    assert "cannot be compared with it" in done.stderr, "an unknown commit is no reason to skip the comparison"
    done = shell("export -f bench\n./accept.sh ../x theirs M why\n", board, environment)
    assert "no name of a submission" in done.stderr


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("mkdir submissions/lab-b && echo x > submissions/lab-b/submission.json", 0),
        ("echo key >> signers.txt", 0),
        (
            "mkdir -p submissions/b/reproductions && cd submissions/b && touch bundle.zip{,.sig} reproductions/0123456789ab.json.sig",
            0,
        ),
        ("echo x > submissions/new", 1),
        ("echo '*.zip text eol=crlf' > submissions/.gitattributes", 1),
        ("mkdir submissions/b && touch submissions/b/.gitattributes", 1),
        ("mkdir submissions/b && touch submissions/b/bundle.zip.sig.sh", 1),
        ("echo x >> check.sh", 1),
        ("git mv check.sh submissions/moved", 1),
        ("echo x >> submissions/lab-a", 1),
        ("git rm -q submissions/lab-a", 1),
    ],
)
def test_a_pull_request_from_outside_only_adds_submissions(change: str, code: int, tmp_path: Path) -> None:
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "board.yml").read_text())
    [step] = [step for step in workflow["jobs"]["check"]["steps"] if "from outside" in step.get("name", "")]
    board = shutil.copytree(TEMPLATE, tmp_path / "board")
    (board / "submissions").mkdir()
    (board / "submissions" / "lab-a").write_text("accepted\n")
    git(board, "init", "--quiet", "--initial-branch", "main")
    git(board, "add", ".")
    git(board, "commit", "--quiet", "-m", "Begin")
    git(board, "checkout", "--quiet", "-b", "theirs")
    subprocess.run(["bash", "-ec", change], cwd=board, check=True)
    git(board, "add", ".")
    git(board, "commit", "--quiet", "-m", "Change")
    git(board, "checkout", "--quiet", "main")
    (board / "later").touch()  # the main branch has moved since the pull request was opened
    git(board, "add", ".")
    git(board, "commit", "--quiet", "-m", "Later")
    git(board, "merge", "--quiet", "--no-ff", "-m", "Merge", "theirs")
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=board, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr


def test_workflows_give_no_secret_to_pull_requests() -> None:
    for path in nonempty((TEMPLATE / ".github" / "workflows").glob("*.yml")):
        text = path.read_text()
        assert "pull_request_target" not in text
        assert "secrets." not in text
        for job in yaml.safe_load(text)["jobs"].values():
            for step in job["steps"]:
                reads = any(name in step.get("run", "") for name in ("bench ", "accept.sh", "check.sh"))
                assert not (reads and "GH_TOKEN" in step.get("env", {})), "who reads a submission has no token"


def test_the_rules_of_the_template_are_those_of_the_demo_and_the_workflows_can_be_read() -> None:
    board, grid = Rules.read(TEMPLATE), Grid.read("demo", Registry.read())
    assert (board.internal, list(board.external)) == (grid.train_on, list(grid.evaluate_on))
    assert board.min_count == grid.min_count
    assert len({config.seed for config in grid.configs}) >= board.seeds
    assert set(yaml.safe_load((TEMPLATE / "board.yaml").read_text())) <= {*RULES, "about"}
    for path in (TEMPLATE / ".github").rglob("*.yml"):
        content = yaml.safe_load(path.read_text())
        assert content["name"]
        if "jobs" in content:
            steps = [step for job in content["jobs"].values() for step in job["steps"]]
            assert not [step for step in steps if "${{" in step.get("run", "")], (
                "inputs go through variables, not into code"
            )
