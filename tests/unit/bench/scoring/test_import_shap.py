"""The import of shap keeps no variables of its callers."""

import pytest

from bench.scoring.import_shap import import_shap


@pytest.mark.slow
def test_errors_that_shap_keeps_have_no_traceback() -> None:
    import_shap()
    from shap.utils._general import import_errors

    assert [error.__traceback__ for _, error in import_errors.values()] == [None] * len(import_errors)
