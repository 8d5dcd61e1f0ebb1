"""The order of the files of tests, by what their tests cost."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

# mean cost of a test with this mark, divided by that of a test without a mark, in a run of all tests
COSTS = {"grid": 27, "browser": 38, "slow": 11}
File = TypeVar("File", bound=Hashable)


def evenly(costs: Mapping[File, Sequence[float]]) -> list[File]:
    """Return the files in an order in which a part of the tests takes about the same part of the costs; costly files first.

    costs: {file: cost of each of its tests}.
    """
    mean = sum(map(sum, costs.values())) / max(sum(map(len, costs.values())), 1)
    ahead = {
        file: sum(each) - mean * len(each) for file, each in costs.items()
    }  # cost beyond that of as many usual tests
    dense = sorted((file for file in costs if ahead[file] > 0), key=lambda file: -ahead[file])
    light = [file for file in costs if ahead[file] <= 0]
    order: list[File] = []
    balance = 0.0
    while dense or light:
        order.append((dense if dense and (balance <= 0 or not light) else light).pop(0))
        balance += ahead[order[-1]]
    return order
