"""Sentences about estimators of scores at a hospital without labels."""

from collections.abc import Sequence


def title(better: Sequence[str]) -> str:
    """State whether an estimator is better than the mean gap.

    `better`: titles of the estimators whose mean error is clearly smaller, best first.

    >>> title([])
    'Without labels, no estimator of AUROC is clearly better than the mean gap'
    >>> title(["CBPE", "DoC"])
    'Without labels, CBPE has a smaller measured error than the mean gap'
    """
    if not better:
        return "Without labels, no estimator of AUROC is clearly better than the mean gap"
    return f"Without labels, {better[0]} has a smaller measured error than the mean gap"
