"""What the text and the page of `bench estimate` say about the choice of a run."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.extensions.estimates.estimate_summary import headline, order_of, without_images
from bench.extensions.estimates.expected_at_hospital import ExpectedScores


def of(lower_ends: dict[str, float], images: int = 0, best: tuple[bool, ...] = ()) -> SimpleNamespace:
    """Return estimates of recipes of one run; `best`: the runs that the images show to be the best, () without an estimate."""
    means = {"auroc": SimpleNamespace(findings=("Edema",) if best else (), best=np.array(best))}
    predictions = {(run, "auroc", "macro"): (low + 0.1, low, low + 0.2) for run, low in lower_ends.items() if low}
    recipes, runs = tuple((run,) for run in lower_ends), tuple(lower_ends)
    return SimpleNamespace(means=means, recipes=recipes, run_ids=runs, predictions=predictions, num_images=images)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (of({"a": 0.63, "b": 0.64}), "A ranks first at the labeled hospitals. At one more hospital like these, the macro AUROC of A is above .630 with a probability of 97.5 %."),
        (of({"a": 0.64}), "At one more hospital like these, the macro AUROC of A is above .640 with a probability of 97.5 %."),
        (of({"a": 0.44}), "So it may be no better than chance there."),
        (of({"a": 0.0, "b": 0.64}, 80), "No score at a new hospital can be predicted"),
    ],
)  # fmt: skip
def test_the_first_run_of_the_page_is_named_with_its_lower_end(result: ExpectedScores, words: str) -> None:
    text = " ".join(without_images(result, {"a": "A", "b": "B"}))
    assert words in text
    assert ("no better than chance" in text) == (".440" in text)
    assert ("need 50 images" in text) == (result.num_images < 50)


@pytest.mark.parametrize(("best", "num"), [((True, False), 0), ((True, True), 1)])
def test_images_that_show_the_best_run_need_no_other_choice(best: tuple[bool, ...], num: int) -> None:
    assert len(without_images(of({"a": 0.64, "b": 0.63}, 80, best), {"a": "A", "b": "B"})) == num


def test_runs_are_ordered_by_recipe_as_on_the_page_or_by_the_mean_of_the_images() -> None:
    result = of(dict.fromkeys("abcd", 0.6))
    result.recipes = (("c", "b"), ("a", "d"))
    assert order_of(result) == [2, 1, 0, 3]
    result.means["auroc"] = SimpleNamespace(findings=("Edema",), value=np.array([0.9, 0.6, 0.8, 0.7]))
    assert order_of(result) == [0, 3, 2, 1]


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ((True, True), "The 2 runs cannot be told apart at this hospital"),
        ((True, True, False), "2 of 3 runs cannot be told apart at this hospital"),
        ((True, False), "A is expected to be the best run at this hospital"),
        ((True,), "A: expected scores at this hospital"),
        ((), "No score of this hospital is estimated from images"),
    ],
)
def test_the_headline_says_which_run_to_choose(best: tuple[bool, ...], words: str) -> None:
    result = of(dict.fromkeys("abc"[: len(best) or 2], 0.6), 80, best)
    result.means["auroc"].value = np.linspace(0.9, 0.8, len(best))
    result.manifest = SimpleNamespace(names={"a": "A", "b": "B", "c": "C"}, derived=())
    assert headline(result) == words
