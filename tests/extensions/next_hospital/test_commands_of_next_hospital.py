"""`api.next_hospital` and the sentence of `bench compare` have the numbers of the model."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from bench import api
from bench.extensions.next_hospital import notes
from bench.extensions.next_hospital.areas import HEAVY, SCALE
from bench.extensions.next_hospital.random_effects import Panels, bayes
from bench.extensions.next_hospital.report_tables import SHARE_SCALE
from bench.scoring.metrics_of_split import AUROC, Key
from harmonize.errors import ConfigError
from tests.conftest import Command
from tests.extensions.next_hospital.test_tables import manifest

VALUE = np.array([0.78, 0.71, 0.74, 0.69])
LOW, HIGH = expit(logit(VALUE) - 0.2), expit(logit(VALUE) + 0.2)


def test_the_library_predicts_a_new_hospital_from_lists_of_numbers() -> None:
    found = api.next_hospital(list(VALUE), list(LOW), list(HIGH))
    fit = bayes(Panels.of(logit(VALUE), np.full(4, (0.2 / 1.959964) ** 2)), SCALE, HEAVY)
    assert found["value"] == pytest.approx(expit(fit.mean[0]), abs=1e-6)
    assert found["new_high"] == pytest.approx(expit(fit.new_high[0]), abs=1e-6)
    assert found["sd_low"] == pytest.approx(fit.tau_low[0], abs=1e-6)
    gap = api.next_hospital([0.1, 0.2, 0.15], [0.05, 0.1, 0.1], [0.15, 0.3, 0.2], metric="gap")
    assert gap["new_low"] < gap["low"] < gap["value"] < gap["high"] < gap["new_high"]


@pytest.mark.parametrize(
    ("arguments", "metric", "words"),
    [
        (([0.7, 0.8], [0.6, 0.7], [0.8, 0.9]), "auroc", "have a value with an interval: 2"),
        (([0.7, 0.8, 0.9], [0.6, 0.7], [0.8, 0.9]), "auroc", "different lengths"),
        (([0.7, float("nan"), 0.9], [0.6, 0.7, 0.8], [0.8, 0.9, 1.0]), "auroc", "too few hospitals have a value"),
        (([0.7, 0.8, 0.9], [0.6, 0.7, 0.8], [0.8, 0.9, 1.0]), "ece", "unknown metric"),
        (([0.7, 0.8, float("inf")], [0.6, 0.7, 0.8], [0.8, 0.9, 1.0]), "auroc", "hospital 3: inf .* is no auroc"),
        (([0.7, 0.8, 0.9], [0.6, 0.9, 0.8], [0.8, 0.7, 1.0]), "auroc", "hospital 2: 0.8 .0.9, 0.7. is no auroc"),
        (([0.5, 0.8, 0.9], [0.6, 0.7, 0.8], [0.8, 0.9, 1.0]), "auroc", "hospital 1: 0.5 .0.6, 0.8. is no auroc"),
        (([1.1, 0.8, 0.9], [1.0, 0.7, 0.8], [1.2, 0.9, 1.0]), "auroc", "hospital 1: 1.1 .1.0, 1.2. is no auroc"),
        (([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]), "gap", "hospital 1: 0.1 .0.1, 0.1. is no gap"),
    ],
)
def test_bad_numbers_are_refused(arguments: tuple[list[float], ...], metric: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        api.next_hospital(*arguments, metric=metric)


class Planned:
    """A run whose grid has these external hospitals."""

    def __init__(self, *names: str) -> None:
        self.manifest, self.run = manifest(list(names)), {}
        self.manifest.external_to = lambda _: [SimpleNamespace(of_children=False, name=name) for name in names]


def table_of(differences: dict[str, float]) -> pd.DataFrame:
    rows = [("macro", name, value, value - 0.04, value + 0.04) for name, value in differences.items()]
    return pd.DataFrame(rows, columns=["finding", "dataset", "difference", "low", "high"])


def test_a_comparison_states_the_difference_at_a_new_hospital() -> None:
    both = [Planned("mimic", "nih", "brax", "vindr"), Planned("nih", "brax", "mimic", "padchest")]
    table = table_of({"chexpert": 0.5, "mimic": 0.03, "nih": 0.02, "brax": 0.05, "vindr": 0.9, "external": 0.4})
    [sentence] = notes.of_comparison(both, AUROC, table)
    fit = bayes(Panels.of(np.array([0.03, 0.02, 0.05]), np.full(3, (0.04 / 1.959964) ** 2)), SHARE_SCALE)
    numbers = f"{fit.mean[0]:+.3f} [{fit.new_low[0]:+.3f}, {fit.new_high[0]:+.3f}]"
    assert f"like these 3: difference {numbers}" in sentence
    assert float(re.findall(r"probability of (\S+)\.", sentence)[0]) == pytest.approx(
        1 - fit.below(np.zeros(1))[0], abs=0.006
    )
    assert notes.of_comparison(both, Key("ece"), table) == ()
    assert notes.of_comparison(both, AUROC, table[table["dataset"] != "nih"]) == ()


@pytest.mark.grid
def test_compare_prints_the_sentence(finished: Path, here: Command) -> None:
    first, second = pd.read_parquet(finished / "runs" / "report" / "tiny" / "tables" / "recipes.parquet").iloc[:, 1]
    said = " ".join(here("compare", first, second, cwd=finished).stdout.split())
    assert "Macro at another hospital like these 5: difference" in said
