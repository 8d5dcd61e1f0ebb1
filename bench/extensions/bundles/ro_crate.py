"""Describe a bundle as an RO-Crate 1.1: each file with size, format and SHA-256, the datasets, and the authors."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from bench.extensions.bundles.citation_file import author_name
from bench.extensions.bundles.croissant import CONFORMS_TO
from bench.extensions.bundles.described import CROISSANT, RO_CRATE, DatasetSource, Described, File, stated

_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
_DATE = "No date of release is stated: datePublished is the date on which the bundle was written."
_FORMATS = {"json": "application/json", "parquet": "application/vnd.apache.parquet"}
_FOLDERS = {  # first folder of a file's name -> description
    "cohorts": "scored images of each cohort: patients and label states",
    "runs": "records and predictions of run",
    "scores": "tables of scores of run",
}


def ro_crate(described: Described, croissant: bytes) -> dict[str, Any]:
    """Return the RO-Crate document of a bundle. `croissant`: content of the Croissant document."""
    files = [*described.files, File(CROISSANT, len(croissant), hashlib.sha256(croissant).hexdigest())]
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(_folder_of(file.name), []).append(file)
    top = folders.pop("")
    stated_authors = list(enumerate(described.citation.get("authors", ()), 1))
    authors = [_author(number, author) for number, author in stated_authors]
    employers = [
        {"@id": f"#affiliation-{number}", "@type": "Organization", "name": author["affiliation"]}
        for number, author in stated_authors
        if "affiliation" in author
    ]
    sources = [_source(each) for each in described.sources]
    software = [
        {"@id": f"#unseen-{number}", "@type": "SoftwareApplication", "name": "Unseen", "softwareVersion": version}
        for number, version in enumerate(described.software, 1)
    ]
    licences = [{"@id": link, "@type": "CreativeWork", "name": link} for link in described.licences]
    publications = dict.fromkeys(source.publication for source in described.sources if source.publication)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": described.name,
        "description": f"{described.description} {_DATE}" if described.written else described.description,
        "datePublished": described.citation.get("date-released") or described.written,  # RO-Crate requires a date
        **stated("license", _links(licences)),
        **stated("author", _links(authors)),
        **stated("keywords", described.citation.get("keywords")),
        **stated("version", described.citation.get("version")),
        **stated("identifier", described.url if "doi" in described.citation else ""),
        **stated("url", described.url),
        "isBasedOn": _links(sources),
        **stated("mentions", _links(software)),
        "hasPart": [
            *({"@id": name} for name in folders),
            *({"@id": file.name} for file in top),
            {"@id": "checksums.json"},
        ],
    }
    descriptor = {
        "@id": RO_CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    checksums = {
        "@id": "checksums.json",
        "@type": "File",
        "name": "SHA-256 of each file",
        "encodingFormat": _FORMATS["json"],
    }
    return {
        "@context": _CONTEXT,
        "@graph": [
            descriptor,
            root,
            *(_folder(name, inside) for name, inside in folders.items()),
            *map(_file, files),
            checksums,
            *sources,
            *authors,
            *employers,
            *licences,
            *software,
            *({"@id": link, "@type": "ScholarlyArticle", "name": link} for link in publications),
            {"@id": CONFORMS_TO[0], "@type": "CreativeWork", "name": "Croissant 1.0"},
        ],
    }


def _folder_of(name: str) -> str:
    """Return the folder that is an entity of its own: that of all cohorts, or one of a run; "" for a file outside folders."""
    first, *others = name.split("/")
    return f"{first}/" if first == "cohorts" else f"{first}/{others[0]}/" if others else ""


def _folder(name: str, files: Iterable[File]) -> dict[str, Any]:
    first, run_id, *_ = name.split("/")
    parts = [{"@id": file.name} for file in files]
    return {"@id": name, "@type": "Dataset", "name": f"{_FOLDERS[first]} {run_id}".strip(), "hasPart": parts}


def _file(file: File) -> dict[str, Any]:
    return {
        "@id": file.name,
        "@type": "File",
        "name": file.name,
        "contentSize": str(file.size),
        "encodingFormat": _FORMATS.get(file.name.rpartition(".")[2], "application/octet-stream"),
        "sha256": file.sha256,
        **stated("conformsTo", {"@id": CONFORMS_TO[0]} if file.name == CROISSANT else None),
    }


def _source(source: DatasetSource) -> dict[str, Any]:
    labels = f"; source of the labels: {source.labels}" if source.labels else ""
    return {
        "@id": f"#cohort-{source.cohort}",
        "@type": "Dataset",
        "name": source.title,
        "description": f"used for {source.use}{labels}; license: {source.licence or 'not stated'}",
        **stated("citation", {"@id": source.publication} if source.publication else None),
    }


def _author(number: int, author: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@id": author.get("orcid", f"#author-{number}"),
        "@type": "Organization" if "name" in author else "Person",
        "name": author_name(author),
        **stated("givenName", author.get("given-names")),
        **stated("familyName", author.get("family-names")),
        **stated("affiliation", {"@id": f"#affiliation-{number}"} if "affiliation" in author else None),
    }


def _links(entities: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"@id": entity["@id"]} for entity in entities]
