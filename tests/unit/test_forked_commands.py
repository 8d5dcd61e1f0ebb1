"""Commands of a script that are forked processes: each waits for its own answer."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests import forked


def test_an_answer_whose_writer_closes_late_is_not_the_end_of_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def late(path: Path, text: str) -> int:
        if path.name != "answered":
            return write_text(path, text)
        with path.open("w") as out:
            out.write(text)
            out.flush()
            time.sleep(0.2)  # the next command of the script starts meanwhile
        return len(text)

    monkeypatch.setattr(Path, "write_text", late)
    monkeypatch.setattr(forked, "bench_forked", lambda *_: subprocess.CompletedProcess([], 0, "out\n", ""))
    done = forked.shell("bench a; bench b; bench c", tmp_path, dict(os.environ))
    assert (done.returncode, done.stdout) == (0, "out\n" * 3)
