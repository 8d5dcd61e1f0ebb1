"""B6: CPU seconds of a run's scores; uses `benchmarks/scoring.py`. The gate compares an AUROC with scikit-learn's."""

from benchmarks.harness import Benchmark, Measured, check, spread

ROUNDS = 3


def seconds(quick: bool) -> Measured:
    """Return the CPU seconds of scoring a run."""
    from sklearn.metrics import roc_auc_score

    from benchmarks.scoring import part, scored

    num = 2_500 if quick else 25_000
    scored(0, 2, 500)  # loads what the scores import
    spent = []
    for _ in range(1 if quick else ROUNDS):
        found, _, cpu = scored(0, 6, num)
        spent.append(cpu)
    cohort, rows = part("external1", "all", num, 0), found.scores
    label = cohort.labels()[:, -1]
    known = label >= 0
    of_finding = rows[(rows["dataset"] == "external1") & (rows["metric"] == "auroc") & (rows["finding"] != "macro")]
    expected = float(roc_auc_score(label[known], cohort.logit[known, -1]))
    worst = float((of_finding["value"] - expected).abs().min())
    return spread(spent, check(worst <= 1e-12, f"difference of an AUROC from scikit-learn's: {worst:.0e}"))


WHAT = "scores of a run, six hospitals of 25,000 images, nine findings"
BENCHMARKS = (Benchmark("B6", WHAT, "-", "", seconds, "units"),)
