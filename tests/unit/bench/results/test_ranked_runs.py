"""Selection of the runs to rank: their macro averages must cover the same findings."""

from bench.results.run_table import runs_with_most_findings


def test_a_run_that_could_not_learn_a_finding_is_not_ranked_with_runs_that_learned_it() -> None:
    assert runs_with_most_findings({"a": ["Edema"], "b": [], "c": ["Edema"]}) == ["b"]
    assert runs_with_most_findings({"a": ["Edema", "Pneumonia"], "b": ["Pneumonia", "Edema"]}) == ["a", "b"]


def test_if_sets_of_findings_tie_the_most_frequent_set_is_ranked() -> None:
    assert runs_with_most_findings({"a": ["Edema"], "b": ["Pneumonia"], "c": ["Pneumonia"]}) == ["b", "c"]
    assert runs_with_most_findings({"a": ["Edema"], "b": ["Consolidation"]}) == ["b"]
    assert runs_with_most_findings({}) == []
