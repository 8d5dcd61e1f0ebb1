"""Signals: Ctrl-C and SIGTERM end a command with one sentence and an exit code, also while its modules load."""

import signal
import subprocess
import sys

import pytest

# runs `bench list` and sends itself a signal when it imports a module: typer is loaded before the command, the registry by it
PROBE = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
def watch(event, arguments):
    if event == "import" and arguments[0] == {module!r} and not sent:
        sent.append(True)
        os.kill(os.getpid(), {number})
sent = []
sys.addaudithook(watch)
sys.argv = ["bench", "list", "losses"]
runpy.run_module("bench.cli", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["typer", "bench.cli.options", "bench.config.registry"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_modules_load_ends_the_command_with_one_sentence(
    module: str, number: signal.Signals, code: int
) -> None:
    probe = PROBE.format(module=module, number=int(number))
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    assert done.stderr == "interrupted; run the same command again to resume\n"


def test_little_is_imported_before_signals_are_handled() -> None:
    """Until then, Ctrl-C has Python's own answer, a traceback. `signal` and `typing` alone would take 8 ms."""
    code = "import sys; before = {*sys.modules}; import bench.cli.__main__; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    allowed = {"atexit", "gc", "bench", "bench.cli", "bench.cli.__main__", "bench.cli.signals"}
    assert set(done.stdout.split()) <= allowed


@pytest.mark.slow
def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    """A shell starts background jobs with Ctrl-C ignored."""
    probe = PROBE.format(module="typer", number=int(signal.SIGINT)).replace(
        "signal.default_int_handler", "signal.SIG_IGN"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
