"""Selection of the runs to rank: their macro averages must cover the same findings."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.settings import Settings
from bench.results.run_table import learns, ranked_ids, runs_with_most_findings
from bench.store.store import Store
from harmonize.labels.findings import FINDINGS
from tests.manifests import CONFIG, invented_manifest, invented_run


def test_a_run_that_could_not_learn_a_finding_is_not_ranked_with_runs_that_learned_it() -> None:
    assert runs_with_most_findings({"a": ["Edema"], "b": [], "c": ["Edema"]}) == ["b"]
    assert runs_with_most_findings({"a": ["Edema", "Pneumonia"], "b": ["Pneumonia", "Edema"]}) == ["a", "b"]


def test_if_sets_of_findings_tie_the_most_frequent_set_is_ranked() -> None:
    assert runs_with_most_findings({"a": ["Edema"], "b": ["Pneumonia"], "c": ["Pneumonia"]}) == ["b", "c"]
    assert runs_with_most_findings({"a": ["Edema"], "b": ["Consolidation"]}) == ["b"]
    assert runs_with_most_findings({}) == []


@pytest.mark.parametrize(
    ("scored", "ranked", "learned"),
    [
        ((), ["all"], {"one": ["Edema"]}),
        (("Edema",), ["all", "one"], {}),  # both runs have all findings of the grid
        (("Edema", "Pneumonia"), ["all"], {"one": ["Edema"]}),
        (("Pneumonia",), ["all"], {"one": []}),
    ],
)
def test_the_findings_that_the_grid_scores_decide_which_runs_are_ranked(
    tmp_path: Path, scored: tuple[str, ...], ranked: list[str], learned: dict[str, list[str]]
) -> None:
    one = invented_run("one", config=replace(CONFIG, task="binary", finding="Edema"))
    settings = Settings(min_count=5, findings=scored)
    manifest = invented_manifest(Store(tmp_path), runs=(invented_run("all"), one), settings=settings)
    records: Any = dict.fromkeys(("all", "one"), SimpleNamespace(is_scored=True, facts={"trained": {}}))
    assert ranked_ids(manifest, records) == ranked
    assert learns(manifest, scored or FINDINGS, ["all", "one"], ranked, records) == learned


def test_a_network_of_a_panel_is_not_ranked_beside_it(tmp_path: Path) -> None:
    runs = [invented_run(name, config=replace(CONFIG, task="binary", finding=name)) for name in ("Edema", "Pneumonia")]
    panel = invented_run("panel", kind="panel", of=("Edema", "Pneumonia"))
    settings = Settings(min_count=5, findings=("Edema",))
    manifest = invented_manifest(Store(tmp_path), runs=tuple(runs), derived=(panel,), settings=settings)
    assert manifest.ranked == [panel]
