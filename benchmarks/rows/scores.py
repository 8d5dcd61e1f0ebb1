"""B6 and B7: bootstrap of scores and comparison of all pairs of runs, against loops and packages; uses `benchmarks/scoring.py`.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.special import expit

from benchmarks.harness import Benchmark, Measured, check, interleaved, largest_memory, peer, spread

ROUNDS = 5
RESAMPLES = 1000
ALONE = "import sys; from benchmarks.rows.scores import all_findings; all_findings(*map(int, sys.argv[1:]))"


@cache
def loops(quick: bool) -> list[dict[str, tuple[float, float, float]]]:
    """Return one dict per round: peer -> (the peer's and our CPU milliseconds per replicate, largest difference of a score)."""
    from benchmarks.scoring import against_loops

    num, resamples = (2_500, 64) if quick else (25_000, RESAMPLES)
    against_loops(2_500, 64)  # compiles the numba functions before the timing
    rounds = [against_loops(num, resamples) for _ in range(1 if quick else ROUNDS)]
    return [{name: figures for name, *figures in comparisons} for comparisons in rounds]  # type: ignore[misc]


def loop(prefix: str) -> Callable[[bool], Measured]:
    """Return the benchmark against the loop whose name begins with the given text."""

    def run(quick: bool) -> Measured:
        rounds = [
            next(figures for name, figures in comparison.items() if name.startswith(prefix))
            for comparison in loops(quick)
        ]
        worst = max(difference for *_, difference in rounds)
        gate = check(
            worst <= (1e-4 if "numpy" in prefix else 1e-12),
            f"largest difference of a score from the peer's: {worst:.0e}",
        )
        theirs, ours = (float(np.median([figures[k] for figures in rounds])) for k in (0, 1))
        return spread(
            [a / b for a, b, _ in rounds], gate, f"time per replicate: peer {theirs:.3g} ms, ours {ours:.3g} ms"
        )

    return run


def package(name: str) -> Callable[[bool], Measured]:
    """Return the benchmark against a package that resamples images.

    We resample patients, so the gate compares no replicates. It compares the package's AUROC of all images with scikit-learn's.
    """

    def run(quick: bool) -> Measured:
        from sklearn.metrics import roc_auc_score

        from benchmarks.scoring import part

        num, resamples = (2_500, 20) if quick else (25_000, 20)
        cohort = part("external1", "all", num, 0)
        label = cohort.labels()[:, -1]
        rows = label >= 0
        truth, prob = label[rows].astype(int), expit(cohort.logit[rows, -1].astype(float))
        value, bootstrap = (
            _torchmetrics(truth, prob, resamples) if name == "torchmetrics" else _interval(truth, prob, resamples)
        )
        difference = abs(value - float(roc_auc_score(truth, prob)))
        gate = check(
            difference <= 1e-5, f"without resampling, the peer's AUROC differs from scikit-learn's by {difference:.1g}"
        )
        spent = interleaved({name: bootstrap}, 1 if quick else 3, items={name: resamples})[name]
        ours = [next(iter(milliseconds.values()))[1] for milliseconds in loops(quick)]
        theirs = [1e3 * milliseconds for milliseconds in spent]
        note = (
            f"time per replicate: peer {np.median(theirs):.3g} ms, ours {np.median(ours):.3g} ms; "
            "the peer resamples images, our code resamples patients"
        )
        return spread([milliseconds / float(np.median(ours)) for milliseconds in theirs], gate, note)

    return run


def _torchmetrics(truth: np.ndarray, prob: np.ndarray, resamples: int) -> tuple[float, Callable[[], object]]:
    import torch

    metrics = peer("torchmetrics")
    torch.set_num_threads(1)
    p, t = torch.from_numpy(prob), torch.from_numpy(truth)

    def bootstrap() -> object:
        bootstrapper = metrics.BootStrapper(metrics.classification.BinaryAUROC(), num_bootstraps=resamples)
        bootstrapper.update(p, t)
        return bootstrapper.compute()

    return float(metrics.classification.BinaryAUROC()(p, t)), bootstrap


def _interval(truth: np.ndarray, prob: np.ndarray, resamples: int) -> tuple[float, Callable[[], object]]:
    package = peer("confidenceinterval")

    def bootstrap() -> tuple[float, object]:
        return package.roc_auc_score(truth, prob, method="bootstrap_percentile", n_resamples=resamples)

    return float(bootstrap()[0]), bootstrap


def all_findings(num: int, resamples: int) -> None:
    """Compute the AUROC of nine findings in all replicates.

    Prints the largest difference from scikit-learn's AUROC of the first replicate, and the peak memory in kB.
    """
    from bench.scoring.bootstrap.bootstrap import rank_metrics
    from bench.scoring.bootstrap.resamples import Resamples

    from benchmarks.scoring import part

    cohort = part("external1", "all", num, 0)
    label = cohort.labels()
    drawn = Resamples.draw(cohort.patient_id, resamples, cohort.name)
    auroc, _ = rank_metrics(drawn, label, cohort.logit)
    kilobytes = largest_memory()
    from sklearn.metrics import roc_auc_score

    weight, known = drawn.counts(0), label >= 0
    of_first = [
        roc_auc_score(label[known[:, k], k], cohort.logit[known[:, k], k], sample_weight=weight[known[:, k]])
        for k in range(label.shape[1])
    ]
    print(np.abs(auroc[:, 0] - of_first).max(), kilobytes)


def memory(quick: bool) -> Measured:
    """Return the peak memory in GB of a process that only computes the bootstrap."""
    size = ("2500", "64") if quick else ("25000", str(RESAMPLES))
    process = subprocess.run([sys.executable, "-c", ALONE, *size], capture_output=True, text=True, check=True)
    difference, kilobytes = (float(number) for number in process.stdout.split())
    gate = check(difference <= 1e-12, f"largest difference from scikit-learn: {difference:.0e}")
    return spread([kilobytes / 1e6], gate)


def pairs(quick: bool) -> Measured:
    """Return the time of a new bootstrap for each pair (extrapolated from one pair), divided by our time for all pairs."""
    from benchmarks.scoring import pairs as measure_pairs

    size = (20, 2_500, 64) if quick else (100, 25_000, RESAMPLES)
    measure_pairs(4, 2_500, 64)
    rounds = [measure_pairs(*size) for _ in range(1 if quick else ROUNDS)]
    shared, alone = (float(np.median([figures[k] for figures in rounds])) for k in (0, 1))
    worst = float(np.max([difference for *_, difference in rounds]))
    gate = check(worst <= 1e-12, f"largest difference from comparing one pair alone: {worst:.0e}")
    return spread(
        [b / a for a, b, _ in rounds],
        gate,
        f"CPU time for all pairs: peer {alone:.3g} s (extrapolated from one pair), ours {shared:.2g} s",
    )


AUROC, PAIRS = (
    "AUROC of one bootstrap replicate, 25,000 images, one core",
    "AUROC differences of all 4,950 pairs of 100 runs, one finding",
)
CALIBRATION = "all eight calibration errors of one bootstrap replicate"
MEMORY = "peak memory: AUROC of nine findings, 1,000 replicates"
BENCHMARKS = (
    Benchmark("B6", AUROC, "scikit-learn on the resampled rows", ">= 1000", loop("auroc: scikit")),
    Benchmark("B6", AUROC, "numpy, scores sorted once", "", loop("auroc: numpy")),
    Benchmark("B6", AUROC, "torchmetrics", "", package("torchmetrics")),
    Benchmark("B6", AUROC, "confidenceinterval", "", package("confidenceinterval")),
    Benchmark("B6", MEMORY, "-", "<= 1", memory, "GB"),
    Benchmark("B7", CALIBRATION, "netcal, only the ECE", "", loop("ece")),
    Benchmark("B7", CALIBRATION, "scikit-learn, only the Brier score", "", loop("brier")),
    Benchmark("B7", PAIRS, "a new bootstrap for each pair", ">= 500", pairs),
)
