"""Coverage of the 90 % intervals of scores from a few local labels, with and without the predictions for other images.

    python benchmarks/local_labels.py                       # writes benchmarks/local_labels.csv

`labeled` patients have labels, and 900 other patients have predictions only. A patient has one image, or 1 to 4 images with the same
label and correlated scores (`images`). Scores are normal, positives have a larger mean; the probabilities are calibrated. A call is
positive if the probability is at least the prevalence.

Columns: `coverage` of the intervals from labels and predictions, with Wilson's interval `low` to `high`, and `coverage_labels` of
those from the labels alone; mean widths; `used`, the share of samples in which predictions are used; `number`, the share of samples
with a number (a score of a class with fewer than two patients has none); `zero_width`, the number of intervals of zero width.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from bench.extensions.estimates.prediction_powered import SCORES, Images, combined_scores
from benchmarks.planted import NOISE_SD, PATIENT_SD, SD
from benchmarks.study import Row, main, share

CELLS = ((50, 0.06, 0.85), (100, 0.06, 0.85), (100, 0.06, 0.96), (300, 0.06, 0.96), (200, 0.005, 0.90))
CELLS += ((200, 0.2, 0.85), (200, 0.2, 0.96), (1000, 0.05, 0.90))
UNLABELED = 900


def draw(
    generator: np.random.Generator, num: int, prevalence: float, distance: float, images: str, first: int
) -> tuple[NDArray[np.int8], Images]:
    """Return labels and predictions of the images of `num` patients; `first`: the code of the first patient."""
    number = generator.integers(1, 5, num) if images == "1 to 4" else np.ones(num, np.int64)
    patient = np.repeat(np.arange(num), number)
    label = (generator.random(num) < prevalence).astype(np.int8)[patient]
    effect = PATIENT_SD * generator.normal(size=num)[patient] + NOISE_SD * generator.normal(size=len(patient))
    score = effect / SD + distance * label
    probability = expit(logit(prevalence) + distance * (score - distance / 2))
    return label, Images(probability, score, patient + first, probability >= prevalence)


def rows(cell: tuple[tuple[int, float, float], str], cases: int) -> list[Row]:
    """Return the row of each score for a cell: labeled patients, prevalence and AUROC; images."""
    (num, prevalence, auroc), images = cell
    generator = np.random.default_rng([0, num, round(1000 * prevalence), round(100 * auroc), len(images)])
    distance = float(np.sqrt(2) * norm.ppf(auroc))
    call = distance / 2  # the score whose probability is the prevalence
    sensitivity, specificity = float(norm.sf(call, distance)), float(norm.cdf(call))
    accuracy = prevalence * sensitivity + (1 - prevalence) * specificity
    truth = dict(zip(SCORES, (prevalence, sensitivity, specificity, accuracy, auroc), strict=True))
    found = []
    for _ in range(cases):
        label, labeled = draw(generator, num, prevalence, distance, images, 0)
        _, other = draw(generator, UNLABELED, prevalence, distance, images, num)
        found.append(combined_scores(label, labeled, other))
    out = []
    for name in SCORES:
        known = [one[name] for one in found if np.isfinite(one[name].low)]
        held = [(one.low <= truth[name] <= one.high, one.labels_low <= truth[name] <= one.labels_high) for one in known]
        widths = np.array([(one.high - one.low, one.labels_high - one.labels_low) for one in known])
        both, of_labels = np.array(held).T
        row = {"score": name, "labeled": num, "prevalence": prevalence, "auroc": auroc, "images": images}
        row |= dict(zip(("coverage", "low", "high"), share(both), strict=True)) | {"coverage_labels": of_labels.mean()}
        row |= {"width": widths[:, 0].mean(), "width_labels": widths[:, 1].mean()}
        row |= {"used": np.mean([one.power != 0 for one in known]), "number": len(known) / len(found)}
        out.append(row | {"zero_width": int((widths <= 0).sum()), "simulations": cases})
    return out


if __name__ == "__main__":
    main(__file__, __doc__, product(CELLS, ("1", "1 to 4")), rows)
