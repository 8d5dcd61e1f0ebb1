"""Rows by falling score: images are sorted once, and everything that ranks, cuts or calls reads them in that order."""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.metrics import require_finite

Rows = NDArray[np.intp]

INFINITE = np.uint32(0x7F800000)  # the exponent of what is not finite


@compiled
def _words(label: NDArray[np.int8], bits: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], bool]:
    """Return a word for each row whose label is 0 or 1, and whether the float32 of all these, given their bits, are finite.

    Words rise as scores fall, and among equal ones as rows do: numpy sorts them in registers, in half the time that it
    takes to sort places.
    """
    out, num, finite = np.empty(bits.shape[0], np.uint64), 0, True
    for i in range(bits.shape[0]):
        b = bits[i] if bits[i] != np.uint32(0x80000000) else np.uint32(0)  # -0 is 0
        falling_ = b ^ ((b >> np.uint32(31)) - np.uint32(1) & np.uint32(0x7FFFFFFF))  # no branch: signs are a toss
        out[num] = np.uint64(falling_) << np.uint64(32) | np.uint64(i)
        known = label[i] == 0 or label[i] == 1
        finite &= not known or b & INFINITE != INFINITE
        num += known
    return out[:num], finite


def _rows(word: NDArray[np.uint64]) -> Rows:
    """Return the rows of words, from the highest score to the lowest; the words are sorted."""
    word.sort()
    return (word & np.uint64(0xFFFFFFFF)).view(np.intp)


def taking_part(label: NDArray[np.integer]) -> Rows:
    """Return the rows [n] whose label is 0 or 1."""
    return np.flatnonzero((label == 0) | (label == 1))


def known_falling(label: NDArray[np.int8], score: NDArray[np.floating]) -> Rows:
    """Return the rows whose label is 0 or 1 from the highest score to the lowest, equal ones in their own order.

    Raises ValueError for a score of these that is not finite.
    """
    if score.dtype == np.float32:
        word, finite = _words(label, score.view(np.uint32))
        if finite:
            return _rows(word)
    every = taking_part(label)
    require_finite(score[every], "scores")
    return every[np.argsort(-score[every], kind="stable")]


def falling(score: NDArray[np.floating]) -> Rows:
    """Return the rows [N] from the highest score to the lowest, equal ones in their own order."""
    if score.dtype != np.float32:
        return np.argsort(-score, kind="stable")
    return _rows(_words(np.zeros(len(score), np.int8), score.view(np.uint32))[0])


@compiled
def area(label: NDArray[np.int8], score: NDArray[np.floating]) -> float:
    """Return the AUROC of images along falling scores [n], whose labels are 0, 1 or neither; NaN without both classes."""
    negatives, positives, tied_positives, tied_negatives, twice = 0, 0, 0, 0, 0
    for i in range(label.shape[0]):
        if label[i] == 1:
            tied_positives += 1
        elif label[i] == 0:
            tied_negatives += 1
        if i + 1 == label.shape[0] or score[i] != score[i + 1]:
            twice += tied_positives * (2 * negatives + tied_negatives)
            positives += tied_positives
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    pairs = 2 * positives * negatives
    return (pairs - twice) / pairs if pairs else np.nan
