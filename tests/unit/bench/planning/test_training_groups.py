"""Groups of training images: read from a column, and refused before anything trains if they cannot be compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.executors.execute_job import check_devices
from bench.inputs.examples import Examples
from bench.planning.training_groups import check_groups, group_indices
from harmonize.errors import ConfigError, DatasetError
from tests.unit.bench.planning.test_plan import GRID, MAPPING, patients, plan


class Cache:
    """A cache of decoded images that lacks some images."""

    def __init__(self, readable: list[bool]) -> None:
        self.readable = np.array(readable)

    def rows(self, image_id: object) -> np.ndarray:
        return np.where(self.readable, np.arange(len(self.readable)), -1)


def table(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    defaults = {"sex": "", "age": np.nan, "view": "", "device": ""}
    return frame.assign(**{name: value for name, value in defaults.items() if name not in frame})


def test_groups_are_the_values_of_a_column_as_sorted_text() -> None:
    assert group_indices(table(sex=["M", "F", "", "M", "?"]), "sex").tolist() == [1, 0, -1, 1, -1]
    assert group_indices(table(age=[20, 45.5, np.nan, 80, 39.9]), "age").tolist() == [1, 0, -1, 2, 1]  # 40-60, <40, >80
    assert group_indices(table(view=["PA", "AP", "FRONTAL", "PA", ""]), "view").tolist() == [1, 0, -1, 1, -1]
    assert group_indices(table(scanner=["b", "a", "", None, "b"]), "scanner").tolist() == [1, 0, -1, -1, 1]
    codes = pd.array([1, None, 0, 1, 10], "Int8")
    assert group_indices(table(hospital=codes), "hospital").tolist() == [1, -1, 0, 1, 2]


def test_images_without_a_group_or_a_readable_file_are_left_out() -> None:
    frame = table(sex=["M", "F", "", "M", "F"], image_id=list("abcde"), patient_id=list("abcde"))
    frame = frame.assign(Edema=pd.array([1, 0, 1, 0, 1], "Int8"))
    config = plan_config()
    examples = Examples.of(frame, Cache([True, True, True, False, True]), config, groups="sex")  # type: ignore[arg-type]
    assert examples.group_N is not None
    assert (examples.image_id.tolist(), examples.group_N.tolist()) == (["a", "b", "e"], [1, 0, 0])
    assert examples.take(np.array([2])).group_N == [0]
    assert Examples.of(frame, Cache([True] * 5), config).group_N is None  # type: ignore[arg-type]


def plan_config() -> object:
    from bench.config.run_config import RunConfig

    return RunConfig("x", "x", "x", "x", "x", task="binary", finding="Edema")


@pytest.mark.parametrize(
    ("column", "values", "batch", "what", "fix"),
    [
        ("hospital", None, 8, "all training images are of one hospital", "sex, age, view"),
        ("scaner", None, 8, "no column 'scaner'", "did you mean 'scanner'"),
        ("sex", ["F"] * 8, 8, "only the group F", "two or more values"),
        ("sex", [""] * 8, 8, "no known values", "two or more values"),
        ("sex", ["F"] * 7 + ["M"], 8, "fewer: M (1)", "another column"),
        ("sex", ["F"] * 6 + ["M"] * 2, 8, "fewer: M (0)", "another column"),  # the last two are not trained on
        ("scanner", list("aabbccdd"), 7, "7 images cannot have 2 images of each of 4 groups", "batch_size to 8"),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(
    column: str, values: list[str] | None, batch: int, what: str, fix: str
) -> None:
    frame = table(image_id=list("abcdefgh"), scanner=list("aabbccdd"))
    frame = frame if values is None else frame.assign(**{column: values})
    is_training = np.arange(8) < (6 if "M (0)" in what else 8)
    with pytest.raises(DatasetError) as error:
        check_groups(frame, is_training, column, batch, "data")
    assert what in error.value.what
    assert fix in error.value.fix
    assert error.value.where == f"data: groups: {column}"


def with_scanners(n: int, names: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    return patients(n).assign(scanner=[names[i // 2 % len(names)] for i in range(n)])


GROUPDRO = GRID.replace("channels: 1", "channels: 1, algorithm: groupdro, groups: scanner")


def test_a_column_of_a_users_own_table_can_be_the_groups(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        with_scanners(60),
        MAPPING.rstrip() + "\nkeep: [scanner]\n",
        GROUPDRO.replace("evaluate_on: [far]", ""),
    )
    assert set(made.cohorts["internal"].table["scanner"]) == {"a", "b"}
    assert made.runs[0].group_column == "scanner"


@pytest.mark.parametrize(
    ("groups", "what"), [(", groups: scanner", "no column 'scanner'"), ("", "all training images are of one hospital")]
)
def test_groups_that_the_table_does_not_have_are_refused_before_anything_trains(
    tmp_path: Path, groups: str, what: str
) -> None:
    with pytest.raises(DatasetError, match=what):
        plan(tmp_path, with_scanners(60), grid=GROUPDRO.replace(", groups: scanner", groups))


def test_a_kept_column_must_not_replace_a_column_of_the_cohort(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a column 'age' of its own"):
        plan(tmp_path, with_scanners(60), MAPPING.rstrip() + "\nkeep: [age]\n")


def test_several_devices_for_a_batch_whose_groups_are_compared_are_refused(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        with_scanners(60),
        MAPPING.rstrip() + "\nkeep: [scanner]\n",
        GROUPDRO.replace("evaluate_on: [far]", ""),
    )
    check_devices(made.runs, 1, "--together")
    with pytest.raises(ConfigError, match="groupdro compares the groups of a whole batch, which 2 devices"):
        check_devices(made.runs, 2, "--together")


@pytest.mark.parametrize(("micro_batch", "fits"), [(0, 1), (16, 2), (8, 4), (32, 1)])
def test_devices_without_a_micro_batch_of_their_own_are_refused(tmp_path: Path, micro_batch: int, fits: int) -> None:
    grid = f"{GROUPDRO.replace('groupdro', 'erm').replace(', groups: scanner', '').replace('evaluate_on: [far]', '')}"
    (run,) = plan(tmp_path, with_scanners(60), MAPPING, grid).runs
    schedule = replace(run.config.schedule, batch_size=32, micro_batch=micro_batch)
    run = replace(run, config=replace(run.config, schedule=schedule))
    check_devices([run], fits, "--together")
    with pytest.raises(ConfigError, match=f"{fits + 1} devices cannot share a batch of 32 images"):
        check_devices([run], fits + 1, "--together")
