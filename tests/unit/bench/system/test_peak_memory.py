"""The peak memory of a process that has not used the device before."""

import pytest
import torch

from bench.system.peak_memory import PeakMemory


def test_a_measurement_on_a_gpu_begins_in_a_process_that_has_not_used_it() -> None:
    """Without `torch.cuda.init`, the error is "Invalid device argument", also on a machine with a GPU."""
    gpu = torch.device("cuda:0")
    if torch.cuda.is_available():
        assert PeakMemory.start(gpu).bytes is not None
        return
    with pytest.raises((RuntimeError, AssertionError), match=r"NVIDIA|No CUDA GPUs|not compiled with CUDA"):
        PeakMemory.start(gpu)


def test_a_block_of_memory_is_part_of_the_peak() -> None:
    peak = PeakMemory.start(torch.device("cpu"))
    block = torch.ones(1 << 24)
    assert peak.bytes is None or peak.bytes >= block.nbytes
