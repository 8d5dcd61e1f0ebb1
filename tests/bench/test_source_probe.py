import numpy as np
import pandas as pd
import pytest

from bench.shortcut.source import source_probe
from reports.tables import SCHEMAS


def cohorts(separation: float, num: int = 60, width: int = 20) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    features = {
        f"hospital{k}": generator.normal(size=(num, width)) + separation * generator.normal(size=width)
        for k in range(4)
    }
    return features, {name: np.array([f"p{i}" for i in range(num)], object) for name in features}


def test_sources_that_leave_a_trace_are_found_and_shuffled_ones_are_not() -> None:
    found = source_probe(*cohorts(2.0), num_resamples=200).set_index(["control", "metric"])
    assert (*found.reset_index().columns,) == SCHEMAS["shortcut"][1:]
    clear = found.loc[("none", "balanced_accuracy")]
    assert clear.value > 0.9
    assert clear.low <= clear.value <= clear.high
    assert (clear.chance, clear.num_sources, clear.n) == (0.25, 4, 240)
    assert found.loc[("none", "auroc"), "value"] > 0.95
    assert found.loc[("shuffled", "balanced_accuracy"), "value"] == pytest.approx(0.25, abs=0.1)
    assert found.loc[("shuffled", "auroc"), "value"] == pytest.approx(0.5, abs=0.1)


def test_features_without_a_trace_are_at_chance() -> None:
    found = source_probe(*cohorts(0.0), num_resamples=200).set_index(["control", "metric"])
    assert found.loc[("none", "balanced_accuracy"), "value"] == pytest.approx(0.25, abs=0.1)


def test_each_patient_gives_one_image_and_each_source_equally_many() -> None:
    features, patients = cohorts(1.0)
    patients["hospital0"] = np.array([f"p{i % 25}" for i in range(60)], object)  # 25 patients with several images
    found = source_probe(features, patients, num_resamples=50)
    assert (found["n"] == 4 * 25).all()
    assert (source_probe(features, patients, max_per_source=22, num_resamples=50)["n"] == 4 * 22).all()


def test_patients_of_the_same_name_in_two_hospitals_are_two_patients() -> None:
    features, patients = cohorts(2.0)
    renamed = {name: np.array([f"{name} {i}" for i in ids], object) for name, ids in patients.items()}
    one, two = (source_probe(features, ids, num_resamples=50) for ids in (patients, renamed))
    assert one["n"].tolist() == two["n"].tolist()


def test_the_probe_gives_the_same_numbers_for_the_same_seed() -> None:
    first, again = (source_probe(*cohorts(0.5), seed=3, num_resamples=50) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_a_source_with_too_few_patients_is_left_out_and_too_few_sources_give_a_reason() -> None:
    features, patients = cohorts(1.0)
    features["hospital3"], patients["hospital3"] = features["hospital3"][:5], patients["hospital3"][:5]
    assert (source_probe(features, patients, num_resamples=50)["num_sources"] == 3).all()
    nothing = source_probe({"hospital0": features["hospital0"]}, patients)
    assert nothing.empty
    assert (*nothing.columns,) == SCHEMAS["shortcut"][1:]
    assert "hospital0 60" in nothing.attrs["reason"]
    assert source_probe({}, {}).empty


def test_features_that_are_not_finite_are_refused() -> None:
    features, patients = cohorts(1.0)
    features["hospital1"][3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4800 features"):
        source_probe(features, patients)
