"""What several tests share: a finished tiny grid, and the `bench` command in a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def bench(*arguments: str, cwd: Path, code: int | None = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `bench` and return what it printed; code None accepts any exit status."""
    own = {k: v for k, v in os.environ.items() if k not in {"BENCH_DATA", "BENCH_STORE"}}
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments],
        cwd=cwd, env=own | {"HF_HUB_OFFLINE": "1"} | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def pytest_configure(config: pytest.Config) -> None:
    """Where no bytecode may be written, let the commands of the tests share a folder of it: each would compile torch anew."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(prefix="bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder.name
        sys.dont_write_bytecode = False
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have whole grids, trainings or browsers: where files are shared out, the last ones should be short."""
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in ("grid", "slow", "browser"))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def command() -> Command:
    """The `bench` command."""
    return bench


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The `bench` command in this process, for what is quick: no second start of Python and torch."""
    from bench.cli.main import main

    def ask(*arguments: str, cwd: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.delenv("BENCH_DATA", raising=False)
            patch.delenv("BENCH_STORE", raising=False)
            patch.setattr(sys, "argv", ["bench", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        said = capsys.readouterr()
        found = left.value.code or 0
        assert found == code, f"exit {found}\n{said.out}\n{said.err}"
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return ask


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which the grid `tiny` is finished. Tests read it; those that change it copy it."""
    folder = tmp_path_factory.mktemp("finished")
    bench("run", "--grid", "tiny", "--quiet", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder in which a recipe's twin in small is finished, by the recipe's name. Tests only read it."""
    done: dict[str, Path] = {}

    def run(recipe: str) -> Path:
        if recipe not in done:
            done[recipe] = tmp_path_factory.mktemp(recipe)
            bench("run", "--grid", f"{recipe}-smoke", "--quiet", cwd=done[recipe])
        return done[recipe]

    return run


@pytest.fixture
def store_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder that a test may damage."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"
