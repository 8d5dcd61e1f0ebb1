"""The two main results of a grid, as lines of text."""

from bench.planning.manifest import Manifest
from bench.results.read_predictions import load_scores
from bench.results.run_table import ranked_ids, run_title


def summary(manifest: Manifest) -> list[str]:
    """Return the two main results of a grid as lines: the best external macro AUROC and the smallest gap."""
    ids = ranked_ids(manifest)
    if not ids:
        seen = not manifest.runs and any(run["passport"]["seen"] for run in manifest.imported)
        return ["  nothing is ranked: the model had seen an external hospital" if seen else "  no run has a score yet"]
    ranked = {str(run["id"]): run for run in manifest.ranked}
    scores, gaps = load_scores(manifest, ids, "scores"), load_scores(manifest, ids, "gaps")
    plain = scores[(scores["metric"] == "auroc") & (scores["calibrator"] == "none")]
    if len({manifest.config(r).findings for r in manifest.ranked if r["id"] in ids}) > 1:
        return ["  the runs learn different findings: the page compares them finding by finding"]
    lines = []
    for what, table, smallest_first in (("best external macro AUROC", plain, False), ("smallest gap", gaps, True)):
        rows = table[(table["dataset"] == "external") & (table["finding"] == "macro")]
        rows = rows.dropna(subset=["value"])
        if len(rows):
            top = rows.sort_values("value", ascending=smallest_first).iloc[0]
            name = run_title(manifest, ranked[str(top["run_id"])])
            lines.append(f"  {what:<26} {name:<28} {top['value']:.3f} [{top['low']:.3f}, {top['high']:.3f}]")
    return lines
