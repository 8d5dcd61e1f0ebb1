"""Measure how often the region transplant test detects planted shortcuts, and how often it reports shortcuts wrongly.

    python benchmarks/shortcut_power.py       # writes benchmarks/shortcut_power.csv; continues an interrupted table
    python benchmarks/shortcut_power.py --strengths 0 --first 20 --seeds 60

The script trains small networks, each on new phantom hospitals. In 20 of them, the training hospital prints a tag that predicts
Pleural Effusion (strength 0.9, seeds 0 to 19). In the other 80, the tag is independent of all findings (strength 0, seeds 0 to
79). If none of the 80 networks gives a false alarm, the upper bound of the false alarm rate's 95 % interval is below .05.

The rule is that of the report page (`reports.schemas.change_rules.caught`). The rule reports a shortcut for a finding if two
conditions hold:
- An internal marker changes the probability in external images. The change minus the control's change has a 95 %
  interval above MARGIN. The control pastes a patch without a marker.
- Erasing markers lowers the AUROC at the internal hospital. The change minus the control's change has a 95 %
  interval below 0. The control erases the region on the other side of the image.

A shortcut is caught if the rule reports Pleural Effusion at strength 0.9. A false alarm is a report of any finding at strength 0.
The sizes of images and networks and the rule were chosen with one other seed, which is not among these 80.
"""

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analyses.run_analysis import run_one_analysis
from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import Job, analysis_jobs
from bench.planning.manifest import Manifest, read_manifest, write_manifest
from bench.planning.plan import Plan, make_plan
from bench.results.read_predictions import load_scores
from bench.results.score_runs import score_all
from bench.runs.run_one import run_one
from bench.scoring.intervals import wilson
from bench.store.store import Store
from reports.schemas.change_rules import ERASED, EXTERNAL, MARGIN, MARKER, caught, changed, changes

HERE = Path(__file__).parent
FINDING = "Pleural Effusion"
STRENGTHS = (0.9, 0.0)
GRID = """
name: planted
evaluate_on: [mimic, nih]
split: {{train: 0.65, val: 0.1, test: 0.25}}
phantom: {{source: {source}, external: {external}, size: 64, shortcut: {strength}, finding: Pleural Effusion, seed: {seed}}}
base:
  train_on: chexpert
  architecture: seresnet_tiny
  weights: none
  channels: 1
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
  schedule: {{epochs: {epochs}, batch_size: 48, lr: 6.0e-3, warmup: 0.1}}
  seed: {seed}
"""


@dataclass(frozen=True, slots=True)
class Model:
    """The result of the region transplant test for one network."""

    seed: int
    strength: float
    effect: float  # change of the probability of Pleural Effusion by the marker, minus the change by the control
    low: float
    high: float
    # change of the internal AUROC of Pleural Effusion when markers are erased, minus the change by the control
    cost: float
    cost_low: float
    cost_high: float
    changed: str  # findings whose probability a marker changes
    called: str  # findings for which the rule reports a shortcut
    gap: float  # internal minus external AUROC of Pleural Effusion
    seconds: float


def silent(what: str, done: int, total: int) -> None:
    """Ignore progress."""


def prepared(folder: Path, grid: str) -> tuple[Plan, Manifest]:
    """Draw and decode the phantom hospitals of a grid in a folder; return the plan and the manifest. `grid`: text of the grid."""
    path, registry = folder / "planted.yaml", Registry.read()
    path.write_text(grid)
    store = Store.open(folder / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", silent)
    write_manifest(plan, prepare(plan, 1, silent).caches, 0)
    return plan, read_manifest(store, plan.grid.name)


def model(seed: int, strength: float, source: int, external: int, epochs: int, images: int) -> Model:
    """Train one network in a temporary folder and return the result of its region transplant test."""
    start = time.time()
    grid = GRID.format(seed=seed, strength=strength, source=source, external=external, epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        plan, manifest = prepared(Path(folder), f"{grid}analyses: {{transplants: {{images: {images}}}}}\n")
        (run,) = plan.runs
        run_one(Job(run, plan.store, plan.refs, "cpu"), silent)
        score_all(manifest, silent, 1)
        (job,) = (job for job in analysis_jobs(plan, plan.runs) if job.analysis.name == "transplants")
        job.begin()
        run_one_analysis(job, silent)
        table = pd.read_parquet(job.folder / "transplants.parquet")
        gaps = load_scores(manifest, [run.id], "gaps")
    rows = changes(table)
    rows = rows[(rows["kind"] == MARKER) & (rows["donor"] == "chexpert") & (rows["host"] == EXTERNAL)].set_index(
        "finding"
    )
    gap = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == FINDING)]["value"]
    effect = rows.loc[FINDING]
    areas = changes(table, "auroc")
    cost = areas[(areas["kind"] == ERASED) & (areas["host"] == "chexpert")].set_index("finding").loc[FINDING]
    return Model(
        seed, strength, float(effect["effect"]), float(effect["low"]), float(effect["high"]),
        float(cost["effect"]), float(cost["low"]), float(cost["high"]),
        ", ".join(changed(table, "chexpert")), ", ".join(caught(table, "chexpert")), float(gap.iloc[0]), time.time() - start,
    )  # fmt: skip


def summary(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each strength: the number of networks caught, and the number of false alarms."""
    sentences = []
    for strength, is_counted, outcome in (
        (0.9, table["called"].str.contains(FINDING), "caught"),
        (0.0, table["called"] != "", "false alarms"),
    ):
        rows = is_counted[table["strength"] == strength]
        if len(rows):
            low, high = wilson(np.array(rows.mean()), np.array(float(len(rows))))
            sentences.append(
                f"strength {strength:g}: {outcome} {int(rows.sum())} of {len(rows)} (95 % interval {float(low):.2f} to {float(high):.2f})"
            )
    return sentences


def main() -> None:
    """Compute the rows that the table does not have yet, and write each row when it is ready."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "shortcut_power.csv")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS)
    parser.add_argument("--source", type=int, default=1000, help="images of the training hospital")
    parser.add_argument("--external", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=160)
    options = parser.parse_args()
    table = pd.read_csv(options.out, keep_default_na=False, na_values=[""]) if options.out.is_file() else pd.DataFrame()
    if len(table):
        table[["changed", "called"]] = table[["changed", "called"]].fillna("")
    finished = set(zip(table["seed"], table["strength"], strict=True)) if len(table) else set()
    for seed in range(options.first, options.first + options.seeds):
        for strength in options.strengths:
            if (seed, strength) in finished:
                continue
            row = asdict(model(seed, strength, options.source, options.external, options.epochs, options.images))
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table.to_csv(options.out, index=False, float_format="%.4f")
            print(row, flush=True)
    print(f"margin {MARGIN}", *summary(table), sep="\n")


if __name__ == "__main__":
    main()
