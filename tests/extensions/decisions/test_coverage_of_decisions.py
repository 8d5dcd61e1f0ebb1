"""A short run of the world `triage` of benchmarks/score_coverage.py."""

import pytest

from tests.unit.bench.scoring.test_scoring_coverage import simulated


@pytest.mark.slow
def test_intervals_of_error_rates_contain_the_truth_where_few_images_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulated(monkeypatch, 60, "triage")
    for claim in [
        f"triage, {words} patients, stated {at}" for words in ("exchangeable", "other") for at in (0.05, 0.1)
    ]:
        of_claim = found[[c for c in found.index if c.startswith(claim) and ": interval" in c]]
        assert len(of_claim) == 2
        # 300 cases; where one or two patients decide, the interval is wide
        assert of_claim.between(0.91, 0.995).all(), claim
