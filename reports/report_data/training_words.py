"""Words on the training hospitals and seeds of a page. Only this module asks how many they are, and whether runs leave hospitals out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.formatting import listing
from reports.report_data.hospitals import Hospitals
from reports.report_data.hospitals_and_runs import Run


@dataclass(frozen=True, slots=True)
class TrainingWords:
    """Parts of sentences that depend on where the runs of a page trained; the defaults are for one training hospital."""

    place: str  # names of the training hospitals; each run of a leave-one-out page trained on all but one
    noun: str = "internal hospital"
    definition: str = "The hospital whose images train the networks."
    learns: str = "A network trained at one hospital sees no other hospital, so in training it cannot learn to distinguish hospitals. It can"
    together: str = ""  # how sections treat hospitals that are not analyzed one by one
    each_run: str = ""
    of_run: str = ""
    and_hospital: str = ""  # what the runs of a recipe differ in besides seeds
    unseen: str = ""  # which images no threshold uses; "" for those of all external hospitals
    run: str = ""  # word for a run of a recipe, if the runs leave out different hospitals
    seeds: str = "seeds"  # what the runs of the ranked recipes differ in: seeds, wordings (of prompts), or both
    and_seeds: str = ""  # words such as " and seeds" if the intervals of the ranked recipes are over patients and seeds
    not_here: str = ""  # on analyses without the hospital that a run leaves out

    def member_noun(self, recipe: Run) -> str:
        """Return the word for a run of a recipe, after what its runs differ in."""
        return self.run or ("wording" if recipe.has_prompts else "seed")


_SEVERAL = TrainingWords(
    "",
    "internal hospitals",
    "The hospitals whose images train a network. Each is scored alone; an internal score is their mean. Curves, calibrators, "
    "thresholds, patient groups and what follows from thresholds use the images of all internal hospitals together.",
    "In training, a network sees only the training hospitals, and it can learn to distinguish these. It can also",
    "In this section, the training hospitals together count as one hospital: the classifiers tell it from each external "
    "hospital, and do not tell the training hospitals from each other.",
)
_FOLDS = replace(
    _SEVERAL,
    definition=f"{_SEVERAL.definition} A hospital is external to the runs that leave it out.",
    each_run=", each run without the hospital that it leaves out",
    of_run=" of the run",
    run="run",
    and_hospital=" and in the hospital that is left out",
    unseen="No threshold, calibration or early stopping of a run uses images of a hospital that is external to it.",
)


def words(hospitals: Hospitals, ranked: Sequence[Run], *, leaves_out: bool) -> TrainingWords:
    """Return the words for a page. ranked: its ranked recipes; leaves_out: whether any run leaves out a training hospital."""
    pool = [hospital.short for hospital in hospitals.pool]
    own = _FOLDS if hospitals.leaves_one_out else _SEVERAL if pool else TrainingWords("")
    place = f"all but one of {listing(pool, len(pool))}" if hospitals.leaves_one_out else hospitals.internal.short
    not_here = "A hospital that a run leaves out has no number of this run here." if leaves_out else ""
    kinds = {"wordings" if r.has_prompts else "seeds" for r in ranked if len(r.members) > 1}
    seeds = " and ".join(sorted(kinds)) or "seeds"
    # runs that leave out different hospitals do not show the scatter between seeds
    folds = {(recipe.id, run.left_out) for recipe in ranked for run in recipe.members}
    over_seeds = bool(ranked) and all(r.runs for r in ranked) and sum(len(r.members) for r in ranked) > len(folds) + 1
    and_seeds = f" and {seeds}" if over_seeds else ""
    return replace(own, place=place, seeds=seeds, and_seeds=and_seeds, not_here=not_here)
