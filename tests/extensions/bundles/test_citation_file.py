"""CITATION.cff: what is read, what is left out, and what is refused."""

from pathlib import Path

import pytest

from bench.extensions.bundles.citation_file import author_name, normalized, read_citation
from harmonize.errors import ConfigError

ROOT = Path(__file__).parents[3]


def read(folder: Path, text: str) -> dict[str, object]:
    path = folder / "CITATION.cff"
    path.write_text(text)
    return read_citation(path)


def test_the_file_of_this_project_is_read() -> None:
    stated = read_citation(ROOT / "CITATION.cff")
    assert stated["license"] == ["Apache-2.0"]
    assert stated["authors"] == [{"name": "The Unseen authors"}]
    assert "\n" not in stated["abstract"]


def test_only_the_known_keys_are_kept_and_a_result_is_its_own_normal_form(tmp_path: Path) -> None:
    stated = read(
        tmp_path,
        "cff-version: 1.2.0\nmessage: x\ntitle: '  A\n\n  b '\nversion: 2\ndate-released: 2026-02-28\n"
        "license: [MIT, CC-BY-4.0]\nauthors: [{given-names: A, family-names: B, email: a@example.org, orcid: "
        "'https://orcid.org/0000-0002-1825-009X'}]\nreferences: [{title: other}]\n",
    )
    assert stated == {
        "title": "A b",
        "version": "2",
        "date-released": "2026-02-28",
        "license": ["MIT", "CC-BY-4.0"],
        "authors": [{"given-names": "A", "family-names": "B", "orcid": "https://orcid.org/0000-0002-1825-009X"}],
    }
    assert normalized(stated, "") == stated
    assert author_name(stated["authors"][0]) == "A B"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("title: [a]", "title"),
        ("title: ''", "title"),
        ('title: "\\e[2J"', "title"),
        (f"title: {'a' * 2001}", "title"),
        ("title: 1", "title"),
        ("version: true", "version"),
        ("doi: not-a-doi", "doi"),
        ("url: javascript:alert(1)", "url"),
        ("license-url: http://a b", "license-url"),
        ("license: my own words", "license"),
        ("license: {a: b}", "license"),
        ("date-released: yesterday", "date-released"),
        ('date-released: "2026-02-30"', "date-released"),
        ("authors: Ada", "authors"),
        ("authors: [Ada]", "author"),
        ("authors: [{email: a@example.org}]", "author has no name"),
        ("authors: [{name: A, orcid: 0000-0002-1825-0097}]", "orcid"),
        ("keywords: chest", "keywords"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(tmp_path, f"cff-version: 1.2.0\n{line}\n")


@pytest.mark.parametrize("text", ["title: x\n", "- a\n", "", "cff-version: [\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path, text)
    with pytest.raises(ConfigError):
        read_citation(tmp_path / "missing.cff")
