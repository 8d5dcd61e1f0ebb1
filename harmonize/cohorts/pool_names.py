"""The names of pools, and of the hospital of each image in a pool.

A pool is the cohort of several training hospitals. Its name joins the names of its hospitals with "+", in alphabetical
order; no name of a hospital contains "+". An id of an image, patient or study in a pool begins with the name of its
hospital and a slash, so equal ids of two hospitals stay apart, and an id alone tells the hospital.
"""

from collections.abc import Iterable

_JOIN = "+"


def pool_name(hospitals: Iterable[str]) -> str:
    """Return the name of the pool of some hospitals; the name of a single hospital stays as it is.

    >>> pool_name(["mimic", "chexpert"])
    'chexpert+mimic'
    >>> pool_name(["mimic"])
    'mimic'
    """
    return _JOIN.join(sorted(hospitals))


def hospitals_of(name: str) -> tuple[str, ...]:
    """Return the hospitals of a pool in alphabetical order, or the only hospital of another cohort.

    >>> hospitals_of("chexpert+mimic"), hospitals_of("nih")
    (('chexpert', 'mimic'), ('nih',))
    """
    return tuple(name.split(_JOIN))


def is_pool(name: str) -> bool:
    """Return whether the name of a cohort is the name of a pool."""
    return _JOIN in name


def prefix_of(hospital: str) -> str:
    """Return the text with which the ids of a hospital begin in a pool."""
    return f"{hospital}/"


def check_pool(name: str, leave_out: str = "") -> None:
    """Raise ValueError if a name with "+" is not the name of a pool: different hospitals in alphabetical order.

    A pool of two or more hospitals can be trained on without one of them, `leave_out`.
    """
    hospitals = hospitals_of(name)
    if not all(hospitals) or pool_name(set(hospitals)) != name:
        raise ValueError(f"{name!r} is not the name of a pool: write a list of different hospitals")
    if leave_out and not is_pool(name):
        raise ValueError(f"leave_out needs several training hospitals in train_on (got {name!r})")
    if leave_out and leave_out not in hospitals:
        raise ValueError(f"leave_out must be one of {', '.join(hospitals)} (got {leave_out!r})")
