"""Draw branching trees: the pulmonary vessels, and the airways that are visible in a consolidation."""

from collections.abc import Iterator

import numpy as np

from harmonize.phantom.drawing import Layer, Points, stroke

TRUNK = 0.0064  # width of the thickest branches, as a fraction of the canvas; wider branches look unnatural
TAPER = 0.72
SPAN = np.arange(1, 6) / 5  # five steps per branch


def tree(
    layer: Layer,
    rng: np.random.Generator,
    root: tuple[float, float],
    side: int,
    *,
    width_factor: float = 1.0,
    branches: int = 11,
    levels: int = 5,
    length: float = 0.095,
) -> None:
    """Draw a tree that grows outwards from `root`, such as a hilum, to one side (LEFT or RIGHT).

    The branches of the first level begin near the root, the branches of each further level on branches of the level
    before. Each level is thinner than the level before; levels that are too thin to be visible are left out. After this
    call, `rng` must not be used again: the size of the image decides how many random numbers the tree takes.
    """
    widths = [TRUNK * width_factor * TAPER**level for level in range(levels)]
    visible = [width for width in widths if width * layer.shape[0] >= 0.25]
    levels_to_draw = list(zip(visible, _grow(rng, root, side, branches, length), strict=False))
    for width, curves in reversed(levels_to_draw):  # draw thin vessels below thick vessels
        stroke(layer, curves, width, min(255.0, 255 * (width / TRUNK) ** 0.8))


def _grow(
    rng: np.random.Generator, root: tuple[float, float], side: int, branches: int, length: float
) -> Iterator[Points]:
    """Yield the branches of each level as curves [K branches, 6 points, 2] (x, y); the generator does not end."""
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
        # indices of the points on a parent branch at which its children begin
        forks = ((5, 5, 3), (5, 5, 3), (5, 5), (5, 4))[min(level, 3)]
        turn = np.array([1.0, -1.0, -1.5])[: len(forks)]
        num = len(forks) * len(angle)
        start = np.concatenate([curves[:, fork] for fork in forks])
        angle = np.tile(bend[:, -1], len(forks)) + turn.repeat(len(angle)) * rng.uniform(0.2, 0.55, num)
        reach = np.tile(reach, len(forks)) * rng.uniform(0.58, 0.85, num)
        level += 1
