"""Measure the time of scores, analyses and the page with a tiny network on some images, in a temporary store.

The pilot is a small grid with one run. Each cohort of the pilot has two groups of images: images of the split that the
leaderboard shows, and other images. Each group has about SCORED images for scores, and about ANALYZED images for
analyses. Scores use random predictions. The images that go
through the tiny network are counted, so that the forecast can replace the time of the tiny network by the time of the
grid's networks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from bench.config.registry import Entry
from bench.executors.execute_job import attempt
from bench.inputs.batches import BatchReader
from bench.inputs.examples import probe_rows
from bench.models.network import Network
from bench.models.predict import predict
from bench.planning.image_caches import open_images, prepare
from bench.planning.jobs import Job, analysis_jobs
from bench.planning.manifest import Manifest, read_manifest, write_manifest
from bench.planning.plan import CohortRef, Plan
from bench.planning.run import Run
from bench.results.report_tables import tables
from bench.results.score_runs import score_all
from bench.runs.networks import initial_network, normalization_of, trained_network
from bench.store.checked_files import write_cohort
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, short_hash, write_bytes, write_table
from bench.study.forecast import AnalysisRate, num_analyzed
from harmonize.progress import Progress
from harmonize.seeds import stream
from reports.page import render

ANALYZED = 240  # number of images of a cohort for the analyses; most analyses do not use more images
SCORED = 4000  # number of images of a cohort for the scores; the time of scoring is proportional to this number
NETWORK = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128], "dropout": 0.1}


@dataclass(frozen=True, slots=True)
class Scored:
    """The seconds for scoring a run with `rows` images (the first run, and each further run), and the sizes of files."""

    first_s: float
    further_s: float
    rows: int
    num_bytes: int
    row_bytes: Mapping[str, float]  # cohort -> bytes of the stored prediction of one image


@dataclass(frozen=True, slots=True)
class Pilot:
    """A small grid that is measured instead of the full grid: one run on some images of the plan's cohorts."""

    full_plan: Plan
    plan: Plan  # the pilot's plan, with one run and few images
    run: Run
    device: torch.device
    clock: Callable[[], float]

    @classmethod
    def of(cls, plan: Plan, run: Run, root: Path, device: torch.device, clock: Callable[[], float]) -> "Pilot":
        """Return a pilot, after choosing its images and writing the tables of its cohorts.

        The pilot's run has the configuration of `run`, but a tiny network and one epoch. `root`: folder of the temporary store.
        """
        store = Store.open(root)
        refs = tuple(_cut(plan, ref, run, store, ANALYZED) for ref in plan.refs)
        cohorts = {r.name: replace(plan.cohorts[r.name], table=r.read()) for r in refs}
        schedule = replace(run.config.schedule, epochs=1, freeze_epochs=0, pretrain_epochs=0)
        config = replace(run.config, weights="none", schedule=schedule)
        entries = {
            **run.entries,
            "architecture": Entry("architectures", "tiny", "bench.models.se_resnet:se_resnet", NETWORK),
        }
        document = canonical_json({"rehearsal": run.id})
        stand_in = Run(short_hash(document), config, entries, document, None)
        small = replace(plan, store=store, cohorts=cohorts, refs=refs, runs=(stand_in,), derived=())
        return cls(plan, small, stand_in, device, clock)

    def score(self, progress: Progress) -> Scored:
        """Predict the images of the pilot; measure the time for scoring random predictions of a first and of a second run."""
        self._finish(progress)
        manifest = read_manifest(self.plan.store, self.plan.grid.name)
        score_all(manifest, progress)  # analyses read the scores
        cut = [_cut(self.full_plan, ref, self.run, self.plan.store, SCORED) for ref in self.full_plan.refs]
        cohorts = [{**cohort, "id": ref.id} for cohort, ref in zip(manifest.cohorts, cut, strict=True)]
        runs = [{**manifest.runs[0], "id": name * 12} for name in ("0", "1")]
        content = {**manifest.content, "cohorts": cohorts, "runs": runs, "analyses": []}
        invented = {ref.name: [self._invent(run["id"], ref) for run in runs] for ref in cut}
        spent, sizes = [], {name: of_runs[0] for name, of_runs in invented.items()}
        for some in (runs[:1], runs):
            began = self.clock()
            score_all(Manifest(self.plan.store, {**content, "runs": some}), progress)
            spent.append(self.clock() - began)
        rows = {ref.name: len(ref.read(["image_id"])) for ref in cut}
        predicted = {name: number for name, (number, _) in sizes.items()}
        return Scored(
            spent[0],
            spent[1],
            sum(predicted.values()),
            _size(self.plan.store.root / "scores" / runs[1]["id"]),
            {name: num_bytes / max(1, number) for name, (number, num_bytes) in sizes.items() if rows[name]},
        )

    def analyse(self, progress: Progress, allowed: Callable[[str], bool]) -> tuple[dict[str, AnalysisRate], float]:
        """Return the rates of the grid's analyses (name -> rate), and the seconds for making the page.

        An analysis is measured only if `allowed`, a function of its name, returns True.
        """
        store, internal = self.plan.store, self.plan.refs[0]
        network = trained_network(self.run, store, self.device)
        black = np.zeros((64, *open_images(store, internal, self.run.geometry).images.shape[1:]), np.uint8)
        normalization = normalization_of(self.run, store, internal, network)
        reader, rows = BatchReader(black, self.device), np.arange(64)
        predict(network, normalization, reader, rows, self.device)
        began = self.clock()
        predict(network, normalization, reader, rows, self.device)
        image_s = (self.clock() - began) / len(rows)
        rates = {}
        for job in analysis_jobs(self.plan, self.plan.runs):
            if not allowed(job.analysis.name):
                continue
            with _counted() as passed:
                began = self.clock()
                state, reason = attempt(replace(job, device=str(self.device)), progress)
                spent = self.clock() - began
            analyzed = num_analyzed(self.plan, job.analysis, self.run)
            own = max(0.0, spent - passed[0] * image_s)
            failed = "" if state == "done" else f"its rehearsal failed: {reason}"
            rates[job.analysis.name] = AnalysisRate(own, passed[0], analyzed, _size(job.folder), failed)
        manifest = read_manifest(self.plan.store, self.plan.grid.name)
        began = self.clock()
        render(tables(manifest))
        return rates, self.clock() - began

    def _finish(self, progress: Progress) -> None:
        """Finish the run of the pilot: write untrained weights, then predict the pilot's images with these weights."""
        store, run, refs = self.plan.store, self.run, self.plan.refs
        write_manifest(self.plan, prepare(self.plan, 1, progress).caches, 0)
        job = Job(run, store, refs, str(self.device))
        folder = store.begin(run.id, run.document)
        network = initial_network(run, None)
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
        facts = {"best_epoch": 1, "gradient_evaluations": 0, "unlearnt": [], "peak_memory_bytes": None}
        write_bytes(folder / "trained.json", canonical_json(facts))
        numbers = ("train_loss", "seconds", "val_auroc", "val_loss", "lr", "gradient_evaluations")
        write_table(folder / "history.parquet", pd.DataFrame([{"epoch": 1, **dict.fromkeys(numbers, 0.5)}]))
        state, reason = attempt(job, progress)
        if state != "done":
            raise RuntimeError(f"the rehearsal failed: {reason}")

    def _invent(self, run_id: str, ref: CohortRef) -> tuple[int, int]:
        """Write random predictions and features; return the number of predictions and the bytes of their file."""
        store, config = self.plan.store, self.run.config
        folder, draw = store.run_dir(run_id), stream(0, "rehearsal", run_id, ref.name)
        table = ref.read()
        split = ref.split_of(table, config)
        inside = ref.predicted_rows(split)
        headline = ref.headline_rows(split)[inside]
        table = table[inside]
        columns = [*config.findings, *(head.column for head in config.own_heads)]
        frame = pd.DataFrame(draw.normal(size=(len(table), len(columns))).astype(np.float32), columns=columns)
        frame.insert(0, "image_id", table["image_id"].to_numpy(str))
        path = folder / "predictions" / f"{ref.name}.parquet"
        write_table(path, frame, {"fingerprint": "f" * 16, "weights": "w" * 64, "cohort": ref.id})
        patient = table["patient_id"].to_numpy(object)[headline]
        kept = patient[probe_rows(patient)].astype("U")
        (folder / "features").mkdir(exist_ok=True)
        feature = draw.normal(size=(len(kept), 256)).astype(np.float16)
        np.savez(folder / "features" / f"{ref.name}.npz", patient_id=kept, feature=feature)
        CheckedFolder(folder).mark_done()
        return len(frame), path.stat().st_size


def _cut(plan: Plan, ref: CohortRef, run: Run, store: Store, most: int) -> CohortRef:
    """Return a small version of a cohort: about `most` images of the split that the leaderboard shows, and about `most` other images.

    The table of the small cohort is written to `store`.
    """
    table = plan.cohorts[ref.name].table
    headline = ref.headline_rows(ref.split_of(table, run.config))
    kept = table[_some(table, headline, most, ref.name) | _some(table, ~headline, most, ref.name)].reset_index(
        drop=True
    )
    name = short_hash(f"{ref.id} {most}".encode())
    path = store.root / "cohorts" / f"{ref.name}-{name}.parquet"
    write_cohort(path, kept, name)
    return replace(ref, id=name, table=path)


def _some(table: pd.DataFrame, among: NDArray[np.bool_], most: int, name: str) -> NDArray[np.bool_]:
    """Sample patients until about `most` images of the mask `among` are selected; return a row mask."""
    patient = table["patient_id"].to_numpy(str)
    patients, number = np.unique(patient[among], return_counts=True)
    order = stream(0, "rehearsal", name).permutation(len(patients))
    chosen = patients[order[np.cumsum(number[order]) <= max(most, number.max(initial=0))]]
    return among & np.isin(patient, chosen)


@contextmanager
def _counted() -> Iterator[list[int]]:
    """Yield a list with one number: how many images have gone through any network since the block began."""
    total, own = [0], {name: getattr(Network, name) for name in ("outputs_and_features", "outputs", "embed")}

    def counting(call: Any) -> Any:
        def passed(self: Network, x_NCHW: torch.Tensor) -> Any:
            total[0] += len(x_NCHW)
            return call(self, x_NCHW)

        return passed

    for name, call in own.items():
        setattr(Network, name, counting(call))
    try:
        yield total
    finally:
        for name, call in own.items():
            setattr(Network, name, call)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
