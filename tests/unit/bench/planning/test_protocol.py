"""The rows of a cohort that are predicted, scored and reported, by the role of the cohort."""

import numpy as np
import pandas as pd
import pytest

from bench.config.run_config import RunConfig
from bench.planning import protocol
from bench.planning.protocol import CohortRole

SPLITS = ["train", "val", "test", "expert_valid", "expert_test", "unused"]
INTERNAL, ALL, TEST = (
    CohortRole(role="internal", headline_split="all"),
    CohortRole(role="external", headline_split="all"),
    CohortRole(role="external", headline_split="test"),
)


@pytest.mark.parametrize(
    ("rows", "internal", "external_all", "external_test"),
    [
        (CohortRole.predicted_rows, "val test expert_valid expert_test", " ".join(SPLITS), " ".join(SPLITS)),
        (CohortRole.scored_rows, "val test expert_valid expert_test", " ".join(SPLITS), "test"),
        (CohortRole.held_out_rows, "test expert_valid expert_test", " ".join(SPLITS), "test"),
        (CohortRole.headline_rows, "test", " ".join(SPLITS), "test"),
    ],
)
def test_rows_follow_from_role_and_split(rows, internal: str, external_all: str, external_test: str) -> None:
    split = pd.Series(SPLITS)
    for cohort, names in ((INTERNAL, internal), (ALL, external_all), (TEST, external_test)):
        assert list(split[rows(cohort, split)]) == names.split()
        assert list(split[rows(cohort, split.to_numpy(str))]) == names.split()


def test_images_of_a_left_out_hospital_are_scored_and_not_held_out_internal_images() -> None:
    pool = CohortRole(role="internal", headline_split="all", headline_splits=(("a", "all"), ("b", "all")))
    split = np.array([*SPLITS, protocol.LEFT_OUT])
    assert protocol.LEFT_OUT in split[pool.scored_rows(split)]
    assert split[pool.held_out_rows(split)].tolist() == ["test", "expert_valid", "expert_test"]
    assert split[pool.left_out_rows(split)].tolist() == [protocol.LEFT_OUT]


def test_an_internal_hospital_has_four_scored_splits_and_an_external_one_has_one() -> None:
    split = np.array(SPLITS)
    internal = {name: split[mask].tolist() for name, mask in INTERNAL.scored_splits(split)}
    assert internal == {name: [name] for name in protocol.INTERNAL_SPLITS}
    ((name, mask),) = TEST.scored_splits(split)
    assert (name, split[mask].tolist()) == ("test", ["test"])
    ((name, mask),) = ALL.scored_splits(split)
    assert (name, int(mask.sum())) == ("all", len(SPLITS))


def test_an_external_cohort_keeps_its_own_splits() -> None:
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(100)], "split": "test"})
    config = RunConfig("seresnet_tiny", "adamw", "bce", "u_ignore", "imagenet_64")
    assert set(TEST.split_of(table, config)) == {"test"}
    assert set(INTERNAL.split_of(table, config)) == {"train", "val", "test"}
