"""docs/library.md and docs/library.ipynb do what they say, from their first line to their last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bench.api

pytestmark = pytest.mark.grid
DOCS = Path(__file__).parents[2] / "docs"
EXECUTE = """import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
NotebookClient(book, timeout=240, kernel_name="python3").execute()
nbformat.write(book, sys.argv[2])"""


def test_the_snippets_run_in_their_order_and_the_page_lists_every_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "library.md").read_text()
    for name in bench.api.__all__:
        assert f"`{name}(" in text
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/library.md", "exec"), names)
    assert (tmp_path / "leaderboard.html").stat().st_size > 100_000
    assert (tmp_path / "runs" / "grids" / "mine.yaml").is_file()
    said = capsys.readouterr().out
    assert "no loss 'bcee'" in said or "'bcee'" in said
    assert "chexpert/test" in said
    assert names["picture"].shape[2] == 3  # type: ignore[attr-defined]


def test_the_notebook_runs_as_it_stands_and_carries_what_it_gave(tmp_path: Path) -> None:
    """The notebook of the documents."""
    stored = DOCS / "library.ipynb"
    env = {**os.environ, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(stored), str(tmp_path / "again.ipynb")], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert stored.stat().st_size < 150_000
    before, after = (json.loads(path.read_text())["cells"] for path in (stored, tmp_path / "again.ipynb"))
    for old, new in zip(before, after, strict=True):
        kinds = [[sorted(each.get("data", each)) for each in cell.get("outputs", [])] for cell in (old, new)]
        if any("image/png" in kind for kind in kinds[0]):
            continue  # its text is the address of an object
        assert kinds[0] == kinds[1], new
        assert not any(each["output_type"] in ("stream", "error") for each in new.get("outputs", []))
