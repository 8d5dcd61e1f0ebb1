"""A grid that was scored again: every command has the findings, the thresholds and the numbers of its page."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from bench.api import load_logits, score
from bench.extensions.estimates.stored_runs import internal_findings_of
from bench.extensions.label_needs.needs import labels_needed
from bench.planning.manifest import Manifest, read_manifest
from bench.store.store import Store
from harmonize.labels.findings import FINDINGS as SHARED
from reports import verdicts
from reports.report_data.report_data import read
from reports.schemas.select import select
from reports.tables import Tables
from tests.conftest import Command

FINDINGS = ("Edema", "Pleural Effusion")
CHANGE = ("--findings", ",".join(FINDINGS), "--threshold", "youden", "--labels-read", "uncertain-present")
GRID = ("--grid", "again")

pytestmark = pytest.mark.grid


@pytest.fixture(scope="module")
def folder(finished: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished grid `tiny`, scored again as `again`, with a page of its own."""
    copy = shutil.copytree(finished, tmp_path_factory.mktemp("again") / "copy", symlinks=True)
    command("score", "--grid", "tiny", "--as", "again", *CHANGE, "--quiet", cwd=copy)
    command("report", *GRID, "--quiet", cwd=copy)
    return copy


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return read_manifest(Store.open(folder / "runs"), "again")


def page_table(folder: Path, name: str, grid: str = "again") -> pd.DataFrame:
    """Return a table of the page."""
    return pd.read_parquet(folder / "runs" / "report" / grid / "tables" / f"{name}.parquet")


def aurocs(folder: Path, run_id: str, finding: str | None = "macro") -> dict[tuple[str, str], float]:
    """Return {(hospital, finding): AUROC} of a run on the page, of the internal test split and external hospitals."""
    rows = select(page_table(folder, "scores"), finding=finding, internal="chexpert")
    rows = rows[(rows["run_id"] == run_id) & rows["value"].notna()]
    return dict(zip(zip(rows["dataset"], rows["finding"], strict=True), rows["value"], strict=True))


def test_the_page_has_only_the_findings_of_the_grid(folder, manifest):
    for run in manifest.runs:
        assert {finding for _, finding in aurocs(folder, run.id, None)} <= {*FINDINGS, "macro"}
    left_out = {*SHARED} - {*FINDINGS, "No Finding"}  # the page explains what "No Finding" is
    report = folder / "runs" / "report" / "again"
    for path in sorted((report / "tables").glob("*.parquet")):
        table = pd.read_parquet(path)
        if {"finding", "value"} <= {*table}:
            assert table["value"][table["finding"].isin(left_out)].isna().all(), path.stem
    page = BeautifulSoup((report / "leaderboard.html").read_text(), "html.parser")
    for section in page.select("section"):
        assert not [name for name in left_out if name in section.get_text()], section["id"]


@pytest.mark.parametrize("metric", ["auroc", "auroc_gap"])
def test_compare_has_the_findings_and_numbers_of_the_page(here, folder, manifest, metric):
    ids = [run.id for run in manifest.runs]
    done = here("compare", *ids, *GRID, "--metric", metric, "--json", cwd=folder)
    rows = pd.DataFrame(json.loads(done.stdout)["rows"])
    rows = rows[~rows["split"].str.contains("expert|:") & rows["first"].notna()]
    assert set(rows["finding"]) <= {*FINDINGS, "macro"}
    if metric == "auroc":
        own = [aurocs(folder, run_id) | aurocs(folder, run_id, None) for run_id in ids]
    else:
        gaps = page_table(folder, "gaps")
        of = [gaps[gaps["run_id"] == run_id] for run_id in ids]
        own = [dict(zip(zip(g["dataset"], g["finding"], strict=True), g["value"], strict=True)) for g in of]
    assert len(rows)
    for row in rows.to_dict("records"):
        key = row["dataset"], row["finding"]
        assert (row["first"], row["second"]) == pytest.approx((own[0][key], own[1][key]), abs=1e-9), key


def test_compare_and_errors_use_the_threshold_of_the_grid(here, folder, manifest):
    run, other = (run.id for run in manifest.runs)
    for command in (("compare", run, other, "--metric", "sensitivity"), ("errors", run)):
        stated = here(*command, *GRID, "--csv", "--at", "youden", cwd=folder).stdout
        assert here(*command, *GRID, "--csv", cwd=folder).stdout == stated
        assert here(*command, *GRID, "--csv", "--at", "sens_90", cwd=folder).stdout != stated
        of_tiny = here(*command, "--grid", "tiny", "--csv", cwd=folder).stdout
        assert here(*command, "--csv", cwd=folder).stdout == of_tiny  # the grid scored again is not the run's own
        assert of_tiny != stated


def test_errors_are_of_the_findings_of_the_grid_and_its_numbers_are_the_confusion_matrices_of_the_page(
    here, folder, manifest
):
    run = manifest.runs[0].id
    done = here("errors", run, *GRID, "-n", "100000", "--json", cwd=folder)
    rows = pd.DataFrame(json.loads(done.stdout))
    assert set(rows["finding"]) == set(FINDINGS)
    counts = rows.groupby(["dataset", "split", "finding", "kind"]).size()
    table = page_table(folder, "confusion")
    table = table[(table["run_id"] == run) & (table["operating_point"] == "youden")]
    assert len(table)
    for row in table.to_dict("records"):
        place = row["dataset"], row["split"], row["finding"]
        assert counts.get((*place, "fp"), 0) == row["false_positive"]
        assert counts.get((*place, "fn"), 0) == row["false_negative"]
    here("errors", run, *GRID, "--finding", "Atelectasis", cwd=folder, code=2)


def test_the_library_scores_what_the_page_shows(folder, manifest):
    run = manifest.runs[0].id
    found = score(load_logits(manifest, run), manifest.settings, run_id=run).scores
    stored = aurocs(folder, run) | aurocs(folder, run, None)
    rows = select(found, finding=None, internal="chexpert")
    rows = rows[rows["value"].notna()]
    ours = dict(zip(zip(rows["dataset"], rows["finding"], strict=True), rows["value"], strict=True))
    assert {key: value for key, value in stored.items() if key[1] in FINDINGS} == pytest.approx(
        {key: value for key, value in ours.items() if key[1] in FINDINGS}, abs=1e-9
    )
    assert {finding for _, finding in ours} <= {*FINDINGS, "macro"}


def test_labels_are_needed_for_the_findings_of_the_grid(folder, manifest):
    needs = labels_needed(manifest.store, "again")
    assert set(needs.needs["finding"]) <= {*FINDINGS, "macro"}


def test_predictions_are_of_the_findings_with_the_threshold_of_the_grid(here, folder, manifest):
    run = manifest.runs[0].id
    phantoms = next((folder / "runs" / "phantom").iterdir()).resolve()  # a link
    images = str(phantoms / "brax" / "images")
    done = here("predict", run, images, *GRID, "--json", "--quiet", cwd=folder)
    found = json.loads(done.stdout)["images"][0]["findings"]
    assert set(found) == set(FINDINGS)
    data = read(Tables.load(folder / "runs" / "report" / "again" / "tables"))
    (shown,) = (member for member in data.ranked_runs if member.id == run)
    of_page = {finding: verdict.state for finding, verdict in verdicts.of_findings(data, shown).items()}
    assert {finding: numbers["verdict"] for finding, numbers in found.items()} == of_page
    assert "youden" in here("predict", run, images, *GRID, "--quiet", cwd=folder).stdout


def test_the_list_of_runs_has_the_scores_of_the_grid(here, folder, manifest):
    listed = json.loads(here("list", "runs", *GRID, "--json", cwd=folder).stdout)
    assert {row["run"] for row in listed} == set(manifest.run_of)
    for run in manifest.runs:
        (row,) = [row for row in listed if row["run"] == run.id]
        assert row["external_auroc"] == pytest.approx(aurocs(folder, run.id)["external", "macro"], abs=1e-9)
    here("list", "runs", "--grid", "none", cwd=folder, code=2)
    here("list", "losses", *GRID, cwd=folder, code=2)


def test_heat_maps_are_of_the_findings_with_the_thresholds_of_the_grid(here, folder, manifest):
    run = manifest.runs[0].id
    phantoms = next((folder / "runs" / "phantom").iterdir()).resolve()  # a link
    image = str(min((phantoms / "brax" / "images").rglob("*.png")))
    rows = json.loads(here("explain", run, image, *GRID, "--json", "--quiet", cwd=folder).stdout)
    assert {row["finding"] for row in rows} == set(FINDINGS)
    chosen = page_table(folder, "operating_points")
    chosen = chosen[(chosen["run_id"] == run) & (chosen["rule"] == "youden")].set_index("finding")["probability"]
    assert {row["finding"]: row["threshold"] for row in rows} == pytest.approx(chosen[list(FINDINGS)].to_dict())
    here("explain", run, image, *GRID, "--finding", "Atelectasis", cwd=folder, code=2)


def test_estimates_are_of_the_findings_of_the_grid(here, folder, manifest):
    rows = pd.DataFrame(json.loads(here("estimate", *GRID, "--json", cwd=folder).stdout)["rows"])
    assert set(rows["finding"]) == {*FINDINGS, "macro"}
    chosen = page_table(folder, "operating_points")
    chosen = chosen[chosen["rule"] == "youden"].set_index(["run_id", "finding"])["threshold"]
    findings = manifest.scored_findings(manifest.runs[0])
    known = internal_findings_of(manifest, [run.id for run in manifest.runs], findings)
    for run_id, found in known.items():
        assert [of_finding.threshold for of_finding in found] == pytest.approx([chosen[run_id, f] for f in findings])
    assert len(known) == 2


def test_the_card_has_the_numbers_of_the_page(here, folder, manifest):
    run = manifest.runs[0].id
    here("card", run, *GRID, cwd=folder)
    lines = (manifest.store.run_dir(run) / "MODEL_CARD.md").read_text().splitlines()
    named = [line for line in lines if line.startswith(("| Edema", "| Pleural Effusion", "| Atelectasis"))]
    assert len(named) == 4  # AUROCs and thresholds
    assert not [line for line in named if "Atelectasis" in line]
