"""Linear classifiers that predict the source (or another class) of an image from principal components of features.

Shapes: N images, D features, C components, K sources, R repeats.

Functions import scikit-learn themselves: commands that score stored logits, without features, do not need it.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.analyses.shortcuts.sample import NUM_FOLDS, Codes, Sample
from harmonize.seeds import stream

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# number of principal components, except for few-shot classifiers. More components would add little, because the L2
# penalty shrinks the weights of later components most.
COMPONENTS = 64
# candidate values of scikit-learn's C (inverse L2 penalty), compared on the training images of the first fold
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
REPEATS = 20  # number of few-shot classifiers; each repeat draws other training images


def projections(sample: Sample, x_ND: Floats, components: int = COMPONENTS) -> list[Floats]:
    """Return one array [N, C] per fold: all images, projected on principal components of the images outside this fold."""
    return [_project(x_ND, sample.fold != number, components) for number in range(NUM_FOLDS)]


def out_of_fold(sample: Sample, inputs: list[Floats], source: Codes) -> Array:
    """Return out-of-fold probabilities [N, K]: a classifier predicts only images of patients outside its training.

    `inputs` has one array [N, C] for each fold: the input of this fold's classifier for all images. `source` [N] has
    the classes.
    """
    prob_NK = np.zeros((len(source), len(sample.names)))
    strength = _choose_strength(inputs[0][sample.fold != 0], source[sample.fold != 0])
    for number, x_NC in enumerate(inputs):
        train, test = sample.fold != number, np.flatnonzero(sample.fold == number)
        if len(test):
            model = _fit(x_NC[train], source[train], strength)
            prob_NK[np.ix_(test, model.classes_)] = model.predict_proba(x_NC[test])
    return prob_NK


def few_shot(sample: Sample, x_ND: Floats, shots: int, components: int, seed: int) -> Array:
    """Train R classifiers on `shots` images per source; return their probabilities [R, N, K], NaN for training images."""
    prob_RNK = np.full((REPEATS, len(x_ND), len(sample.names)), np.nan)
    rows_of_source: list[Codes] = [np.flatnonzero(sample.source == k) for k in range(len(sample.names))]
    for repeat in range(REPEATS):
        generator = stream(seed, f"few shots {shots}", repeat)
        train = np.zeros(len(x_ND), bool)
        train[np.concatenate([generator.choice(rows, shots, replace=False) for rows in rows_of_source])] = True
        projected_NC = _project(x_ND, train, components)
        projected_NC = projected_NC / np.maximum(projected_NC[train].std(0), 1e-6)
        model = _fit(projected_NC[train], sample.source[train], 1.0)
        prob_RNK[repeat, ~train] = model.predict_proba(projected_NC[~train])
    return prob_RNK


def _project(x_ND: NDArray[np.floating], train: NDArray[np.bool_], components: int) -> Floats:
    """Return standardized features projected on the first principal components of the training images, [N, C]."""
    mean_D, spread_D = x_ND[train].mean(0), x_ND[train].std(0)
    spread_D = np.where(spread_D > 0, spread_D, 1)
    scaled_ND = (x_ND[train] - mean_D) / spread_D
    number = min(components, *scaled_ND.shape)
    if number == x_ND.shape[1]:
        # A projection on all components would only rotate the features, which does not change a linear classifier.
        return np.asarray((x_ND - mean_D) / spread_D, np.float32)
    from sklearn.utils.extmath import randomized_svd

    _, _, axes_CD = randomized_svd(scaled_ND, number, n_iter=2, random_state=0)
    weight_DC = (axes_CD / spread_D).T
    return np.asarray(x_ND @ weight_DC - mean_D @ weight_DC, np.float32)


def _choose_strength(x: Floats, source: Codes) -> float:
    """Return the item of STRENGTHS with the lowest cross-entropy on held-out images.

    A random fifth of the images is held out; classifiers are fitted on the other images.
    """
    order = stream(0, "strength").permutation(len(x))
    validation, train = order[: len(x) // NUM_FOLDS], order[len(x) // NUM_FOLDS :]
    losses = []
    for strength in STRENGTHS:
        model = _fit(x[train], source[train], strength)
        column = np.searchsorted(model.classes_, source[validation]).clip(max=len(model.classes_) - 1)
        prob = np.where(
            model.classes_[column] == source[validation],
            model.predict_proba(x[validation])[np.arange(len(validation)), column],
            0.0,
        )
        losses.append(-np.log(np.maximum(prob, 1e-12)).mean())
    return STRENGTHS[int(np.argmin(losses))]


def _fit(x: Floats, source: Codes, strength: float) -> "LogisticRegression":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # the classifier is scored on held-out images, so convergence is not required
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=100, tol=1e-3).fit(x, source)
