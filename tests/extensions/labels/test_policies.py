"""Training policy against evaluation label source."""

import numpy as np
import pytest

from bench.extensions.labels.policies import Evaluation, matrix
from tests.unit.reports.test_gap_groups_robustness import page

HOSTILE = "<script>alert(1)</script>"

BASE = {"label_source": "default", "blank": "zero"}


def evaluation(values: list[float]) -> Evaluation:
    value = np.array(values)
    same_patients = np.full((len(value), len(value)), 0.01**2)
    return Evaluation("chexpert", "expert_test", "radiologist", value, value - 0.02, value + 0.02, same_patients)


def test_a_cell_is_the_mean_over_the_seeds_of_a_policy_with_its_interval() -> None:
    configs = [{**BASE, "uncertainty": u} for u in ("U-Ones", "U-Ones", "U-Zeros")]
    found = matrix(configs, [evaluation([0.8, 0.9, 0.7])]).set_index("policy")
    assert found.loc["U-Ones", "value"] == pytest.approx(0.85)
    assert found.loc["U-Ones", "num_runs"] == 2
    assert found.loc["U-Ones", ["low", "high"]].tolist() == pytest.approx([0.83, 0.87], abs=2e-3)  # same patients
    assert found.loc["U-Zeros", "value"] == pytest.approx(0.7)


def test_runs_without_a_score_are_left_out_and_a_single_policy_gives_no_rows() -> None:
    two = [{**BASE, "uncertainty": "U-Ones"}, {**BASE, "uncertainty": "U-Ones", "blank": "ignore"}]
    found = matrix(two, [evaluation([0.8, np.nan])])
    assert found["policy"].tolist() == ["U-Ones"]
    assert matrix(two[:1] * 2, [evaluation([0.8, 0.8])]).empty


@pytest.mark.slow
def test_training_policies_are_scored_by_label_source_and_none_is_called_better() -> None:
    rows = [
        (policy, dataset, split, by, 0.8, 0.78, 0.82, 3)
        for policy in ("U-Ones", f"U-Zeros {HOSTILE}")
        for dataset, split, by in (
            ("chexpert", "expert_test", "radiologist"),
            ("nih", "all", "report"),
            ("external", "mixed", "mixed"),
        )
    ]
    text = page(policies=rows[:-1])
    assert "2 policies for uncertain labels, tested on labels of radiologists and reports" in text
    assert 'CheXpert expert test<span class="s">radiologists</span>' in text
    assert 'id="policies"' in text
    assert HOSTILE not in text
    assert 'id="policies"' not in page()
