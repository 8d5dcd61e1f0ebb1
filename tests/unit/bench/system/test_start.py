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
print(*[m for m in ("torch", "timm", "sklearn", "shap", "pandas", "numba", "plotly", "netcal", "cv2", "pydicom", "numpy", "http.client") if m in sys.modules])
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


def test_scores_and_workers_do_not_import_numba() -> None:
    """Only SHAP needs it."""
    program = (
        "import sys\n"
        "import bench.executors.worker_imports\n"
        "from bench.scoring.score_run import score_run\n"
        "from tests.unit.bench.scoring.test_score_run import FINDINGS, parts\n"
        'score_run("a", FINDINGS, "chexpert", parts())\n'
        'print([name for name in ("numba", "llvmlite", "shap") if name in sys.modules])\n'
        "sys.stdout.flush()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["[]"]
