"""Exactly the damaged rows of a CSV table are in the quarantine, on tables that hypothesis makes up."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from harmonize.datasets import FAULT
from harmonize.datasets.csvfile import read_text

HEADER = ["file", "patient", "report", "Edema", "comment"]
# prose: a space follows each comma, and line breaks may be anywhere
text = st.lists(st.sampled_from(["a", "b", '"', "'", "\n", ";", "é", ", "]), max_size=12).map("".join)
table = st.lists(st.tuples(text, st.sampled_from(["1.0", "0.0", "-1.0", ""]), text), min_size=1, max_size=8)
# how many cells are added to a row (or removed, if negative)
damages = st.lists(st.sampled_from([0, 0, 0, 1, 2, -1, -4]), min_size=8, max_size=8)


@settings(max_examples=60)
@given(table, damages, st.sampled_from(["\n", "\r\n"]))
def test_exactly_the_rows_with_another_number_of_cells_have_a_fault(
    rows: list[tuple[str, str, str]], damages: list[int], end: str
) -> None:
    whole = [[f"{k}.png", f"p{k}", report, label, comment] for k, (report, label, comment) in enumerate(rows)]
    changed = [
        row + ["x"] * damage if damage >= 0 else row[:damage] for row, damage in zip(whole, damages, strict=False)
    ]
    with TemporaryDirectory() as folder:
        for name, content in (("whole.csv", whole), ("damaged.csv", changed)):
            with (Path(folder) / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator=end).writerows([HEADER, *content])
        expected = read_text(Path(folder) / "whole.csv", HEADER[:3], ["Edema"])
        found = read_text(Path(folder) / "damaged.csv", HEADER[:3], ["Edema"])
        lines = (Path(folder) / "damaged.csv").read_text(encoding="utf-8").split("\n")
    assert (expected[FAULT] == "").all()
    is_bad = [damage != 0 for damage, _ in zip(damages, rows, strict=False)]
    assert (found[FAULT] != "").tolist() == is_bad
    assert found.loc[is_bad, "Edema"].isna().all()
    usable = [not bad for bad in is_bad]
    assert found[usable].to_numpy().tolist() == expected[usable].to_numpy().tolist()
    for row, (line, fault) in enumerate(found[FAULT].items()):
        assert lines[line - 1].startswith(f"{row}.png")
        assert not fault or fault.endswith(f"damaged.csv:{line}")
