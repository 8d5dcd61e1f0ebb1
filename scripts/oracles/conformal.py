"""Write p-values and prediction sets of crepes: a Mondrian (class-conditional) conformal classifier of two classes.

    python scripts/oracles/conformal.py [--check]

The nonconformity of a positive image is minus its score, that of a negative image its score. Each image is of another
patient. crepes leaves a class out of a prediction set if p < level; `bench.extensions.decisions.conformal` if p <= level, which has the
same guarantee, so the levels here are no multiples of 1 / (number of patients + 1).
"""

import numpy as np
from committed_table import main
from crepes import ConformalClassifier

LEVELS = (0.0317, 0.0507, 0.1013, 0.203)


def case(seed: int, num: int, prevalence: float, distance: float, decimals: int) -> dict[str, object]:
    """Return calibration and test images, and what crepes says about the test images; few decimals give tied scores."""
    generator = np.random.default_rng(seed)
    label = (generator.random(num) < prevalence).astype(int)
    score = (generator.normal(size=num) + distance * label).round(decimals)
    test = (generator.normal(size=40) + distance * generator.integers(0, 2, 40)).round(decimals)
    alphas = np.where(label == 1, -score, score)
    classifier = ConformalClassifier().fit(alphas, bins=label)
    of_test = np.stack([test, -test], axis=1)  # nonconformity of the classes 0 and 1
    p = np.zeros(of_test.shape)
    sets = np.zeros((len(LEVELS), *of_test.shape), int)
    for one_class in (0, 1):
        bins = np.full(len(test), one_class)
        p[:, one_class] = classifier.predict_p(of_test, bins=bins, smoothing=False)[:, one_class]
        for found, level in zip(sets, LEVELS, strict=True):
            predicted = classifier.predict_set(of_test, bins=bins, confidence=1 - level, smoothing=False)
            found[:, one_class] = predicted[:, one_class]
    return {
        "label": label.tolist(),
        "score": score.tolist(),
        "test": test.tolist(),
        "p": p.tolist(),
        "sets": sets.tolist(),
    }


if __name__ == "__main__":
    settings = [
        (0, 120, 0.3, 1.5, 6),
        (1, 300, 0.1, 2.0, 1),
        (2, 80, 0.5, 0.5, 6),
        (3, 60, 0.2, 3.0, 6),
        (4, 400, 0.4, 2.5, 2),
    ]
    main("conformal", {"levels": LEVELS, "cases": [case(*setting) for setting in settings]})
