"""The bundles of the live pages: small, verified, without images; the pages outlive a change of the scoring version."""

import json
import lzma
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from bench.config.registry import Registry
from bench.extensions.bundles.archive import pack, unpack
from bench.extensions.bundles.export import export
from bench.extensions.bundles.verify import opened, verify
from bench.planning.manifest import read_manifest
from bench.results.read_predictions import SCORING_VERSION
from bench.store.store import Store
from docs import live_pages

BUNDLES = live_pages.bundles()


def quiet(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def content(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(BytesIO(lzma.decompress(path.read_bytes())))


def test_there_are_two_live_pages_and_their_document_links_both() -> None:
    assert [live_pages.name_of(path) for path in BUNDLES] == ["demo", "open-hospitals"]
    text = live_pages.LIVE.with_suffix(".md").read_text()
    assert all(f"(live/{path.name})" in text for path in BUNDLES)


@pytest.mark.parametrize("path", BUNDLES, ids=live_pages.name_of)
def test_a_bundle_is_small_and_has_only_tables_and_records(path: Path) -> None:
    assert path.stat().st_size < 3_000_000
    names = content(path).namelist()
    assert {Path(name).suffix for name in names} - {".md"} == {".json", ".parquet"}
    assert json.loads(content(path).read("bundle.json"))["order"] == (
        "kept" if path.name.startswith("demo") else "drawn"
    )


@pytest.mark.grid
@pytest.mark.parametrize("path", BUNDLES, ids=live_pages.name_of)
def test_every_score_of_a_bundle_follows_from_its_logits_and_labels(path: Path) -> None:
    """Fails if numbers change without a new SCORING_VERSION. After a new one, `live_pages.py renew` brings the comparison back."""
    with live_pages.decompressed(path) as bundle:
        rows, _ = verify(bundle, quiet)
        assert rows > 10_000 or bundle.about["scoring"] < SCORING_VERSION


@pytest.mark.grid
def test_the_numbers_of_the_documents_are_those_of_the_bundle() -> None:
    """`live_pages.py figures` writes them."""
    for path, block in live_pages.figures(BUNDLES[1]).items():
        text = path.read_text(encoding="utf-8")
        assert live_pages.with_figures(text, block) == text, path


@pytest.mark.grid
def test_a_bundle_of_an_older_scoring_version_gives_the_page_of_today_and_can_be_renewed(
    store_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundles of an older scoring version."""
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    new = tmp_path / "tiny.zip"
    export(manifest, [manifest.runs[0].id], new, True, Registry.read(), quiet)
    monkeypatch.setattr(live_pages, "LIVE", tmp_path)
    page = live_pages.page(live_pages.add(new))
    folder = tmp_path / "members"
    folder.mkdir()
    unpack(new, folder)
    about = json.loads((folder / "bundle.json").read_bytes()) | {"scoring": SCORING_VERSION - 1}
    (folder / "bundle.json").write_text(json.dumps(about, sort_keys=True, separators=(",", ":")))
    next((folder / "scores").rglob("net_benefit.parquet")).unlink()  # a table that the older version did not have
    old = tmp_path / "old" / "tiny.zip"
    old.parent.mkdir()
    pack(folder, old)
    path = live_pages.add(old)
    assert live_pages.page(path).count("<section") == page.count("<section") > 5
    live_pages.renew(path)
    assert content(path).read("checksums.json") == zipfile.ZipFile(new).read("checksums.json")
    with opened(new, Registry.read()) as bundle:
        assert verify(bundle, quiet)[1]
