"""Call estimators, also those of plug-ins, and check what they return."""

import numpy as np

from bench.config.registry import Entry
from bench.extensions.estimates.quantities import Array
from harmonize.errors import RegistryError

ARGUMENTS = {  # `given` of an entry -> what its function gets
    "logits": "an InternalFinding and logits [N]; N may be 0",
    "runs": "a list of InternalFinding, the recipes, and logits [R, N]; N may be 0",
    "hospitals": "a Known, and {estimator: estimates [R, K]}",
}


def result_of(entry: Entry, *given: object) -> object:
    """Return what the function of an entry returns for its arguments; raise RegistryError for any exception."""
    try:
        return entry.load()(*given, **entry.options)
    except Exception as error:  # the function of a plug-in may raise any exception
        what = f"the estimator failed: {type(error).__name__}: {error}"
        fix = f"correct {entry.use}: it gets {ARGUMENTS[str(entry.facts['given'])]}"
        raise RegistryError(what, f"estimators.{entry.name}", fix) from error


def checked_shares(entry: Entry, values: object, shape: tuple[int, ...]) -> Array:
    """Return the values of an estimator as an array.

    Raises RegistryError for another shape, for something that is no number, and for numbers outside 0 to 1. NaN is allowed.
    """
    where = f"estimators.{entry.name}"
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        what = f"the estimator returned {str(values)[:80]!r}, which is no array of numbers"
        raise RegistryError(what, where, "return numbers or NaN")
    if array.shape != shape:
        what = f"the estimator returned the shape {array.shape}"
        raise RegistryError(what, where, f"return an array of shape {shape}")
    outside = array[(array < 0) | (array > 1)]
    if outside.size:
        what = f"the estimator returned {outside.flat[0]:g}, a value outside 0 to 1"
        raise RegistryError(what, where, "return shares from 0 to 1, or NaN")
    return array.astype(np.float64)
