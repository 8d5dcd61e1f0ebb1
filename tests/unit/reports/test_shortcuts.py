"""The sections on shortcuts: descriptors, nuisances, escaping of names, a single cohort, and failed analyses."""

import numpy as np
import pandas as pd
import pytest

from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.shortcuts import shortcuts
from reports.tables import Tables
from tests.synthetic import Invented, tables

HOSTILE = "<script>alert(1)</script>"


def described(name: str = "noise", images: int = 40, sources: tuple[str, ...] = ("chexpert", "mimic")) -> pd.DataFrame:
    """Return a `descriptors` table in which one descriptor tells hospitals apart and one does nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for model in ("pixels", "header"):
        for descriptor, strength in ((name, 0.2), ("flat", 0.0)):
            rows += [
                ("", model, "importance", source, descriptor, 1.0, float("nan"), strength) for source in ("", *sources)
            ]
            shap = strength * rng.normal(size=images)
            rows += [
                ("", model, "point", sources[i % len(sources)], descriptor, 1.0, i / images, float(shap[i]))
                for i in range(images)
            ]
    return pd.DataFrame(rows, columns=["run_id", "model", "kind", "source", "descriptor", "value", "rank", "shap"])


def varying(run_id: str, name: str = "view", alone: float = 0.8, gain: float = 0.05) -> pd.DataFrame:
    """Return a `nuisances` table with one nuisance that stands in for a finding at the internal hospital and turns externally."""
    cohort = [
        ("chexpert", "train", name, "AP", "", "share", 0.6, 0.5, 0.7, 0.5, 900),
        ("chexpert", "train", name, "", "Edema", "cramers_v", 0.4, 0.3, 0.5, 0.0, 900),
        ("chexpert", "train", name, "", "Edema", "auroc_nuisance", alone, alone - 0.02, alone + 0.02, 0.5, 900),
        ("mimic", "test", name, "", "Edema", "auroc_nuisance", 1 - alone, 0.1, 0.3, 0.5, 300),
    ]
    run = [
        ("chexpert", "test", name, "", "", "decodability", 0.95, 0.93, 0.97, 0.5, 200),
        ("chexpert", "test", name, "", "", "random_decodability", 0.7, 0.65, 0.75, 0.5, 200),
        ("chexpert", "test", name, "", "Edema", "pooled_less_stratified", gain, gain - 0.02, gain + 0.02, 0.0, 200),
    ]
    rows = [("", *row) for row in cohort] + [(run_id, *row) for row in run]
    return pd.DataFrame(rows, columns=SCHEMAS["nuisances"])


def filled(**frames: pd.DataFrame) -> Tables:
    """Return the invented study with these tables in place of empty ones."""
    made = tables(Invented(runs=2))
    whole = {name: frame[list(SCHEMAS[name])] for name, frame in frames.items()}
    return Tables(made.meta, made.frames | whole)


def first_run() -> str:
    """Return the run that the page shows."""
    return read(tables(Invented(runs=2))).ranked[0].id


def test_every_image_is_a_dot_and_the_most_important_descriptor_is_first() -> None:
    html = str(shortcuts(read(filled(descriptors=described()))).html)
    assert "Image properties that reveal the hospital: noise and flat" in html
    assert "one of 40 held-out images" in html
    assert "File-header classifier" in html
    assert "nan" not in html


@pytest.mark.parametrize("images", [0, 1])
def test_descriptors_of_zero_or_one_image_or_hospital_are_accepted(images: int) -> None:
    html = str(shortcuts(read(filled(descriptors=described(images=images, sources=("chexpert",))))).html)
    assert 'id="descriptors"' in html
    assert "nan" not in html


@pytest.mark.slow
def test_a_nuisance_that_predicts_a_finding_is_named_with_its_external_auroc_and_its_effect() -> None:
    html = str(shortcuts(read(filled(nuisances=varying(first_run())))).html)
    assert "“View” alone predicts Edema: AUROC .800 internal, .200 external" in html
    assert "over all images, it is higher than among images with the same level of a nuisance" in html
    assert "from the network’s features better than before: view (AUROC .700 before training, .950 after)" in html
    weak = str(shortcuts(read(filled(nuisances=varying(first_run(), alone=0.55, gain=0.0)))).html)
    assert "No recorded nuisance predicts a finding well: AUROC at most .550" in weak
    assert "no sign of a shortcut in the internal AUROC" in weak


@pytest.mark.slow
def test_names_of_descriptors_and_nuisances_are_escaped() -> None:
    page = render(filled(descriptors=described(HOSTILE), nuisances=varying(first_run(), HOSTILE)))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
