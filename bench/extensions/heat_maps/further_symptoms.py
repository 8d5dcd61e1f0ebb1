"""Find heat maps that show evidence on markers, borders or padding, where no finding can be.

The measurements come from the tables of the analysis `attention`. Enrichment is the share of a heat map's sum that lies in a
region, divided by the region's share of the image area.
"""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from bench.extensions.heat_maps.heatmap_summary import ALL, NETWORK, WORDS
from bench.extensions.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.results.cross_run_tables import stored_analyses
from harmonize.checks.release import Check
from harmonize.labels.findings import NO_FINDING

_REGIONS = ("token", "markers", "border", "padding")  # regions without patient anatomy; token: the tag on a phantom
# there is a symptom if the lower bound of the enrichment's interval is above this value; chance gives an enrichment of 1
_MIN_ENRICHMENT = 1.5
_MIN_PATIENTS = 10  # minimum number of patients with measured maps
_MAX_LISTED = 3  # maximum number of findings in the message


def symptoms(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield a symptom if the heat maps of a finding concentrate on markers, border or padding.

    Yields nothing if the run's heat maps were not measured. `where`: text such as "run 3fa94c1e02bd".
    """
    of_run = tuple(a for a in manifest.analyses if a.name == "attention" and a.run == run_id)
    run_manifest = replace(manifest, analyses=of_run)
    table = stored_analyses(run_manifest, [run_id], run_manifest.analysis_states()).get("attention")
    if table is None or table.empty:
        return
    in_region = (table["metric"] == "enrichment") & (table["by"] == NETWORK) & table["region"].isin(_REGIONS)
    has_location = ~table["finding"].isin([ALL, NO_FINDING])
    high = table[in_region & has_location & (table["low"] > _MIN_ENRICHMENT) & (table["num_patients"] >= _MIN_PATIENTS)]
    if high.empty:
        return
    causes = (
        "internal images with the finding often have a marker (tube, portable unit, side letter): see the shortcuts and the region transplant test",
        'borders or padding differ with the finding, e.g. by scanner: crop to the lungs (`bench list preprocessing "*roi*"`) and compare',
        "the network has learned little, so its maps are arbitrary: first check AUROC, and the gallery of heat maps on the page",
    )
    yield symptom(where, "heat maps on markers or borders", "warning", _description(high), causes)


def _description(rows: pd.DataFrame) -> str:
    rows = rows.sort_values("low", ascending=False, kind="stable")
    texts = [
        f"maps of {r.finding} on {r.dataset} have {r.value:.1f} [{r.low:.1f}, {r.high:.1f}] times the chance level on {WORDS[str(r.region)]}"
        for r in rows.head(_MAX_LISTED).itertuples()
    ]
    return "; ".join(texts) + (f"; and {len(rows) - _MAX_LISTED} more" if len(rows) > _MAX_LISTED else "")
