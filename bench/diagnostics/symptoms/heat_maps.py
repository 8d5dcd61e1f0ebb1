"""The symptom of heat maps: evidence on marks, borders and padding, where no finding lies. Read from the analysis `attention`."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from bench.diagnostics.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.results.analysis_tables import stored_analyses
from harmonize.checks.release import Check
from harmonize.labels.findings import NO_FINDING
from reports.summaries.heatmap_summary import ALL, NETWORK, WORDS

_BARE = ("token", "markers", "border", "padding")  # regions that say nothing of a patient
_HEAT = 1.5  # times as much heat as the region's area gets by chance, with the whole interval
_FEWEST = 10  # patients whose maps were measured
_SHOWN = 3  # of them named


def of_heat(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield a symptom when maps of a finding prefer marks, border or padding; nothing where no map was measured."""
    mine = [a for a in manifest.analyses if a["name"] == "attention" and a["run"] == run_id]
    own = replace(manifest, content={**manifest.content, "analyses": mine})
    table = stored_analyses(own, [run_id], own.analysis_states()).get("attention")
    if table is None or table.empty:
        return
    hit = (table["metric"] == "enrichment") & (table["by"] == NETWORK) & table["region"].isin(_BARE)
    placed = ~table["finding"].isin([ALL, NO_FINDING])  # health has no place
    far = table[hit & placed & (table["low"] > _HEAT) & (table["num_patients"] >= _FEWEST)]
    if far.empty:
        return
    causes = (
        "a mark goes with the finding at the internal hospital (tubes, portable units, side letters): see the section on shortcuts and the transplant tests",
        'borders or padding differ with the finding, e.g. by scanner: crop to the lungs (`bench list preprocessing "*roi*"`) and compare',
        "the network has learnt little, and its maps lie anywhere: look at AUROC first, and at the gallery of maps on the page",
    )
    yield symptom(where, "heat on marks or borders", "warning", _listed(far), causes)


def _listed(far: pd.DataFrame) -> str:
    rows = far.sort_values("low", ascending=False, kind="stable")
    said = [
        f"maps of {r.finding} on {r.dataset} put {r.value:.1f} [{r.low:.1f}, {r.high:.1f}] times on {WORDS[str(r.region)]} what its area gets by chance"
        for r in rows.head(_SHOWN).itertuples()
    ]
    return "; ".join(said) + (f"; and {len(far) - _SHOWN} more" if len(far) > _SHOWN else "")
