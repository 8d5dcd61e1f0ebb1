"""Summarize the data exposure of each run: training data, starting weights, licenses, and leakage checks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.formatting import integer, listing, of_all, plural
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.schemas.exposure import CORPORA, NO
from reports.tables import records_of, rows_of, text

RESEARCH = "research, not for clinical use"
WORDS = {  # answer -> text of a cell
    "no": "not seen",
    "images": "images seen",
    "text": "images and reports seen",
    "labels": "images and labels seen",
    "unknown": "unknown",
}
NOTHING = "none, as declared by its owner"
RANDOM = "none"  # registry name of random starting weights


@dataclass(frozen=True, slots=True)
class ExposureText:
    """The data on which a network was trained, as texts for the page; equal objects are counted together on the page."""

    network: str
    trained_on: str
    start: str  # "random weights", or the name of the starting weights; for an imported model, its file
    corpus: str  # training data of the starting weights
    licence: str  # license of the starting weights; "" for random weights
    corpus_overlap: str  # whether the corpus contains test images
    use: str  # intended use, such as research
    elsewhere: bool = False  # True for an imported model; its owner declared the exposure


def exposure(data: ReportData, run: Run) -> ExposureText:
    """Return the data exposure of a run; a fact that is not recorded is "unknown", a missing license is "not stated"."""
    if run.is_imported:
        return _imported(data, run)
    data = data.of_run(run)
    start, corpus = text(run.facts.get("weights")), text(run.facts.get("corpus"))
    key = text(run.facts.get("train_on")) or data.hospitals.internal.key
    trained_on = f"{data.hospitals[key].short} only" if key != "several" else "several cohorts"
    is_random = start == RANDOM and not corpus  # given vectors have a corpus, and no starting weights
    if start == RANDOM and corpus:
        start = "vectors of their owner" if run.has_given_vectors else "weights that the network loads"
    if is_random:
        weights_corpus_licence_overlap = ("random weights", "none", "", "nothing to compare")
    elif start == "several" or corpus == "several":
        weights_corpus_licence_overlap = ("several", "several", "several", "see its runs")
    else:
        photographs = corpus in CORPORA
        weights_corpus_licence_overlap = (
            start or "unknown",
            CORPORA.get(corpus, corpus) or "unknown",
            text(run.facts.get("weights_licence")) or "not stated",
            "none known: photographs; not compared image by image" if photographs else "unknown",
        )
    declared = _declared(data, run.id) if not is_random else ""
    if declared and (declared != NOTHING or corpus not in CORPORA):
        weights_corpus_licence_overlap = (*weights_corpus_licence_overlap[:3], declared)
    restricted = "-nc" in weights_corpus_licence_overlap[2].lower()
    return ExposureText(
        run.name, trained_on, *weights_corpus_licence_overlap, f"non-commercial {RESEARCH}" if restricted else RESEARCH
    )


def _imported(data: ReportData, run: Run) -> ExposureText:
    """Return the data exposure of an imported model, as its owner declared it."""
    declaration = json.loads(text(run.facts.get("config")) or "{}")
    cohorts = (data.hospitals[name].title for name in declaration.get("cohorts", ()))
    trained_on = [*cohorts, *declaration.get("others", ())]
    overlapping = [data.hospitals[name].title for name in declaration.get("seen", ())]
    overlap = f"{listing(overlapping)}: used to train this model" if overlapping else NOTHING
    overlap = ("answers" in declaration and _declared(data, run.id)) or overlap
    licence = text(run.facts.get("weights_licence"))
    restricted = "-nc" in licence.lower() or "non-commercial" in licence.lower()
    return ExposureText(
        run.name,
        listing(trained_on) or "no cohort of this page, as declared by its owner",
        text(run.facts.get("of")),
        text(run.facts.get("corpus")) or "unknown",
        licence or "not stated",
        overlap,
        f"non-commercial {RESEARCH}" if restricted else RESEARCH,
        elsewhere=True,
    )


def _declared(data: ReportData, run_id: str) -> str:
    """Return the external hospitals whose data a model had seen, or may have seen, as text.

    The text is NOTHING if there are none, and "" if nothing is declared.
    """
    table, recipes = data.tables["exposure"], data.tables["recipes"]
    rows = table[table["run_id"] == run_id]
    if not len(rows):  # a run without rows has those of its recipe
        rows = table[table["run_id"].isin(recipes["recipe_id"][recipes["run_id"] == run_id])]
    answers: dict[str, list[str]] = {}
    for dataset, answer in rows_of(rows, "dataset", "answer"):
        answers.setdefault(str(answer), []).append(data.hospitals[str(dataset)].title)
    if set(answers) == {NO}:
        return NOTHING
    return "; ".join(f"{listing(names)}: {WORDS[answer]}" for answer, names in answers.items() if answer != NO)


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """A row of the table of models and hospitals: the name of a model, and one cell for each external hospital."""

    name: str
    # rows of the table `exposure`, in the order of the hospitals; None if the hospital is not external to the model
    cells: tuple[dict[str, Any] | None, ...]

    @property
    def is_exposed(self) -> bool:
        """Return whether the model had seen an external hospital, or may have seen it."""
        return any(cell is not None and cell["answer"] != NO for cell in self.cells)


def models_and_hospitals(data: ReportData) -> list[ModelSeen]:
    """Return what each model had seen of each external hospital; models that had seen one, or may have, come first.

    The list is empty if every network started from random weights and no model is imported.
    """
    of_model: dict[str, dict[str, dict[str, Any]]] = {}
    for row in records_of(data.tables["exposure"]):
        of_model.setdefault(str(row["run_id"]), {})[str(row["dataset"])] = dict(row)
    keys = [hospital.key for hospital in data.hospitals.external]
    models = [
        ModelSeen(data.labels.get(run_id, run_id), tuple(cells.get(key) for key in keys))
        for run_id, cells in of_model.items()
        if set(keys) & set(cells)
    ]
    return sorted(models, key=lambda model: not model.is_exposed)


def grouped_exposures(data: ReportData) -> list[tuple[ExposureText, int]]:
    """Return (exposure, number of runs) for each different exposure, in order of the ranking."""
    counts: dict[ExposureText, int] = {}
    for run in (*data.runs, *(run for run in data.imported if run not in data.runs)):
        exposure_of_run = exposure(data, run)
        counts[exposure_of_run] = counts.get(exposure_of_run, 0) + 1
    return list(counts.items())


def title(internal: str, exposures: Sequence[tuple[ExposureText, int]]) -> str:
    """Return the title: a sentence on the starting weights, pretraining data and training data of the runs.

    >>> p = ExposureText("A", "X only", "random weights", "none", "", "nothing to compare", RESEARCH)
    >>> title("X", [(p, 3)])
    '3 runs start from random weights and learn from X only'
    """
    foreign = sum(count for p, count in exposures if p.elsewhere)
    if foreign:
        trained = [(p, count) for p, count in exposures if not p.elsewhere]
        models = f"{plural(foreign, 'model')} {'was' if foreign == 1 else 'were'}"
        if not trained:
            return f"{models} trained elsewhere; {'its owner' if foreign == 1 else 'their owners'} declared the training data"
        return f"{title(internal, trained)}; {models} trained elsewhere"
    total = sum(count for _, count in exposures)
    fresh = sum(count for p, count in exposures if p.start == "random weights")
    if not total:
        return "No run"
    corpora = sorted({p.corpus for p, _ in exposures if p.start != "random weights"} - {"unknown"})
    unknown = sum(count for p, count in exposures if p.corpus == "unknown")
    if fresh == total:
        runs = f"{plural(total, 'run')} {'starts' if total == 1 else 'start'}"
        return f"{runs} from random weights and {'learns' if total == 1 else 'learn'} from {internal} only"
    before = total - fresh
    sentence = (
        f"{of_all(before, total, 'run')} {'was' if before == 1 else 'were'} pretrained before training on {internal}"
    )
    if corpora:
        sentence += f" (on {listing([c.split(',')[0] for c in corpora])})"
    if unknown:
        of_runs = "" if unknown == before else f"for {plural(unknown, 'run')} "
        sentence += f"; {of_runs}the pretraining data are unknown"
    return sentence


def leakage_checks(data: ReportData) -> list[tuple[str, str]]:
    """Return (name, result) of each leakage check; the result of an impossible check states that it is unknown."""
    internal, num_duplicates = data.hospitals.internal.short, int(data.meta.get("duplicates") or 0)
    checks = [
        (f"{internal} patients in two splits", "none (a grid with such a patient is refused)"),
        (
            f"Duplicate images in two splits of {internal} under two patient ids",
            "none"
            if not num_duplicates
            else f"{plural(num_duplicates, 'image')}: a patient has two ids, or an image was copied",
        ),
    ]
    if data.hospitals.external:
        checks += [
            (
                f"Identical image at {internal} and at an external hospital",
                _identical_images(data),
            ),
            (
                f"Same patient at {internal} and at an external hospital",
                _shared_patients(data),
            ),
        ]
    pairs = overlaps(data)
    if pairs:
        checks += [
            ("Same image at two external hospitals", _shared_by_external(pairs, "images")),
            ("Same patient at two external hospitals", _shared_by_external(pairs, "patients")),
        ]
    start = {exposure(data, run) for run in data.runs if not run.is_imported}
    of_corpus = sorted({p.corpus_overlap for p in start if p.start != "random weights"})
    for run in data.imported:
        overlap = exposure(data, run).corpus_overlap
        checks.append((f"Cohort of this page in the training data of {run.name}", overlap))
    if of_corpus:
        checks.append(("Test image in the pretraining data", "; ".join(of_corpus)))
    return checks


def overlaps(data: ReportData) -> list[dict[str, Any]]:
    """Return the images and patients that each pair of external hospitals shares, as arguments of `reports.sentences.data.overlap`.

    The list is empty if the tables do not state shared images and patients.
    """
    return [
        {
            "hospitals": tuple(data.hospitals[str(name)].short for name in row["cohorts"]),
            **{key: row[key] for key in ("num_images", "images", "patients")},
        }
        for row in (data.meta.get("compared") or {}).get("external") or ()
    ]


def _identical_images(data: ReportData) -> str:
    """Return whether images of the internal and the external hospitals were compared, and the result, as text."""
    if data.meta.get("bundles"):
        return "unknown: bundles have no images"
    if not (data.meta.get("compared") or {}).get("images"):
        return "not compared"
    return "none (bench run stops if it finds one)"


def _shared_patients(data: ReportData) -> str:
    """Return the external hospitals whose patient ids were compared with the internal patient ids, and the result."""
    hospitals = [data.hospitals[str(name)].short for name in (data.meta.get("compared") or {}).get("patients", ())]
    if not hospitals:
        return "unknown: each hospital uses its own patient ids"
    others = "; unknown at the other hospitals, which use other ids" * (len(hospitals) < len(data.hospitals.external))
    return f"none at {listing(hospitals, len(hospitals))} (bench run stops if it finds one){others}"


def _shared_by_external(pairs: Sequence[Mapping[str, Any]], key: str) -> str:
    """Return as text how many images or patients each pair of external hospitals shares; `key`: "images" or "patients"."""
    compared = [row for row in pairs if row[key] is not None]
    if not compared:
        return "not compared" if key == "images" else "unknown: each hospital uses its own patient ids"
    numbers = [(row[key][1] if key == "images" else row[key], " and ".join(row["hospitals"])) for row in compared]
    shared = [f"{integer(number)} at {names}" for number, names in numbers if number]
    found = f"{'; '.join(shared)}: means count them twice" if shared else "none"
    if len(compared) < len(pairs):
        return f"{found}; unknown at the other hospitals, which use other ids"
    return found
