"""Batches of cached images on the device, without worker processes.

Legend: N images, H and W pixels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.device_transfer import to_device
from harmonize.cache.packed import Images

Rows = NDArray[np.int64]
COPY_BYTES = 1 << 26  # maximum bytes per copy to the device: 655 images of 320 x 320 pixels
PREFETCH_DEPTH = 2  # number of batches that are prefetched: one is copied while another waits to be used


class BatchReader:
    """Returns batches of cached images as uint8 tensors [N, H, W] on the device.

    If the images need less than half of the free GPU memory, all images are kept on the GPU. For larger caches, a
    thread reads the batches that `prefetch` announces, and copies them from pinned memory on a separate CUDA stream. On
    a CPU, batches are prefetched only if reading is slow: if the images are packed (compressed), or need at least half
    of the free memory. The batches are identical in all cases.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images, self.device = images, device
        self.resident: Tensor | None = None
        self.prefetcher: _Prefetcher | None = None
        if device.type == "cuda" and images.nbytes < free_memory(device) / 2:
            self.resident = resident(images, device)
        on_gpu = device.type == "cuda"
        in_memory = isinstance(images, np.ndarray) and images.nbytes < psutil.virtual_memory().available / 2
        self.slow = self.resident is None and (on_gpu or not in_memory)
        self.stream: Any = torch.cuda.Stream(device) if on_gpu and self.slow else None  # type: ignore[no-untyped-call]

    def __call__(self, rows: Rows) -> Tensor:
        """Return the images at `rows`. If `rows` is the next batch of `prefetch`, its read has already begun."""
        if self.resident is not None:
            return self.resident[to_device(torch.from_numpy(rows), self.device)]
        batch, copied = (self.prefetcher and self.prefetcher.take(rows)) or self._read(rows)
        if copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            batch.record_stream(current)
        return batch

    @contextmanager
    def prefetch(self, batches: Iterable[Rows]) -> Iterator[None]:
        """Prefetch `batches`, each given by its rows, in their order during the block; no-op if reading is fast."""
        if not self.slow:
            yield
            return
        with ThreadPoolExecutor(1, "prefetch") as thread:
            self.prefetcher = _Prefetcher(thread, self._read, batches)
            try:
                yield
            finally:
                thread.shutdown(cancel_futures=True)
                self.prefetcher = None

    def _read(self, rows: Rows) -> tuple[Tensor, Any]:
        """Return the images at `rows`, and the CUDA event that marks the end of their copy (None without a stream)."""
        batch = torch.from_numpy(self.images[rows])
        if self.stream is None:
            return to_device(batch, self.device), None
        with torch.cuda.stream(self.stream):
            copy = to_device(batch, self.device)
            return copy, self.stream.record_event()


class _Prefetcher:
    """The queue of batches that a thread reads, in their order."""

    def __init__(
        self, thread: ThreadPoolExecutor, read: Callable[[Rows], tuple[Tensor, Any]], batches: Iterable[Rows]
    ) -> None:
        self.thread, self.read, self.remaining = thread, read, iter(batches)
        self.pending: deque[tuple[Rows, Future[tuple[Tensor, Any]]]] = deque()
        for _ in range(PREFETCH_DEPTH):
            self._submit()

    def _submit(self) -> None:
        if (rows := next(self.remaining, None)) is not None:
            self.pending.append((rows, self.thread.submit(self.read, rows)))

    def take(self, rows: Rows) -> tuple[Tensor, Any] | None:
        """Return the batch of images at `rows` and start to read a further batch; None if `rows` is not the next batch."""
        if not self.pending or not np.array_equal(self.pending[0][0], rows):
            return None
        _, future = self.pending.popleft()
        self._submit()
        return future.result()


def resident(images: Images, device: torch.device, max_bytes: int = COPY_BYTES) -> Tensor:
    """Return all images as one uint8 tensor [N, H, W] on the device.

    The images are copied in groups. A group has at most `max_bytes` bytes, but at least one image, so that little host
    memory is needed.
    """
    num, height, width = images.shape
    on_device = torch.empty((num, height, width), dtype=torch.uint8, device=device)
    num_per_copy = max(1, max_bytes // (height * width))
    for start in range(0, num, num_per_copy):
        # an array of indices copies the images; a slice of a memory-mapped file would be a read-only view
        rows = np.arange(start, min(start + num_per_copy, num))
        on_device[start : start + len(rows)] = torch.from_numpy(images[rows])
    return on_device


def free_memory(device: torch.device) -> float:
    """Return the bytes of GPU memory that this process can still allocate.

    If torch limits the share of this process (several processes on one GPU), the result is at most this limit.
    """
    free, total = torch.cuda.mem_get_info(device)
    return min(free, total * torch.cuda.get_per_process_memory_fraction(device))
