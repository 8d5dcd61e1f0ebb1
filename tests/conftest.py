"""What several tests share: a finished tiny grid, and the `bench` command in a process of its own."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.util import Finalize
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hypothesis import settings

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.read_cohorts import make_phantom
from bench.store.store import Store
from tests.costs import COSTS, evenly
from tests.forked import bench_forked

Command = Callable[..., "subprocess.CompletedProcess[str]"]
# `--doctest-modules` would import them: scripts of `tox -e wheel`, which check when they are imported, and modules of one name
collect_ignore_glob = ["wheel", "conftest.py", "*/conftest.py"]
Once = Callable[[str, Callable[[Path], object]], Path]
Drawn = Callable[[str | Path, Path], Path]
# an example may run while other processes use all cores
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
_MEMORY_OF_FILES = 12 * 2**30  # bytes: the files of all tests take 6 GB, and the processes need some, too
_imported: list[
    int
] = []  # numbers of modules that were imported when their objects were last left out of garbage collection


def bench(*arguments: str, cwd: Path, code: int | None = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `bench` and return what it printed; code None accepts any exit status."""
    own = {k: v for k, v in os.environ.items() if k not in {"BENCH_DATA", "BENCH_STORE"}}
    done = bench_forked(arguments, cwd, own | {"HF_HUB_OFFLINE": "1"} | environment)
    assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def pytest_configure(config: pytest.Config) -> None:
    """Choose where the tests write files and bytecode, and pause garbage collection."""
    _keep_temporary_files_in_memory(config)
    # where no bytecode may be written, the commands of the tests share a folder of it: each would compile torch anew
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(prefix="bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder.name
        sys.dont_write_bytecode = False
        config.add_cleanup(folder.cleanup)
    gc.disable()  # until all tests are collected: what is imported until then lives to the end of the session
    config.add_cleanup(gc.unfreeze)


def _keep_temporary_files_in_memory(config: pytest.Config) -> None:
    """Where memory has room, let all tests write their files there: on a disk, stores of many small files take 6 % of the time.

    A folder that the user names (TMPDIR, or `--basetemp`) stays as it is, and keeps what the tests wrote. The folder in memory is
    removed at the end, or by the next session if this one is killed.
    """
    memory = Path("/dev/shm")
    if config.option.basetemp or "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return
    for left in memory.glob("unseen-tests-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    if min(shutil.disk_usage(memory).free, psutil.virtual_memory().available) < _MEMORY_OF_FILES:
        return
    folder = tempfile.mkdtemp(prefix=f"unseen-tests-{os.getpid()}-", dir=memory)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    config.option.basetemp = Path(folder) / "pytest"
    # after multiprocessing has removed its own folders
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-1000)


def pytest_collection_finish() -> None:
    """Let garbage be collected again, but rarely, and not among what is imported: what tests share makes each collection slow."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()
    _imported.append(len(sys.modules))


def pytest_runtest_setup() -> None:
    """Leave libraries that tests have imported out of each later collection."""
    if len(sys.modules) > _imported[-1] + 100:
        gc.collect()
        gc.freeze()
        _imported.append(len(sys.modules))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in an order in which a tenth of the tests takes about a tenth of the time, and short files come last."""
    costs: dict[Path, list[int]] = {}
    for item in items:
        costs.setdefault(item.path, []).append(
            max([COSTS.get(mark.name, 1) for mark in item.iter_markers()], default=1)
        )
    place = {path: i for i, path in enumerate(evenly(costs))}
    items.sort(key=lambda item: place[item.path])


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
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a folder by its name. The first process of the session that asks for the folder fills it; the others wait and read it."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        shared.mkdir(exist_ok=True)
        whole = shared / f"{name}.whole"
        with FileLock(shared / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                (shared / name).mkdir()
                fill(shared / name)
                whole.touch()
        return shared / name

    return folder


@pytest.fixture(scope="session")
def drawn(once: Once) -> Drawn:
    """Return a function that puts the phantoms of a grid into the store of a folder, and returns the folder.

    Drawing the phantoms of a small grid takes as long as its training, and copying them takes longer than copying the rest of
    its store. So the store has a link to phantoms that many tests read: a test that changes images copies them. A grid with label
    sources adds label tables to these phantoms; the tables depend on the phantoms only.
    """

    def put(grid: str | Path, folder: Path) -> Path:
        read = Grid.read(str(grid), Registry.read())
        key = read.phantom_settings.key

        def draw(to: Path) -> None:
            make_phantom(read, Store.open(to / "runs"), 1, lambda *_: None)

        phantoms = once(f"phantom-{key}", draw) / "runs" / "phantom" / key
        link = folder / "runs" / "phantom" / key
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(phantoms)
        return folder

    return put


@pytest.fixture(scope="session")
def finished(once: Once, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which the grid `tiny` is finished. Tests read it; those that change it copy it.

    Each process of the session has a copy of its own, because a command on a finished grid may write the page again.
    """
    made = once("tiny", lambda folder: bench("run", "--grid", "tiny", "--quiet", cwd=drawn("tiny", folder)))
    return shutil.copytree(made, tmp_path_factory.mktemp("finished") / "copy", symlinks=True)


@pytest.fixture(scope="session")
def small(once: Once, drawn: Drawn) -> Callable[[str], Path]:
    """Return the folder in which a recipe's twin in small is finished, by the recipe's name. Tests only read it."""

    def run(recipe: str) -> Path:
        grid = f"{recipe}-smoke"
        return once(recipe, lambda folder: bench("run", "--grid", grid, "--quiet", cwd=drawn(grid, folder)))

    return run


@pytest.fixture
def store_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder that a test may damage."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"
