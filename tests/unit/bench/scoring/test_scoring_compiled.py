import math
from typing import Any

import numba
import pytest
from llvmlite import binding

from bench.scoring.bootstrap.compiled import compiled, widen


def test_a_place_that_cannot_be_written_costs_the_kept_machine_code_but_not_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = numba.njit

    def read_only(*functions: Any, cache: bool = False, **settings: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*functions, **settings)

    monkeypatch.setattr(numba, "njit", read_only)

    def root(x: float) -> float:
        return math.sqrt(x)

    assert compiled(root)(4.0) == 2.0


@pytest.mark.parametrize(
    ("wide", "set_by_user", "expected"),
    [
        (True, None, "+avx512vl,-prefer-256-bit"),
        (True, "+sse2", "+sse2"),
        (False, None, None),
    ],
)
def test_wide_registers_are_used_where_there_are_any_and_the_user_has_not_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, wide: bool, set_by_user: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: binding.FeatureMap({"avx512vl": wide}))
    monkeypatch.setattr(numba.config, "CPU_FEATURES", set_by_user)
    monkeypatch.setattr(numba.config, "CPU_NAME", "some")
    widen()
    assert expected == numba.config.CPU_FEATURES
    assert numba.config.CPU_NAME == "some"


def test_a_division_by_zero_is_not_an_error() -> None:
    @compiled
    def share(part: float, whole: float) -> float:
        return part / whole

    assert math.isnan(share(0.0, 0.0))
