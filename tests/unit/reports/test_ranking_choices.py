"""The menu "Rank by": its options, their words, and the data of each ranking."""

import base64
import gzip
import json
from typing import Any

import pandas as pd
import pytest

from reports.report_data.report_data import ReportData, read
from reports.schemas.criterion import DEFAULT
from reports.sections.ranking import ranking
from reports.sections.ranking_choices import choices, packed_rankings
from reports.tables import Tables
from tests.nonempty import nonempty
from tests.synthetic import Invented, ranked_ids, rescored, tables

FEW = ("chexpert", "mimic", "nih")


def board(**changes: Any) -> ReportData:
    return read(tables(Invented(hospitals=FEW, **changes)))


def packed_data(of: ReportData) -> dict[str, Any]:
    order = {run.id: i for i, run in enumerate(of.ranked)}
    text = packed_rankings(of, (choice for options in choices(of).values() for choice in options), order)
    loaded: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return loaded


def test_the_options_are_metrics_at_each_hospital_and_the_first_is_the_ranking_of_the_page() -> None:
    options = choices(board(runs=6))
    assert list(options)[:4] == ["AUROC", "Gap in AUROC, smallest first", "AUPRC", "ECE, smallest first"]
    first = options["AUROC"][0]
    assert (first.criterion, first.words) == (
        DEFAULT,
        "mean AUROC at external hospitals, over 7 of 9 findings",
    )
    assert {choice.metric_and_place for choice in options["AUROC"]} == {
        "AUROC, external mean",
        "AUROC, MIMIC-CXR",
        "AUROC, NIH-14",
        "AUROC, CheXpert (internal)",
    }
    assert options["Gap in AUROC, smallest first"][0].criterion.key == "gap.external"
    assert all(choice.smallest_first for choice in options["ECE, smallest first"])


def test_a_finding_and_a_custom_metric_are_options() -> None:
    made = tables(Invented(runs=5, hospitals=FEW))
    first = made["ranks"].iloc[:5]
    frames = dict(made.frames)
    more = [first.assign(finding="Edema"), first.assign(metric="separation", value=-first["value"])]
    frames["ranks"] = pd.concat([first, *more], ignore_index=True)
    custom = [{"name": "separation", "title": "Separation", "facts": {"better": "lower"}}]
    options = choices(read(rescored(Tables(made.meta, frames), custom_metrics=custom)))
    [of_finding] = options["AUROC of one finding, external mean"]
    assert of_finding.criterion.key == "auroc.external.Edema"
    assert of_finding.words == "mean AUROC of Edema at 2 external hospitals"
    [of_metric] = options["Separation, smallest first"]
    assert of_metric.smallest_first


def test_the_data_of_a_ranking_are_the_rows_of_its_table_and_its_groups_are_named_by_their_first() -> None:
    of = board(runs=10)
    loaded = packed_data(of)
    table = of.tables["ranks"].query("metric == 'gap' and dataset == 'nih'")
    gap = loaded["gap.nih"]
    assert [of.ranked[i].id for i in gap["row"]] == table["run_id"].tolist()
    assert [group + 1 for group in gap["group"]] == table["group"].tolist()
    assert gap["rank"] == table[["rank_low", "rank_high"]].to_numpy().tolist()
    assert len(gap["groups"]) == table["group"].nunique()
    labels = {run.id: run.label for run in of.ranked}
    assert f"tied with {labels[table['run_id'].iloc[0]]}" in gap["groups"][0]
    assert gap["leader"].startswith(
        f"{labels[table['run_id'].iloc[0]]} has the smallest measured gap in AUROC at NIH-14"
    )
    assert set(loaded) == {choice.criterion.key for options in choices(of).values() for choice in options}


def test_names_are_escaped_in_the_html_that_the_script_inserts() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    for of_choice in nonempty(packed_data(board(runs=6, name=hostile)).values()):
        assert "<img" not in of_choice["leader"] + "".join(of_choice["groups"])
        assert "&lt;img" in of_choice["leader"]


@pytest.mark.parametrize("num_runs", [1, 5])
def test_without_other_rankings_there_is_no_menu(num_runs: int) -> None:
    made = tables(Invented(runs=num_runs, hospitals=FEW))
    only = Tables(made.meta, made.frames | {"ranks": made["ranks"].iloc[: len(ranked_ids(made))]})
    assert choices(read(only)) == {}
    html = str(ranking(read(only)).html)
    assert 'id="by"' not in html
    assert 'id="rankings"' not in html
