"""Describe a bundle in the format Croissant 1.0, with which `mlcroissant` loads the tables of the unpacked bundle."""

from collections.abc import Sequence
from typing import Any

from bench.extensions.bundles.citation_file import author_name
from bench.extensions.bundles.described import Described, File, stated

CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
_TERMS = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath
key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform"""
_CONTEXT: dict[str, Any] = {  # as the specification of Croissant 1.0 prescribes it
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_PARQUET = "application/x-parquet"  # the only name of Parquet that mlcroissant knows
_FORMATS = {"json": "application/json", "parquet": _PARQUET}
_TYPES = {"text": "sc:Text", "yes": "sc:Boolean", "logit": "sc:Float", "number": "sc:Float", "numbers": "sc:Float"}
_RUN_OF_PATH = {  # the id of a run, from the path of its table
    "extract": {"fileProperty": "fullpath"},
    "transform": {"regex": r"(?:runs|scores)/([0-9a-f]{12})/.*"},
}
_COLUMNS = {  # column -> description
    "image": "number of the image in its cohort; the same in labels and predictions",
    "patient": "number of the patient in the cohort",
    "split": "split of the images; empty in a cohort without splits",
    "view": "view of the image",
    "sex": "sex of the patient; empty if it is unknown",
    "device": "device as the dataset states it",
    "age": "middle of the decade of the patient's age in years; 95 for all ages from 90 on; empty if it is unknown",
    "run": "id of the run",
    "run_id": "id of the run",
    "dataset": "name of the cohort; external: the mean over the external hospitals",
    "finding": "name of the finding; macro: the mean over findings",
    "metric": "name of the score",
    "calibrator": "calibrator of the probabilities, fitted on internal validation; none: uncalibrated",
    "operating_point": "rule of the threshold, which is set on internal validation; empty if the score needs no threshold",
    "value": "estimate; empty if it cannot be computed",
    "low": "lower bound of the 95 % interval over patients; empty without an interval",
    "high": "upper bound of the 95 % interval over patients; empty without an interval",
}
_TABLES = {  # table of scores -> description
    "calibration": "Calibration intercept, calibration slope, and ratio of observed to expected numbers",
    "confusion": "True and false calls at the thresholds of the internal hospital",
    "curves": "Points of ROC and precision-recall curves",
    "decision_curves": "Net benefit by threshold of the probability, and that of treating all images as positive",
    "decomposition": "Components of the gap between the internal and an external hospital",
    "delong": "Intervals of AUROC by DeLong's method, which treats images as independent",
    "diagnostics": "Signs of technical faults of the run",
    "gaps": "Internal minus external score",
    "mappings": "Scores with other label mappings",
    "net_benefit": "Net benefit of calls at the stated threshold of each finding",
    "operating_points": "Thresholds of calls, with the internal validation images that set them",
    "references": "Scores against the labels of radiologists",
    "reliability": "Calibration curves: share of the findings by predicted probability",
    "scores": "All scores, with intervals over patients",
    "subgroups": "Scores of groups of patients",
    "triage": "Released, flagged and deferred images with conformal thresholds of the internal hospital, and the error rates",
    "triage_repair": "The same with thresholds from a few labeled patients of the external hospital",
    "workload": "Images to read and missed findings at thresholds with a stated internal sensitivity or specificity",
}


def croissant(described: Described) -> dict[str, Any]:
    """Return the Croissant document of a bundle: all files, and record sets with the columns of all tables."""
    citation = described.citation
    sets, of_runs = _run_tables(described)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": described.name,
        "conformsTo": CONFORMS_TO,
        "description": described.description,
        **stated("citeAs", described.bibtex),
        **stated("creator", [_agent(author) for author in citation.get("authors", ())]),
        **stated("datePublished", citation.get("date-released")),
        **stated("keywords", citation.get("keywords")),
        **stated("license", described.licences),
        **stated("url", described.url),
        **stated("version", citation.get("version")),
        **_responsible(described),
        "distribution": [*map(_file_object, described.files), *sets],
        "recordSet": [*_labels(described), *of_runs],
    }


def _labels(described: Described) -> list[dict[str, Any]]:
    """Return a record set for the table of each cohort."""
    records = []
    for cohort in described.manifest.planned_cohorts:
        key, name = f"labels-{cohort.name}", f"cohorts/{cohort.name}.parquet"
        source = {"fileObject": {"@id": name}}
        fields = [_field(key, column, kind, source) for column, kind in described.columns(name)]
        about = f"Scored images of the cohort {cohort.name}: patient and label states"
        records.append(_record_set(key, about, fields))
    return records


def _run_tables(described: Described) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return file sets and record sets for the tables of the runs: one for each family of tables with equal columns."""
    sets, records = [], []
    for name, pattern, about in _families(described):
        groups = _same_columns(described, pattern)
        for number, (columns, files) in enumerate(groups.items(), 1):
            key = name if len(groups) == 1 else f"{name}/{number}"
            sets.append(
                {
                    "@type": "cr:FileSet",
                    "@id": f"files/{key}",
                    "name": f"files/{key}",
                    "description": f"{len(files)} files, one for each run",
                    "encodingFormat": _PARQUET,
                    "includes": pattern if len(groups) == 1 else [file.name for file in files],
                }
            )
            source = {"fileSet": {"@id": f"files/{key}"}}
            fields = [_field(key, column, kind, source) for column, kind in columns]
            if "run_id" not in dict(columns):
                fields.insert(0, _field(key, "run", "text", source | _RUN_OF_PATH))
            records.append(_record_set(key, about, fields))
    return sets, records


def _families(described: Described) -> list[tuple[str, str, str]]:
    """Return the families of tables that each run has: name, pattern of the files, and description."""
    cohorts = [cohort.name for cohort in described.manifest.planned_cohorts]
    tables = dict.fromkeys(file.name.split("/")[2] for file in described.files if file.name.startswith("scores/"))
    history = any(file.name.endswith("/history.parquet") for file in described.files)
    families = [
        (f"predictions-{name}", f"runs/*/predictions/{name}.parquet", f"Logits of each run for the cohort {name}")
        for name in cohorts
    ]
    if history:
        families.append(("history", "runs/*/history.parquet", "Learning curves: one row for each epoch of a run"))
    for file in tables:
        name = file.removesuffix(".parquet")
        about = _TABLES.get(name, f"Table {name} of the scores")
        families.append((name, f"scores/*/{file}", f"{about} (one file for each run)"))
    return families


def _same_columns(described: Described, pattern: str) -> dict[tuple[tuple[str, str], ...], list[File]]:
    """Return {columns of a table: files with these columns}; a run that learns one finding has fewer columns than others."""
    start, end = pattern.split("*")
    groups: dict[tuple[tuple[str, str], ...], list[File]] = {}
    for file in described.files:
        if file.name.startswith(start) and file.name.endswith(end):
            groups.setdefault(described.columns(file.name), []).append(file)
    return groups


def _record_set(key: str, description: str, fields: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": key, "name": key, "description": description, "field": list(fields)}


def _field(key: str, column: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    """Return a field of a record set: the column `column` of its source, unless the source states what to extract."""
    about = _COLUMNS.get(column, "")
    if kind == "state":
        mapping, _, finding = column.rpartition(":")
        about = f"label state of {finding}{f' under the label mapping {mapping}' * bool(mapping)}: 1 present, 0 absent"
        about += ", -1 uncertain, -2 not mentioned; empty if the dataset does not label the finding"
    elif kind == "logit":
        about = f"logit of {column}"
    return {
        "@type": "cr:Field",
        "@id": f"{key}/{column.replace(' ', '_').replace(':', '_')}",
        "name": column,
        **stated("description", about),
        "dataType": _TYPES.get(kind, "sc:Integer"),
        **stated("repeated", kind == "numbers"),
        "source": {"extract": {"column": column}} | source,
    }


def _file_object(file: File) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": _FORMATS.get(file.name.rpartition(".")[2], "application/octet-stream"),
        "sha256": file.sha256,
    }


def _agent(author: dict[str, str]) -> dict[str, Any]:
    kind = "sc:Organization" if "name" in author else "sc:Person"
    return {"@type": kind, "name": author_name(author), **stated("url", author.get("orcid"))}


def _responsible(described: Described) -> dict[str, Any]:
    """Return the fields of Croissant RAI that the bundle itself answers."""
    labels = [f"{source.title}: {source.labels}" for source in described.sources if source.labels]
    licences = [f"{source.title}: {source.licence or 'not stated'}" for source in described.sources]
    sensitive = (
        "none: a program drew the images" if described.synthetic else "sex, decade of age, and findings of patients"
    )
    return {
        "rai:dataCollection": f"Images of these datasets and their licenses. {'; '.join(licences)}.",
        **stated("rai:dataAnnotationProtocol", [f"Source of the labels. {'; '.join(labels)}."] * bool(labels)),
        "rai:dataCollectionMissingData": "Empty cells: the dataset does not state the value or label the finding.",
        "rai:dataManipulationProtocol": (
            "Numbers replace the ids of images and patients; ages are decades; sex, view and split have fixed values."
        ),
        "rai:personalSensitiveInformation": [sensitive],
        "rai:dataUseCases": ["research: scoring, comparing and checking predictions at hospitals outside the training"],
        "rai:dataLimitations": [
            "Not for clinical use.",
            f"A finding is not scored with fewer than {described.manifest.min_count} patients with or without it.",
        ],
    }
