"""The section on heat maps: sentences, missing data, and escaping of names."""

import base64
import json

import pandas as pd
import pytest

from bench.extensions.heat_maps import heatmap_summary as looks
from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.run_detail import RunDetails
from reports.site import write_site
from reports.tables import Tables
from tests.synthetic import Invented, page_of, tables

WEBP = b"RIFF\x00\x00\x00\x00WEBP"


def with_looks(found: Tables, value: float, name: str = "Edema", wide: float = 0.1, middle: float = 1.5) -> Tables:
    """The invented study with one number per run and hospital, and one picture."""
    runs = found["runs"].loc[found["runs"]["state"] == "done", "run_id"].tolist()
    rows = [
        (
            run,
            dataset,
            of,
            by,
            region,
            "enrichment",
            (at := value if by == "network" else middle),
            at * (1 - wide),
            at * (1 + wide),
            24,
            24,
            1.0,
        )
        for run in runs
        for dataset in found["cohorts"]["dataset"]
        for of in ("all", name)
        for by, region in (("network", "finding"), ("centre", "finding"), ("network", "token"))
    ]
    table = pd.DataFrame(rows, columns=list(SCHEMAS["attention"]))
    case = (runs[0], found["cohorts"]["dataset"].iloc[0], name, "sure miss", 0, 0.04, 0.2, float("nan"), WEBP)
    gallery = pd.DataFrame([case], columns=list(SCHEMAS["gallery"]))
    return Tables(found.meta, {**found.frames, "attention": table, "gallery": gallery})


@pytest.mark.slow
def test_without_the_analysis_there_is_no_section() -> None:
    assert 'id="attention"' not in page_of(Invented())


@pytest.mark.slow
def test_the_title_follows_from_the_numbers_and_pictures_of_patients_carry_a_warning() -> None:
    page = render(with_looks(tables(Invented(runs=2)), 2.0))
    assert "Heat on the finding: 2.0× chance" in page
    assert "focus on the PORT tag" in page
    assert "radiographs of patients" in page
    assert page.count("data:image/webp;base64,") == 1
    other = render(with_looks(tables(Invented(runs=2, phantom=True)), 0.8))
    assert "Heat on the finding: 0.80× chance" in other
    assert "do not focus on the PORT tag" in other
    assert "radiographs of patients" not in other


@pytest.mark.slow
def test_hostile_names_are_escaped_and_missing_numbers_are_accepted() -> None:
    page = render(with_looks(tables(Invented(runs=1)), float("nan"), "<script>alert(1)</script>"))
    assert "<script>alert(1)" not in page
    assert ">nan<" not in page


@pytest.mark.slow
def test_pictures_are_in_the_details_of_their_run_and_the_footer_names_their_origin() -> None:
    made = with_looks(tables(Invented(runs=2)), 2.0)
    page = render(made)
    assert "This file contains 1 small radiograph of patients with heat maps." in page
    board = read(made)
    with_picture = made["gallery"]["run_id"].iloc[0]
    for run in board.runs:
        alone = str(RunDetails.of(board, board.runs).body(run, drawn=True))
        assert alone.count("<img ") == (run.id == with_picture)
        in_page = str(RunDetails.of(board, board.runs).body(run, drawn=False))
        assert "<img " not in in_page
        assert (f'data-pictures="{run.id}"' in in_page) == (run.id == with_picture)
    assert "This file contains no image of a patient." in page_of(Invented(runs=2))


@pytest.mark.parametrize(
    ("value", "wide", "said"),
    [
        (2.0, 0.1, "Heat on the finding: 2.0× chance; marking only the center gives 1.5×"),
        (1.2, 0.3, "Heat on the finding: not clearly above chance (1.2×)"),
        (0.5, 0.1, "Heat on the finding: 0.50× chance; marking only the center gives 1.5×"),
    ],
)
def test_heat_on_the_finding_is_claimed_only_if_the_interval_supports_it(value, wide, said) -> None:
    made = with_looks(tables(Invented(runs=2)), value, wide=wide)
    assert looks.title(made["attention"]) == said


@pytest.mark.slow
def test_a_site_has_the_pictures_as_base64_in_its_data(tmp_path) -> None:
    write_site(with_looks(tables(Invented(runs=2)), 2.0), tmp_path)
    table = json.loads((tmp_path / "data" / "gallery.json").read_text())
    (row,) = table["data"]
    assert base64.b64decode(row[table["columns"].index("picture")]) == WEBP


@pytest.mark.parametrize(("value", "said"), [(0.1, "depend on training"), (0.7, "partly show the image")])
def test_the_randomization_check_is_judged_by_its_correlation(value, said) -> None:
    row = ("r", "nih", "Edema", value, value - 0.1, value + 0.1, 12)
    found = looks.trust(pd.DataFrame([row], columns=list(SCHEMAS["randomization"])))
    assert said in found
    assert looks.trust(pd.DataFrame(columns=list(SCHEMAS["randomization"]))) == ""
