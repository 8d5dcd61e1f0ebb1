"""Published results of other work, as a file states them."""

from pathlib import Path

import pytest

from bench.config.published_results import read_published
from harmonize.errors import ConfigError

ROW = "- {name: CheXNet, source: arXiv, numbers: {nih/test: {Edema: %s, macro: 1}}}\n"


def test_numbers_have_a_dataset_a_split_and_a_finding(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(ROW % ".5")
    (row,) = read_published([tmp_path / "rows.yaml"])
    assert row.numbers == (("nih", "test", "Edema", 0.5), ("nih", "test", "macro", 1.0))


@pytest.mark.parametrize("value", ["81.2", "-.1", "true", "'.8'", "[.8]"])
def test_a_value_outside_0_to_1_is_refused_with_its_finding_and_place(value: str, tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(ROW % value)
    with pytest.raises(ConfigError, match="Edema must be a number from 0 to 1") as error:
        read_published([tmp_path / "rows.yaml"])
    assert error.value.where.endswith("rows.yaml[0].numbers.nih/test")
