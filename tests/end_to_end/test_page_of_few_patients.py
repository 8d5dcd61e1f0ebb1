"""A grid with few patients has a page with intervals."""

import re

import pytest

from bench.planning.manifest import read_manifest
from bench.results.write_report import write_report
from bench.store.store import Store
from harmonize.progress import Progress
from reports import extensions, hooks
from tests.nonempty import nonempty
from tests.tiny_grids import tiny_with

HOOKS = {hooks.ReportTables: "tables", hooks.Analyses: "tables", hooks.Cohorts: "meta"}


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


silently: Progress = silent


@pytest.mark.grid
def test_two_runs_with_few_patients_have_a_page_with_intervals(command, drawn, tmp_path):
    keys = "min_count: 2\nevaluate_on: [mimic, nih]\n"
    grid = tiny_with(tmp_path, "few", "{loss: [bce, focal]}", runs=2, keys=keys)
    done = command("run", "--grid", str(grid), "--quiet", cwd=drawn(grid, tmp_path))
    assert re.search(r"\.\d{3}\s+\[−?\.\d{3}, \.\d{3}\]", done.stdout)
    report = tmp_path / "runs" / "report" / "few"
    assert 'id="ranking"' in (report / "leaderboard.html").read_text()
    assert not (report / "failed.log").exists()


@pytest.mark.grid
def test_extensions_whose_tables_fail_are_named_and_the_rest_is_written(here, monkeypatch, store_copy):
    names = []
    for hook, function in HOOKS.items():
        for module in extensions.modules(hook):
            monkeypatch.setattr(module, function, lambda *_: {}["gone"])
            names.append(module.__name__.split(".")[2])
    command = ("run", "--grid", "tiny", "--quiet")
    report = store_copy / "runs" / "report" / "tiny"
    (report / "leaderboard.html").unlink()  # a page of the same contents would stay
    done = here(*command, cwd=store_copy, code=1)
    page, log = (report / "leaderboard.html").read_text(), (report / "failed.log").read_text()
    for name in nonempty(names):
        assert f"of the extension {name} failed: KeyError: 'gone'\n    log: runs/report/tiny/failed.log" in done.stderr
        assert f"of the extension {name} (KeyError: &#39;gone&#39;)" in page
    assert 'id="ranking"' in page
    assert log.count("Traceback") == len(names)
    here(*command, cwd=store_copy, code=1)  # what has failed is tried again
    monkeypatch.undo()
    here(*command, cwd=store_copy)
    assert not (report / "failed.log").exists()
    assert 'id="failed"' not in (report / "leaderboard.html").read_text()
    assert not write_report(read_manifest(Store.open(store_copy / "runs"), "tiny"), None, silently).failed
