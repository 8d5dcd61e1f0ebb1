"""Tables of vectors: both layouts are read, and damaged or foreign tables are refused with what, where and fix."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.config.registry import Entry, Registry
from bench.extensions.embeddings.tables import EmbeddingTables
from harmonize.errors import DatasetError, RegistryError, SetupError

N, D = 6, 4
IDS = [f"{i:04}.png" for i in range(N)]
VECTORS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Change = Callable[[pd.DataFrame], pd.DataFrame]


def columns() -> pd.DataFrame:
    """Return the vectors with a column for each number."""
    return pd.concat([pd.DataFrame({"image_id": IDS}), pd.DataFrame(VECTORS).add_prefix("v")], axis=1)


def lists() -> pd.DataFrame:
    """Return the vectors as one list column."""
    return pd.DataFrame({"image_id": IDS, "vector": list(VECTORS)})


def tables(folder: Path, table: pd.DataFrame, name: str = "b.parquet") -> EmbeddingTables:
    """Write the good table of the internal cohort `a`, and a table of the cohort `b`."""
    columns().to_parquet(folder / "a.parquet", index=False)
    path = folder / name
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    return EmbeddingTables(folder)


def checked(read: EmbeddingTables) -> None:
    read.check("a", {"a": IDS, "b": IDS})


@pytest.mark.parametrize(
    ("table", "name"),
    [(columns(), "b.parquet"), (lists(), "b.parquet"), (columns(), "b.csv"), (columns()[::-1], "b.csv")],
)
def test_columns_and_lists_give_the_vectors_in_the_order_of_the_images(
    tmp_path: Path, table: pd.DataFrame, name: str
) -> None:
    read = tables(tmp_path, table, name)
    checked(read)
    assert read.width("b") == D
    np.testing.assert_allclose(read.of_images("b", IDS[::-1]), VECTORS[::-1], rtol=1e-6)
    with pytest.raises(DatasetError, match="1 of 1 images of b have no vector"):
        read.of_images("b", ["x"])


@pytest.mark.parametrize(
    "name", ["Edema", "label_Edema", "pleural effusion", "No Finding", "age", "Patient_ID", "row", "sex"]
)
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_label_or_a_fact_about_patients_is_no_part_of_a_vector(tmp_path: Path, name: str, ending: str) -> None:
    with pytest.raises(
        DatasetError, match=f"the column '{name}' looks like row numbers, a label or a fact about patients"
    ):
        checked(tables(tmp_path, columns().assign(**{name: 1}), f"b.{ending}"))


def with_cell(value: object, row: int = 3) -> Change:
    """Return a change that replaces the number v1 of a row."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        column = table["v1"].astype(float if isinstance(value, float) else object)
        column.iloc[row] = value
        return table.assign(v1=column)

    return change


def of_lists(change: Callable[[int, np.ndarray], object]) -> Change:
    """Return a change of each list."""
    return lambda _: pd.DataFrame({"image_id": IDS, "vector": [change(i, v) for i, v in enumerate(VECTORS)]})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.iloc[2:], "2 of 6 images of b have no vector, e.g. 0000.png"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "a row repeats the image 0000.png"),
        (lambda t: t.drop(columns="v3"), "the vectors of b and of a differ"),
        (lambda t: t.rename(columns={"v3": "w3"}), "the vectors of b and of a differ"),
        (lambda t: t.assign(v4=60), "the vectors of b and of a differ"),
        (lambda t: t[["image_id", "v1", "v0", "v2", "v3"]], "the vectors of b and of a differ"),
        (lambda t: t.drop(columns=["v0", "v1", "v2", "v3"]), "no column beside image_id"),
        (with_cell(float("nan")), "the vectors of 1 images have missing or infinite numbers, e.g. 0003.png"),
        (with_cell(float("inf")), "the vectors of 1 images have missing or infinite numbers, e.g. 0003.png"),
        (with_cell(1e300), "the vectors of 1 images have missing or infinite numbers, e.g. 0003.png"),
        (lambda t: t.assign(v0="text"), "the column 'v0' has no numbers"),
        (lambda t: t.assign(v0=True), "the column 'v0' has no numbers"),
        (lambda t: t.assign(v0=1 + 2j).astype({"v0": str}), "the column 'v0' has no numbers"),
        (lambda t: t.assign(v0=list(VECTORS)), "the column 'v0' has no numbers"),
        (lambda t: t.assign(**{"Unnamed: 0": range(N)}), "the column 'Unnamed: 0' looks like row numbers"),
        (lambda t: t.rename(columns={"image_id": "image"}), "image_id"),
        (lambda t: t.assign(image_id=[None, *IDS[1:]]), "1 of 6 images of b have no vector, e.g. 0000.png"),
        (of_lists(lambda i, v: v if i else v[:-1]), "lists are missing, or differ in length"),
        (of_lists(lambda i, v: v if i != 4 else None), "lists are missing, or differ in length"),
        (of_lists(lambda _, v: ["x" for _ in v]), "cannot read the vectors"),
        (of_lists(lambda _, v: [v, v]), "cannot read the vectors"),
        (lambda t: t.iloc[:0], "6 of 6 images of b have no vector"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, change: Change, what: str) -> None:
    read = tables(tmp_path, change(columns()))
    with pytest.raises(DatasetError) as error:
        checked(read)
    assert what in error.value.what
    assert error.value.where == str(tmp_path / "b.parquet")
    assert error.value.fix


def test_a_missing_second_or_unreadable_table_is_refused(tmp_path: Path) -> None:
    read = tables(tmp_path, columns())
    with pytest.raises(DatasetError, match="c has no table of vectors"):
        read.check("a", {"c": IDS})
    columns().to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DatasetError, match="two tables of vectors"):
        checked(read)
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.parquet").write_bytes(b"PAR1 is not a table")
    with pytest.raises(DatasetError, match="cannot read the vectors"):
        checked(read)


def test_a_csv_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    read = tables(tmp_path, columns())
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "b.csv").write_bytes("image_id,v0\na,1\n\u00e9,2\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF8") as error:
        read.width("b")
    assert "b.csv" in error.value.where


def test_a_check_of_many_cohorts_holds_the_vectors_of_two_in_memory(tmp_path: Path) -> None:
    ids, number_ND = [f"{i}.png" for i in range(2000)], np.ones((2000, 500), np.float32)
    for name in "abcd":
        table = pd.DataFrame(number_ND).add_prefix("v").assign(image_id=ids)
        table.to_parquet(tmp_path / f"{name}.parquet", index=False)
    tracemalloc.start()
    EmbeddingTables(tmp_path).check("a", dict.fromkeys("abcd", ids))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.8 * number_ND.nbytes


def test_names_with_dots_of_parquet(tmp_path: Path) -> None:
    ids, numbers = pa.array(IDS), [pa.array(VECTORS[:, i]) for i in range(2)]
    pq.write_table(pa.table([ids, *numbers], names=["image_id", "v.0", "v.1"]), tmp_path / "a.parquet")
    np.testing.assert_array_equal(EmbeddingTables(tmp_path).read("a")[1], VECTORS[:, :2])


def test_the_hash_changes_with_each_table_and_with_nothing_else(tmp_path: Path) -> None:
    read = tables(tmp_path, columns())
    first = read.sha256
    (tmp_path / "notes.txt").write_text("not a table")
    assert read.sha256 == first
    table = columns()
    table.iloc[0, 1] += 1
    table.to_parquet(tmp_path / "b.parquet", index=False)
    assert read.sha256 != first
    columns().to_parquet(tmp_path / "b.parquet", index=False)
    assert read.sha256 == first


def test_the_folder_is_searched_with_the_weights_then_beside_the_registry(tmp_path: Path) -> None:
    entry = Entry("architectures", "theirs", facts={"embeddings": "vectors"})
    registry = tmp_path / "registry.yaml"
    with pytest.raises(SetupError, match="no folder with the embeddings of theirs"):
        EmbeddingTables.of(entry, None, registry)
    (tmp_path / "vectors").mkdir()
    assert EmbeddingTables.of(entry, tmp_path / "weights", registry).folder == tmp_path / "vectors"
    (tmp_path / "weights" / "vectors").mkdir(parents=True)
    assert EmbeddingTables.of(entry, tmp_path / "weights", registry).folder == tmp_path / "weights" / "vectors"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("embeddings: x, timm: resnet18.a1_in1k", "`embeddings` and `timm` are both sources"),
        ("embeddings: x, use: 'a:b'", "`embeddings` and `use` are both sources"),
        ("embeddings: [x]", "embeddings must be the name of a folder"),
        ("embeddings: ''", "embeddings must be the name of a folder"),
    ],
)
def test_an_entry_with_two_sources_or_no_folder_is_refused(tmp_path: Path, keys: str, what: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(f"schema: 1\ninclude: shipped\narchitectures:\n  theirs: {{{keys}}}\n")
    with pytest.raises(RegistryError, match=what):
        Registry.read(path)
