"""The section on training algorithms: its sentence follows the corrected interval, inside and at external hospitals."""

import numpy as np
import pandas as pd
import pytest
import synthetic
from bs4 import BeautifulSoup

from reports.page import render
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables

HOSTILE = "<script>alert(1)</script>"
Row = tuple[object, ...]


def row(
    algorithm: str,
    value: float,
    half: float = 0.006,
    dataset: str = "external",
    split: str = "all",
    *,
    setting: str = "",
    wider: float = 1.3,
    pairs: int = 3,
) -> Row:
    """Return a row of the table `algorithms`; `wider` times `half` is the corrected half width."""
    own, corrected = (value - half, value + half), (value - wider * half, value + wider * half)
    return (setting, algorithm, dataset, split, value, *own, 0.01, 0.02, *corrected, 1, pairs)


def section(*rows: Row, pool: bool = False) -> str:
    """Return the text of the section; "" if the page has no such section."""
    made = synthetic.tables(synthetic.Invented(runs=3, hospitals=("chexpert", "mimic", "nih")))
    if pool:
        made = as_pool(made)
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["algorithms"]))
    page = render(Tables(made.meta, {**made.frames, "algorithms": frame}))
    assert HOSTILE not in page
    found = BeautifulSoup(page, "html.parser").find(id="algorithms")
    return found.get_text(" ", strip=True) if found else ""


def as_pool(made: Tables) -> Tables:
    """Return the tables with the internal cohort a+b in place of chexpert."""
    frames = {name: frame.replace("chexpert", "a+b") for name, frame in made.frames.items()}
    datasets = dict(made.meta["datasets"])
    datasets["a+b"] = datasets.pop("chexpert") | {"title": "North + South", "short": "North + South"}
    datasets |= {key: {"title": f"{name} Hospital", "short": name} for key, name in (("a", "North"), ("b", "South"))}
    return Tables(made.meta | {"source": "a+b", "datasets": datasets, "pool": ["a", "b"]}, frames)


@pytest.mark.slow
def test_a_grid_with_only_erm_has_no_such_section() -> None:
    assert section() == ""


@pytest.mark.slow
def test_the_title_names_the_algorithms_with_a_clear_difference_and_the_price_inside() -> None:
    inside = [row("GroupDRO", -0.02, 0.01, "chexpert", "test"), row("V-REx", 0.001, 0.01, "chexpert", "test")]
    text = section(row("GroupDRO", 0.02), row("V-REx", 0.001), *inside)
    assert "1 of 2 algorithms with a clear change of AUROC at external hospitals: GroupDRO +.020 [.014, .026]" in text
    assert (
        "1 of 2 algorithms with a clear change of AUROC at the internal hospital: GroupDRO −.020 [−.030, −.010]" in text
    )


@pytest.mark.slow
def test_a_difference_that_is_clear_only_before_the_correction_is_not_named_as_clear() -> None:
    text = section(row("GroupDRO", 0.007, 0.006), row("V-REx", -0.001))
    assert (
        "0 of 2 algorithms with a clear change of AUROC at external hospitals: the largest is GroupDRO +.007 [.001, .013]"
        in text
    )
    assert "reach from −.009 to +.015" in text
    assert "higher" not in text
    assert "unclear" in text


@pytest.mark.slow
def test_with_two_pairs_of_runs_there_is_no_verdict() -> None:
    text = section(row("GroupDRO", 0.05, pairs=2))
    assert "Too few pairs of runs to compare algorithms with ERM" in text
    assert "too few pairs" in text
    assert "clear change" not in text


@pytest.mark.slow
def test_a_value_without_an_interval_gives_no_verdict() -> None:
    nothing = ("", "GroupDRO", "external", "all", 0.05, *(np.nan,) * 6, 1, 3)
    text = section(nothing)
    assert "clear change" not in text
    assert "+.050" in text


@pytest.mark.slow
def test_each_training_hospital_of_a_pool_has_a_row_with_its_own_name() -> None:
    rows = [row("V-REx", 0.02, dataset=d, split=s) for d, s in (("external", "all"), ("nih", "all"))]
    rows += [row("V-REx", -0.02, dataset="a+b", split=s) for s in ("test", "test:a", "test:b")]
    text = section(*rows, pool=True)
    for name in ("External hospitals, mean", "Training hospitals, mean", "North (training)", "South (training)"):
        assert name in text
    assert "of AUROC at the internal hospitals: V-REx −.020 [−.026, −.014]" in text


@pytest.mark.slow
def test_each_network_has_a_table_of_its_own_and_names_are_escaped() -> None:
    text = section(row(HOSTILE, 0.02), row(HOSTILE, 0.03, setting="ResNet-18"), row(HOSTILE, 0.01, setting="ViT"))
    assert "Only ResNet-18" in text
    assert "Only ViT" in text
    assert f"{HOSTILE} +.020" in text
