"""The picture that other sites show of a link to the documents: macro AUROC of one network of the demo at each hospital.

    PYTHONPATH=. python docs/social_picture.py STORE    # writes docs/social.png, 1280 x 640 pixels; STORE has the grid `demo`

The numbers and their 95 % intervals are those of the first run. All hospitals score the same findings.
"""

import sys
from pathlib import Path

from matplotlib import pyplot as plt

from reports.tables import Tables, records_of

DOCS = Path(__file__).parent
INTERNAL, EXTERNAL, INK = "#1f5fa8", "#c2560c", "#1c2430"


def main() -> None:
    """Draw an interval for each hospital."""
    tables = Tables.load(Path(sys.argv[1]) / "report" / "demo" / "tables")
    cohorts, scores = records_of(tables["cohorts"]), tables["scores"]
    scores = scores[scores["run_id"] == min(tables.meta["created_from"])]
    scores = scores[(scores["metric"] == "auroc") & (scores["finding"] == "macro")]
    figure = plt.figure(figsize=(12.8, 6.4), dpi=100)
    figure.text(0.06, 0.86, "Unseen", size=50, weight="bold", color=INK)
    figure.text(0.06, 0.765, "Chest X-ray networks, tested at hospitals they have never seen", size=23, color=INK)
    axes = figure.add_axes((0.3, 0.15, 0.62, 0.53))
    for row, cohort in enumerate(cohorts):
        is_internal = cohort["role"] == "internal"
        split = "test" if is_internal else cohort["headline_split"]
        ((value, low, high),) = scores.loc[
            (scores["dataset"] == cohort["dataset"]) & (scores["split"] == split), ["value", "low", "high"]
        ].to_numpy()
        color = INTERNAL if is_internal else EXTERNAL
        axes.plot([low, high], [row, row], color=color, lw=5, solid_capstyle="round")
        axes.plot(value, row, "o", color=color, ms=15)
        name = str(cohort["title"]).partition(" (")[0]
        text = f"{name}{', trained here' if is_internal else ''}"
        place = axes.get_yaxis_transform()
        axes.text(-0.03, row, text, size=19, color=color, ha="right", va="center", transform=place)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=16, colors=INK)
    axes.grid(axis="x", color="#d5dae1")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("macro AUROC with 95 % interval; synthetic hospitals of the demo", size=16, color=INK)
    figure.savefig(DOCS / "social.png", facecolor="white")


if __name__ == "__main__":
    main()
