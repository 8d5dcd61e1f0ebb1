"""Compare parameters and multiply-accumulates of architectures with the numbers in the registry.

Some networks are trained in one form and deployed in another form with fewer operations. Both forms are counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.config.registry import Entry
from bench.models.cost import Cost
from bench.models.network import build
from harmonize.errors import CxrError

OUTPUTS, SIZE = 9, 224  # all numbers in the registry are for nine findings and images of 3 x 224 x 224
PARAMS_TOLERANCE, GMACS_TOLERANCE = 1e-3, 1e-2


@dataclass(frozen=True, slots=True)
class Figures:
    """Measured size of one architecture: millions of parameters, and billions of multiply-accumulates (GMACs).

    The `deployed_` numbers are those of the deployed form. All numbers are 0 if the architecture cannot be built;
    `problem` is then the error.
    """

    entry: Entry
    params: float = 0.0
    gmacs: float = 0.0
    deployed_params: float = 0.0
    deployed_gmacs: float = 0.0
    problem: str = ""

    @property
    def verdict(self) -> str:
        """Return `ok`, `not stated` (the registry has no numbers), or the numbers that differ."""
        if self.problem:
            return self.problem
        stated = [
            (word, self.entry.facts[key], measured, tolerance)
            for word, key, measured, tolerance in (
                ("params", "params", self.params, PARAMS_TOLERANCE),
                ("GMACs", "gmacs", self.gmacs, GMACS_TOLERANCE),
            )
            if key in self.entry.facts
        ]
        wrong = [
            f"{word} stated {figure}"
            for word, figure, measured, tolerance in stated
            if abs(measured - figure) > tolerance * abs(figure)
        ]
        return ", ".join(wrong) or ("ok" if stated else "not stated")

    @property
    def deviates(self) -> bool:
        """Return whether the architecture cannot be built or differs from the registry."""
        return self.verdict not in {"ok", "not stated"}

    def row(self) -> list[str]:
        """Return the table row with the columns of HEADER.

        The numbers of the deployed form are "" if they equal those of the trained form.
        """
        numbers = (self.params, self.gmacs, self.deployed_params, self.deployed_gmacs)
        shown = ["" if self.problem else f"{number:.3f}" for number in numbers]
        if shown[:2] == shown[2:]:
            shown[2:] = ["", ""]
        return [self.entry.name, *shown, self.verdict]


HEADER = ["name", "million params", "GMACs at 224", "params deployed", "GMACs deployed", "verdict"]


def measure(entry: Entry) -> Figures:
    """Return the size of an architecture with random weights; a failure is reported in `problem`, not raised."""
    try:
        network = build(entry.use, entry.options, OUTPUTS)
        plain = network.deployed()
        trained = Cost.of(network, SIZE)
        in_use = trained if plain is network else Cost.of(plain, SIZE)
    except (CxrError, RuntimeError, AssertionError, TypeError, ValueError) as error:
        return Figures(entry, problem=" ".join(str(error).split())[:200])
    return Figures(entry, trained.params / 1e6, trained.macs / 1e9, in_use.params / 1e6, in_use.macs / 1e9)


def check(entries: Sequence[Entry], progress: Callable[[str, int, int], None]) -> list[Figures]:
    """Return the measured size of each architecture, in the order of `entries`."""
    figures = []
    for done, entry in enumerate(entries):
        progress(f"count {entry.name}", done, len(entries))
        figures.append(measure(entry))
    progress("count", len(entries), len(entries))
    return figures
