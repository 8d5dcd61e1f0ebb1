"""The live pages and their bundle: small, verified, of no machine; they outlive a change of the scoring version."""

import base64
import gzip
import json
import lzma
import re
import tomllib
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
ROOT = live_pages.README.parent
PAGES = (live_pages.DEMO, *(live_pages.LIVE / f"{live_pages.name_of(path)}.html" for path in BUNDLES))


def quiet(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def content(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(BytesIO(lzma.decompress(path.read_bytes())))


def unpacked(page: Path) -> str:
    """Return the text of a page with its compressed parts."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain" id="[\w-]+">([A-Za-z0-9+/=]+)</script>', text)
    return "\n".join([text, *(gzip.decompress(base64.b64decode(block)).decode() for block in blocks)])


def block(document: Path, marks: tuple[str, str]) -> str:
    text = document.read_text(encoding="utf-8")
    return text[text.index(marks[0]) + len(marks[0]) : text.index(marks[1])]


def test_readme_links_the_published_pages_and_their_files_and_live_md_the_files() -> None:
    readme, about = (path.read_text() for path in (live_pages.README, live_pages.LIVE.with_suffix(".md")))
    published = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Documentation"]
    for page in PAGES:
        assert page.is_file()
        assert f"]({published}live/{page.name})" in readme
        assert f"](docs/live/{page.name})" in readme
        assert f"](live/{page.name})" in about


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_committed_page_is_small_whole_dated_and_names_no_machine(page: Path) -> None:
    assert page.stat().st_size <= 5_000_000
    text = unpacked(page)
    assert 'class="warn" id="failed"' not in text
    assert re.search(r"<p>Page of 20\d\d-\d\d-\d\d · ", text)
    assert re.findall(r"/(?:home|root|tmp|work|Users)/|file://|localhost|[A-Z]:\\\\Users", text) == []
    assert "medpix</" not in text


def test_the_page_of_the_demo_has_images_maps_transplants_and_the_pair_of_images() -> None:
    text = unpacked(live_pages.DEMO)
    assert all(f'id="{key}"' in text for key in ("transplants", "attention", "gallery", "mine"))
    assert '<figure class="xrays"><span' in text
    assert text.count("data:image/webp") > 20
    assert "The pictures in this file are synthetic" in text


@pytest.mark.parametrize(
    ("document", "marks", "page"),
    [
        (live_pages.README, live_pages.DEMO_MARKS, PAGES[0]),
        (live_pages.README, live_pages.MARKS, PAGES[1]),
        (live_pages.LIVE.with_suffix(".md"), live_pages.MARKS, PAGES[1]),
    ],
)
def test_the_numbers_of_the_documents_are_on_the_page_that_they_link(
    document: Path, marks: tuple[str, str], page: Path
) -> None:
    numbers = set(re.findall(r"\N{MINUS SIGN}?\.\d{3}", block(document, marks)))
    text = unpacked(page)
    assert len(numbers) >= 5
    assert {number for number in numbers if number not in text} == set()


@pytest.mark.parametrize("path", BUNDLES, ids=live_pages.name_of)
def test_a_bundle_is_small_and_has_only_tables_and_records(path: Path) -> None:
    assert path.stat().st_size < 3_000_000
    names = content(path).namelist()
    assert {Path(name).suffix for name in names} - {".md"} == {".json", ".parquet"}
    assert json.loads(content(path).read("bundle.json"))["order"] == "drawn"


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
    for path, numbers in live_pages.figures(BUNDLES[0]).items():
        text = path.read_text(encoding="utf-8")
        assert live_pages.with_figures(text, numbers) == text, path


@pytest.mark.grid
def test_a_bundle_of_an_older_scoring_version_gives_the_page_of_today_and_can_be_renewed(
    store_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundles of an older scoring version."""
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    new = tmp_path / "tiny.zip"
    export(manifest, [manifest.runs[0].id], new, Registry.read(), quiet)
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
