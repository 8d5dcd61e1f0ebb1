"""Property: `exclude` removes exactly the listed ids, also from a list that this program writes."""

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.store.safe_csv import csv_text
from harmonize.cohorts.exclude_list import as_written, remove_listed

ID = st.text(st.sampled_from("aB01=+-@.,;\"'/ é"), min_size=1, max_size=6).filter(str.strip)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(ID, st.sampled_from("pqrs")), unique_by=lambda row: row[0]),
    st.lists(ID),
    st.sampled_from(["image_id", "patient_id"]),
    st.data(),
)
def test_exactly_the_listed_ids_are_removed(
    rows: list[tuple[str, str]], others: list[str], column: str, data: st.DataObject
) -> None:
    table = pd.DataFrame(rows, columns=["image_id", "patient_id"], dtype=object)
    present = sorted(set(table[column]))
    chosen = data.draw(st.lists(st.sampled_from(present), unique=True)) if present else []
    # with or without an apostrophe in front, which lists that this program writes may have, a strange id would be a listed id
    strange = {other for other in others if not {other, as_written(other), f"'{other}"} & set(present)}
    flow: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text(csv_text(pd.DataFrame({column: [*chosen, *strange]}, dtype=object)), encoding="utf-8")
        kept, remarks = remove_listed(table, [path], flow)
    assert kept["image_id"].tolist() == table.loc[~table[column].isin(chosen), "image_id"].tolist()
    assert flow == {"listed_in_exclude": len(table) - len(kept)}
    unknown = {as_written(other) for other in strange}
    assert [remark.found.split(" of ")[0] for remark in remarks] == [str(len(unknown))] * bool(unknown)
