"""Tables of single readers: bad input is refused with file, row and fix."""

from pathlib import Path

import pandas as pd
import pytest

from bench.extensions.readers.cohorts import IMAGE, matched, read_answers
from harmonize.errors import DatasetError


def own(folder: Path, *rows: str, head: str = "image_id,reader,Edema") -> Path:
    path = folder / "readers.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_opposite_answers_of_a_reader_are_refused_with_their_rows_and_equal_ones_count_once(tmp_path: Path) -> None:
    assert len(read_answers(own(tmp_path, "a,Ann,1", "a,Ann,1", "a,Bo,0"))) == 2
    with pytest.raises(DatasetError, match="reader Ann gave two different answers about a") as caught:
        read_answers(own(tmp_path, "a,Ann,1", "b,Ann,1", "a,Ann,0"))
    assert caught.value.where.endswith("readers.csv, rows 2 and 4")
    assert caught.value.fix == "keep one of the rows"


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["a,Ann,yes"], "image_id,reader,Edema", r"'yes' in column 'Edema' is not a label state at readers.csv:2"),
        (["a,,1"], "image_id,reader,Edema", "no image_id or no reader"),
        (["a,Ann,1"], "image_id,reader,Edma", "the column 'Edma' is no finding"),
        (["a,1"], "image_id,Edema", "no column 'reader'"),
        (["<html>"], "<!DOCTYPE html>", "the column '<!DOCTYPE html>' is no finding"),
    ],
)
def test_a_table_of_your_own_with_an_error_is_refused_with_its_place(
    rows: list[str], head: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_answers(own(tmp_path, *rows, head=head))
    assert "readers.csv" in caught.value.where
    assert caught.value.fix


def test_unknown_ids_are_counted_and_ids_in_another_form_are_refused(tmp_path: Path) -> None:
    cohort = pd.DataFrame({IMAGE: ["00000001_000.png", "00000002_000.png"]})
    path = own(tmp_path, "00000001_000.png,Ann,1", "00000009_000.png,Ann,1")
    rows = matched(read_answers(path), cohort, "nih", path)
    assert rows[IMAGE].tolist() == ["00000001_000.png"]
    other_form = read_answers(own(tmp_path, "00000001_000.png,Ann,1", "00000002_000.PNG,Ann,1"))
    with pytest.raises(DatasetError, match=r"written in another way than in nih: .*differ") as caught:
        matched(other_form, cohort, "nih", path)
    assert caught.value.where.endswith("readers.csv, row 3")
    with pytest.raises(DatasetError, match="no answer of a reader is of an image of nih"):
        matched(read_answers(own(tmp_path, "x,Ann,1")), cohort, "nih", path)
