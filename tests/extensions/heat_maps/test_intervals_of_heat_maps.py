"""Intervals of the means of heat maps contain the truth with few patients, where percentiles do not."""

import numpy as np
import pandas as pd
import pytest

from bench.extensions.heat_maps.summary import MEASURES, summarize
from tests.resampled import in_groups, resampled_error

Interval = tuple[float, float, float]


def interval(metric: str, numbers: np.ndarray, empty: np.ndarray | None = None, dataset: str = "a") -> Interval:
    """Return value, low and high of a metric of maps, each of its own patient."""
    frame = pd.DataFrame(dict.fromkeys(MEASURES, numbers))
    frame = frame.assign(
        finding="Mass", patient_id=[f"p{i}" for i in range(len(frame))], by="network", region="finding"
    )
    frame = frame.assign(area=0.25, near=0.3, empty=0.0 if empty is None else empty)
    rows = summarize(frame, dataset, "r").set_index(["finding", "metric"])
    value, low, high = rows.loc[("Mass", metric), ["value", "low", "high"]].astype(float)
    return value, low, high


def test_hits_in_all_or_no_map_have_intervals_with_a_width() -> None:
    """Of five patients, all hits: Agresti and Coull's lower bound is (5 + z² / 2) / (5 + z²) minus z standard errors, .51."""
    assert interval("hit", np.ones(5)) == pytest.approx((1, 0.511, 1), abs=0.002)
    assert interval("iou_50", np.zeros(5)) == pytest.approx((0, 0, 0.489), abs=0.002)
    assert np.isnan(interval("enrichment", np.zeros(5))[1])


def test_the_mean_of_fewer_maps_with_heat_than_needed_is_unknown() -> None:
    few = np.array([0.4, 0.5, 0.6, 0.3, 0.0, 0.0, 0.0])
    assert np.isnan(interval("energy", few, (few == 0).astype(float))).all()


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "least"), [("hit", 0.93), ("iou_50", 0.9), ("energy", 0.9)])
def test_intervals_of_eight_patients_contain_the_truth(metric: str, least: float) -> None:
    """Percentiles contain a share of .9 in 55 % of samples, and a mean of overlaps in 88 %."""
    draw = np.random.default_rng(5)
    inside = []
    for sample in range(250):
        numbers = (draw.random(8) < 0.9).astype(float) if metric == "hit" else draw.beta(2, 5, 8)
        _, low, high = interval(metric, numbers, dataset=f"a{sample}")
        inside.append(low <= (0.9 if metric == "hit" else 2 / 7) <= high)
    assert np.mean(inside) >= least


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    """Patients have 1 to 4 maps; of many patients, half a width is 1.96 to 2 standard errors."""
    draw = np.random.default_rng(6)
    patient = in_groups(150, 4, draw)
    area, energy = draw.uniform(0.1, 0.3, len(patient)), draw.beta(2, 3, 150)[patient].round(1)
    frame = pd.DataFrame(dict.fromkeys(MEASURES, energy)).assign(
        finding="Mass", patient_id=patient.astype(str), by="network", region="finding", area=area, near=0.3, empty=0.0
    )
    rows = summarize(frame, "a", "r").set_index(["finding", "metric"]).loc["Mass"]
    expected = resampled_error(
        lambda chosen: (energy[chosen].mean(), energy[chosen].mean() / area[chosen].mean()), patient
    )
    for metric, error in zip(("energy", "enrichment"), expected, strict=True):
        half = (rows.loc[metric, "high"] - rows.loc[metric, "low"]) / 2
        assert half / 1.98 / error == pytest.approx(1, abs=0.1)
