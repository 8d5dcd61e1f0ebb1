"""Import and prepare what `bench` commands need, once for all commands that `tests.forked` forks from the process that does it."""

import gc
from contextlib import suppress
from importlib import import_module

import numpy as np

from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit, Settings
from reports import page
from reports.html.section import environment

NEEDED = (
    "bench.executors.worker_imports",
    "bench.cli.main",
    "bench.diagnostics.checks",
    "bench.results.write_report",
    "bench.study.run_grid",
    "pyarrow.dataset",
)
OF_EXTENSIONS = ("bench.extensions.bundles.export", "bench.extensions.bundles.verify")  # left out if they are deleted


def _invented(dataset: str, split: str, num: int = 100) -> ScoredSplit:
    """Return a split of images at random, one of each patient."""
    draw, ids = np.random.default_rng(num), np.array([f"{i}" for i in range(num)], object)
    state_NK = draw.integers(0, 2, (num, 2)).astype(np.int8)
    logit_NK = (draw.normal(size=(num, 2)) + state_NK).astype(np.float32)
    return ScoredSplit(dataset, split, "report", ids, ids, logit_NK, state_NK)


for _name in NEEDED:
    import_module(_name)
for _name in OF_EXTENSIONS:
    with suppress(ModuleNotFoundError):
        import_module(_name)
with suppress(ModuleNotFoundError):  # newer versions of typer load pydantic with it, when they read the first option
    import_module("typer._adapters")
page.packed_plotly()
for _name in environment().list_templates(("j2",)):
    environment().get_template(_name)  # compiles it, which takes a quarter of a second for all
# reads the machine code of scoring, and before it what numba needs for that: each command would do so anew
score_run(
    "",
    ("A", "B"),
    "a",
    [_invented("a", "val"), _invented("a", "test"), _invented("b", "all")],
    Settings(num_resamples=50),
)
gc.freeze()
