import math
from typing import Any

import numba
import pytest

from bench.scoring.compiled import compiled


def test_a_place_that_cannot_be_written_costs_the_kept_machine_code_but_not_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = numba.njit

    def read_only(*, cache: bool = False, **settings: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**settings)

    monkeypatch.setattr(numba, "njit", read_only)

    def root(x: float) -> float:
        return math.sqrt(x)

    assert compiled(root)(4.0) == 2.0
