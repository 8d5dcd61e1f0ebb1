"""docs/extensions/your-own-model.md: its snippets and commands run as they stand there, in an empty folder."""

import os
import re
from pathlib import Path

import pytest

from bench.planning.manifest import read_manifest
from bench.store.store import Store
from tests.conftest import Drawn
from tests.forked import shell

ModelDeclaration = pytest.importorskip("bench.extensions.imported.declaration").ModelDeclaration
DOCUMENT = (Path(__file__).parents[2] / "docs" / "extensions" / "your-own-model.md").read_text()
SNIPPETS = re.findall(r"```(?:yaml|python)\n(.*?)```", DOCUMENT, re.DOTALL)
NAMED = {text.split("\n")[0].removeprefix("# ").partition(":")[0]: text for text in SNIPPETS}


def test_every_model_yaml_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    for name in ("resnet.safetensors", "xrv.safetensors", "scores/nih.csv"):
        (tmp_path / name).touch()
    assert {name for name in NAMED if name.endswith(".yaml")} == {"model.yaml", "xrv.yaml", "scores.yaml"}
    for name in ("model.yaml", "xrv.yaml", "scores.yaml"):
        (tmp_path / name).write_text(NAMED[name])
        declared = ModelDeclaration.read(tmp_path / name)
        assert declared.kind == {"model": "timm", "xrv": "function", "scores": "predictions"}[name[:-5]]
    assert len(ModelDeclaration.read(tmp_path / "xrv.yaml").outputs.names) == 18


@pytest.mark.grid
def test_the_commands_run_and_a_model_that_saw_a_hospital_external_is_not_ranked(
    tmp_path: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn("tiny", tmp_path)
    (tmp_path / "model.yaml").write_text(NAMED["model.yaml"])
    (text,) = re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    # the script runs in this process, which has imported torch
    monkeypatch.chdir(tmp_path)
    assert text.startswith("python make.py\n")
    exec(compile(NAMED["make.py"], "make.py", "exec"), {})
    script = text.removeprefix("python make.py\n")
    environment = {k: v for k, v in os.environ.items() if k not in {"BENCH_DATA", "BENCH_STORE"}} | {
        "HF_HUB_OFFLINE": "1"
    }
    done = shell(script, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "trained on it: not external" in done.stdout
    manifest = read_manifest(Store.open(tmp_path / "runs"), "tiny")
    assert (manifest.runs, [run.name for run in manifest.imported]) == ((), ["Our ResNet"])
    assert manifest.ranked == []  # it has seen an external hospital
    html = (tmp_path / "runs" / "report" / "tiny" / "leaderboard.html").read_text()
    assert "no model was trained here" in html
    assert "No ranking: every model was trained elsewhere" in html
    assert "No run is ranked" not in html[: html.index('id="h-ranking"')]
    assert "1 model was trained elsewhere; its owner declared the training data" in html
