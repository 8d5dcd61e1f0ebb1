"""Two networks that differ in one thing: whether their hospital printed a tag with the finding. What must follow.

Thresholds leave twice the margin to the worst seed of a prototype of other shapes and networks; the seed is not one of
`benchmarks/shortcut_power.py`.
"""

from pathlib import Path

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from reports.schemas.change_rules import MARGIN, caught

ROOT = Path(__file__).parents[2]
FINDING = "Pleural Effusion"
GRID = """
name: truth
title: Known truth
evaluate_on: [mimic, nih]
split: {{train: 0.65, val: 0.1, test: 0.25}}
phantom: {{source: 1000, external: 120, size: 64, shortcut: {strength}, finding: Pleural Effusion, seed: 200}}
analyses: {{transplants: {{images: 160}}, attention?: {{images: 16, gallery: 0, sanity: 0}}, probes: false, acquisition: false}}
base:
  train_on: chexpert
  architecture: seresnet_tiny
  weights: none
  channels: 1
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
  schedule: {{epochs: 6, batch_size: 48, lr: 6.0e-3, warmup: 0.1}}
  seed: 200
"""
Tables = dict[float, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory, command) -> Tables:  # type: ignore[no-untyped-def]
    """The tables of two reports, by the strength of the planted shortcut."""
    out = {}
    for strength in (0.0, 0.9):
        folder = tmp_path_factory.mktemp("truth")
        (folder / "truth.yaml").write_text(GRID.format(strength=strength))
        command("run", "--grid", "truth.yaml", "--quiet", cwd=folder)
        tables = next(folder.glob("runs/report/*/tables"))
        out[strength] = {path.stem: pd.read_parquet(path) for path in tables.glob("*.parquet")}
    return out


def changed(tables: dict[str, pd.DataFrame], kind: str, host: str, measure: str) -> "pd.Series[float]":
    """Return the one row of the finding's transplants."""
    table = tables["transplants"]
    asked = {"kind": kind, "host": host, "measure": measure, "finding": FINDING, "subset": "all"}
    for column, value in asked.items():
        table = table[table[column] == value]
    return table.iloc[0]


def gap(tables: dict[str, pd.DataFrame]) -> float:
    """Return the gap of the finding, mean over hospitals."""
    rows = tables["gaps"]
    return float(rows[(rows["dataset"] == "external") & (rows["finding"] == FINDING)]["value"].iloc[0])


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.grid
def test_raising_the_shortcut_raises_the_gap_and_the_flips(truth: Tables) -> None:
    assert gap(truth[0.9]) - gap(truth[0.0]) > 0.10
    planted, clean = (changed(truth[strength], "toggled", "chexpert", "flip_rate")["effect"] for strength in (0.9, 0.0))
    assert planted > 0.08
    # A network without a shortcut also changes some calls: .05 on one processor, fewer on another.
    assert clean < planted / 2


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.grid
def test_erasing_the_marker_closes_a_part_of_the_gap(truth: Tables) -> None:
    # With seeds 200 to 202, two starts of training and two processors, -.11 to .25 of a gap near .4 remained.
    internal, external = (changed(truth[0.9], "erased", host, "auroc")["value"] for host in ("chexpert", "external"))
    assert gap(truth[0.9]) > 0.2
    assert abs(gap(truth[0.9]) + internal - external) < 0.85 * gap(truth[0.9])


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.grid
def test_the_shortcut_is_called_where_it_was_planted_and_nowhere_else(truth: Tables) -> None:
    assert FINDING in caught(truth[0.9]["transplants"], "chexpert")
    assert caught(truth[0.0]["transplants"], "chexpert") == []


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.grid
def test_raising_the_shortcut_moves_the_heat_onto_the_marker(truth: Tables) -> None:
    pytest.importorskip("bench.extensions.heat_maps")
    seen = {}
    for strength, tables in truth.items():
        rows = tables["attention"]
        rows = rows[(rows["by"] == "network") & (rows["region"] == "token") & (rows["metric"] == "enrichment")]
        seen[strength] = float(rows[(rows["finding"] == FINDING) & (rows["dataset"] == "chexpert")]["value"].iloc[0])
    assert seen[0.0] < 1
    assert seen[0.9] > 2


@pytest.mark.grid
def test_the_probe_names_the_hospital_of_six_and_finds_nothing_in_shuffled_hospitals(finished: Path) -> None:
    rows = pd.read_parquet(finished / "runs" / "report" / "tiny" / "tables" / "sources.parquet")
    rows = rows[(rows["metric"] == "balanced_accuracy") & (rows["probe"] == "features") & (rows["shots"] == 0)]
    assert (rows.loc[rows["control"] == "none", "value"] > 0.8).all()
    assert rows.loc[rows["control"] == "shuffled", "value"].between(0.10, 0.24).all()
    assert set(rows["control"]) >= {"none", "shuffled"}


def test_the_committed_table_of_100_networks_holds_its_goals_its_rule_and_what_is_said_of_it() -> None:
    table = pd.read_csv(ROOT / "benchmarks" / "shortcut_power.csv", keep_default_na=False)
    said = (ROOT / "docs" / "shortcuts.md").read_text()
    assert table.groupby("strength")["seed"].apply(sorted).to_dict() == {0.0: list(range(80)), 0.9: list(range(20))}
    found = table["called"].str.split(", ").apply(set)
    by_rule = (table["low"] > MARGIN) & (table["cost_high"] < 0)
    assert (found.apply(lambda names: FINDING in names) == by_rule).all()
    planted, clean = found[table["strength"] == 0.9], found[table["strength"] == 0.0]
    hits, alarms = int(planted.apply(lambda names: FINDING in names).sum()), int((clean != {""}).sum())
    assert hits / 20 >= 0.9
    assert proportion_confint(alarms, len(clean), method="wilson")[1] < 0.05
    beside, first_half = (
        int(planted.apply(lambda names: "No Finding" in names).sum()),
        int((table[table["strength"] == 0.0]["changed"] != "").sum()),
    )
    for words in (
        f"**{hits} of 20**",
        f"**{alarms} of 80**",
        f"In {beside} of the 20 networks with a planted shortcut, No Finding was reported",
        f"would have reported a shortcut for {first_half} of these 80 networks",
    ):
        assert words in " ".join(said.split()), words
