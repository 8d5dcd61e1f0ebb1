"""Collect the facts about a bundle that its metadata state: files, datasets, software, and what a citation file states."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.extensions.bundles.citation_file import author_name
from bench.extensions.bundles.open_table import KINDS
from bench.planning.planned_grid import PlannedGrid, PlannedRun
from bench.results.read_predictions import LABEL_SOURCES
from bench.store.file_integrity import file_sha256
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE, hospital_name
from reports.summaries.citation import address, entry

CROISSANT, RO_CRATE = "croissant.json", "ro-crate-metadata.json"
NOT_DESCRIBED = ("checksums.json", CROISSANT, RO_CRATE)  # written after the documents, or the documents themselves


@dataclass(frozen=True, slots=True)
class File:
    """A file of a bundle: name, size in bytes, and SHA-256 (64 hex digits)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A dataset of images on which runs were trained or tested, as the bundle states it; "" for what is not stated."""

    cohort: str
    title: str
    use: str
    labels: str
    licence: str
    publication: str  # web address


@dataclass(frozen=True)  # without slots, because properties are cached
class Described:
    """A bundle in a folder. `citation`: what people state, in the form of `citation_file.normalized`."""

    folder: Path
    citation: Mapping[str, Any]

    @cached_property
    def manifest(self) -> PlannedGrid:
        """Return the manifest of the bundle."""
        return PlannedGrid.of(json.loads((self.folder / "manifest.json").read_bytes()))

    @cached_property
    def written(self) -> str:
        """Return the date on which the bundle was written (YYYY-MM-DD); "" if people state the date of its release."""
        about = json.loads((self.folder / "bundle.json").read_bytes())
        return str(about["metadata"].get("written", ""))

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Return the files that the documents describe, sorted by name."""
        names = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        return tuple(self.file(name) for name in names if name not in NOT_DESCRIBED)

    def file(self, name: str) -> File:
        """Return the size and the hash of a file."""
        path = self.folder / name
        return File(name, path.stat().st_size, file_sha256(path))

    def columns(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the columns of a table as pairs (name, kind); a kind is a key of `tables.KINDS`."""
        return tuple(
            (field.name, next(kind for kind, stored in KINDS.items() if stored == field.type))
            for field in pq.read_schema(self.folder / name)
        )

    @property
    def runs(self) -> list[PlannedRun]:
        """Return the runs of the bundle, trained runs first."""
        return [*self.manifest.runs, *self.manifest.derived]

    @property
    def synthetic(self) -> bool:
        """Return whether a program drew the images."""
        return self.manifest.phantom

    @property
    def name(self) -> str:
        """Return the title of the study, or else that of the grid."""
        return str(self.citation.get("title") or f"{self.manifest.title}: predictions, labels and scores")

    @property
    def description(self) -> str:
        """Return what the bundle has, after the abstract of the study if it is stated."""
        tests = ", ".join(source.title for source in self.sources[1:]) or "no external hospital"
        content = (
            f"Predicted logits and label states of chest radiographs, and scores computed from them: {len(self.runs)} runs"
            f" of the grid {self.manifest.name}, internal hospital {self.sources[0].title}, external hospitals: {tests}."
            " No images; numbers replace the ids of images and patients."
        )
        texts = (str(self.citation.get("abstract", "")), SYNTHETIC_NOTICE if self.synthetic else "", content)
        return " ".join(text for text in texts if text)

    @cached_property
    def sources(self) -> tuple[DatasetSource, ...]:
        """Return the datasets of the bundle, the internal hospital first."""
        out = []
        for cohort in self.manifest.planned_cohorts:
            facts, name = cohort.facts, cohort.name
            title = hospital_name(name, cohort.layout, facts, self.synthetic).title
            use = "training and internal tests" if cohort.role == "internal" else "external tests"
            if self.synthetic:
                out.append(DatasetSource(name, title, use, LABEL_SOURCES["phantom"], "synthetic images", ""))
                continue
            reference, licence = facts.get("reference", "stated"), facts.get("licence", "")
            labels = LABEL_SOURCES.get(reference, reference)
            out.append(DatasetSource(name, title, use, labels, licence, address(facts.get("source", ""))))
        return tuple(out)

    @property
    def software(self) -> list[str]:
        """Return the different versions of the program that trained the runs."""
        records = (json.loads((self.folder / "runs" / run.id / "env.json").read_bytes()) for run in self.runs)
        versions = {str(record.get("versions", {}).get("unseen-cxr", "")) for record in records}
        return sorted(versions - {""})

    @property
    def licences(self) -> list[str]:
        """Return the web addresses of the licenses of the bundle that are stated."""
        if "license-url" in self.citation:
            return [str(self.citation["license-url"])]
        return list(dict.fromkeys(f"https://spdx.org/licenses/{name}" for name in self.citation.get("license", ())))

    @property
    def url(self) -> str:
        """Return the web address of the bundle, "" if it is not stated."""
        doi = self.citation.get("doi")
        return f"https://doi.org/{doi}" if doi else str(self.citation.get("url", self.citation.get("repository", "")))

    @property
    def bibtex(self) -> str:
        """Return a BibTeX entry of the bundle, "" if no author is stated."""
        if not (authors := self.citation.get("authors")):
            return ""
        fields = {
            "author": " and ".join(map(author_name, authors)),
            "title": self.name,
            "year": str(self.citation.get("date-released", ""))[:4],
            "version": str(self.citation.get("version", "")),
            "url": self.url,
        }
        return entry("misc", f"unseen-{self.manifest.name}", fields)

    @property
    def unstated(self) -> list[str]:
        """Return the facts that journals and catalogs require and nobody has stated."""
        facts = {
            "authors": self.citation.get("authors"),
            "license": self.licences,
            "date-released": self.citation.get("date-released"),
            "version": self.citation.get("version"),
            "doi or url": self.url,
        }
        return [name for name, value in facts.items() if not value]


def stated(key: str, value: Any) -> dict[str, Any]:
    """Return {key: value}, or an empty dict if there is no value: an unknown fact is left out."""
    return {key: value} if value else {}
