"""Which runs are ranked: those whose macros count the same findings."""

from bench.results.run_table import learning_most


def test_a_run_that_could_not_learn_a_finding_is_not_ranked_beside_runs_that_learnt_it() -> None:
    assert learning_most({"a": ["Edema"], "b": [], "c": ["Edema"]}) == ["b"]
    assert learning_most({"a": ["Edema", "Pneumonia"], "b": ["Pneumonia", "Edema"]}) == ["a", "b"]


def test_of_sets_of_one_size_the_one_that_most_runs_share_is_ranked() -> None:
    assert learning_most({"a": ["Edema"], "b": ["Pneumonia"], "c": ["Pneumonia"]}) == ["b", "c"]
    assert learning_most({"a": ["Edema"], "b": ["Consolidation"]}) == ["b"]
    assert learning_most({}) == []
