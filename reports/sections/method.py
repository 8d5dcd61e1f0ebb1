"""Section on method: the rules by which scores were computed, a glossary, and the versions of code and data."""

from typing import Any

from reports.formatting import percent, places, split_name
from reports.html.section import Section, write
from reports.report_data.headline_rows import TEST_OF
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sentences import data as data_sentences
from reports.summaries.citation import bibtex
from reports.summaries.data_exposure import overlaps


def method(data: ReportData) -> Section:
    """Write the section: split shares, label sources, rules of scoring, standard errors, citation and versions."""
    split: dict[str, Any] = dict(data.meta.get("split") or {})
    order = [n for n in ("train", "val", "test") if n in split]
    # sort the splits, because JSON does not keep their order
    shares = {n: split[n] for n in [*order, *sorted(set(split) - set(order))]}
    scores = data.tables["scores"]
    # leave out the rows "external", because a mean over hospitals can mix label sources
    references = set(scores.loc[scores["dataset"] != EXTERNAL, "reference"].unique())
    duplicates = data.meta.get("duplicates")
    context = {
        "data": data,
        "shares": [(name, percent(float(share), 1)) for name, share in shares.items()],
        "versions": data.distinct("versions"),
        "devices": data.distinct("device"),
        "commits": data.distinct("commit"),
        "labels": data_sentences.label_sources(sorted(map(str, references)), data.tables.synthetic)
        if references
        else "",
        "rule": data_sentences.READING_RULES[data.meta["settings"]["reading"]],
        "unit_rule": data_sentences.UNIT_RULES[data.meta["settings"]["unit"]],
        "unlearnt": data_sentences.not_learned(data.meta.get("unlearnt", {}), len(data.scored)),
        "duplicates": data_sentences.duplicates(int(duplicates)) if duplicates else "",
        "compared": _compared(data),
        "analyses": data_sentences.analysis_states(list(data.meta.get("analyses") or [])),
        "bibtex": bibtex(data.meta, data.distinct("commit"), data.hospitals.internal.title),
        "repository": (data.meta.get("software") or {}).get("repository", ""),
        "errors": _standard_errors(data),
        "fingerprints": [
            (data.hospitals[str(d)].title, str(f))
            for d, f in zip(*(data.tables["cohorts"][c] for c in ("dataset", "fingerprint")), strict=True)
        ],
    }
    return Section("method", "Method", write("method.html.j2", **context))


def _compared(data: ReportData) -> str:
    """State which cohorts were compared, to find shared patients and images; "" if the tables do not state this."""
    compared = data.meta.get("compared")
    if not compared:
        return ""
    with_internal = data_sentences.compared(
        data.hospitals.internal.short,
        [data.hospitals[str(name)].short for name in compared["patients"]],
        len(data.hospitals.external),
        images=bool(compared["images"]),
    )
    shared = overlaps(data)
    if not shared:
        return with_internal
    among_external = data_sentences.compared_external(
        [row["hospitals"] for row in shared if row["patients"] is not None],
        images=all(row["images"] is not None for row in shared),
        shared=any(data_sentences.overlap(**row) for row in shared),
    )
    return f"{with_internal} {among_external}"


def _standard_errors(data: ReportData) -> list[tuple[str, str, tuple[str, str]]]:
    """Return one row (hospital, split, two standard errors of AUROC) per hospital and split.

    The two methods are from the table `delong`; each number is the median over runs and findings, as text. In a pool,
    the test split of each training hospital has a row, too.
    """
    columns = ["se_image", "se_patient"]
    table = data.tables["delong"]
    median = table[["dataset", "split", *columns]].dropna().groupby(["dataset", "split"], sort=False).median()
    rows = []
    for (dataset, split), *errors in zip(median.index.tolist(), *(median[c].tolist() for c in columns), strict=True):
        hospital, name = (split.removeprefix(TEST_OF), "test") if split.startswith(TEST_OF) else (dataset, split)
        image, patient = (places(error, 4) for error in errors)
        rows.append((data.hospitals[hospital].title, split_name(name), (image, patient)))
    return rows
