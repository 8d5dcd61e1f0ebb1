"""Import and prepare what `bench` commands need, once for all commands that `tests.forked` forks from the process that does it."""

import gc
from contextlib import suppress
from importlib import import_module

import numpy as np

from bench.scoring.thresholds import f1_max
from reports import page

NEEDED = (
    "bench.executors.worker_imports",
    "bench.cli.main",
    "bench.results.write_report",
    "bench.scoring.score_run",
    "bench.study.run_grid",
    "pyarrow.dataset",
)

for _name in NEEDED:
    import_module(_name)
with suppress(ModuleNotFoundError):  # newer versions of typer load pydantic with it, when they read the first option
    import_module("typer._adapters")
page.prepare()
f1_max(np.array([0, 1], np.int8), np.array([0.0, 1.0]))  # loads the compiler
gc.freeze()
