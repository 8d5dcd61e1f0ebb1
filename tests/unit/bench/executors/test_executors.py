"""Runs on other machines: the same bytes as here, whatever happens to nodes and tasks on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from disturbed import WITH_IMAGES, assert_same_bytes, holder, wait_for, with_parts
from submitit.core.utils import cloudpickle_dump
from submitit.local.local import LocalJob

from bench.executors import slurm
from bench.executors.choose_executor import ExecutorChoice
from bench.executors.local import Local
from bench.executors.ray import Ray
from bench.executors.slurm import Slurm
from bench.store.store import Store
from bench.system import devices
from harmonize.errors import ConfigError, SetupError
from tests.forked import Begun

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_one_word_chooses_who_does_the_runs_and_what_a_run_asks_for() -> None:
    assert ExecutorChoice.of("local").executor("cpu", 3) == Local("cpu", 3)
    assert ExecutorChoice.of("local", 2).executor("cpu", 3) == Local("cpu", 3, 2)
    with pytest.raises(ConfigError, match="--per-device is only valid with --executor local"):
        ExecutorChoice.of("ray", 2)
    assert ExecutorChoice.of("ray").executor("auto", 2) == Ray()
    assert ExecutorChoice.of("ray:gpus=0.5,memory_gb=8,address=10.0.0.1:6379").executor("auto", 2) == Ray(
        "10.0.0.1:6379", 0.5, 8.0
    )
    asked = ExecutorChoice.of("slurm:partition=0123,hours=1.5,gpus=0").executor("auto", 2)
    assert asked == Slurm(partition="0123", hours=1.5, gpus=0), "a partition may be named by digits"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("rai", "unknown value of --executor: 'rai'"),
        ("local:workers=3", "takes no resources after a colon"),
        ("ray:gpu=1", "did you mean 'gpus'"),
        ("ray:gpus", "'gpus' has no value"),
        ("ray:gpus=many", "gpus must be a number (got 'many')"),
        ("ray:retries=-1", "must not be negative"),
        ("slurm:hours=0", "above 0"),
        ("slurm:cluster=moon", "slurm or local"),
        ("slurm:hours=.nan", "finite"),
    ],
)
def test_a_wrong_executor_is_refused_with_the_place_and_the_fix(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        ExecutorChoice.of(text).executor("auto", 2)
    assert what in str(error.value)
    assert text in str(error.value)


def test_without_its_package_or_its_cluster_an_executor_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="no sbatch"):
        Slurm().prepare()
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: False)
    with pytest.raises(SetupError, match="does not have 1 GPUs") as error:
        Slurm(cluster="local").prepare()
    assert "gpus=0" in error.value.fix
    Slurm(cluster="local", gpus=0).prepare()
    for name, executor in (("ray", Ray()), ("submitit", Slurm())):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SetupError, match="is not installed"):
            executor.prepare()


@pytest.mark.parametrize(
    ("trace", "how"),
    [
        ("ModuleNotFoundError: No module named 'bench'", "with an error"),
        (None, "without a result (killed, or out of memory)"),
    ],
)
def test_the_reason_tells_a_task_with_an_error_from_one_that_was_killed(
    trace: str | None, how: str, tmp_path: Path
) -> None:
    task: LocalJob[object] = LocalJob(tmp_path, "7")
    if trace:
        cloudpickle_dump(("error", trace), task.paths.result_pickle)
    recorded: list[str] = []
    job = SimpleNamespace(id="a", folder=tmp_path, begin=lambda: None, fail=recorded.append)
    outcome = slurm._ended(task, job, 1.0)  # type: ignore[arg-type]
    assert outcome.state == "failed"
    assert recorded == [outcome.reason] == [f"the task 7 ended {how}: see {task.paths.stderr}"]


@pytest.fixture
def untrained(finished: Path, tmp_path: Path) -> Path:
    """A folder with the cohorts and images of the finished grid, and none of its runs."""
    return with_parts(finished, tmp_path, WITH_IMAGES)


def begun(folder: Path, *arguments: str) -> Begun:
    """Begin the grid in a process that the test leaves alone: what it kills are tasks and nodes."""
    return Begun(("run", "--grid", "tiny", "--quiet", *arguments), folder, os.environ)


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Begin the grid in a process that the test interrupts."""
    asked = [sys.executable, "-m", "bench.cli", "run", "--grid", "tiny", "--quiet", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(asked, cwd=folder, **pipes)


@pytest.mark.thorough
@pytest.mark.grid
def test_tasks_of_submitit_give_the_same_bytes_and_one_that_is_killed_is_one_failed_run(
    untrained: Path, finished: Path
) -> None:
    asked = ("--executor", "slurm:cluster=local,gpus=0")
    process = begun(untrained, *asked)
    progress = wait_for("*/*/PROGRESS", untrained, process)
    psutil.Process(holder(progress.parent)).kill()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "1 of 2 runs done (1 now), 1 failed" in said
    assert "ended without a result" in said
    process = begun(untrained, *asked)
    said, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "2 of 2 runs done (1 now), 0 failed" in said
    assert not list(untrained.glob("runs/*/*/PROGRESS"))
    assert_same_bytes(untrained, finished)


@pytest.mark.grid
def test_a_task_that_is_killed_under_a_real_slurm_is_one_failed_run_and_the_rest_gives_the_same_bytes(
    untrained: Path, finished: Path
) -> None:
    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no Slurm answers on this machine")
    asked = ("--executor", "slurm:gpus=0,memory_gb=1,hours=0.5")
    process = begun(untrained, *asked)
    progress = wait_for("*/*/PROGRESS", untrained, process)
    psutil.Process(holder(progress.parent)).kill()
    said, error = process.communicate(timeout=300)
    assert process.returncode == 1, error
    assert "1 of 2 runs done (1 now), 1 failed" in said
    process = begun(untrained, *asked)
    said, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert_same_bytes(untrained, finished)


@pytest.mark.grid
def test_a_task_that_is_preempted_goes_on_from_its_checkpoint_to_the_same_bytes(
    untrained: Path, finished: Path
) -> None:
    """The signal that Slurm sends before it takes a node away."""
    done = Store(finished / "runs").run_ids()[0]  # one run is left
    shutil.copytree(Store(finished / "runs").run_dir(done), Store(untrained / "runs").run_dir(done))
    process = begun(untrained, "--executor", "slurm:cluster=local,gpus=0", "--only", "seresnet*")
    checkpoint = wait_for("*/*/last.pt", untrained, process)
    os.kill(holder(checkpoint.parent), signal.SIGUSR2)  # what Slurm sends before it takes a node away
    said, error = process.communicate(timeout=300)
    assert process.returncode == 0, said + error
    logs = "".join(p.read_text() for p in (untrained / "runs" / "slurm").rglob("*.err"))
    assert "preempted" in logs
    assert_same_bytes(untrained, finished)


@pytest.mark.grid
@pytest.mark.parametrize(
    "executor",
    [
        # test_an_interrupted_grid_stops_cleanly_and_says_how_to_go_on and random moments (tests/faults) do the same
        pytest.param("local", marks=pytest.mark.thorough),
        "slurm:cluster=local,gpus=0",
    ],
)
def test_an_interrupt_ends_the_tasks_too_and_the_same_command_goes_on_to_the_same_bytes(
    executor: str, untrained: Path, finished: Path, here: Command
) -> None:
    """Control-C while tasks of an executor are at work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored, by children, too
    process = started(untrained, "--executor", executor)
    task = holder(wait_for("*/*/last.pt", untrained, process).parent)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "run the same command again" in said
    for _ in range(1200):
        if not psutil.pid_exists(task):
            break
        time.sleep(0.1)
    assert not psutil.pid_exists(task), "the task goes on"
    here("run", "--grid", "tiny", "--quiet", cwd=untrained)
    assert_same_bytes(untrained, finished)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of a head that does no runs and one node that does one at a time."""
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.only = made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.mark.thorough
@pytest.mark.grid
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_whose_ray_node_dies_goes_on_on_another_to_the_same_bytes(
    untrained: Path, finished: Path, cluster: Any
) -> None:
    process = begun(untrained, "--executor", f"ray:address={cluster.address}")
    wait_for("*/*/last.pt", untrained, process)
    cluster.remove_node(cluster.only, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    said, error = process.communicate(timeout=300)
    assert process.returncode == 0, said + error
    assert "2 of 2 runs done (2 now), 0 failed" in said
    assert_same_bytes(untrained, finished)


@pytest.mark.grid
def test_a_ray_cluster_that_does_not_answer_is_an_error_of_one_message(untrained: Path, command: Command) -> None:
    done = command("run", "--grid", "tiny", "--quiet", "--executor", "ray:address=127.0.0.1:1", cwd=untrained, code=2)
    assert "no Ray cluster answers" in done.stderr
    assert "Traceback" not in done.stderr
