"""Wrong requests of `bench evaluate` and tables of predictions that cannot be read."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.extensions.imported.predictions import table_of_predictions
from harmonize.errors import DatasetError
from tests.conftest import Command
from tests.unit.bench.runs.test_user_table import ROWS, SUFFIXES, UNEVEN, packed


@pytest.mark.parametrize(
    ("model", "what", "fix"),
    [
        (".", "this is not a file", "give the path of a YAML file"),
        ("no.yaml", "cannot read the file: no such file", "check the file's name"),
    ],
)
def test_a_model_that_is_not_there_is_refused(model: str, what: str, fix: str, tmp_path: Path, here: Command) -> None:
    said = here("evaluate", "--model", model, "--grid", "tiny", cwd=tmp_path, code=2).stderr
    assert what in said
    assert "where: " in said
    assert fix in said


@pytest.mark.parametrize("uneven", UNEVEN)
def test_an_uneven_row_of_predictions_is_refused_by_its_line(uneven: str, tmp_path: Path) -> None:
    text, line, what = UNEVEN[uneven]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=what) as refused:
        table_of_predictions(path)
    assert str(line) in str(refused.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_predictions_are_refused_in_words(suffix: str, tmp_path: Path) -> None:
    path = packed(tmp_path / f"table.csv{suffix}", ROWS.to_csv(index=False).encode() * 100)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match="cannot read the predictions"):
        table_of_predictions(path)


@pytest.mark.parametrize("kind", ["Int64", "category", "float64"])
def test_a_blank_id_of_a_parquet_table_is_a_blank_id(kind: Any, tmp_path: Path) -> None:
    pd.DataFrame({"image_id": pd.Series([7, None], dtype=kind), "Edema": 0.5}).to_parquet(tmp_path / "table.parquet")
    assert table_of_predictions(tmp_path / "table.parquet")["image_id"].tolist()[1] == ""
