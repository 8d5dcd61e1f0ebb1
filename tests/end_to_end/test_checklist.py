"""`bench checklist` on a finished grid: what is filled is stored, and is said where."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.results.checklist_facts import Place

pytestmark = pytest.mark.grid
Command = Callable[..., Any]


def items(here: Command, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the filled items by checklist and number."""
    said = json.loads(here("checklist", "--json", cwd=folder).stdout)
    assert said["synthetic"] is True
    return {(c["name"], item["id"]): item for c in said["checklists"] for item in c["items"]}


def test_every_filled_item_leads_to_stored_values(store_copy: Path, here: Command) -> None:
    found = items(here, store_copy)
    filled = [item for item in found.values() if item["facts"]]
    assert {item["state"] for item in found.values()} == {"filled", "partly", "blank", "not applicable"}
    assert all(fact["text"] and fact["places"] for item in filled for fact in item["facts"])
    places = {Place(**place) for item in filled for fact in item["facts"] for place in fact["places"]}
    assert [place for place in places if not place.exists(store_copy / "runs")] == []
    # no fact of the store answers who paid for the study, or what the results mean
    assert {found["TRIPOD+AI", number]["state"] for number in ("18a", "25")} == {"blank"}


def test_the_links_of_the_file_lead_to_files(store_copy: Path, here: Command, tmp_path: Path) -> None:
    for path in (store_copy / "runs" / "report" / "tiny" / "checklists.md", tmp_path / "elsewhere" / "list.md"):
        here("checklist", *([] if path.name == "checklists.md" else ["-o", str(path)]), cwd=store_copy)
        targets = re.findall(r"\]\(<([^>]+)>\)", path.read_text())
        assert len(targets) > 50
        assert all((path.parent / target).is_file() for target in targets)


def test_numbers_are_those_of_the_tables(store_copy: Path, here: Command) -> None:
    found = items(here, store_copy)
    tables = store_copy / "runs" / "report" / "tiny" / "tables"
    cohorts = pd.read_parquet(tables / "cohorts.parquet")
    text = found["CLAIM", "35"]["facts"][0]["text"]
    for row in cohorts.itertuples():
        assert f"{row.title}: {row.used:,} of {row.found:,} images used, {row.patients:,} patients" in text
    ranks = pd.read_parquet(tables / "ranks.parquet")
    best = ranks[(ranks["metric"] == "auroc") & (ranks["dataset"] == "external") & (ranks["finding"] == "macro")].iloc[
        0
    ]
    assert f"{best.value:.3f} [{best.low:.3f}, {best.high:.3f}]" in found["CLAIM", "33"]["facts"][0]["text"]


def test_the_same_store_gives_the_same_bytes(store_copy: Path, here: Command) -> None:
    path = store_copy / "runs" / "report" / "tiny" / "checklists.md"
    here("checklist", cwd=store_copy)
    before = path.read_bytes()
    here("checklist", cwd=store_copy)
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", ["meta.json", "cohorts.parquet"])
def test_a_changed_table_of_the_report_is_named_and_written_again(table: str, store_copy: Path, here: Command) -> None:
    path = store_copy / "runs" / "report" / "tiny" / "tables" / table
    before = here("checklist", "--json", cwd=store_copy).stdout
    stored = path.read_bytes()
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(stored), "shared_patients": 7}))
    else:
        frame = pd.read_parquet(path)
        column = frame.select_dtypes("number").columns[0]
        frame.assign(**{column: frame[column] + 1}).to_parquet(path)
    said = here("checklist", cwd=store_copy, code=2).stderr
    assert f"{table} is not what was stored" in said
    assert "bench report --grid tiny" in said
    here("report", "--grid", "tiny", cwd=store_copy)
    assert path.read_bytes() == stored
    assert here("checklist", "--json", cwd=store_copy).stdout == before


def test_a_report_of_an_older_version_has_no_checksums(store_copy: Path, here: Command) -> None:
    before = here("checklist", "--json", cwd=store_copy).stdout
    (store_copy / "runs" / "report" / "tiny" / "tables" / "checksums.json").unlink()
    assert here("checklist", "--json", cwd=store_copy).stdout == before


def test_what_is_missing_is_named(store_copy: Path, here: Command) -> None:
    folder = store_copy / "runs" / "report" / "tiny"
    (folder / "tables" / "prevalence.parquet").write_bytes(b"no table")
    said = here("checklist", cwd=store_copy, code=2).stderr
    assert "prevalence.parquet" in said
    assert "bench report --grid tiny" in said
    shutil.rmtree(folder)
    said = here("checklist", cwd=store_copy, code=2).stderr
    assert "the grid has no report" in said
    assert "bench report --grid tiny" in said
