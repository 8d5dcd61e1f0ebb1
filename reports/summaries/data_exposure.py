"""What each run had seen before it was tested, and under which licences: facts and sentences."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from reports.formatting import listing, plural, whole, word
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import Board

CORPORA = {  # what a corpus is called in the registry -> its name, and what its images are
    "in1k": "ImageNet-1k, photographs",
    "in12k": "ImageNet-12k, photographs",
    "in21k": "ImageNet-21k, photographs",
    "in22k": "ImageNet-22k, photographs",
}
RESEARCH = "research, not for clinical use"
RANDOM = "none"  # starting weights that had seen nothing


@dataclass(frozen=True, slots=True)
class Passport:
    """What one run, or several alike, had seen; every field is words."""

    network: str
    trained_on: str
    start: str  # random weights, or whose
    corpus: str
    licence: str  # of the starting weights, "" where there are none
    corpus_overlap: str  # of the corpus with the test images
    use: str
    elsewhere: bool = False  # trained elsewhere: all of it is what its owner says


def passport(board: Board, run: Run) -> Passport:
    """Return the passport of a run; what the store does not know is said to be unknown."""
    if run.is_imported:
        return _foreign(board, run)
    start, corpus = _text(run, "weights"), _text(run, "corpus")
    key = _text(run, "train_on") or board.internal.key
    trained_on = f"{board.title(key)} only" if key != "several" else "several cohorts"
    if start == RANDOM:
        seen = ("random weights", "none", "", "nothing to compare")
    elif start == "several" or corpus == "several":
        seen = ("several", "several", "several", "see its runs")
    else:
        photographs = corpus in CORPORA
        seen = (
            start or "unknown",
            CORPORA.get(corpus, corpus) or "unknown",
            _text(run, "weights_licence") or "not stated",
            "none known: photographs; not compared image by image" if photographs else "unknown",
        )
    restricted = "-nc" in seen[2].lower()
    return Passport(run.name, trained_on, *seen, f"non-commercial {RESEARCH}" if restricted else RESEARCH)


def _foreign(board: Board, run: Run) -> Passport:
    """Return the passport of a model from elsewhere: all of it is what its owner says."""
    said = json.loads(_text(run, "config") or "{}")
    trained_on = [*(board.title(name) for name in said.get("cohorts", ())), *said.get("others", ())]
    seen = [board.title(name) for name in said.get("seen", ())]
    overlap = f"{listing(seen)}: not unseen there" if seen else "none, as its owner says"
    licence = _text(run, "weights_licence")
    restricted = "-nc" in licence.lower() or "non-commercial" in licence.lower()
    return Passport(
        run.name,
        listing(trained_on) or "none of the cohorts here, as its owner says",
        _text(run, "of"),
        _text(run, "corpus") or "unknown",
        licence or "not stated",
        overlap,
        f"non-commercial {RESEARCH}" if restricted else RESEARCH,
        elsewhere=True,
    )


def grouped(board: Board) -> list[tuple[Passport, int]]:
    """Return each passport once, in order of the ranking, with how many runs carry it."""
    counts: dict[Passport, int] = {}
    for run in (*board.runs, *(run for run in board.imported if run not in board.runs)):
        own = passport(board, run)
        counts[own] = counts.get(own, 0) + 1
    return list(counts.items())


def answer(internal: str, passports: Sequence[tuple[Passport, int]]) -> str:
    """Return what the runs had seen beside the internal hospital, in one sentence.

    >>> p = Passport("A", "X only", "random weights", "none", "", "nothing to compare", RESEARCH)
    >>> answer("X", [(p, 3)])
    'All three runs start from random weights: each had seen images of X and no others'
    """
    foreign = sum(count for p, count in passports if p.elsewhere)
    if foreign:
        trained = [(p, count) for p, count in passports if not p.elsewhere]
        if not trained:
            who = "The model was" if foreign == 1 else f"All {word(foreign)} models were"
            return f"{who} trained elsewhere, on what {'its owner says' if foreign == 1 else 'their owners say'}"
        models = "one model was" if foreign == 1 else f"{word(foreign)} models were"
        return f"{answer(internal, trained)}; {models} trained elsewhere"
    total = sum(count for _, count in passports)
    fresh = sum(count for p, count in passports if p.start == "random weights")
    if not total:
        return "No run, no passport"
    corpora = sorted({p.corpus for p, _ in passports if p.start != "random weights"} - {"unknown"})
    unknown = sum(count for p, count in passports if p.corpus == "unknown")
    if fresh == total:
        who = "The run starts" if total == 1 else f"All {word(total)} runs start"
        one = "it" if total == 1 else "each"
        return f"{who} from random weights: {one} had seen images of {internal} and no others"
    before = total - fresh
    who = (
        "The run had" if total == 1 else f"All {word(total)} runs had" if not fresh else f"{before} of {total} runs had"
    )
    said = f"{who} seen other images before those of {internal}"
    if corpora:
        said += f": {listing([c.split(',')[0] for c in corpora])}"
    if unknown:
        said += (
            "; what they were is not stated" if unknown == before else f"; of {plural(unknown, 'run')} it is not stated"
        )
    return said


def checks(board: Board) -> list[tuple[str, str]]:
    """Return each check for overlap that was made, or could not be, with its result."""
    internal, shared, twice = board.internal.title, int(board.meta.get("shared_patients") or 0), board.num_duplicates
    found = [
        (
            f"A patient of {internal} in two splits",
            "none" if not shared else f"{whole(shared)}: the numbers at the internal hospital are too good",
        ),
        (
            f"The same pixels in two splits of {internal}, under two patients",
            "none" if not twice else f"{plural(twice, 'image')}: the same person under two names, or a copy",
        ),
    ]
    if board.hospitals:
        found += [
            (
                f"An image of {internal} in an external hospital, pixel for pixel as networks get it",
                "none: a grid with one is refused before anything trains",
            ),
            (
                "A patient in two hospitals",
                "unknown: identifiers of two hospitals do not compare",
            ),
        ]
    start = {passport(board, run) for run in board.runs if not run.is_imported}
    known = sorted({p.corpus_overlap for p in start if p.start != "random weights"})
    for run in board.imported:
        said = passport(board, run).corpus_overlap
        found.append((f"A cohort of this page among what {run.name}, trained elsewhere, was taught by", said))
    if known:
        found.append(("A test image among those the starting weights had seen", "; ".join(known)))
    return found


def _text(run: Run, key: str) -> str:
    value = run.facts.get(key)
    return value if isinstance(value, str) else ""
