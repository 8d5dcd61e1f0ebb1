"""Draw the results of the 100 networks of shortcut_power.py: two scatter plots with one dot per network.

The vertical axis is the gap. The horizontal axis is the effect of a marker on the prediction, or the change of the
internal AUROC when markers are erased.

python benchmarks/shortcut_figure.py      # reads benchmarks/shortcut_power.csv, writes docs/shortcut_power.png
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1200, 520
PANELS = (
    ("effect", "a marker changes the probability by, beyond control", (-0.05, 0.9)),
    ("cost", "erasing markers changes the AUROC at the internal hospital by", (-0.5, 0.1)),
)
DOWN = (-0.15, 0.5)  # lower and upper end of the vertical axis, the gap
INK, PALE, PLANTED, NONE = (40, 40, 40), (215, 215, 215), (40, 70, 200), (150, 120, 40)


def write(picture: NDArray[np.uint8], words: str, x: float, y: float, size: float = 0.5) -> None:
    """Write text on the picture, in place."""
    cv2.putText(picture, words, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)


def panel(
    picture: NDArray[np.uint8], table: pd.DataFrame, column: str, title: str, across: tuple[float, float], left: int
) -> None:
    """Draw one scatter plot of the gap (vertical) against a column (horizontal) on the picture, in place."""
    right, top, bottom = left + WIDTH // 2 - 90, 70, HEIGHT - 70

    def pixel_of(x: float, y: float) -> tuple[int, int]:
        share, up = (x - across[0]) / (across[1] - across[0]), (y - DOWN[0]) / (DOWN[1] - DOWN[0])
        return round(left + share * (right - left)), round(bottom - up * (bottom - top))

    for y in np.arange(-0.1, 0.51, 0.1):
        cv2.line(
            picture, pixel_of(across[0], y), pixel_of(across[1], y), INK if abs(y) < 1e-9 else PALE, 1, cv2.LINE_AA
        )
        write(picture, f"{abs(y) if abs(y) < 1e-9 else y:.1f}", left - 42, pixel_of(0, y)[1] + 5, 0.45)
    for x in np.arange(np.ceil(across[0] * 5) / 5, across[1] + 1e-9, 0.2):
        cv2.line(picture, pixel_of(x, DOWN[0]), pixel_of(x, DOWN[1]), INK if abs(x) < 1e-9 else PALE, 1, cv2.LINE_AA)
        write(picture, f"{0 if abs(x) < 1e-9 else x:.1f}", pixel_of(x, 0)[0] - 12, bottom + 20, 0.45)
    write(picture, title, left, bottom + 46)
    for row in table.to_dict("records"):
        colour = PLANTED if row["strength"] > 0 else NONE
        center = pixel_of(float(row[column]), float(row["gap"]))
        cv2.circle(picture, center, 6, colour, -1 if row["strength"] > 0 else 2, cv2.LINE_AA)


def main() -> None:
    """Write the figure."""
    table = pd.read_csv(HERE / "shortcut_power.csv")
    picture = np.full((HEIGHT, WIDTH, 3), 252, np.uint8)
    write(picture, "gap of Pleural Effusion: AUROC at the internal hospital minus external", 60, 32)
    counts = table["strength"].value_counts()
    for k, (strength, colour, name) in enumerate(((0.9, PLANTED, "tag planted"), (0.0, NONE, "tag says nothing"))):
        cv2.circle(picture, (700 + 250 * k, 27), 6, colour, -1 if strength else 2, cv2.LINE_AA)
        write(picture, f"{name}: {int(counts.get(strength, 0))} networks", 714 + 250 * k, 32)
    for k, (column, title, across) in enumerate(PANELS):
        panel(picture, table, column, title, across, 70 + k * WIDTH // 2)
    cv2.imwrite(str(HERE.parent / "docs" / "shortcut_power.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
