"""A short run of the worlds of benchmarks/score_coverage.py that test the intervals of decisions."""

import pytest

from tests.unit.bench.scoring.test_scoring_coverage import simulated


@pytest.mark.slow
def test_intervals_of_decisions_contain_the_truth_where_few_images_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulated(monkeypatch, 60, "benefit triage")
    claims = [
        f"{name} at t = 0.1" for name in ("sensitivity", "share of missed images", "net benefit minus treating all")
    ]
    claims += [f"triage, {words} patients, stated {at}" for words in ("exchangeable", "other") for at in (0.05, 0.1)]
    for claim in claims:
        of_claim = found[[c for c in found.index if c.startswith(claim) and ": interval" in c]]
        assert len(of_claim) == (2 if "triage" in claim else 1)
        # 300 cases; where one or two patients decide, the interval is wide, that of net benefit most
        assert of_claim.between(0.91, 1.0 if "net benefit" in claim else 0.995).all(), claim
