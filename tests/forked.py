"""The `bench` command in a process of its own that starts at once: it is forked from one that has imported what commands need.

A command that starts Python anew imports for 2 to 7 CPU seconds (torch, pandas, scipy, templates of the page), and the tests start
some 200 commands. The process that is forked is a fork server of `multiprocessing`. `bench run` starts such a server, too; here it gets
one that is forked.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, forkserver
from pathlib import Path

from bench.executors.local import _threads

_LIMIT_S = 600
_ASK = """set -e
bench() {
    env -0 > "$MEETING/environment"
    printf '%s\\0' "$#" "$PWD" "$@" > "$MEETING/asked"
    local status
    read -r status <> "$MEETING/answered"  # open for writing, too: an earlier writer that closes late does not end it
    cat "$MEETING/out"
    cat "$MEETING/err" >&2
    return "$status"
}
"""


class Begun:
    """A `bench` command at work in a process of its own; it is asked like a `subprocess.Popen`.

    `prepare` is a function that the process calls before it begins.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._arguments, self._printed = arguments, tempfile.TemporaryDirectory()
        for name in ("1", "2"):  # a process that is killed at once has printed nothing
            (Path(self._printed.name) / name).touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.forked_imports"])
        with _threads(1):  # as `bench run` starts it
            forkserver.ensure_running()
        self._process = context.Process(
            target=_bench, args=(arguments, folder, dict(environment), prepare, self._printed.name)
        )
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        """Return the exit status, or None as long as the command is at work."""
        return self._process.exitcode

    def communicate(self, timeout: float = _LIMIT_S) -> tuple[str, str]:
        """Return what the command printed, once it has ended; end it after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise subprocess.TimeoutExpired(["bench", *self._arguments], timeout)
        self.returncode = self._process.exitcode or 0
        with self._printed as printed:
            out, err = ((Path(printed) / name).read_text() for name in ("1", "2"))
        return out, err


def lead_process_group(limit: int = 0) -> None:
    """Let this process lead a process group, which can be killed; `limit`: no file may grow above so many bytes."""
    os.setsid()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def bench_forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run `bench` in a folder and return what it printed and its exit status."""
    begun = Begun(arguments, folder, environment)
    out, err = begun.communicate()
    return subprocess.CompletedProcess(["bench", *arguments], begun.returncode or 0, out, err)


def shell(script: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a script of bash, in which `bench` is a forked process; the script ends with the first command that fails."""
    with tempfile.TemporaryDirectory() as name:
        meeting = Path(name)
        os.mkfifo(meeting / "asked")
        os.mkfifo(meeting / "answered")
        asked = os.open(meeting / "asked", os.O_RDWR)
        with (
            (meeting / "all").open("w") as all_out,
            (meeting / "all_err").open("w") as all_err,
            subprocess.Popen(
                ["bash", "-c", _ASK + script], cwd=folder, env={**environment, "MEETING": name}, stdout=all_out, stderr=all_err
            ) as bash,
        ):  # fmt: skip
            try:
                while bash.poll() is None:
                    if select.select([asked], [], [], 0.02)[0]:
                        _answer(meeting, asked)
            finally:
                bash.kill()
                os.close(asked)
        texts = [(meeting / name).read_text() for name in ("all", "all_err")]
    return subprocess.CompletedProcess(["bash"], bash.returncode, *texts)


def _answer(meeting: Path, asked: int) -> None:
    """Run the command that the script asks for."""
    request = b""
    while request.count(b"\0") < 2 or request.count(b"\0") < 2 + int(request.split(b"\0")[0]):
        request += os.read(asked, 65536)
    _, folder, *arguments = (word.decode() for word in request.split(b"\0")[:-1])
    variables = (meeting / "environment").read_bytes().decode().split("\0")[:-1]
    done = bench_forked(arguments, Path(folder), dict(each.split("=", 1) for each in variables))
    (meeting / "out").write_text(done.stdout)
    (meeting / "err").write_text(done.stderr)
    (meeting / "answered").write_text(f"{done.returncode}\n")


def _bench(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    prepare: Callable[[], object] | None,
    printed: str,
) -> None:
    """Do in a forked process what `python -m bench.cli` does."""
    if prepare is not None:
        prepare()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    for number in (1, 2):
        os.dup2(os.open(Path(printed) / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["bench", *arguments]
    _fork_a_server()
    try:
        runpy.run_module("bench.cli", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves them out


def _fork_a_server() -> None:
    """Fork this process's own fork server, with its folder and environment: `multiprocessing` would start Python anew."""
    address = connection.arbitrary_address("AF_UNIX")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        ended, alive = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(alive)
            try:
                forkserver.main(listener.detach(), ended, [])
            finally:
                os._exit(0)
        os.close(ended)
    server = forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, alive, pid
