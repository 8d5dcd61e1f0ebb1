"""What the text and the page of `bench estimate` say about the choice of a run."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.extensions.estimates.estimate_summary import headline, safest_of
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from reports.formatting import places


def of(
    lower_ends: dict[str, float], safest: tuple[str, ...], images: int = 0, best: tuple[bool, ...] = ()
) -> SimpleNamespace:
    """Return estimates; `best`: the runs that the images show to be the best, () without an estimate from images."""
    means = {"auroc": SimpleNamespace(findings=("Edema",) if best else (), best=np.array(best))}
    predictions = {(run, "auroc", "macro"): (low + 0.1, low, low + 0.2) for run, low in lower_ends.items()}
    return SimpleNamespace(
        means=means, safest=safest, run_ids=tuple(lower_ends), predictions=predictions, num_images=images
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (of({"a": 0.64, "b": 0.5}, ("a",)), "Safest choice: A; at 97.5 % of such hospitals, its macro AUROC is above .640, and no"),
        (of({"a": 0.64, "b": 0.63}, ("a", "b")), "No run is clearly the safest. A has the highest lower end: at 97.5 %"),
        (of({"a": 0.64}, ("a",)), "There is only one run: at 97.5 % of such hospitals, its macro AUROC is above .640."),
        (of({"a": 0.44}, ("a",)), "So at some of them, it may be no better than chance."),
        (of({"a": 0.64}, (), 80), "No run can be recommended"),
    ],
)  # fmt: skip
def test_the_safest_run_is_named_or_that_none_is(result: ExpectedScores, words: str) -> None:
    text = " ".join(safest_of(result, {"a": "A", "b": "B"}, places))
    assert words in text
    assert ("no better than chance" in text) == (".440" in text)
    assert ("need 50 images" in text) == (result.num_images < 50)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (of({"a": 0.64, "b": 0.63}, ("a", "b"), 80, (True, False)), []),
        (of({"a": 0.64, "b": 0.63}, ("a", "b"), 80, (True, True)), ["No run is clearly the safest."]),
    ],
)
def test_images_that_show_the_best_run_need_no_safest_one(result: ExpectedScores, expected: list[str]) -> None:
    found = safest_of(result, {"a": "A", "b": "B"}, places)
    assert [sentence[:29] for sentence in found] == expected


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ((True, True), "The 2 runs cannot be told apart at this hospital"),
        ((True, True, False), "2 of 3 runs cannot be told apart at this hospital"),
        ((True, False), "A is expected to be the best run at this hospital"),
        ((True,), "A: expected scores at this hospital"),
        ((), "No run can be recommended for this hospital"),
    ],
)
def test_the_headline_says_which_run_to_choose(best: tuple[bool, ...], words: str) -> None:
    result = of(dict.fromkeys("abc"[: len(best) or 2], 0.6), (), 80, best)
    result.means["auroc"].value = np.linspace(0.9, 0.8, len(best))
    result.manifest = SimpleNamespace(names={"a": "A", "b": "B", "c": "C"}, derived=())
    assert headline(result) == words
