"""docs/extensions/sharing.md: the commands that copy runs elsewhere run as they stand there."""

import os
import re
from pathlib import Path

import pytest

from bench.store.store import Store
from tests.forked import shell

pytestmark = pytest.mark.grid
DOCS = Path(__file__).parents[2] / "docs"


def test_the_commands_of_the_documents_run_in_their_order(store_copy: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    text = "".join(re.findall(r"```bash\n(.*?)```", (DOCS / "extensions" / "sharing.md").read_text(), re.DOTALL))
    lines = [line for line in text.splitlines() if line.startswith(("bench track", "bench upload"))]
    (first, *_) = Store.open(store_copy / "runs", create=False).run_ids()
    script = "\n".join(lines).replace("3fa9", first)
    assert len(lines) == 3
    done = shell(script, store_copy, {**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    for said in ("2 new", '"new": []', "nothing was sent"):
        assert said in done.stdout
