"""Measure how much of a planted gap each augmentation against shortcuts removes, and what it costs at the training hospital.

    python -m benchmarks.shortcut_breakers      # writes benchmarks/shortcut_breakers.csv; continues an interrupted table
    python -m benchmarks.shortcut_breakers --table      # only prints the table

Each seed draws new phantom hospitals twice: with a tag that predicts Pleural Effusion at the training hospital (strength 0.9), and
with a tag that predicts nothing (strength 0). Patients, anatomy and noise are the same. The seed is also that of training. In each
world, one network is trained per condition: the control, each augmentation of the registry against shortcuts, and the region of
interest around the lungs instead of the entire image.

    gap            AUROC of Pleural Effusion on the internal test split, minus the mean AUROC at the external hospitals
    planted gap    gap at strength 0.9, minus the gap of the same condition and seed at strength 0
    removed        1 - planted gap of the condition / planted gap of the control, both means over seeds
    price          internal AUROC of the condition minus that of the control: at strength 0, where no shortcut helps, for Pleural
                   Effusion, and for the mean over the other findings

Intervals are 95 % intervals over seeds, paired by seed. Those of differences are t intervals. That of the share removed is
Fieller's interval of a ratio of two paired means, which has no bounds if the planted gap of the control may be 0.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from bench.planning.jobs import Job
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.runs.run_one import run_one
from bench.scoring.metrics import auroc
from bench.scoring.scored_split import DROPPED, ScoredSplit
from benchmarks.shortcut_power import FINDING, GRID, HERE, STRENGTHS, prepared, silent

CONTROL = "control"
# condition -> (augmentation, preprocessing, what the condition is meant for)
CONDITIONS: Mapping[str, tuple[str, str, str]] = {
    CONTROL: ("none", "imagenet_64", "-"),
    "markers": ("markers", "imagenet_64", "tags and markers in corners"),
    "borders": ("borders", "imagenet_64", "borders of a hospital"),
    "tones": ("tones", "imagenet_64", "gray values of a device"),
    "resolutions": ("resolutions", "imagenet_64", "sharpness of a device"),
    "lung crop": ("none", "adaptive_roi_64", "marks far from the lungs"),
    "breakers": ("breakers", "imagenet_64", "all of the above but the crop"),
}
Values = NDArray[np.float64]


def main() -> None:
    """Compute the rows that the table does not have yet, write them after each world, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "shortcut_breakers.csv")
    parser.add_argument("--table", action="store_true", help="print the table of the stored rows, without training")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--source",
        type=int,
        default=1000,
        help="images of the training hospital; for other sizes or epochs, use another --out",
    )
    parser.add_argument("--external", type=int, default=200, help="images of each external hospital")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    options = parser.parse_args()
    table = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame()
    finished = {
        seed_and_strength: set(rows["condition"])
        for seed_and_strength, rows in (table.groupby(["seed", "strength"]) if len(table) else ())
    }
    for seed in range(options.first, options.first + options.seeds) if not options.table else ():
        for strength in STRENGTHS:
            missing = [name for name in options.conditions if name not in finished.get((seed, strength), ())]
            if missing:
                rows = world(seed, strength, options.source, options.external, options.epochs, missing)
                table = pd.concat([table, pd.DataFrame(list(rows))], ignore_index=True)
                table.to_csv(options.out, index=False, float_format="%.4f")
                print(f"seed {seed}, strength {strength:g}: {len(table)} rows", flush=True)
    print(markdown(summary(table)))


def world(
    seed: int, strength: float, source: int, external: int, epochs: int, conditions: list[str]
) -> Iterator[dict[str, Any]]:
    """Train a network for each condition on the same phantom hospitals, and yield its AUROCs."""
    sweeps = "\n".join(f"  - {{augmentation: {a}, preprocessing: {p}}}" for a, p, _ in map(CONDITIONS.get, conditions))  # type: ignore[misc]
    grid = GRID.format(seed=seed, strength=strength, source=source, external=external, epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        plan, manifest = prepared(Path(folder), f"{grid}sweeps:\n{sweeps}\n")
        names = {CONDITIONS[name][:2]: name for name in conditions}
        labels: dict[tuple[str, str, str], CohortLabels] = {}
        for run in plan.runs:
            run_one(Job(run, plan.store, plan.refs, "cpu"), silent)
            document = manifest.run_of[run.id]
            splits = load_scored_splits(manifest, document, run.config, labels)
            condition = names[str(run.config.augmentation), str(run.config.preprocessing)]
            findings = tuple(run.config.findings)
            yield {"seed": seed, "strength": strength, "condition": condition, **_aurocs(splits, findings)}


def _aurocs(splits: list[ScoredSplit], findings: tuple[str, ...]) -> dict[str, float]:
    """Return the internal and mean external AUROC of the finding with the tag, and of the others (mean)."""
    rows = []
    for split in splits:
        if split.split != "test" and split.dataset == "chexpert":
            continue
        score = [_auroc(label_N, logit_N) for label_N, logit_N in zip(split.labels().T, split.logit.T, strict=True)]
        tagged = findings.index(FINDING)
        # No Finding depends on the finding with the tag
        others = [value for k, value in enumerate(score) if findings[k] not in (FINDING, "No Finding")]
        rows.append((split.dataset == "chexpert", score[tagged], float(np.nanmean(others))))
    internal, external = (np.array([row[1:] for row in rows if row[0] is inside]).mean(0) for inside in (True, False))
    return {
        "internal": internal[0],
        "external": external[0],
        "internal_others": internal[1],
        "external_others": external[1],
    }


def _auroc(label_N: NDArray[np.int8], logit_N: NDArray[np.float32]) -> float:
    """Return the AUROC over the images with a certain label."""
    labeled = label_N != DROPPED
    return auroc(label_N[labeled], logit_N[labeled])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each condition, with means over seeds and 95 % intervals; `*_low`, `*_high`: bounds."""
    table = table.assign(gap=table["internal"] - table["external"])
    wide = table.pivot_table(index="seed", columns=["condition", "strength"]).dropna()
    rows = []
    for condition in table["condition"].unique():
        planted, planted_control = (
            (wide["gap"][name][0.9] - wide["gap"][name][0.0]).to_numpy() for name in (condition, CONTROL)
        )
        row = {"condition": condition, "seeds": len(wide), **_mean("planted", planted)}
        if condition != CONTROL:
            left, low, high = fieller(planted, planted_control)
            row |= {"removed": 1 - left, "removed_low": 1 - high, "removed_high": 1 - low}
            for name, column in (("price", "internal"), ("price_others", "internal_others")):
                row |= _mean(name, (wide[column][condition][0.0] - wide[column][CONTROL][0.0]).to_numpy())
            row |= _mean("outside", (wide["external"][condition][0.9] - wide["external"][CONTROL][0.9]).to_numpy())
        rows.append(row)
    return pd.DataFrame(rows)


def _mean(name: str, value_S: Values) -> dict[str, float]:
    """Return the mean over seeds with its t interval."""
    half = student.ppf(0.975, len(value_S) - 1) * value_S.std(ddof=1) / np.sqrt(len(value_S))
    mean = value_S.mean()
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}


def fieller(above_S: Values, below_S: Values) -> tuple[float, float, float]:
    """Return the ratio of two paired means, and its 95 % interval (Fieller 1954); infinite bounds if `below` may be 0."""
    num = len(above_S)
    squared_t = student.ppf(0.975, num - 1) ** 2
    (var_a, cov), (_, var_b) = np.cov(above_S, below_S) / num
    a, b = above_S.mean(), below_S.mean()
    # the ratios r for which (a - r b)^2 <= t^2 var(a - r b): a quadratic inequality in r
    square, half_linear, constant = b**2 - squared_t * var_b, a * b - squared_t * cov, a**2 - squared_t * var_a
    if square <= 0:
        return float(a / b), -np.inf, np.inf
    root = np.sqrt(max(half_linear**2 - square * constant, 0.0))
    return float(a / b), float((half_linear - root) / square), float((half_linear + root) / square)


def markdown(rows: pd.DataFrame) -> str:
    """Return the table of `summary` in Markdown."""
    header = (
        "condition", "meant for", "planted gap", "removed of the control's", "external AUROC against the control",
        "internal AUROC without a shortcut against the control", "other findings",
    )  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in rows.to_dict("records"):
        cells = [row["condition"], CONDITIONS[row["condition"]][2], _cell(row, "planted")]
        if row["condition"] == CONTROL:
            cells += ["-"] * 4
        else:
            cells += [
                _cell(row, "removed", percent=True),
                *(_cell(row, n) for n in ("outside", "price", "price_others")),
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[Any, Any], name: str, *, percent: bool = False) -> str:
    """Return an estimate and its interval, as shares or percentages."""
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    texts = [f"{100 * v:.0f}" if percent else f"{v:+.3f}".replace("0.", ".") for v in values]
    return f"{texts[0]}{' %' if percent else ''} [{texts[1]}, {texts[2]}]"


if __name__ == "__main__":
    main()
