"""An external cohort does not read a table of a training hospital."""

from pathlib import Path

import pytest

from bench.planning.read_cohorts import _check_apart
from harmonize.cohorts.specs import CohortSpec
from harmonize.errors import ConfigError

Table = str | tuple[tuple[str, str], ...]


def specs(folder: Path, *tables: Table) -> list[CohortSpec]:
    for name in ("a-0.csv", "a-1.csv", "b.csv"):
        (folder / name).touch()
    return [CohortSpec(f"cohort{i}", "table", folder, table, "mapping.yaml") for i, table in enumerate(tables)]


@pytest.mark.parametrize("table", ["a-0.csv", "a-*.csv", "*.csv", (("train", "b.csv"), ("test", "a-1.csv"))])
def test_a_table_of_the_training_hospital_is_refused(table: Table, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cohort0' and 'cohort1' are the same files"):
        _check_apart(specs(tmp_path, "a-*.csv", table), 1, "data.yaml")


def test_other_tables_of_one_folder_are_other_cohorts(tmp_path: Path) -> None:
    _check_apart(specs(tmp_path, "a-*.csv", "b.csv", (("test", "b.csv"),)), 1, "data.yaml")


def test_a_dataset_without_a_named_table_is_its_folder(tmp_path: Path) -> None:
    nih, other = CohortSpec("nih", "nih", tmp_path), CohortSpec("nih2", "nih", tmp_path / "x" / "..")
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match="are the same files"):
        _check_apart([nih, other], 1, "data.yaml")
