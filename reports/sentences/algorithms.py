"""Sentences about training algorithms, compared with ERM.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.
"""

from collections.abc import Mapping

from reports.formatting import interval, listing, places, sentence_case, signed
from reports.report_data.headline_rows import Estimate

NAMED = 3  # maximum number of algorithms that a sentence names


def change(changes: Mapping[str, Estimate], where: str) -> str:
    """State which algorithms clearly change the AUROC; without a clear difference, state the largest one.

    `changes`: algorithm -> difference from ERM, at least one. `where`: the hospitals, for the end of the sentence.

    >>> better, worse = Estimate(0.012, 0.003, 0.021), Estimate(-0.03, -0.04, -0.02)
    >>> unclear = Estimate(0.004, -0.003, 0.011)
    >>> change({"GroupDRO": better, "V-REx": unclear}, "at external hospitals")
    'GroupDRO gains .012 [.003, .021] AUROC at external hospitals, compared with ERM'
    >>> change({"GroupDRO": better, "IRM": worse}, "at external hospitals")
    'GroupDRO gains .012 [.003, .021] and IRM loses .030 [.020, .040] AUROC at external hospitals, compared with ERM'
    >>> change(dict.fromkeys("ABC", better) | {"IRM": worse}, "at external hospitals")
    '3 algorithms gain and 1 loses AUROC at external hospitals, compared with ERM'
    >>> change({"V-REx": unclear}, "at external hospitals")
    'V-REx does not differ clearly from ERM at external hospitals: +.004 [−.003, .011]'
    >>> change({"V-REx": unclear, "IRM": Estimate(-0.005, -0.02, 0.01)}, "at external hospitals")
    'No algorithm differs clearly from ERM at external hospitals: the largest difference is −.005 [−.020, .010] (IRM)'
    """
    clear = {name: effect for name, effect in changes.items() if effect.clear}
    if clear:
        clauses = [_clause(*of) for of in clear.items()] if len(clear) <= NAMED else _counts(clear)
        return f"{sentence_case(listing(clauses))} AUROC {where}, compared with ERM"
    name, largest = max(changes.items(), key=lambda item: abs(item[1].value))
    size = f"{signed(largest.value)} {interval(largest.low, largest.high)}".strip()
    if len(changes) == 1:
        return f"{name} does not differ clearly from ERM {where}: {size}"
    return f"No algorithm differs clearly from ERM {where}: the largest difference is {size} ({name})"


def _clause(name: str, effect: Estimate) -> str:
    if effect.value > 0:
        return f"{name} gains {effect.with_interval}"
    return f"{name} loses {places(-effect.value)} {interval(-effect.high, -effect.low)}"


def _counts(clear: Mapping[str, Estimate]) -> list[str]:
    """Return a clause with the number of algorithms above ERM, and a clause with the number below ERM."""
    above = sum(effect.value > 0 for effect in clear.values())
    clauses = [(num, verb) for num, verb in ((above, "gain"), (len(clear) - above, "lose")) if num]
    nouns = [f" algorithm{'' if clauses[0][0] == 1 else 's'}", ""]
    return [f"{num}{noun} {verb}{'s' * (num == 1)}" for (num, verb), noun in zip(clauses, nouns, strict=False)]


def resolution(changes: Mapping[str, Estimate]) -> str:
    """State how large an unclear difference may be, from the intervals that decide; "" if all differences are clear.

    >>> resolution({"V-REx": Estimate(0.004, -0.003, 0.011), "IRM": Estimate(-0.005, -0.02, 0.01)})
    'The intervals of unclear differences reach from −.020 to +.011; the data do not exclude true differences of this size'
    >>> resolution({"V-REx": Estimate(0.012, 0.003, 0.021)})
    ''
    """
    bounds = [
        bound for effect in changes.values() if not effect.clear and effect.has_interval for bound in effect.bounds
    ]
    if not bounds:
        return ""
    return (
        f"The intervals of unclear differences reach from {signed(min(bounds))} to {signed(max(bounds))}; "
        "the data do not exclude true differences of this size"
    )
