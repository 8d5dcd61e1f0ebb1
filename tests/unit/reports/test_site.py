"""The site: valid relative links, complete run pages, and data that can be read back."""

import json
import re

import pandas as pd
import pytest

from reports.schemas.tables import SCHEMAS
from reports.site import write_site
from reports.tables import Tables
from tests.synthetic import Invented, tables
from tests.unit.reports.test_page import checked
from tests.unit.reports.test_words_of_recipes import with_seeds

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "a b"
    made = tables(Invented(runs=3, failed=1, name=HOSTILE))
    write_site(made, folder)
    return folder, made


@pytest.fixture(scope="module")
def site_of_recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site of recipes")
    made = with_seeds(tables(Invented(runs=2)))
    write_site(made, folder)
    return folder, made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["site", "site_of_recipes"])
def test_every_link_is_relative_and_leads_to_a_file_of_the_site(request, name):
    folder, made = request.getfixturevalue(name)
    pages = [folder / "index.html", folder / "data.html", *sorted((folder / "runs").glob("*.html"))]
    assert len(pages) == 2 + len(made["runs"])
    linked = set()
    for page in pages:
        found = checked(page.read_text())
        assert found.bad == []
        for href in found.hrefs:
            file, _, anchor = href.partition("#")
            target = (page.parent / file).resolve() if file else page.resolve()
            assert target.is_file()
            linked.add(target)
            if anchor:
                assert f'id="{anchor}"' in target.read_text()
    assert linked >= {page.resolve() for page in pages}
    files = {file.resolve() for file in (folder / "data").iterdir() if file.stem == "meta" or len(made[file.stem])}
    assert linked >= files


def test_the_page_of_a_run_has_its_scores_and_curves_and_names_are_escaped(site):
    folder, made = site
    run_id = made["ranks"]["run_id"].iloc[0]
    page = (folder / "runs" / f"{run_id}.html").read_text()
    assert "ROC, precision-recall and threshold curves" in page
    assert "Confusion matrices" in page
    assert f"--only {run_id}" in page
    assert HOSTILE not in page
    assert "Not for clinical use" in page
    assert re.search(r"default-src 'none'", page.replace("&#39;", "'"))


def test_the_data_are_equal_after_reading_parquet_and_json(site):
    folder, made = site
    pd.testing.assert_frame_equal(Tables.load(folder / "data")["gaps"], made["gaps"])
    for name in SCHEMAS:
        stored = json.loads((folder / "data" / f"{name}.json").read_text())
        assert stored["columns"] == list(SCHEMAS[name])
        assert len(stored["data"]) == len(made[name])
