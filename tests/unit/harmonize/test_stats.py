"""What is in a cohort, in numbers: each one can be counted by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from harmonize.cohorts.splits import assign
from harmonize.labels.findings import FINDINGS
from harmonize.statistics.cohort_statistics import SHARES, STATE_NAMES, as_dict, describe
from tests.hand import ROWS, A, N, P, cohort


def steps(stats):
    return {row["step"]: (row["kind"], row["images"]) for row in stats.flow.to_dict("records")}


def groups(stats, what):
    mine = stats.groups[stats.groups["what"] == what]
    return {g: (i, o) for g, i, o in zip(mine["group"], mine["images"], mine["owners"], strict=True)}


def test_what_is_found_minus_what_is_lost_is_what_is_used():
    flow = steps(describe(cohort()))
    assert flow["found"] == ("stock", 9)
    assert flow["unlabelled"] == ("loss", 1)  # the row whose states are all null
    assert flow["used"] == ("stock", 5)
    assert flow["contradictory"] == ("note", 0)
    assert flow["found"][1] - sum(n for kind, n in flow.values() if kind == "loss") == flow["used"][1]


def test_without_a_look_at_the_disk_nothing_is_said_of_absent_files():
    assert "absent" not in steps(describe(cohort(absent=0), looked=False))
    assert "absent" in steps(describe(cohort(absent=0)))


def test_filters_between_found_and_kept_are_losses_and_remarks_after_it_are_none():
    flow = steps(describe(cohort(unknown_label=2)))
    assert flow["unknown_label"] == ("note", 2)
    assert list(flow)[:5] == ["found", "not_frontal", "absent", "kept", "unlabelled"]


def test_states_are_counted_apart_and_patients_once():
    row = describe(cohort()).findings.set_index("finding").loc
    assert row["Edema"][list(STATE_NAMES)].tolist() == [2, 0, 1, 2, 0]
    assert row["Edema"]["patients_present"] == 2
    assert row["No Finding"]["present"] == 2
    assert row["No Finding"]["patients_present"] == 1
    assert row["Lung Lesion"]["unmapped"] == 5  # a dataset that cannot say never says absent


def test_two_findings_count_as_together_only_where_both_are_stated():
    pairs = describe(cohort()).together.set_index(["finding", "other"])
    edema = pairs.loc[("Edema", "Pneumonia")]
    assert (edema["stated"], edema["has"], edema["both"]) == (3, 1, 1)  # Pneumonia is uncertain on one Edema image
    assert pairs.loc[("Edema", "Lung Lesion"), "stated"] == 0


def test_views_sexes_ages_and_devices_are_of_used_images_and_their_patients():
    stats = describe(cohort())
    assert groups(stats, "view") == {"AP": (2, 1), "PA": (3, 3)}
    assert groups(stats, "sex") == {"F": (3, 1), "M": (1, 1), "not stated": (1, 1)}
    assert groups(stats, "age") == {"30-39": (3, 1), "90+": (1, 1), "not stated": (1, 1)}
    assert groups(stats, "device") == {"X": (3, 2), "Y": (1, 1), "not stated": (1, 1)}
    assert groups(stats, "images per patient")["3-5"] == (3, 1)
    assert groups(stats, "images per study") == {"1": (3, 3), "2": (2, 1), "3-5": (0, 0), "6-10": (0, 0), "11+": (0, 0)}


def test_many_devices_are_named_only_while_they_are_few():
    rows = [(f"p{k}", f"s{k}", "", "PA", "", np.nan, f"device {k // 2:02d}", (P, A, A)) for k in range(40)]
    named = groups(describe(cohort(rows=rows)), "device")
    assert len(named) == 8
    assert named["13 others"][0] == 26


def test_a_patient_of_two_sexes_is_counted():
    rows = [*ROWS[:2], ("p1", "s9", "train", "PA", "M", 30.0, "X", (P, N, A))]
    assert describe(cohort(rows=rows)).facts["contradictory_sex"] == 1
    assert describe(cohort()).facts["contradictory_sex"] == 0


def test_splits_are_those_of_assign_and_no_patient_is_shared():
    rows = [(f"p{k // 2}", f"s{k}", "", "PA", "", np.nan, "", (P, A, A)) for k in range(400)]
    made = cohort(rows=rows)
    stats = describe(made)
    expected = assign(made.table, SHARES).value_counts().to_dict()
    assert dict(zip(stats.splits["split"], stats.splits["images"], strict=True)) == expected
    assert set(stats.splits["origin"]) == {"rule"}
    assert stats.splits["patients"].sum() == stats.facts["patients"] == 200
    assert stats.facts["shared_patients"] == 0


def test_an_official_split_is_called_official_only_when_it_is_left_as_it_is():
    origin = describe(cohort()).splits.set_index("split")["origin"].to_dict()
    assert origin["test"] == "official"
    assert origin["train"] == "official" or "val" in origin  # three patients may all stay
    assert "train, test as published" in describe(cohort()).split_rule
    assert "val cut out of train by the rule" in describe(cohort()).split_rule


@pytest.mark.parametrize("rows", [ROWS[5:], ROWS[:0]], ids=["no label", "no row"])
def test_a_cohort_without_used_images_has_zeros_not_errors(rows):
    stats = describe(cohort(rows=rows))
    assert stats.facts["images"] == stats.facts["patients"] == 0
    assert json.dumps(as_dict(stats), allow_nan=False)


def test_no_id_of_a_patient_study_or_image_is_in_the_numbers():
    rows = [(f"patient{k}", f"study{k}", "", "PA", "", np.nan, "", (P, A, A)) for k in range(20)]
    text = json.dumps(as_dict(describe(cohort(rows=rows))))
    assert "patient1" not in text
    assert "study1" not in text
    assert '"i1' not in text


def test_the_order_of_rows_changes_nothing():
    stats = describe(cohort())
    again = describe(cohort(rows=ROWS[::-1]))
    for name in ("flow", "findings", "together", "groups", "splits"):
        pd.testing.assert_frame_equal(getattr(stats, name), getattr(again, name))


def test_all_nine_findings_are_described():
    assert tuple(describe(cohort()).findings["finding"]) == FINDINGS
