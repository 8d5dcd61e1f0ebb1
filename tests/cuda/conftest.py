"""Devices of the tests in this folder. Each test that can run without a GPU runs on the CPU, too: this rehearses its code."""

from collections.abc import Iterator

import pytest
import torch

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU (CUDA device) on this machine")


@pytest.fixture(params=["cpu", pytest.param("cuda:0", marks=NO_GPU)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The CPU, and the first GPU if there is one."""
    torch.set_num_threads(1)
    yield torch.device(request.param)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@pytest.fixture(params=[pytest.param("cuda:0", marks=NO_GPU)])
def gpu(request: pytest.FixtureRequest) -> torch.device:
    """The first GPU. For code that other tests already run on a CPU."""
    return torch.device(request.param)
