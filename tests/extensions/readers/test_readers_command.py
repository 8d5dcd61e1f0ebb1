"""`bench readers` and its section: what is stored and drawn, recomputed from predictions with scikit-learn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score, roc_curve

from bench.extensions.readers.cohorts import READER, problems, stored
from bench.extensions.readers.report_tables import logits_of, measured
from bench.planning.manifest import Manifest, read_manifest
from bench.store.store import Store
from reports.tables import records_of
from tests.conftest import Command

FINDING = "Pleural Effusion"
pytestmark = [pytest.mark.grid, pytest.mark.slow]


def answers(manifest: Manifest, dataset: str, readers: int = 3) -> pd.DataFrame:
    """Return answers of synthetic readers about the external images of a hospital; each reader skips some of them."""
    [cohort] = [cohort for cohort in manifest.cohorts if cohort.name == dataset]
    table, draw = manifest.table(cohort), np.random.default_rng(7)
    present = (table[FINDING] == 1).fillna(False).to_numpy(bool)
    rows = [
        pd.DataFrame({"image_id": table["image_id"], READER: f"Dr. {name}"}).assign(
            **{FINDING: (draw.random(len(table)) < np.where(present, 0.75, 0.15)).astype(int)}
        )
        for name in "ABC"[:readers]
    ]
    return pd.concat(of.sample(frac=0.9, random_state=1) for of in rows)


def hospital(manifest: Manifest) -> str:
    return manifest.external[0].name


def test_the_command_stores_numbers_for_names_and_its_rates_equal_scikit_learn(store_copy: Path, here: Command) -> None:
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    name, table = hospital(manifest), answers(manifest, hospital(manifest))
    table.to_csv(store_copy / "readers.csv", index=False)
    said = here("readers", "--table", f"{name}=readers.csv", cwd=store_copy).stdout
    assert f"{name}: 3 readers, {len(table):,} answers" in said
    [path] = (store_copy / "runs/readers").glob("*.parquet")
    assert "Dr." not in path.read_bytes().decode("latin1")
    measures = measured(manifest, {run.id: (run.id,) for run in manifest.runs})
    found = {table_name: records_of(rows) for table_name, rows in measures.items()}
    wide = table.pivot(index="image_id", columns=READER, values=FINDING)
    rows = [row for row in found["reader_points"] if row["finding"] == FINDING]
    assert {row["reader"] for row in rows} == {1, 2, 3}
    [cohort] = [cohort for cohort in manifest.cohorts if cohort.name == name]
    for row in rows:
        own = wide.columns[row["reader"] - 1]
        others = wide.drop(columns=own).mean(axis=1)
        used = wide[own].notna() & others.notna() & (others != 0.5)
        label, call = others[used] > 0.5, wide.loc[used, own] == 1
        assert (row["n"], row["num_positive"]) == (used.sum(), label.sum())
        assert row["num_undecided"] == wide[own].notna().sum() - used.sum() > 0
        assert row["sensitivity"] == pytest.approx(recall_score(label, call))
        assert row["specificity"] == pytest.approx(recall_score(label, call, pos_label=0))
        logits = logits_of(manifest, cohort, row["run_id"]).loc[used.index[used]]
        fpr, tpr, _ = roc_curve(label, logits[FINDING], drop_intermediate=False)
        rate = 1 - row["specificity"]
        network = max(np.interp(rate, fpr, tpr), tpr[fpr <= rate + 1e-12].max())
        assert row["network"] == pytest.approx(network)
        assert row["difference"] == pytest.approx(network - row["sensitivity"])
    for share in (row for row in found["reader_shares"] if row["finding"] == FINDING):
        below = [row["difference"] > 0 for row in rows if row["run_id"] == share["run_id"]]
        assert (share["num_below"], share["num_readers"]) == (sum(below), 3)
        assert share["low"] <= share["value"] <= share["high"]
    page = here("report", "--quiet", cwd=store_copy).stdout.split("leaderboard: ")[1].strip()
    html = (store_copy / page).read_text()
    assert 'id="readers"' in html
    assert "operating points of single readers" in html
    assert f"{rows[0]['num_undecided']} left out" in html
    assert "Dr." not in html
    path.write_bytes(path.read_bytes()[:-9])
    assert [problem[0] for problem in problems(manifest.store)] == [f"readers {path.stem}"]


def test_without_readers_the_tables_are_empty_and_wrong_options_are_refused(store_copy: Path, here: Command) -> None:
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    assert not any(len(table) for table in measured(manifest, {run.id: (run.id,) for run in manifest.runs}).values())
    assert stored(manifest, manifest.external[0]) is None
    assert "write each cohort once" in here("readers", "--table", "readers.csv", cwd=store_copy, code=2).stderr
    twice = [word for file in ("a=1.csv", "a=2.csv", "b=3.csv") for word in ("--table", file)]
    assert "--table is 'a=2.csv'" in here("readers", *twice, cwd=store_copy, code=2).stderr
    said = here("readers", "--table", "nowhere=a.csv", cwd=store_copy, code=2).stderr
    assert "unknown value of --table: 'nowhere'" in said
    (store_copy / "other.csv").write_text("image_id,reader,Edema\nx.png,Ann,1\n")
    said = here("readers", "--table", f"{hospital(manifest)}=other.csv", cwd=store_copy, code=2).stderr
    assert "no answer of a reader is of an image" in said
    assert "other.csv" in said
    assert not (store_copy / "runs/readers").exists()
