"""Tests of cohort statistics on a small cohort whose numbers can be counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.extensions.cohort_statistics.describe import SHARES, STATE_NAMES, describe
from harmonize.cohorts.cohort import load
from harmonize.cohorts.specs import read_data
from harmonize.cohorts.splits import assign
from harmonize.labels.findings import FINDINGS
from harmonize.phantom import PhantomSettings, write_cohorts
from tests.hand import ROWS, A, P, cohort


def steps(stats):
    return {row["step"]: (row["kind"], row["images"]) for row in stats.flow.to_dict("records")}


def groups(stats, what):
    rows = stats.groups[stats.groups["what"] == what]
    return dict(zip(rows["group"], rows["images"], strict=True))


def test_used_images_are_found_images_minus_losses():
    flow = steps(describe(cohort()))
    assert flow["found"] == ("stock", 9)
    assert flow["unlabelled"] == ("loss", 1)  # the row whose states are all null
    assert flow["used"] == ("stock", 5)
    assert flow["contradictory"] == ("note", 0)
    assert flow["found"][1] - sum(n for kind, n in flow.values() if kind == "loss") == flow["used"][1]


def test_steps_before_kept_are_losses_and_steps_after_it_are_notes():
    flow = steps(describe(cohort(unknown_label=2)))
    assert flow["unknown_label"] == ("note", 2)
    assert list(flow)[:5] == ["found", "not_frontal", "absent", "kept", "unlabelled"]


def test_each_state_is_counted_and_patients_count_once():
    row = describe(cohort()).findings.set_index("finding").loc
    assert row["Edema"][list(STATE_NAMES)].tolist() == [2, 0, 1, 2, 0]
    assert row["Edema"]["patients_present"] == 2
    assert row["No Finding"]["present"] == 2
    assert row["No Finding"]["patients_present"] == 1
    assert row["Lung Lesion"]["unmapped"] == 5  # a finding that the dataset does not map is never absent


def test_groups_count_used_images():
    stats = describe(cohort())
    assert groups(stats, "view") == {"AP": 2, "PA": 3}
    assert groups(stats, "sex") == {"F": 3, "M": 1, "not stated": 1}
    assert groups(stats, "device") == {"X": 3, "Y": 1, "not stated": 1}


def test_rare_devices_become_one_group():
    rows = [(f"p{k}", f"s{k}", "", "PA", "", np.nan, f"device {k // 2:02d}", (P, A, A)) for k in range(40)]
    devices = groups(describe(cohort(rows=rows)), "device")
    assert len(devices) == 8
    assert devices["13 others"] == 26


def test_splits_equal_those_of_assign_without_shared_patients():
    rows = [(f"p{k // 2}", f"s{k}", "", "PA", "", np.nan, "", (P, A, A)) for k in range(400)]
    large = cohort(rows=rows)
    stats = describe(large)
    expected = assign(large.table, SHARES).value_counts().to_dict()
    assert dict(zip(stats.splits["split"], stats.splits["images"], strict=True)) == expected
    assert set(stats.splits["origin"]) == {"rule"}
    assert stats.splits["patients"].sum() == stats.facts["patients"] == 200


def test_a_split_is_official_only_if_its_rows_do_not_change():
    origin = describe(cohort()).splits.set_index("split")["origin"].to_dict()
    assert origin["test"] == "official"
    assert origin["train"] == "official" or "val" in origin  # three patients may all stay


def test_splits_of_an_own_table_are_not_called_official():
    own = cohort()
    divided = replace(own, spec=replace(own.spec, split=(("train", 0.8), ("test", 0.2))))
    for given, origin in ((cohort(layout="table"), "table"), (divided, "own")):
        assert describe(given).splits.set_index("split")["origin"]["test"] == origin


@pytest.mark.parametrize("rows", [ROWS[5:], ROWS[:0]], ids=["no label", "no row"])
def test_a_cohort_without_used_images_has_zero_counts(rows):
    stats = describe(cohort(rows=rows))
    assert stats.facts["images"] == stats.facts["patients"] == 0
    assert json.dumps(stats.document, allow_nan=False)


def test_the_tables_contain_no_ids():
    rows = [(f"patient{k}", f"study{k}", "", "PA", "", np.nan, "", (P, A, A)) for k in range(20)]
    text = json.dumps(describe(cohort(rows=rows)).document)
    assert "patient1" not in text
    assert "study1" not in text
    assert '"i1' not in text


def test_the_order_of_rows_does_not_matter():
    stats = describe(cohort())
    again = describe(cohort(rows=ROWS[::-1]))
    for name in ("flow", "findings", "groups", "splits"):
        pd.testing.assert_frame_equal(getattr(stats, name), getattr(again, name))


def test_all_nine_findings_are_described():
    assert tuple(describe(cohort()).findings["finding"]) == FINDINGS


@pytest.mark.slow
def test_statistics_of_a_phantom_cohort_have_its_synthetic_name(tmp_path):
    write_cohorts(tmp_path, PhantomSettings(source="chexpert", images={"chexpert": 12, "nih": 6}, size=64))
    facts = describe(load(read_data(tmp_path)["nih"])).facts
    assert (facts["title"], facts["short"], facts["place"]) == ("Hospital C (NIH layout)", "Hospital C", "synthetic")
    assert facts["licence"] == "synthetic images"
