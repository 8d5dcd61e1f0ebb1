"""Memory for the bootstrap replicates of many runs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class ReplicateRows(Mapping[str, Mapping[str, NDArray[Any]]]):
    """The replicates of many runs: run id -> name of a score -> its replicates [B].

    The replicates are rows of a few large arrays in Arrow's memory, which returns to the operating system when the arrays
    are deleted. The memory of 80,000 small arrays would stay with the process. num_runs: the largest number of runs.
    """

    def __init__(self, num_runs: int) -> None:
        self._num_runs = num_runs
        self._arrays: dict[tuple[object, ...], NDArray[Any]] = {}
        self._rows: dict[str, dict[str, NDArray[Any]]] = {}

    def add(self, run_id: str, replicates: Mapping[str, NDArray[Any]]) -> None:
        """Copy the replicates of one more run."""
        number, rows = len(self._rows), dict[str, NDArray[Any]]()
        for name, values in replicates.items():
            key = (name, values.shape, values.dtype)
            if key not in self._arrays:
                memory = pa.allocate_buffer(self._num_runs * values.nbytes)
                self._arrays[key] = np.frombuffer(memory, values.dtype).reshape(self._num_runs, *values.shape)
            self._arrays[key][number] = values
            rows[name] = self._arrays[key][number]
        self._rows[run_id] = rows

    def __getitem__(self, run_id: str) -> Mapping[str, NDArray[Any]]:
        return self._rows[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
