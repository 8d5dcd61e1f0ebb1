"""The type of functions that show the progress of long work."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # arguments: name of the step, number of units done, total number of units
