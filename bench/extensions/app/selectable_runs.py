"""List the runs of a store that the page can use for predictions, with their AUROCs. Make synthetic sample images."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import pandas as pd

from bench.config.grid import PhantomChoice
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.run_table import histories, read_records, runs_table
from bench.store.checked_folders import ScoresFolder
from bench.store.store import Store
from harmonize.cohorts.hospital_names import HospitalName, hospital_name
from harmonize.cohorts.pool_names import hospitals_of
from harmonize.errors import CxrError
from harmonize.images.image_header import InMemory
from harmonize.phantom import PhantomSettings, twin
from harmonize.phantom.sites import SITES
from reports.formatting import with_interval
from reports.schemas.select import select

ANYWHERE = "unseen"  # origin of an image from a hospital that is unknown or not among the cohorts
# long side of a sample image in pixels; for a run trained on phantoms, the size of its phantoms is used
SAMPLE_PX = 256


@dataclass(frozen=True)
class SelectableRun:
    """One run that can predict images, and the grid that planned the run."""

    manifest: Manifest
    run_id: str
    title: str

    @property
    def store(self) -> Store:
        """Return the store of the run."""
        return self.manifest.store

    @property
    def internal(self) -> str:
        """Return the cohort that the run was trained on."""
        return self.manifest.source

    @property
    def synthetic(self) -> bool:
        """Return whether the run was trained on synthetic images only."""
        return self.manifest.phantom

    @property
    def origins(self) -> dict[str, str]:
        """Return {origin of an image: description for readers}.

        The origins are ANYWHERE, the internal cohort, and the external hospitals of the run.
        """
        external = [hospital.name for hospital in self.manifest.external_to(self._run)]
        return {
            ANYWHERE: "Other or unknown",
            self.internal: f"{self.titles[self.internal]}: {self.internal_role}",
            **{name: f"{self.titles[name]}: never seen in training" for name in external},
        }

    @cached_property
    def titles(self) -> dict[str, str]:
        """Return {cohort: name of its hospital for readers}; the internal cohort has the hospitals on which the run trained."""
        return self.manifest.titles_of(self._run)

    @cached_property
    def trained_at(self) -> list[str]:
        """Return the names of the hospitals on which the run trained."""
        return [hospital.name for hospital in self.manifest.trained_at(self._run)]

    @property
    def internal_role(self) -> str:
        """Return "training hospital", or "training hospitals" if the run trained on several."""
        return "training hospital" if len(self.trained_at) == 1 else "training hospitals"

    @property
    def _run(self) -> PlannedRun:
        return self.manifest.run_of[self.run_id]

    @cached_property
    def auroc(self) -> pd.DataFrame:
        """Return the AUROCs, one row per dataset and finding: value, interval (low, high), number of positive images.

        The datasets are the internal cohort (only its test split), each external cohort, and "external", the mean of the
        external cohorts. The finding "macro" is the mean over findings. A run without scores has no rows.
        """
        folder = self.manifest.scores / self.run_id
        if not ScoresFolder(folder).key():
            return pd.DataFrame(columns=["dataset", "finding", "value", "low", "high", "num_positive"])
        rows = select(ScoresFolder(folder).table("scores"), finding=None, internal=self.internal)
        return rows[["dataset", "finding", "value", "low", "high", "num_positive"]].dropna(subset=["value"])


def grids(store: Store) -> tuple[list[Manifest], list[str]]:
    """Return the readable grids of the store, and the names of the unreadable grids."""
    readable, unreadable = [], []
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            readable.append(read_manifest(store, path.stem))
        except CxrError:
            unreadable.append(path.stem)
    return readable, unreadable


def runs_with_weights(store: Store) -> list[SelectableRun]:
    """Return the finished runs of all readable grids that have weights, sorted by external AUROC, highest first.

    A run of several grids is listed once. Derived runs are not listed.
    """
    choice_of: dict[str, tuple[float, SelectableRun]] = {}
    for manifest in grids(store)[0]:
        if manifest.scored_from:
            continue  # this grid scores the runs of another grid again, and the loop gets the runs from the other grid
        for row in runs_table(manifest, histories(manifest), read_records(manifest)).to_dict("records"):
            run_id = str(row["run_id"])
            ready = row["kind"] == "run" and row["state"] == "done" and run_id not in choice_of
            if ready and (store.run_dir(run_id) / "model.safetensors").is_file():
                description = f" · {row['what']}" if row["what"] else ""
                choice = SelectableRun(manifest, run_id, f"{row['name']}{description} · {run_id[:6]} ({manifest.name})")
                choice_of[run_id] = (external_auroc(choice.auroc), choice)
    return [choice for _, choice in sorted(choice_of.values(), key=lambda each: (-each[0], each[1].title))]


def external_auroc(auroc: pd.DataFrame) -> float:
    """Return the macro AUROC, averaged over the external cohorts; -1 if `auroc` has no such row. `auroc`: as `SelectableRun.auroc`."""
    rows = auroc[(auroc["dataset"] == "external") & (auroc["finding"] == "macro")]["value"]
    return float(rows.iloc[0]) if len(rows) else -1.0


def macro_auroc_text(choice: SelectableRun, origin: str) -> str:
    """Return a text with the macro AUROC and its interval at the hospital from which an image comes (`origin`).

    For the origin ANYWHERE, the text has the mean over the external cohorts, and their lowest and highest AUROC. The only
    training hospital has the AUROC of the internal cohort. If there is no AUROC, the text says why.
    """
    if choice.trained_at == [origin]:
        origin = choice.internal
    rows = choice.auroc[choice.auroc["finding"] == "macro"].set_index("dataset")
    if rows.empty:
        return "unknown: this run has no scores yet. `bench score` computes scores, thresholds and calibration."
    at = "external" if origin == ANYWHERE else origin
    if origin not in choice.origins and origin in choice.trained_at:
        return "unknown: this hospital is one of several on which this model trained"
    if origin not in choice.origins:
        return "unknown: this model was not tested at this hospital"
    if at not in rows.index:
        return "unknown: too few patients for a score"
    text = "{:.2f} [{:.2f}, {:.2f}]".format(*rows.loc[at, ["value", "low", "high"]])
    if origin != ANYWHERE:
        return f"{text}, mean over findings"
    each = rows.loc[~rows.index.isin([choice.internal, "external"]), "value"]
    return f"{text}, mean over findings and external hospitals; from {each.min():.2f} to {each.max():.2f}"


def auroc_texts(choice: SelectableRun, origin: str, finding: str) -> list[str]:
    """Return a finding's AUROC with its interval at the hospital from which an image comes (`origin`), as a list of one text.

    For the origin ANYWHERE, the list has the lowest and the highest AUROC of the external cohorts, each with its interval, and
    the number of cohorts. The list is empty if no AUROC is known.
    """
    rows = choice.auroc[choice.auroc["finding"] == finding]
    if origin != ANYWHERE:
        return [_with_interval(row) for _, row in rows[rows["dataset"] == origin].iterrows()]
    rows = rows[~rows["dataset"].isin([choice.internal, "external"])].sort_values("value", kind="stable")
    if rows.empty:
        return []
    lowest, highest = _with_interval(rows.iloc[0]), _with_interval(rows.iloc[-1])
    return [highest, "(1)"] if len(rows) == 1 else [f"{lowest} –", highest, f"({len(rows)})"]


def _with_interval(row: "pd.Series[float]") -> str:
    return with_interval(row["value"], row["low"], row["high"], ".2f")


def sample_sites(choice: SelectableRun) -> list[str]:
    """Return the names of the external hospitals that phantoms can imitate. The grid's own hospitals come first."""
    planned = [cohort.name for cohort in choice.manifest.cohorts]
    return [
        site
        for site in sorted(SITES, key=lambda site: planned.index(site) if site in planned else len(planned))
        if site not in choice.trained_at
    ]


def site_name(site: str) -> HospitalName:
    """Return the name of a hospital that phantoms imitate."""
    return hospital_name(site, site, {}, phantom=True)


def sample(choice: SelectableRun, site: str, patient: int) -> tuple[InMemory, tuple[str, ...]]:
    """Return a synthetic radiograph as a PNG in memory, and the findings drawn into the radiograph, most severe first.

    `site`: hospital to imitate. `patient`: number of the synthetic patient; equal numbers give equal images. If the run was
    trained on phantoms, the radiograph is made with the settings of these phantoms.
    """
    first = hospitals_of(choice.internal)[0]  # in a pool of phantoms, the hospital whose markers depend on a finding
    chosen = choice.manifest.phantom_settings or PhantomChoice(size=SAMPLE_PX)
    settings = PhantomSettings(
        seed=chosen.seed,
        source=first if first in SITES else "chexpert",
        images={site: 1},
        size=chosen.size,
        shortcut=chosen.shortcut,
    )
    drawn = twin(settings, site, patient)  # draws the radiograph of a patient
    encoded, content = cv2.imencode(".png", (drawn.image * 255 + 0.5).astype(np.uint8))
    if not encoded:
        raise RuntimeError("OpenCV cannot encode the sample as PNG")
    severity = drawn.study.severity
    findings = tuple(sorted(drawn.study.present, key=lambda finding: -severity[finding]))
    return InMemory(f"{site_name(site).short}, patient {patient}.png", content.tobytes()), findings
