"""Intervals of the means of heat maps contain the truth with few patients, where percentiles do not."""

import numpy as np
import pandas as pd
import pytest

from bench.extensions.heat_maps.summary import MEASURES, summarize

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
