"""Grids that differ from the shipped grid `tiny` in their sweeps and hospitals."""

import os
from pathlib import Path

TINY = Path(__file__).parents[1] / "grids" / "tiny.yaml"
TWO = "evaluate_on: [mimic, nih]\n"  # external hospitals, in place of five
# all analyses, with few images and epochs
SMALL_ANALYSES = """analyses:
  attention?: {images: 2, gallery: 1, sanity: 1}
  transplants: {images: 20}
  probes: {per_source: 20}
  acquisition: {per_source: 20, epochs: 1, folds: 1, explained: 1}
"""


def tiny_with(folder: Path, name: str, sweep: str, runs: int = 1, keys: str = TWO) -> Path:
    """Write a grid `name` of `runs` runs into a folder, with one sweep in place of those of `tiny`; return its path.

    `keys`: other keys that differ from `tiny`, in place of the default, with which the runs are tested at two external hospitals.
    """
    path = folder / f"{name}.yaml"
    path.write_text(
        f"include: {os.path.relpath(TINY, folder)}\nname: {name}\nexpect: {{runs: {runs}}}\nsweeps:\n  - {sweep}\n{keys}"
    )
    return path
