"""How often 95 % intervals hold the truth, and how often tests claim a difference that is not there.

    python benchmarks/coverage.py            # writes benchmarks/coverage.csv

Each simulation draws the images of a home and an away cohort: patients with an effect of their own on every image, labels
per patient, two runs whose scores are label x distance + effect of the patient + noise. So the AUROC of a finding is
Phi(distance / sqrt(2 (patient variance + noise variance))), the same for both runs, and the gap is known.

150 patients are about 37 positive ones per finding. Percentiles of the same replicates are too narrow there: their line is
the reason why `scoring.intervals.of_area` works on the logit scale.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from bench.scoring.bootstrap import rank_metrics
from bench.scoring.compare import holm, p_value
from bench.scoring.delong import areas
from bench.scoring.intervals import mean_of, of_area, percentile, wilson
from bench.scoring.metrics import auroc
from bench.scoring.resamples import Resamples

Array = NDArray[np.float64]

NUM_FINDINGS = 5
PREVALENCE = 0.25
PATIENT_SD, NOISE_SD = 0.8, 0.6
DISTANCE = {"home": 1.5, "away": 1.0}


@dataclass(frozen=True, slots=True)
class Cohort:
    """labels [N, K], scores of two runs [N, K] each, patient [N]."""

    label: NDArray[np.int8]
    score: tuple[Array, Array]
    patient: NDArray[np.int64]


def truth(name: str) -> float:
    """Return the AUROC of every finding and run in a cohort."""
    return float(norm.cdf(DISTANCE[name] / np.sqrt(2 * (PATIENT_SD**2 + NOISE_SD**2))))


def draw(name: str, num_patients: int, generator: np.random.Generator) -> Cohort:
    """Return a cohort of patients with 1 to 6 images; a quarter of them is positive in each finding."""
    patient = np.repeat(np.arange(num_patients), generator.integers(1, 7, num_patients))
    label = (generator.random((num_patients, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
    shared = generator.normal(0, PATIENT_SD, (num_patients, NUM_FINDINGS))[patient]
    one, two = (DISTANCE[name] * label + shared + generator.normal(0, NOISE_SD, label.shape) for _ in range(2))
    return Cohort(label, (one, two), patient)


def simulate(num: int, num_patients: int, num_resamples: int, seed: int) -> pd.DataFrame:
    """Return one row per claim: share of cases in which it held, Wilson's interval of that share, cases, nominal share.

    Shares over findings count simulations x findings; findings of one cohort share no patient effect.
    """
    hits: dict[str, list[bool]] = {}

    def note(claim: str, *held: bool | np.bool_) -> None:
        hits.setdefault(claim, []).extend(map(bool, held))

    def held(
        value: Array, replicates: Array, real: float, interval: Callable[..., tuple[Array, Array]] = of_area
    ) -> NDArray[np.bool_]:
        low, high = interval(value, replicates)
        return (low <= real) & (real <= high)

    for i in range(num):
        generator = np.random.default_rng([seed, i])
        value, drawn = {}, {}
        for name in DISTANCE:
            cohort = draw(name, num_patients, generator)
            resamples = Resamples.draw(cohort.patient.astype(object), num_resamples, name, seed=i)
            for run, score in enumerate(cohort.score):
                columns = zip(cohort.label.T, score.T, strict=True)
                value[name, run] = np.array([auroc(y, s) for y, s in columns])
                drawn[name, run] = rank_metrics(resamples, cohort.label, score)[0]
            if name == "home":
                for k in range(NUM_FINDINGS):
                    pair = np.stack([score[:, k] for score in cohort.score], axis=1)
                    for kind, by in (("image (DeLong)", None), ("patient (Obuchowski)", cohort.patient)):
                        found = areas(cohort.label[:, k], pair, by)
                        low, high = found.interval()
                        note(f"AUROC: analytic interval by {kind}", low[0] <= truth(name) <= high[0])
                        note(f"paired test by {kind}, no difference", found.p_of_difference() < 0.05)
        note("AUROC: bootstrap interval", *held(value["home", 0], drawn["home", 0], truth("home")))
        note("AUROC: percentiles instead", *held(value["home", 0], drawn["home", 0], truth("home"), percentile))
        means = {name: mean_of(value[name, 0], drawn[name, 0]) for name in DISTANCE}
        centre, replicates = means["home"]
        note("macro AUROC: bootstrap interval", *held(np.array([centre]), replicates[None], truth("home")))
        gap, gaps = centre - means["away"][0], replicates - means["away"][1]
        note(
            "macro gap: bootstrap interval",
            *held(np.array([gap]), gaps[None], truth("home") - truth("away"), percentile),
        )
        p = p_value(value["home", 0] - value["home", 1], drawn["home", 0] - drawn["home", 1])
        note("paired bootstrap test, no difference", *(p < 0.05))
        note(f"any of {NUM_FINDINGS} findings after Holm, no difference", bool((holm(p) < 0.05).any()))
    rows = []
    for claim, cases in hits.items():
        share = np.array(float(np.mean(cases)))
        low, high = wilson(share, np.array(float(len(cases))))
        nominal = 0.05 if "no difference" in claim else 0.95
        rows.append((claim, nominal, float(share), float(low), float(high), len(cases)))
    return pd.DataFrame(rows, columns=["claim", "nominal", "share", "low", "high", "cases"])


def main() -> None:
    """Simulate and write the table beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("simulations", 1000), ("patients", 150), ("resamples", 1000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    table = simulate(given.simulations, given.patients, given.resamples, given.seed)
    print(table.round(4).to_string(index=False))
    table.to_csv(Path(__file__).with_name("coverage.csv"), index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
