"""Commands that have to answer before they import a library that takes long: many of them for the price of one start of Python."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

SLOW = ("torch", "pandas", "pyarrow", "scipy", "cv2", "timm", "sklearn")
LIGHT = """import contextlib, gc, io, json, os, sys
from bench.cli.main import main

printed, *slow = sys.argv[1:]

def code(words):
    sys.argv = ["bench", *words]
    try:
        main()
    except SystemExit as end:
        return end.code or 0

with contextlib.redirect_stderr(io.StringIO()):  # what most commands import, once for all of them
    code(["check", "x", "--quick"])
    code(["run", "--grid", "x"])
gc.freeze()  # a process that is forked copies what garbage collection marks
for number, (words, folder, variables) in enumerate(json.load(sys.stdin)):
    process = os.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update(variables)
        for stream in (1, 2):
            os.dup2(os.open(f"{printed}/{number}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
        try:
            ended = code(words)
        finally:
            with open(f"{printed}/{number}.slow", "w") as file:
                print(*(name for name in slow if name in sys.modules), file=file)
        sys.stdout.flush()
        os._exit(ended)  # without freeing what was imported
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


def without_slow_imports(
    calls: Sequence[tuple[Sequence[str], Path, dict[str, str]]], slow: Sequence[str] = SLOW
) -> list["subprocess.CompletedProcess[str]"]:
    """Run commands, and hold each of them to import no library that takes long.

    Each is a process of its own, forked from one that has imported what the program imports before it reads its words. calls: words,
    working folder and further variables of each command.
    """
    own = {k: v for k, v in os.environ.items() if k not in {"BENCH_DATA", "BENCH_STORE"}}
    asked = json.dumps([(words, str(folder), variables) for words, folder, variables in calls])
    with TemporaryDirectory() as printed:
        command = [sys.executable, "-c", LIGHT, printed, *slow]
        done = subprocess.run(command, input=asked, env=own, capture_output=True, text=True, check=True)
        codes = [int(code) for code in done.stdout.split()]
        assert len(codes) == len(calls)
        texts = [
            [(Path(printed) / f"{number}.{kind}").read_text() for kind in ("1", "2", "slow")]
            for number in range(len(calls))
        ]
    assert {str(words): imported for (words, _, _), (*_, imported) in zip(calls, texts, strict=True)} == {
        str(words): "\n" for words, _, _ in calls
    }
    return [
        subprocess.CompletedProcess(words, code, out, error)
        for (words, _, _), code, (out, error, _) in zip(calls, codes, texts, strict=True)
    ]
