"""The section on estimators: its title follows its marks, and a difference of few cells decides nothing."""

import re

import pandas as pd
import pytest

from bench.extensions.estimates.sections import estimators
from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests.properties.test_one_interval import NUMBER, Element, marks
from tests.synthetic import Invented, tables

pytestmark = pytest.mark.slow


def of_estimators(differences, hospitals=("mimic", "padchest", "nih")):
    """Return a study with a table of estimators: errors of .05 plus a difference, with an interval of ± .01."""
    made = tables(Invented(runs=3, hospitals=("chexpert", *hospitals)))
    common = {"quantity": "auroc", "finding": "macro", "bias": 0.01, "tau": 0.4, "n": 9}
    rows = [
        common
        | {"estimator": name, "title": name, "value": 0.05 + d, "low": 0.03 + d, "high": 0.07 + d}
        | {"difference": d, "difference_low": d - 0.01, "difference_high": d + 0.01}
        for name, d in {"mean_gap": 0.0, **differences}.items()
    ]
    estimators = pd.DataFrame(rows, columns=list(SCHEMAS["estimators"]))
    return Tables(made.meta, {**made.frames, "estimators": estimators})


@pytest.mark.parametrize(
    ("differences", "better"),
    [
        ({"one": -0.03, "two": -0.02, "three": 0.03}, "one"),
        ({"one": -0.011, "two": 0.004}, ""),  # clear alone, not clear among two
        ({"one": -0.011}, "one"),
        ({"one": 0.03}, ""),
    ],
)
def test_the_title_on_estimators_follows_the_filled_marks(differences, better):
    section = Element.of(render(of_estimators(differences))).all("section", id="estimators")[0]
    rows = {row.all("th")[0].text.lower(): row.all("td") for row in section.all("table")[0].all("tr")[1:]}
    clear = [name for name, cells in rows.items() if marks(cells[1]) == ["clear"] and differences[name] < 0]
    assert clear[:1] == ([better] if better else [])
    title = section.all("h4")[0].text
    no_estimator = "No AUROC estimator is clearly better than"
    words = f"{better.title()} has a smaller measured error than" if better else no_estimator
    assert title == f"{words} the mean gap"
    assert len(title.split()) <= 12
    baseline = float(re.search(NUMBER, rows.pop("mean_gap")[0].text).group())
    for name, (error, _, difference, *_) in rows.items():
        own, apart = (float(re.search(NUMBER, cell.text).group().replace("−", "-")) for cell in (error, difference))
        assert own - baseline == pytest.approx(apart, abs=0.0011), name


@pytest.mark.parametrize(("num_cells", "half"), [(3, 0.01), (9, 0.0001)], ids=["few cells", "no width"])
def test_a_difference_of_few_cells_or_without_width_decides_no_title(num_cells, half):
    made = of_estimators({"one": -0.047})
    table = made["estimators"].copy()
    one = table["estimator"] == "one"
    table.loc[one, ["n", "difference_low", "difference_high"]] = num_cells, -0.047 - half, -0.047 + half
    page = Element.of(str(estimators(read(Tables(made.meta, {**made.frames, "estimators": table}))).html))
    assert page.all("h4")[0].text == "No AUROC estimator is clearly better than the mean gap"
    assert ("3 of 9 means" in page.all("table")[0].text) == (num_cells == 3)
