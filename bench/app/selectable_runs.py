"""What the page knows before it is given an image: the runs of a store that can predict, and how well they do where."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest, read_manifest
from bench.results.run_table import histories, runs_table
from bench.store.store import Store, read_table
from harmonize.errors import CxrError
from harmonize.images.image_header import InMemory
from harmonize.phantom import PhantomSettings, twin
from harmonize.phantom.sites import SITES

ANYWHERE = "unseen"  # an image of a hospital that no cohort is from
SAMPLE_PX = 256  # long side of a sample, where the run's own phantoms have no size


@dataclass(frozen=True)
class Choice:
    """One run that can predict, as a grid of the store plans it."""

    manifest: Manifest
    run_id: str
    title: str

    @property
    def store(self) -> Store:
        """Return the store it is in."""
        return self.manifest.store

    @property
    def internal(self) -> str:
        """Return the cohort it was trained on."""
        return str(self.manifest.content["source"])

    @property
    def synthetic(self) -> bool:
        """Whether it knows synthetic images only."""
        return bool(self.manifest.content["phantom"])

    @property
    def origins(self) -> dict[str, str]:
        """Return where an image may come from -> how that is said."""
        places = {ANYWHERE: "a hospital that is none of these"}
        for cohort in self.manifest.cohorts:
            seen = "where it was trained" if cohort["role"] == "internal" else "not seen in training"
            places[str(cohort["name"])] = f"{cohort['name']} ({seen})"
        return places

    @cached_property
    def auroc(self) -> pd.DataFrame:
        """Return the AUROC with its interval by place and finding: the internal test split and each external cohort."""
        path = self.manifest.scores / self.run_id / "scores.parquet"
        if not path.is_file():
            return pd.DataFrame(columns=["dataset", "finding", "value", "low", "high", "num_positive"])
        rows = read_table(path)
        rows = rows[(rows["metric"] == "auroc") & (rows["calibrator"] == "none") & (rows["subgroup"] == "all")]
        rows = rows[(rows["dataset"] != self.internal) | (rows["split"] == "test")]
        return rows[["dataset", "finding", "value", "low", "high", "num_positive"]].dropna(subset=["value"])


def grids(store: Store) -> tuple[list[Manifest], list[str]]:
    """Return the grids of the store, and the names of those that cannot be read."""
    whole, torn = [], []
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            whole.append(read_manifest(store, path.stem))
        except CxrError:
            torn.append(path.stem)
    return whole, torn


def choices(store: Store) -> list[Choice]:
    """Return the runs with weights of all readable grids, the best abroad first; each once."""
    found: dict[str, tuple[float, Choice]] = {}
    for manifest in grids(store)[0]:
        if manifest.content.get("scored_from"):
            continue  # its runs are another grid's
        for row in runs_table(manifest, histories(manifest)).to_dict("records"):
            run_id = str(row["run_id"])
            ready = row["kind"] == "run" and row["state"] == "done" and run_id not in found
            if ready and (store.run_dir(run_id) / "model.safetensors").is_file():
                what = f" · {row['what']}" if row["what"] else ""
                choice = Choice(manifest, run_id, f"{row['name']}{what} · {run_id[:6]} ({manifest.content['name']})")
                found[run_id] = (abroad(choice.auroc), choice)
    return [choice for _, choice in sorted(found.values(), key=lambda each: (-each[0], each[1].title))]


def abroad(auroc: pd.DataFrame) -> float:
    """Return the mean external AUROC, -1 without one."""
    rows = auroc[(auroc["dataset"] == "external") & (auroc["finding"] == "macro")]["value"]
    return float(rows.iloc[0]) if len(rows) else -1.0


def said_of(choice: Choice, origin: str, finding: str) -> str:
    """Return how well a run tells a finding where an image may come from, "" where nobody knows.

    Of a hospital that is none of the cohorts: from the worst to the best of those it was not trained in, and their number.
    """
    rows = choice.auroc[choice.auroc["finding"] == finding]
    if origin != ANYWHERE:
        rows = rows[rows["dataset"] == origin]
        return "" if rows.empty else "{:.2f} [{:.2f}, {:.2f}]".format(*rows[["value", "low", "high"]].iloc[0])
    rows = rows[~rows["dataset"].isin([choice.internal, "external"])]
    if rows.empty:
        return ""
    return f"{rows['value'].min():.2f} – {rows['value'].max():.2f} ({len(rows)})"


def sample_sites(choice: Choice) -> list[str]:
    """Return the hospitals that can be drawn and that the run was not trained in, those of its grid first."""
    planned = [str(cohort["name"]) for cohort in choice.manifest.cohorts]
    return [
        site
        for site in sorted(SITES, key=lambda site: planned.index(site) if site in planned else len(planned))
        if site != choice.internal
    ]


def sample(choice: Choice, site: str, patient: int) -> tuple[InMemory, tuple[str, ...]]:
    """Return a synthetic radiograph, made as the run's own ones were, and what was drawn into it."""
    facts: Mapping[str, object] = choice.manifest.content.get("phantom_settings") or {}
    settings = PhantomSettings(
        seed=int(str(facts.get("seed", 0))),
        source=choice.internal if choice.internal in SITES else "chexpert",
        images={site: 1},
        size=int(str(facts.get("size", SAMPLE_PX))),
        shortcut=float(str(facts.get("shortcut", 0.0))),
    )
    drawn = twin(settings, site, patient)
    done, content = cv2.imencode(".png", (drawn.image * 255 + 0.5).astype(np.uint8))
    if not done:
        raise RuntimeError("cannot encode a picture")
    severity = drawn.study.severity
    there = tuple(sorted(drawn.study.present, key=lambda finding: -severity[finding]))
    return InMemory(f"synthetic {site} {patient}.png", content.tobytes()), there
