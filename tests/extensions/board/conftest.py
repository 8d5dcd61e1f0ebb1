"""Tests of boards check the same bundles often, so they share the results of these checks."""

import pytest

from tests.conftest import Once


@pytest.fixture(autouse=True)
def results_of_checks(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep results of checks for the tests of this session."""
    monkeypatch.setenv("BENCH_CACHE", str(once("results", lambda folder: folder.chmod(0o700))))
