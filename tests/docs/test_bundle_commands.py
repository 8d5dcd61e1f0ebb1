"""docs/extensions/bundles.md and docs/reliability.md: their commands run as they stand there."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.forked import shell

pytestmark = pytest.mark.grid
DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen")
def test_the_commands_of_the_documents_run_in_their_order(store_copy: Path) -> None:
    (phantom,) = (store_copy / "runs" / "phantom").iterdir()
    text = "\n".join([*blocks("extensions/bundles.md"), *blocks("reliability.md")])
    text = "\n".join(line for line in text.splitlines() if "reproduce" not in line).replace(
        "DATA", shlex.quote(str(phantom))
    )
    assert text.count("bench ") >= 9
    done = shell(text, store_copy, {**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    for said in (
        "images as in the data",
        "all agree exactly",
        "signed by lab@example.org",
        "page: bench report",
        "0 faults",
    ):
        assert said in done.stdout
