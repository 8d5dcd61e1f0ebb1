"""Import and prepare what `bench` commands need, once for all commands that `tests.forked` forks from the process that does it."""

import gc
from contextlib import suppress
from importlib import import_module

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


for _name in NEEDED:
    import_module(_name)
for _name in OF_EXTENSIONS:
    with suppress(ModuleNotFoundError):
        import_module(_name)
with suppress(ModuleNotFoundError):  # newer versions of typer load pydantic with it, when they read the first option
    import_module("typer._adapters")
for _name in environment().list_templates(("j2",)):
    environment().get_template(_name)  # compiles it, which takes a quarter of a second for all
gc.freeze()
