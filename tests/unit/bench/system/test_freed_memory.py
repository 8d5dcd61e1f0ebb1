"""Memory that a process frees and needs again."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource
from bench.system.devices import keep_freed_memory
if {keep}:
    keep_freed_memory()
def fill():
    block = bytearray(64 << 20)
    return len(block)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Return how many pages the system gives a process that fills 64 MB five more times."""
    code = _FAULTS.format(keep=keep)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library has this setting")
def test_a_block_that_was_freed_is_used_again() -> None:
    import platform

    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only the GNU C library has this setting")
    assert faults(keep=True) < faults(keep=False) / 10
