"""Batches of cached images on the device, without worker processes. Legend: N images, H height, W width."""

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
COPIED = 1 << 26  # bytes of images that are on their way to the device at a time: 655 images of 320 px
DEPTH = 2  # batches that are read ahead: one on its way while the one before waits


class Feed:
    """Gives batches of cached images as uint8 tensors [N, H, W] on the device; the same bits, however they come there.

    The whole cache lies on the GPU when it takes at most half of the memory that is free there. Else, and on a CPU when
    images are packed or more than half of the free memory, so that reading means work or the disk, a thread reads ahead
    what `ahead` announces, and copies it from pinned memory on a stream of its own.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images, self.device = images, device
        self.resident: Tensor | None = None
        self.coming: _Ahead | None = None
        if device.type == "cuda" and images.nbytes < free_memory(device) / 2:
            self.resident = resident(images, device)
        on_gpu = device.type == "cuda"
        quick = isinstance(images, np.ndarray) and images.nbytes < psutil.virtual_memory().available / 2
        self.slow = self.resident is None and (on_gpu or not quick)
        self.side: Any = torch.cuda.Stream(device) if on_gpu and self.slow else None  # type: ignore[no-untyped-call]

    def __call__(self, rows: Rows) -> Tensor:
        """Return the images at `rows`: read ahead when they are the ones announced next, else read now."""
        if self.resident is not None:
            return self.resident[to_device(torch.from_numpy(rows), self.device)]
        batch, copied = (self.coming and self.coming.take(rows)) or self._read(rows)
        if copied is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(copied)
            batch.record_stream(now)
        return batch

    @contextmanager
    def ahead(self, batches: Iterable[Rows]) -> Iterator[None]:
        """Read these batches ahead, in their order, while the block runs; nothing where reading is quick."""
        if not self.slow:
            yield
            return
        with ThreadPoolExecutor(1, "read ahead") as thread:
            self.coming = _Ahead(thread, self._read, batches)
            try:
                yield
            finally:
                thread.shutdown(cancel_futures=True)
                self.coming = None

    def _read(self, rows: Rows) -> tuple[Tensor, Any]:
        """Return the images at `rows`, and the event of their copy where it may still be under way."""
        batch = torch.from_numpy(self.images[rows])
        if self.side is None:
            return to_device(batch, self.device), None
        with torch.cuda.stream(self.side):
            copy = to_device(batch, self.device)
            return copy, self.side.record_event()


class _Ahead:
    """The batches that a thread is reading. It hands them out in their order."""

    def __init__(
        self, thread: ThreadPoolExecutor, read: Callable[[Rows], tuple[Tensor, Any]], batches: Iterable[Rows]
    ) -> None:
        self.thread, self.read, self.left = thread, read, iter(batches)
        self.asked: deque[tuple[Rows, Future[tuple[Tensor, Any]]]] = deque()
        for _ in range(DEPTH):
            self._ask()

    def _ask(self) -> None:
        if (rows := next(self.left, None)) is not None:
            self.asked.append((rows, self.thread.submit(self.read, rows)))

    def take(self, rows: Rows) -> tuple[Tensor, Any] | None:
        """Return the next batch when it is the one of `rows`, and begin to read another; None when it is not."""
        if not self.asked or not np.array_equal(self.asked[0][0], rows):
            return None
        _, future = self.asked.popleft()
        self._ask()
        return future.result()


def resident(images: Images, device: torch.device, most: int = COPIED) -> Tensor:
    """Return all images as one tensor [N, H, W] on the device; the host holds `most` bytes of them, at least one image."""
    num, height, width = images.shape
    there = torch.empty((num, height, width), dtype=torch.uint8, device=device)
    at_a_time = max(1, most // (height * width))
    for start in range(0, num, at_a_time):
        rows = np.arange(start, min(start + at_a_time, num))  # a slice of a map would be no copy, and read-only
        there[start : start + len(rows)] = torch.from_numpy(images[rows])
    return there


def free_memory(device: torch.device) -> float:
    """Return the bytes of a GPU that this process may still take, where several share it."""
    free, total = torch.cuda.mem_get_info(device)
    return min(free, total * torch.cuda.get_per_process_memory_fraction(device))
