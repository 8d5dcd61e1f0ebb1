"""Metadata of bundles: independent validators accept them, tables are read through them, and no changed byte is accepted."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import mlcroissant
import pandas as pd
import pytest
from rocrate.rocrate import ROCrate

from bench.config.registry import Registry
from bench.extensions.bundles.archive import pack, unpack
from bench.extensions.bundles.citation_file import read_citation
from bench.extensions.bundles.described import CROISSANT, RO_CRATE
from bench.extensions.bundles.export import export
from bench.extensions.bundles.metadata import check_metadata
from bench.extensions.bundles.verify import opened
from bench.planning.manifest import read_manifest
from bench.store.file_integrity import file_sha256
from bench.store.store import Store, canonical_json
from harmonize.errors import StoreError

pytestmark = pytest.mark.grid
Command = Callable[..., Any]
CITATION = """\
cff-version: 1.2.0
message: Cite it.
title: "Lungs | <script>alert(1)</script> {x} & 100 %"
abstract: |
  Two tiny
  networks.
authors:
  - {given-names: Ada, name-particle: van, family-names: Müller, orcid: "https://orcid.org/0000-0002-1825-0097", email: ada@example.org}
  - {name: Example Laboratory}
license: CC-BY-4.0
version: 1.0.0
date-released: 2026-11-24
doi: 10.1234/lungs
keywords: [radiography, "<b>"]
"""


def quiet(what: str, done: int, total: int) -> None:
    assert done <= total, what


@pytest.fixture(scope="module")
def bundle(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of both runs of the grid `tiny` with metadata."""
    folder = tmp_path_factory.mktemp("metadata")
    shutil.copytree(finished / "runs", folder / "runs", symlinks=True)
    (folder / "CITATION.cff").write_text(CITATION)
    manifest, citation = read_manifest(Store.open(folder / "runs"), None), read_citation(folder / "CITATION.cff")
    ids = [run.id for run in manifest.runs]
    made = export(manifest, ids, folder / "a.zip", False, Registry.read(), quiet, citation=citation)
    assert made.unstated == ()
    return made.path


@pytest.fixture(scope="module")
def members(bundle: Path) -> Path:
    """The unpacked bundle. Tests only read it."""
    folder = bundle.parent / "members"
    folder.mkdir()
    unpack(bundle, folder)
    return folder


@pytest.fixture(scope="module")
def dataset(members: Path) -> mlcroissant.Dataset:
    """The bundle, as mlcroissant reads it."""
    return mlcroissant.Dataset(str(members / CROISSANT))


def test_the_validator_of_croissant_finds_no_error_and_no_warning(dataset: mlcroissant.Dataset) -> None:
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    assert dataset.metadata.name == "Lungs | <script>alert(1)</script> {x} & 100 %"
    assert [each.name for each in dataset.metadata.creators] == ["Ada van Müller", "Example Laboratory"]
    assert dataset.metadata.license == ["https://spdx.org/licenses/CC-BY-4.0"]
    assert "Synthetic images" in str(dataset.metadata.description)
    assert r"\& 100 \%" in str(dataset.metadata.cite_as)


@pytest.mark.parametrize(
    ("records", "pattern"),
    [
        ("labels-nih", "cohorts/nih.parquet"),
        ("labels-chexpert", "cohorts/chexpert.parquet"),
        ("predictions-nih", "runs/*/predictions/nih.parquet"),
        ("history", "runs/*/history.parquet"),
        ("gaps", "scores/*/gaps.parquet"),
        ("curves", "scores/*/curves.parquet"),
    ],
)
def test_records_read_through_croissant_equal_the_tables(
    members: Path, dataset: mlcroissant.Dataset, records: str, pattern: str
) -> None:
    files = sorted(members.glob(pattern))
    tables = [pd.read_parquet(path) for path in files]
    expected = pd.concat(tables, ignore_index=True)
    if "run_id" not in expected and len(files) > 1:
        run_ids = [path.relative_to(members).parts[1] for path in files]
        expected.insert(0, "run", [run for run, table in zip(run_ids, tables, strict=True) for _ in range(len(table))])
    (described,) = (each for each in dataset.metadata.record_sets if each.id == records)
    assert [field.name for field in described.fields] == list(expected.columns)
    rows = [list(row.values()) for row in dataset.records(records)]
    assert len(rows) == len(expected) > 0
    for row, (_, wanted) in zip(rows, expected.astype(object).iterrows(), strict=True):
        for value, own in zip(row, wanted, strict=True):
            text = value.decode() if isinstance(value, bytes) else value
            if hasattr(own, "tolist"):
                assert text == own.tolist()
            else:
                assert text is None if pd.isna(own) else text == own


def test_every_table_has_a_record_set(members: Path, dataset: mlcroissant.Dataset) -> None:
    described = {each.id for each in dataset.metadata.record_sets}
    tables = {path.stem for path in members.glob("scores/*/*.parquet")}
    cohorts = {path.stem for path in members.glob("cohorts/*.parquet")}
    assert described == tables | {f"{kind}-{c}" for kind in ("labels", "predictions") for c in cohorts} | {"history"}


def test_both_documents_state_each_file_with_its_size_and_hash(members: Path) -> None:
    files = {path.relative_to(members).as_posix(): path for path in members.rglob("*") if path.is_file()}
    crate = ROCrate(str(members))
    of_crate = {each.id: each for each in crate.data_entities if each.type == "File"}
    assert set(of_crate) == set(files) - {RO_CRATE}
    in_croissant = json.loads((members / CROISSANT).read_bytes())["distribution"]
    of_croissant = {each["@id"]: each for each in in_croissant if each["@type"] == "cr:FileObject"}
    assert set(of_croissant) == set(files) - {RO_CRATE, CROISSANT, "checksums.json"}
    for name, path in files.items():
        if name in of_croissant:
            assert of_croissant[name]["sha256"] == file_sha256(path)
            assert of_croissant[name]["contentSize"] == f"{path.stat().st_size} B"
        if name not in (RO_CRATE, "checksums.json"):
            assert of_crate[name]["sha256"] == file_sha256(path)
            assert int(of_crate[name]["contentSize"]) == path.stat().st_size


def test_the_crate_states_what_the_citation_file_states_and_the_datasets(members: Path) -> None:
    crate = ROCrate(str(members))
    root = crate.root_dataset
    assert (root["datePublished"], root["version"], root["url"]) == (
        "2026-11-24",
        "1.0.0",
        "https://doi.org/10.1234/lungs",
    )
    assert [author["name"] for author in root["author"]] == ["Ada van Müller", "Example Laboratory"]
    assert [each.id for each in root["license"]] == ["https://spdx.org/licenses/CC-BY-4.0"]
    assert {each["name"] for each in root["isBasedOn"]} >= {"Hospital A (CheXpert layout)", "Hospital C (NIH layout)"}
    assert all("license: synthetic images" in each["description"] for each in root["isBasedOn"])
    reached = {part.id for part in root["hasPart"]} | {
        part.id for folder in root["hasPart"] if folder.type == "Dataset" for part in folder["hasPart"]
    }
    assert {each.id for each in crate.data_entities} == reached
    for name in (CROISSANT, RO_CRATE, "bundle.json"):
        assert "ada@example.org" not in (members / name).read_text()


def test_a_bundle_with_metadata_is_accepted_and_states_what_nobody_can_check(bundle: Path) -> None:
    with opened(bundle, Registry.read()) as found:
        assert any(line.startswith("metadata (") and "authors" in line for line in found.stated)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def restated(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(canonical_json(content))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda m: changed(m / CROISSANT, "CC-BY-4.0", "CC0-1.0"), "croissant.json does not follow"),
        (lambda m: (m / RO_CRATE).unlink(), "ro-crate-metadata.json is missing"),
        (lambda m: restated(m / "bundle.json", lambda about: about.pop("metadata")), "croissant.json is unexpected"),
    ],
)
def test_a_bundle_with_other_metadata_is_refused_although_all_checksums_fit(
    members: Path, tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    folder = shutil.copytree(members, tmp_path / "members")
    damage(folder)
    pack(folder, tmp_path / "forged.zip")
    with pytest.raises(StoreError, match=why), opened(tmp_path / "forged.zip", Registry.read()):
        pass


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (RO_CRATE, "Ada van", "Eve van"),
        (RO_CRATE, "license: synthetic images", "license: CC0"),
        (CROISSANT, "Synthetic images", "Real images"),
        (CROISSANT, '"cohorts/nih.parquet"', '"https://example.org/nih.parquet"'),
        (CROISSANT, "\n", ""),
    ],
)
def test_a_changed_byte_is_refused(members: Path, tmp_path: Path, name: str, old: str, new: str) -> None:
    folder = shutil.copytree(members, tmp_path / "members")
    stated = json.loads((folder / "bundle.json").read_bytes())["metadata"]
    assert check_metadata(folder, stated, "") == (f"metadata ({', '.join(stated['citation'])})",)
    changed(folder / name, old, new)
    with pytest.raises(StoreError, match=f"{name} does not follow"):
        check_metadata(folder, stated, "")


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"version": 99, "citation": {}}, "another version"),
        ({"version": 1}, "another version"),
        ([], "another version"),
        ({"version": 1, "citation": []}, "does not write"),
        ({"version": 1, "citation": {}}, "date that"),
        ({"version": 1, "citation": {}, "written": "20261124"}, "date that"),
        ({"version": 1, "citation": {}, "written": 5}, "date that"),
        ({"version": 1, "citation": {"date-released": "2026-11-24"}, "written": "2026-11-24"}, "date that"),
        ({"version": 1, "citation": {}, "written": "2026-11-24", "place": "x"}, "another version"),
        ({"version": 1, "citation": {"mail": "x"}}, "does not write"),
        ({"version": 1, "citation": {"doi": "x"}}, "doi"),
        ({"version": 1, "citation": {"title": "\x1b[2J"}}, "title"),
        ({"version": 1, "citation": {"authors": [{"name": "A", "mail": "x"}]}}, "does not write"),
    ],
)
def test_a_statement_that_export_does_not_write_is_refused(tmp_path: Path, stated: object, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        check_metadata(tmp_path, stated, "")


def test_metadata_without_a_citation_file_leave_unknown_facts_out_and_name_them(
    finished: Path, tmp_path: Path, here: Command
) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    run_id = read_manifest(Store.open(tmp_path / "runs"), None).runs[0].id
    said = here("export", run_id, "-o", "a.zip", "--crate", "--quiet", cwd=tmp_path).stdout
    assert "metadata: croissant.json, ro-crate-metadata.json" in said
    assert "not in the metadata: authors, license, date-released, version, doi or url (write a CITATION.cff" in said
    (tmp_path / "m").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "m")
    issues = mlcroissant.Dataset(str(tmp_path / "m" / CROISSANT)).metadata.ctx.issues
    assert not issues.errors
    assert all("is recommended, but does not exist" in warning for warning in issues.warnings)
    root = ROCrate(str(tmp_path / "m")).root_dataset
    assert root.get("license") is None
    # RO-Crate 1.1 requires a date of the root
    written = json.loads((tmp_path / "m" / "bundle.json").read_bytes())["metadata"]["written"]
    stated = json.loads((tmp_path / "m" / RO_CRATE).read_bytes())["@graph"][1]
    assert stated["datePublished"] == written
    assert "datePublished is the date on which the bundle was written" in stated["description"]
    assert abs((date.fromisoformat(written) - datetime.now(UTC).date()).days) <= 1
    with opened(tmp_path / "a.zip", Registry.read()) as found:
        assert not any(line.startswith("metadata (") for line in found.stated)
    here("export", "-o", "c.zip", "--citation", "CITATION.cff", cwd=tmp_path, code=2)


def test_each_table_of_scores_says_what_it_has(members: Path) -> None:
    records = json.loads((members / CROISSANT).read_bytes())["recordSet"]
    tables = {path.stem for path in members.glob("scores/*/*.parquet")}
    assert {"scores", "net_benefit", "workload", "triage"} <= tables
    about = {record["@id"].partition("/")[0]: record["description"] for record in records}
    assert tables <= set(about)
    assert not [name for name in tables if f"Table {name}" in about[name]]
    fields = {field["name"]: field for record in records if record["@id"] == "net_benefit" for field in record["field"]}
    assert all(
        fields[name]["description"] for name in ("run_id", "dataset", "finding", "metric", "value", "low", "high")
    )
