"""Words on the training hospitals of a page. Only this module asks how many they are, and whether runs leave them out."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TrainingWords:
    """Parts of sentences that depend on where the runs of a page trained; the defaults are for one training hospital."""

    noun: str = "internal hospital"
    definition: str = "The hospital whose images train the networks."
    learns: str = "A network trained at one hospital sees no other hospital, so in training it cannot learn to distinguish hospitals. It can"
    together: str = ""  # how sections treat hospitals that are not analyzed one by one
    each_run: str = ""
    of_run: str = ""
    and_hospital: str = ""  # what the runs of a recipe differ in besides seeds
    unseen: str = ""  # which images no threshold uses; "" for those of all external hospitals
    not_here: str = ""  # on analyses without the hospital that a run leaves out


_SEVERAL = TrainingWords(
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
    and_hospital=" and in the hospital that is left out",
    unseen="No threshold, calibration or early stopping of a run uses images of a hospital that is external to it.",
)


def words(*, several: bool, leave_one_out: bool, leaves_out: bool) -> TrainingWords:
    """Return the words for a page. The arguments: whether runs trained at several hospitals, left out different ones, or any."""
    own = _FOLDS if leave_one_out else _SEVERAL if several else TrainingWords()
    not_here = "A hospital that a run leaves out has no number of this run here." if leaves_out else ""
    return replace(own, not_here=not_here)
