"""`bench reproduce`: a run trained again from nothing comes out the same, or it is said how far it is off."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from disturbed import with_data

from bench.config.registry import Registry
from bench.extensions.reproduction.compared_scores import KEYS, compared, headline
from bench.extensions.reproduction.reproduce import _check_same
from bench.planning.manifest import read_manifest
from bench.planning.plan import Plan
from bench.planning.run import RunSpec
from bench.runs.provenance import MOST_DIFF, environment
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import file_sha256
from bench.store.store import Store, canonical_json
from harmonize.errors import ConfigError

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def scores(**values: float) -> pd.DataFrame:
    rows = [
        ("nih", "all", metric, "macro", "none", "", value, value - 0.1, value + 0.1) for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high"])


def verdicts(stored: pd.DataFrame, again: pd.DataFrame, *others: pd.DataFrame) -> list[str]:
    return compared(stored, again, [stored, *others])["verdict"].tolist()


def test_the_same_number_is_the_same_to_the_last_bit_and_a_missing_number_is_the_same_as_itself() -> None:
    assert verdicts(scores(auroc=0.8, f1=np.nan), scores(auroc=0.8, f1=np.nan)) == ["same bits", "same bits"]
    assert verdicts(scores(auroc=0.8), scores(auroc=np.nextafter(0.8, 1))) == ["within the interval"]


def test_three_seeds_say_how_far_two_trainings_are_apart() -> None:
    stored, others = scores(auroc=0.80), [scores(auroc=0.81), scores(auroc=0.79)]
    table = compared(stored, scores(auroc=0.83), [stored, *others])
    assert table["seeds_apart"].iloc[0] == pytest.approx(4.302653 * 0.01 * 2**0.5, rel=1e-6)  # t(2, .975) from a table
    assert verdicts(stored, scores(auroc=0.83), *others) == ["within the seed spread"]
    assert verdicts(stored, scores(auroc=0.87), *others) == ["outside"], "although within the interval over patients"


def test_the_spread_of_seeds_covers_19_of_20_pairs_of_trainings() -> None:
    names = [f"m{number}" for number in range(2000)]
    trainings = np.random.default_rng(0).normal(0.8, 0.02, (6, len(names)))
    *seeds, again = (scores(**dict(zip(names, values, strict=True))) for values in trainings.tolist())
    found = compared(seeds[0], again, seeds)["verdict"]
    assert 0.94 < (found == "within the seed spread").mean() < 0.98, (
        "a little more than .95: the stored run is one of the seeds"
    )


def test_too_few_seeds_leave_the_interval_over_patients() -> None:
    stored, other = scores(auroc=0.80), scores(auroc=0.10)
    assert verdicts(stored, scores(auroc=0.85), other) == ["within the interval"]
    assert verdicts(stored, scores(auroc=0.95), other) == ["outside"]


def test_a_number_on_one_side_alone_is_no_match() -> None:
    assert verdicts(scores(auroc=0.8), scores(auroc=np.nan)) == ["no number"]
    assert sorted(verdicts(scores(auroc=0.8), scores(auroc=0.8, f1=0.5))) == ["no number", "same bits"]


def test_what_a_run_was_made_with_is_recorded_and_a_long_diff_is_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(torch.device("cpu"), 1, 0.0)
    assert {"torch", "timm", "numpy", "python"} <= set(found["versions"])
    assert found["hardware"]["memory_bytes"] > 0
    assert found["hardware"]["processor"]
    for text, kept in (("", ""), ("-a\n+b", "-a\n+b"), ("x" * (MOST_DIFF + 1), "")):
        monkeypatch.setattr("bench.runs.provenance._diff", lambda text=text: text)
        found = environment(torch.device("cpu"), 1, 0.0)
        assert found["diff"] == kept
        assert bool(found["diff_sha256"]) == bool(text)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("setting", ["diff.noprefix=true", "color.ui=always"])
def test_the_changes_that_are_recorded_can_be_applied(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "sources"
    (root / "bench").mkdir(parents=True)

    def git(*words: str, given: bytes = b"") -> bytes:
        asked = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root), *words]
        return subprocess.run(asked, input=given, capture_output=True, check=True).stdout

    files = {"a.py": b"one\n\n", "weights.bin": bytes(range(256)), "latin.txt": b"th\xe9\n"}
    changed = {"a.py": b"two\n\n", "weights.bin": bytes(range(255, -1, -1)), "latin.txt": b"th\xe8\nna\xefve\n"}
    git("init", "-q")
    git("config", *setting.split("="))
    for name, content in files.items():
        (root / name).write_bytes(content)
    git("add", ".")
    git("commit", "-qm", "first")
    for name, content in changed.items():
        (root / name).write_bytes(content)
    monkeypatch.setattr("bench.runs.provenance.__file__", str(root / "bench" / "runs" / "provenance.py"))
    found = json.loads(canonical_json(environment(torch.device("cpu"), 1, 0.0)))
    assert found["commit"] == git("rev-parse", "--short=12", "HEAD").decode().strip() + "+"
    git("checkout", "-q", ".")
    git("apply", given=found["diff"].encode(errors="surrogateescape"))
    assert {name: (root / name).read_bytes() for name in files} == changed


@pytest.mark.grid
def test_a_run_is_trained_again_and_comes_out_the_same_or_it_is_said_that_it_does_not(
    store_copy: Path, command: Command, here: Command
) -> None:
    """`bench reproduce` with the same and with another result."""
    run, _ = Store.open(store_copy / "runs").run_ids()
    before = {p: p.read_bytes() for p in (store_copy / "runs" / run[:2]).rglob("*") if p.is_file()}
    said = command("reproduce", run[:6], "--quiet", cwd=store_copy).stdout
    assert said.splitlines()[-1] == "verdict: same bits"
    assert "no patient is in two splits" in said
    assert "(equal to the stored weights)" in said
    assert {p: p.read_bytes() for p in before} == before, "the store stays as it was"
    rows = pd.read_parquet(store_copy / "reproduced" / f"reproduction-{run}.parquet")
    assert set(rows["verdict"]) == {"same bits"}
    assert set(headline(rows)["dataset"]) >= {"chexpert", "nih", "external"}

    path = store_copy / "runs" / "scores" / run / "scores.parquet"  # as if it had been published otherwise
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame["value"] += np.where(frame["metric"] == "auroc", 0.3, 0.0)
    frame["low"], frame["high"] = frame["value"] - 0.01, frame["value"] + 0.01
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata), path
    )
    CheckedFolder(path.parent).write_checksums(
        {**(CheckedFolder(path.parent).checksums() or {}), path.name: file_sha256(path)}
    )
    found = json.loads(here("reproduce", run, "--quiet", "--json", cwd=store_copy, code=1).stdout)
    assert found["verdict"] == "outside"
    assert {row["verdict"] for row in found["rows"] if row["metric"] == "auroc" and row["stored"]} == {"outside"}
    assert {row["verdict"] for row in found["rows"] if row["metric"] == "auprc" and row["stored"]} == {"same bits"}


@pytest.mark.grid
def test_what_would_be_another_run_is_refused_before_it_trains(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    run = store.run_ids()[0]
    data = with_data(store_copy, store_copy / "data", "nih", "chexpert")
    labels = next((data / "nih").glob("Data_Entry*.csv"))
    labels.write_text(labels.read_text().replace("Effusion", "No Finding", 1))
    said = here("reproduce", run, "--data", "data", "--quiet", cwd=store_copy, code=2).stderr
    assert "the images or labels of nih have changed" in said
    train = data / "chexpert" / "train.csv"
    train.write_text("\n".join(train.read_text().splitlines()[:-2]) + "\n")
    said = here("reproduce", run, "--data", "data", "--quiet", cwd=store_copy, code=2).stderr
    assert "the training cohort is another table" in said
    assert not (store_copy / "reproduced" / run[:2]).exists()
    assert (
        "cannot be reproduced in its own store"
        in here("reproduce", run, "--into", "runs", cwd=store_copy, code=2).stderr
    )


def test_a_run_of_older_training_code_is_another_run(store_copy: Path) -> None:
    manifest = read_manifest(Store.open(store_copy / "runs"), "tiny")
    run = RunSpec.of(manifest.runs[0].config, Registry.read(), "0" * 12, None)
    other = json.loads(run.document) | {"training": 0}
    plan = cast("Plan", SimpleNamespace(runs=[run], refs=[]))
    with pytest.raises(ConfigError, match=r"the training code has changed \(version 1, was 0\)"):
        _check_same(json.dumps(other).encode(), plan, manifest)
