"""Branching trees: pulmonary vessels, and the airways that stay dark inside a consolidation."""

from collections.abc import Iterator

import numpy as np

from harmonize.phantom.drawing import Layer, Points, stroke

TRUNK = 0.0064  # width of the first branches, canvas; wider ones look like trees
TAPER = 0.72
SPAN = np.arange(1, 6) / 5  # five steps per branch


def tree(
    layer: Layer,
    rng: np.random.Generator,
    root: tuple[float, float],
    side: int,
    *,
    wide: float = 1.0,
    branches: int = 11,
    levels: int = 5,
    length: float = 0.095,
) -> None:
    """Draw a tree from a hilum outwards; widths fall by level, and levels too thin to see are left out.

    The stream must be the tree's own: how many numbers are drawn depends on the size of the picture.
    """
    widths = [TRUNK * wide * TAPER**level for level in range(levels)]
    visible = [width for width in widths if width * layer.shape[0] >= 0.25]
    grown = list(zip(visible, _grow(rng, root, side, branches, length), strict=False))
    for width, curves in reversed(grown):  # draw thin vessels below thick vessels
        stroke(layer, curves, width, min(255.0, 255 * (width / TRUNK) ** 0.8))


def _grow(
    rng: np.random.Generator, root: tuple[float, float], side: int, branches: int, length: float
) -> Iterator[Points]:
    """Yield the curves [K, 6, 2] of one level after the other, without end."""
    angle = np.linspace(-1.35, 1.42, branches) + rng.normal(0, 0.08, branches)
    start = np.array([root]) + np.stack([side * 0.012 * np.cos(angle), 0.04 * np.sin(angle)], 1)
    reach = length * rng.uniform(0.8, 1.2, branches)
    level = 0
    while True:
        bend = angle[:, None] + rng.normal(0, 0.45, len(angle))[:, None] * SPAN
        step = (reach / 5)[:, None]
        move = np.stack([side * np.cos(bend) * step, np.sin(bend) * step * 1.15], 2)
        curves = np.concatenate([start[:, None], start[:, None] + np.cumsum(move, 1)], 1)
        yield curves
        forks = (5, 5, 3) if level < 2 else (5, 5) if level == 2 else (5, 4)  # where along the parent children begin
        turn = np.array([1.0, -1.0, -1.5])[: len(forks)]
        num = len(forks) * len(angle)
        start = np.concatenate([curves[:, fork] for fork in forks])
        angle = np.tile(bend[:, -1], len(forks)) + turn.repeat(len(angle)) * rng.uniform(0.2, 0.55, num)
        reach = np.tile(reach, len(forks)) * rng.uniform(0.58, 0.85, num)
        level += 1
