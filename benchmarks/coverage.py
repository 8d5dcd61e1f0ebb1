"""Do the intervals hold? Simulated patients with several images, where the truth is known.

    python -m benchmarks.coverage            # writes benchmarks/COVERAGE.md

A patient has a disease or not, 1 to 6 images, and a tendency of its own that all of its images share. The score of an
image is shift x disease + tendency + noise, so the AUROC is Phi(shift / sqrt(2 (1 + tendency variance))), whatever the
number of images. Everything goes through the functions that score runs.
"""

import argparse
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring import bootstrap, metrics
from bench.scoring.compare import holm, p_value
from bench.scoring.intervals import percentile
from bench.scoring.resamples import Resamples

Array = NDArray[np.float64]

TENDENCY = 1.0  # variance of what a patient's images share, beside a noise variance of 1
PREVALENCE = 0.2
NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """Simulated images of one hospital: scores [N, R] of R runs, label [N], patient [N]."""

    score: Array
    label: NDArray[np.int8]
    patient: NDArray[np.object_]


def shift_of(auroc: float) -> float:
    """Return the shift of diseased patients that gives an AUROC."""
    return float(ndtri(auroc) * np.sqrt(2 * (1 + TENDENCY)))


def draw(generator: np.random.Generator, num_patients: int, aurocs: tuple[float, ...]) -> Sample:
    """Draw patients; the runs read the same images, with tendencies and noise half shared."""
    sick = np.zeros(num_patients, np.int8)
    sick[: round(PREVALENCE * num_patients)] = 1
    images = generator.integers(1, 7, num_patients)
    patient = np.repeat(np.arange(num_patients), images)

    def half_shared(size: int) -> Array:
        return np.sqrt(0.5) * (generator.normal(size=(size, 1)) + generator.normal(size=(size, len(aurocs))))

    shared = np.sqrt(TENDENCY) * half_shared(num_patients)[patient] + half_shared(len(patient))
    shifts = np.array([shift_of(auroc) for auroc in aurocs])
    return Sample(shared + shifts * sick[patient, None], sick[patient], patient.astype(str).astype(object))


def scored(sample: Sample, name: str, seed: int) -> tuple[Array, Array]:
    """Return AUROC [R] and its replicates [R, B], as runs are scored."""
    resamples = Resamples.draw(sample.patient, NUM_RESAMPLES, name, seed)
    label = np.repeat(sample.label[:, None], sample.score.shape[1], axis=1)
    value = np.array([metrics.auroc(sample.label, column) for column in sample.score.T])
    return value, bootstrap.rank_metrics(resamples, label, sample.score, 1)[0]


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the table: what is asked, the share it should be, and how one simulation answers."""

    what: str
    wanted: str
    ask: Callable[[np.random.Generator, int], Iterator[bool]]


def auroc_covered(auroc: float, num_patients: int) -> Callable[[np.random.Generator, int], Iterator[bool]]:
    """Ask whether the interval of an AUROC holds the truth."""

    def ask(generator: np.random.Generator, seed: int) -> Iterator[bool]:
        value, drawn = scored(draw(generator, num_patients, (auroc,)), "home", seed)
        (low,), (high,) = percentile(value, drawn)
        yield bool(low <= auroc <= high)

    return ask


def gap_covered(home: float, away: float) -> Callable[[np.random.Generator, int], Iterator[bool]]:
    """Ask whether the interval of a gap between two hospitals holds the planted one."""

    def ask(generator: np.random.Generator, seed: int) -> Iterator[bool]:
        at_home, there = draw(generator, 400, (home,)), draw(generator, 250, (away,))
        value, drawn = zip(scored(at_home, "home", seed), scored(there, "away", seed), strict=True)
        gap, replicates = value[0] - value[1], drawn[0] - drawn[1]
        (low,), (high,) = percentile(gap, replicates)
        yield bool(low <= home - away <= high)

    return ask


def difference_covered(first: float, second: float) -> Callable[[np.random.Generator, int], Iterator[bool]]:
    """Ask whether the paired interval of two runs on the same images holds the planted difference."""

    def ask(generator: np.random.Generator, seed: int) -> Iterator[bool]:
        value, drawn = scored(draw(generator, 300, (first, second)), "home", seed)
        (low,), (high,) = percentile(value[:1] - value[1:], drawn[:1] - drawn[1:])
        yield bool(low <= first - second <= high)

    return ask


def claimed(aurocs: tuple[float, ...]) -> Callable[[np.random.Generator, int], Iterator[bool]]:
    """Ask whether any run is said to differ from the first (Holm over all others)."""

    def ask(generator: np.random.Generator, seed: int) -> Iterator[bool]:
        value, drawn = scored(draw(generator, 300, aurocs), "home", seed)
        yield bool((holm(p_value(value[1:] - value[0], drawn[1:] - drawn[0])) < 0.05).any())

    return ask


QUESTIONS = (
    Question("interval of AUROC .75, 150 patients (30 sick)", "93-97 %", auroc_covered(0.75, 150)),
    Question("interval of AUROC .85, 300 patients (60 sick)", "93-97 %", auroc_covered(0.85, 300)),
    Question("interval of AUROC .95, 300 patients (60 sick)", "93-97 %", auroc_covered(0.95, 300)),
    Question("interval of a gap of .10 (400 and 250 patients)", "93-97 %", gap_covered(0.85, 0.75)),
    Question("interval of a gap of 0", "93-97 %", gap_covered(0.8, 0.8)),
    Question("paired interval of a difference of .03", "93-97 %", difference_covered(0.83, 0.80)),
    Question("two equal runs are said to differ", "3-7 %", claimed((0.8, 0.8))),
    Question("any of 5 equal runs is said to differ (Holm)", "at most 6.4 %", claimed((0.8,) * 6)),
    Question("a run better by .08 is found (power)", "-", claimed((0.75, 0.83))),
)


def main() -> None:
    """Run every question and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("COVERAGE.md"))
    asked = parser.parse_args()
    command = f"python -m benchmarks.coverage --simulations {asked.simulations} --seed {asked.seed}"
    setting = (
        f"`{command}` (Python {platform.python_version()}, numpy {np.__version__}): {asked.simulations:,} simulations a row, "
        f"{NUM_RESAMPLES:,} resamples of patients each; patients have 1 to 6 images that share half of their variance."
    )
    head = "| Question | Wanted | Found | Monte Carlo standard error |"
    lines = ["# Do the intervals hold?", "", setting, "", head, "|---|---|---|---|"]
    for number, question in enumerate(QUESTIONS):
        generator = np.random.default_rng([asked.seed, number])
        answers = [answer for i in range(asked.simulations) for answer in question.ask(generator, i)]
        share = float(np.mean(answers))
        error = np.sqrt(share * (1 - share) / len(answers))
        lines.append(f"| {question.what} | {question.wanted} | {share:.1%} | {error:.1%} |")
        print(lines[-1], flush=True)
    asked.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
