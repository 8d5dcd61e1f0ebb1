"""`bench checklist` on a finished grid: what is filled is stored, and is said where."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.store.checked_folders import ReportFolder
from bench.store.store import Store
from tests.nonempty import nonempty

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
    places = {(place["file"], place["key"]) for item in filled for fact in item["facts"] for place in fact["places"]}
    for file, key in places:
        path = store_copy / "runs" / file
        known = pq.read_schema(path).names if path.suffix == ".parquet" else json.loads(path.read_bytes())
        assert key in known, file
    # no fact of the store answers who paid for the study, or what the results mean
    assert {found["TRIPOD+AI", number]["state"] for number in ("18a", "25")} == {"blank"}


def test_the_links_of_the_file_lead_to_files(store_copy: Path, here: Command, tmp_path: Path) -> None:
    for path in (store_copy / "runs" / "report" / "tiny" / "checklists.md", tmp_path / "elsewhere" / "list.md"):
        here("checklist", *([] if path.name == "checklists.md" else ["-o", str(path)]), cwd=store_copy)
        targets = [unquote(link) for link in re.findall(r"\]\(([^)]+)\)", path.read_text())]
        assert len(targets) > 30
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


def test_counts_of_findings_are_those_of_the_scores(store_copy: Path, here: Command) -> None:
    text = items(here, store_copy)["TRIPOD+AI", "21"]["facts"][1]["text"]
    scores = pd.read_parquet(store_copy / "runs" / "report" / "tiny" / "tables" / "scores.parquet")
    scores = scores[(scores["metric"] == "auroc") & (scores["run_id"] == scores["run_id"].iloc[0])]
    scores = scores[(scores["finding"] == "Edema") & (scores["split"] == "test") & (scores["dataset"] == "chexpert")]
    (counts,) = re.findall(r"Edema: [^;]*\btest ([\d,]+)/([\d,]+)/([\d,]+)/([\d,]+)", text)
    present, absent, not_mentioned, _ = (int(count.replace(",", "")) for count in counts)
    assert not_mentioned > 0
    assert (scores["num_positive"].iloc[0], scores["num_negative"].iloc[0]) == (present, absent + not_mentioned)
    assert (
        "Images present/absent/not mentioned/uncertain. In tests, uncertain labels are not scored and unmentioned findings count as absent"
        in text
    )


def test_texts_say_what_is_done(store_copy: Path, here: Command) -> None:
    found = items(here, store_copy)
    texts = {key: " ".join(fact["text"] for fact in item["facts"]) for key, item in found.items()}
    assert "1 pair of recipes" in texts["CLAIM", "29"] or "pairs" not in texts["CLAIM", "29"]
    assert "the epoch with the highest AUROC on the split val" in texts["CLAIM", "26"]
    assert "In training, a finding that is not mentioned counts as absent." in texts["CLAIM", "12"]
    assert "no network, calibrator or threshold of a ranking is fitted to them" in texts["CLAIM", "19"]
    assert "goals: sensitivity .90, .95; specificity .90, .95" in texts["TRIPOD+AI", "15"]
    assert "Triage: stated rates .05, .10" in texts["TRIPOD+AI", "15"]
    assert (
        "(95 % prediction interval); standard deviation between hospitals, on the logit scale, "
        in texts["TRIPOD+AI", "12d"]
    )
    assert texts["TRIPOD-Cluster", "8f"] == texts["TRIPOD-Cluster", "13b"] == texts["TRIPOD+AI", "12d"]
    assert found["TRIPOD-Cluster", "13b"]["state"] == "filled"
    tables = store_copy / "runs" / "report" / "tiny" / "tables"
    repaired = len(pd.read_parquet(tables / "triage_repair.parquet")) > 0
    said = "labeled patients of an external hospital set its triage thresholds" in texts["TRIPOD+AI", "24"]
    assert said == repaired
    cohorts, splits = (pd.read_parquet(tables / f"{name}.parquet") for name in ("cohorts", "splits"))
    tested = splits[splits["dataset"] == "vindr"]["images"].item()
    used = cohorts[cohorts["dataset"] == "vindr"]["used"].item()
    assert (f"patients (tested: {tested:,} images of" in texts["CLAIM", "35"]) == (tested != used)
    assert "sex not stated" in texts["CLAIM", "36"]  # the layout of VinDr has no sex


def test_the_same_store_gives_the_same_bytes(store_copy: Path, here: Command) -> None:
    path = store_copy / "runs" / "report" / "tiny" / "checklists.md"
    here("checklist", cwd=store_copy)
    before = path.read_bytes()
    here("checklist", cwd=store_copy)
    assert path.read_bytes() == before


def test_a_fact_is_stated_once_and_other_items_refer_to_it(store_copy: Path, here: Command) -> None:
    here("checklist", cwd=store_copy)
    text = (store_copy / "runs" / "report" / "tiny" / "checklists.md").read_text()
    for part in nonempty(text.split("\n## ")[1:]):
        rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")][2:]
        stated = {number.removeprefix("| "): answer for number, _, _, _, answer, _ in rows}
        facts = [fact for answer in stated.values() for fact in answer.split("<br>") if fact and "see item" not in fact]
        assert len(set(facts)) == len(facts) > 20
        referred = re.findall(r"see item (\w+)", part)
        assert referred
        assert all(any("see item" not in fact for fact in stated[number].split("<br>")) for number in referred)


def test_names_that_break_tables_or_pages_are_escaped(store_copy: Path, here: Command) -> None:
    folder = store_copy / "runs" / "report" / "tiny"
    cohorts = pd.read_parquet(folder / "tables" / "cohorts.parquet")
    cohorts.assign(title="H|<script>alert(1)</script>\n| x").to_parquet(folder / "tables" / "cohorts.parquet")
    ReportFolder(folder / "tables").record_checksums()
    here("checklist", cwd=store_copy)
    text = (folder / "checklists.md").read_text()
    assert r"H\|&lt;script&gt;alert(1)&lt;/script&gt; \| x" in text
    assert "<script" not in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")} == {7}


def test_what_is_compared_is_not_called_shared(store_copy: Path, here: Command) -> None:
    meta = json.loads((store_copy / "runs" / "report" / "tiny" / "tables" / "meta.json").read_bytes())
    text = items(here, store_copy)["CLAIM", "20"]["facts"][0]["text"]
    assert f"patients in more than one split of the internal hospital: {meta['shared_patients']:,}." in text
    assert "Patient ids that were compared with the internal hospital: none." in text
    assert text.endswith("Internal and external images were compared")


@pytest.mark.parametrize("table", [pytest.param("meta.json", marks=pytest.mark.thorough), "cohorts.parquet"])
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


def test_a_report_that_was_killed_before_it_wrote_checksums_is_refused_until_it_is_written_again(
    store_copy: Path, here: Command
) -> None:
    """Its tables may be those of two reports: some were written before the kill, others by an older report."""
    before = here("checklist", "--json", cwd=store_copy).stdout
    ids = Store.open(store_copy / "runs").run_ids()
    (store_copy / "runs" / "report" / "tiny" / "tables" / "checksums.json").unlink()
    for words in (("checklist",), ("compare", *ids)):
        said = here(*words, cwd=store_copy, code=2).stderr
        assert "has no checksum (`bench report` was interrupted" in " ".join(said.split())
        assert "bench report --grid tiny" in said
    here("report", "--grid", "tiny", cwd=store_copy)
    here("compare", *ids, cwd=store_copy)
    assert here("checklist", "--json", cwd=store_copy).stdout == before


def test_what_is_missing_is_named(store_copy: Path, here: Command) -> None:
    folder = store_copy / "runs" / "report" / "tiny"
    (folder / "tables" / "prevalence.parquet").write_bytes(b"no table")
    said = here("checklist", cwd=store_copy, code=2).stderr
    assert "prevalence.parquet" in said
    assert "bench report --grid tiny" in said
    meta = json.loads((folder / "tables" / "meta.json").read_bytes())
    del meta["mapping"]
    (folder / "tables" / "meta.json").write_text(json.dumps(meta))
    ReportFolder(folder / "tables").record_checksums()
    assert "no 'mapping'" in here("checklist", cwd=store_copy, code=2).stderr
    shutil.rmtree(folder)
    said = here("checklist", cwd=store_copy, code=2).stderr
    assert "the grid has no report" in said
    assert "bench report --grid tiny" in said
