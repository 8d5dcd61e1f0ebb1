"""Covariances of scores of many runs or recipes, from the influences of patients that are stored with the scores.

The runs are scored on the same patients, so the covariances also hold how much of their errors cancels in a difference.
Shapes: R runs or recipes, P patients (or groups of patients) of a sample, m combinations of scores.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.influence import Estimate, Influence

Array = NDArray[np.float64]
Values = Mapping[str, Mapping[str, float]]  # run id -> name of a score, such as "auroc/external" -> its value

NUM_DRAWS = 4000
MOST_KEPT = 50_000_000  # numbers of covariances in memory, 400 MB


@dataclass(frozen=True, slots=True, eq=False)
class StoredEstimates:
    """The estimates of many runs. values: only finite ones. read: (run id, name) -> {key of a sample: influences [P]}."""

    values: Values
    read: Callable[[str, str], Mapping[str, NDArray[Any]]]

    @classmethod
    def of(cls, estimates: Mapping[str, Mapping[str, Estimate]]) -> Self:
        """Return estimates that are in memory: run id -> name -> estimate."""
        values = {
            run: {name: estimate.value for name, estimate in named.items() if np.isfinite(estimate.value)}
            for run, named in estimates.items()
        }
        return cls(values, lambda run, name: estimates[run][name].influence.of)

    def variance(self, run: str, name: str) -> float:
        """Return the variance over patients of a score of a run; NaN if it is unknown."""
        if name not in self.values[run]:
            return float("nan")
        return float(Influence(self.read(run, name)).error ** 2)


class Covariances:
    """Values and covariances of the scores of runs, or of recipes, which are means over runs.

    members: id -> groups of runs; a run that is compared by itself has [[its id]]. A score of a recipe is the mean over the
    groups whose runs all have it: the runs of a group leave out the same hospital. over_seeds: (name, name) -> {id: covariance
    that is added to that of the patients}. left_out: run id -> hospital that it leaves out; runs that leave out the same are
    compared on the same patients.
    """

    def __init__(
        self,
        estimates: StoredEstimates,
        members: Mapping[str, Sequence[Sequence[str]]] | None = None,
        over_seeds: Callable[[str, str], Mapping[str, float]] | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        self._estimates = estimates
        self._members = {run: [[run]] for run in estimates.values} if members is None else members
        self.over_seeds, self._left_out = over_seeds or (lambda *_: {}), left_out or {}
        self._kept: OrderedDict[str, tuple[dict[str, int], Array]] = OrderedDict()

    @classmethod
    def of(cls, estimates: Mapping[str, Mapping[str, Estimate]]) -> Self:
        """Return the covariances of runs whose estimates are in memory: run id -> name -> estimate."""
        return cls(StoredEstimates.of(estimates))

    @property
    def ids(self) -> list[str]:
        """Return the ids of the runs or recipes."""
        return list(self._members)

    def has(self, run: str, name: str) -> bool:
        """Return whether a run or recipe has a score."""
        return bool(self._runs(run, name))

    def value(self, run: str, name: str) -> float:
        """Return a score of a run or recipe; NaN if it has none."""
        runs = self._runs(run, name)
        return float(np.mean([self._estimates.values[member][name] for member in runs])) if runs else float("nan")

    def of_score(self, name: str, ids: Sequence[str]) -> Array:
        """Return the covariance [R, R] of a score of runs or recipes, which all have it.

        Raises ValueError if they were scored on different patients of one split.
        """
        if name not in self._kept:
            all_ids = [run for run in self._members if self.has(run, name)]
            influences = self._influences(name, all_ids)
            covariance = np.zeros((len(all_ids), len(all_ids))) + Influence(influences).covariance
            seeds = self.over_seeds(name, name)
            covariance[np.diag_indices(len(all_ids))] += [seeds.get(run, 0.0) for run in all_ids]
            self._kept[name] = {run: row for row, run in enumerate(all_ids)}, covariance
            while len(self._kept) > 1 and sum(matrix.size for _, matrix in self._kept.values()) > MOST_KEPT:
                self._kept.popitem(last=False)
        row_of, covariance = self._kept[name]
        rows = [row_of[run] for run in ids]
        return covariance[np.ix_(rows, rows)]

    def of_combinations(self, ids: Sequence[str], weights: Mapping[str, Array]) -> Array:
        """Return the covariance [m, m] of m weighted sums of scores; weights: name of a score -> weights [m, R] of R runs."""
        num = len(next(iter(weights.values()), ()))
        of_sample: dict[str, Array] = {}
        for name, weight in weights.items():
            used = np.flatnonzero(weight.any(0))
            for sample, influence in self._influences(name, [ids[run] for run in used.tolist()]).items():
                of_sample[sample] = of_sample.get(sample, 0.0) + weight[:, used] @ influence
        covariance = np.zeros((num, num)) + Influence(of_sample).covariance
        for first, weight in weights.items():
            for second, other in weights.items():
                if seeds := self.over_seeds(first, second):
                    covariance += (weight * [seeds.get(run, 0.0) for run in ids]) @ other.T
        return covariance

    def _runs(self, run: str, name: str) -> list[str]:
        """Return the runs over which a score is the mean."""
        values = self._estimates.values
        groups = self._members.get(run, ())
        return [one for group in groups if all(name in values.get(one, ()) for one in group) for one in group]

    def _influences(self, name: str, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the influences on a score: key of a sample -> [R, P]; 0 if a score does not depend on the sample."""
        out: dict[str, NDArray[np.float32]] = {}
        keys: dict[tuple[str, str], set[str]] = {}
        for row, run in enumerate(ids):
            runs = self._runs(run, name)
            for member in runs:
                for sample, influence in self._estimates.read(member, name).items():
                    keys.setdefault((self._left_out.get(member, ""), sample.rpartition("#")[0]), set()).add(sample)
                    if sample not in out:
                        out[sample] = np.zeros((len(ids), len(influence)), np.float32)
                    out[sample][row] += influence / len(runs)
        for (_, split), samples in keys.items():
            if len(samples) > 1:
                what = f"{len(ids)} runs were scored on {len(samples)} different groups of patients of {split}"
                raise ValueError(f"{what}: score them on the same images first")
        return out


def draws(covariance: Array, num: int = NUM_DRAWS, seed: int = 0) -> Array:
    """Return normal errors [num, R] with this covariance [R, R]."""
    scale = float(np.diag(covariance).max(initial=0.0))
    if not scale:
        return np.zeros((num, len(covariance)))
    # a small number makes the matrix invertible, also if two runs have equal influences
    factor = np.linalg.cholesky(covariance + 1e-8 * scale * np.eye(len(covariance)))
    return np.random.default_rng(seed).standard_normal((num, len(covariance))) @ factor.T
