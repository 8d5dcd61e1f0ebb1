"""docs/extensions/sharing.md and docs/store.md: their commands run as they stand there, but for those that copy runs elsewhere."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.forked import shell

pytestmark = pytest.mark.grid
DOCS = Path(__file__).parents[2] / "docs"
LEFT_OUT = ("bench reproduce", "bench track", "bench upload")  # it trains; test_sharing_commands.py runs the others


def blocks(name: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen")
def test_the_commands_of_the_documents_run_in_their_order(store_copy: Path) -> None:
    """The commands of the documents on bundles."""
    text = "\n".join([*blocks("extensions/sharing.md"), *blocks("store.md")])
    lines = (line for line in text.splitlines() if not any(word in line for word in LEFT_OUT))
    text = "\n".join(lines)
    assert text.count("bench ") >= 8
    done = shell(text, store_copy, {**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    for said in ("all agree exactly", "signed by lab@example.org", "page: bench report", "0 faults"):
        assert said in done.stdout
