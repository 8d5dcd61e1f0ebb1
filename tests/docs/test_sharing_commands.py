"""docs/extensions/sharing.md, commands.md and check.md: their commands run as they stand there, but for what needs a network or changes the shell."""

import os
import re
from pathlib import Path

import pytest

from bench.store.store import Store
from tests.forked import shell

pytestmark = pytest.mark.grid
DOCS = Path(__file__).parents[2] / "docs"
LEFT_OUT = (
    "pip install",
    "--install-completion",
    "--show-completion",
)  # they change the machine, or ask which shell runs


def test_the_commands_of_the_documents_run_in_their_order(store_copy: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    text = "".join(
        block
        for name in ("extensions/sharing.md", "commands.md", "check.md")
        for block in re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    )
    lines = [line for line in text.splitlines() if not any(word in line for word in LEFT_OUT)]
    (first, *_) = Store.open(store_copy / "runs", create=False).run_ids()
    script = "\n".join(lines).replace("3fa9", first)
    assert script.count("bench ") == 5
    done = shell(script, store_copy, {**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    for said in ("2 new", '"new": []', "nothing was sent", "symptoms: none seen", "0 faults"):
        assert said in done.stdout
