"""Start-up: a command imports only the libraries that it uses."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from typer.testing import CliRunner
from bench.cli.main import app
result = CliRunner().invoke(app, {arguments!r})
assert result.exit_code == 0, result.output
print(*[m for m in ("torch", "timm", "sklearn", "shap", "pandas", "numba", "netcal", "cv2", "pydicom", "numpy", "http.client") if m in sys.modules])
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list", "architectures"], ["list"]])
def test_help_and_lists_import_no_heavy_library(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == []


SCORES = """
import sys
import numpy as np
import bench.executors.worker_imports
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit

def split(dataset, name):
    draw, ids = np.random.default_rng(0), np.arange(100).astype(str).astype(object)
    state = draw.integers(0, 2, (100, 2)).astype(np.int8)
    return ScoredSplit(dataset, name, "report", ids, ids, (draw.normal(size=(100, 2)) + state).astype(np.float32), state)

score_run("", ("A", "B"), "a", [split("a", "val"), split("a", "test"), split("b", "all")])
print([name for name in ("numba", "llvmlite", "shap") if name in sys.modules], flush=True)
"""


@pytest.mark.slow
def test_scores_and_workers_do_not_import_numba() -> None:
    """Only SHAP needs it."""
    done = subprocess.run([sys.executable, "-c", SCORES], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "[]\n"
