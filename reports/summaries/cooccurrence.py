"""Summarize the co-occurrence of findings: odds ratios at each hospital, and changes from the internal hospital."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from harmonize.labels.findings import SUMMARIES
from reports.formatting import Z, listing, two_figures
from reports.report_data.report_data import ReportData

SHOWN = 8  # number of pairs in the figure: the strongest at the internal hospital; a folded table has the others
LEAST = 5  # minimum of each of the four numbers of images (see `Odds`) for an odds ratio


@dataclass(frozen=True, slots=True)
class Odds:
    """The odds ratio of two findings in one cohort; 1 means that the findings are independent.

    The fields are the numbers of images with both findings, with only the first, with only the second, and with neither.
    """

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def has_value(self) -> bool:
        """Return whether each of the four numbers of images is at least LEAST."""
        return min(self.both, self.first_only, self.second_only, self.neither) >= LEAST

    @property
    def log(self) -> float:
        """The logarithm of the odds ratio, NaN if unknown."""
        return math.log(self.both * self.neither / (self.first_only * self.second_only)) if self.has_value else math.nan

    @property
    def error(self) -> float:
        """The standard error of the logarithm over images (Woolf 1955), NaN if unknown."""
        cells = (self.both, self.first_only, self.second_only, self.neither)
        return math.sqrt(sum(1 / n for n in cells)) if self.has_value else math.nan

    @property
    def text(self) -> str:
        """The odds ratio as text for the page, "" if unknown."""
        return two_figures(math.exp(self.log)) if self.has_value else ""

    @property
    def span(self) -> str:
        """The 95 % interval of the odds ratio as text for the page, "" if unknown."""
        ends = [math.exp(self.log + side * Z * self.error) for side in (-1, 1)] if self.has_value else []
        return "–".join(two_figures(end) for end in ends)

    @property
    def clear(self) -> bool:
        """Return whether the 95 % interval of the odds ratio excludes 1."""
        return self.has_value and abs(self.log) > Z * self.error

    @property
    def step(self) -> int:
        """The color step, 0 (odds ratio below 1.4, or unknown) to 7 (odds ratio above 11.3); a step is a factor of 1.4."""
        return max(0, min(7, math.floor(self.log / math.log(2) * 2))) if self.has_value else 0


def come_together(data: ReportData) -> dict[str, Any]:
    """Return the title, and a row (names, odds ratio at each hospital) for each pair of findings; {} without odds ratios."""
    odds_of_pair: dict[tuple[str, str], dict[str, Odds]] = {}
    for row in data.tables["cooccurrence"].to_dict("records"):
        pair = (str(row["finding"]), str(row["other"]))
        if not {*pair} & {*SUMMARIES}:  # these depend on other findings by definition
            odds = Odds(*(int(row[c]) for c in ("both", "first_only", "second_only", "neither")))
            odds_of_pair.setdefault(pair, {})[str(row["dataset"])] = odds
    odds_of_pair = {
        pair: cells for pair, cells in odds_of_pair.items() if any(odds.has_value for odds in cells.values())
    }
    if not odds_of_pair:
        return {}
    internal = data.internal.key

    def first(pair: tuple[str, str]) -> tuple[float, tuple[str, str]]:
        at_internal = odds_of_pair[pair].get(internal)
        return (-at_internal.log if at_internal is not None and at_internal.has_value else math.inf, pair)

    order = sorted(odds_of_pair, key=first)
    rows = [(" and ".join(pair), [odds_of_pair[pair].get(h.key) for h in data.all_hospitals]) for pair in order]
    return {
        "title": answer(
            data.internal.short,
            [
                (" and ".join(pair), odds_of_pair[pair][internal], h.short, odds_of_pair[pair][h.key])
                for pair in order
                for h in data.hospitals
                if internal in odds_of_pair[pair] and h.key in odds_of_pair[pair]
            ],
        ),
        "rows": rows[:SHOWN],
        "more": rows[SHOWN:],
    }


def answer(internal: str, compared: Sequence[tuple[str, Odds, str, Odds]]) -> str:
    """Return the sentence on pairs of findings whose odds ratio is clearly different at an external hospital.

    `compared`: (names of the pair, internal odds, external hospital, external odds). The sentence names the pair with the
    largest change. A difference is clear if its interval, with Bonferroni correction for all comparisons,
    excludes 0.
    """
    usable = [row for row in compared if row[1].has_value and row[3].has_value]
    if not usable:
        return "The co-occurrence of findings cannot be compared between hospitals"
    limit = NormalDist().inv_cdf(1 - 0.025 / len(usable))
    clear = [
        (pair, internal_odds, title, external_odds)
        for pair, internal_odds, title, external_odds in usable
        if abs(internal_odds.log - external_odds.log) > limit * math.hypot(internal_odds.error, external_odds.error)
    ]
    if not clear:
        return f"The data do not show a change in co-occurrence of findings between {internal} and external hospitals"
    pair, internal_odds, title, external_odds = max(
        clear, key=lambda row: (abs(row[1].log - row[3].log), row[0], row[2])
    )
    sentence = f"{pair} co-occur differently at {title} than at {internal}: odds ratio {external_odds.text} and {internal_odds.text}"
    return sentence + _others({name for name, *_ in clear} - {pair})


def _others(pairs: Iterable[str]) -> str:
    names = sorted(pairs)
    return f"; at some hospital, also {listing(names, 2)}" if names else ""
