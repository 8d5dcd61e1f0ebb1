"""Keep freed memory in the process, so that the next forward pass of a network on a CPU uses it again."""

import ctypes
import sys

# numbers of these settings in malloc.h of the GNU C library
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes; the largest value that the setting takes


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees. Runs of a grid and all predictions on a CPU call it.

    A layer's output of a batch has up to 100 MB. The GNU C library gets a block of more than 32 MB from the system each time, and
    returns it at once. The system clears all pages of a new block, for every layer of every batch. This can take longer than
    the network itself: 14 of 23 ms per image of EfficientNet-Lite0, and 32 of 70 ms of DenseNet-121. Numbers stay the same, bit by bit.
    The process keeps its largest size until it ends. With another C library, nothing changes.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
