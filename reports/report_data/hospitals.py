"""The hospitals of a page: those that train the networks, and the external ones."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from reports.report_data.headline_rows import EXTERNAL, MISSING, Estimate
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.tables import Tables, records_of, text


@dataclass(frozen=True)  # without slots, which cached properties do not allow
class Hospitals:
    """The hospitals of the page, or of one run of a page whose runs leave out different training hospitals."""

    internal: Hospital  # several training hospitals are one internal hospital
    external: tuple[Hospital, ...]  # with a score, smallest mean gap first
    unscored: tuple[Hospital, ...]  # external, in the cohort table, without a score
    pool: tuple[Hospital, ...]  # the training hospitals if there are several; () for one training hospital
    # whether the runs leave out different hospitals of the pool, which are external to these runs only
    leaves_one_out: bool
    num_external: int  # number of external hospitals of the page, including those without a score
    mean_gap: Estimate  # averaged over recipes and external hospitals
    named: dict[str, Hospital]  # all hospitals that the tables name, by the name of the cohort

    @classmethod
    def of(cls, tables: Tables, scored: Collection[str]) -> Self:
        """Read the hospitals of a page; `scored`: names of the external cohorts that have a score."""
        named, gaps = _named(tables), {row["dataset"]: Estimate.of(row) for row in records_of(tables["mean_gaps"])}
        internal = str(tables.meta.get("source", ""))
        external = [replace(_find(named, key), mean_gap=gaps.get(key, MISSING)) for key in scored]
        external.sort(key=lambda h: (h.mean_gap.value if h.mean_gap.has_value else float("inf"), h.key))
        cohorts = tables["cohorts"]
        listed = {str(key) for key in cohorts["dataset"][cohorts["role"] == "external"]}
        return cls(
            internal=_find(named, internal),
            external=tuple(external),
            unscored=tuple(_find(named, key) for key in sorted(listed - {*scored})),
            pool=tuple(_find(named, key) for key in tables.meta.get("pool") or ()),
            leaves_one_out=bool(tables.meta.get("leave_one_out")),
            num_external=len(listed | {*scored}),
            mean_gap=gaps.get(EXTERNAL, MISSING),
            named=named,
        )

    def of_run(self, run: Run) -> Self:
        """Return the hospitals of one run: internal are those on which it trained, and the others are external."""
        if not (self.leaves_one_out and run.left_out):
            return self
        trained = {hospital.key: hospital for hospital in self.pool if hospital.key != run.left_out}
        title, short = (
            " + ".join(names) for names in zip(*((h.title, h.short) for h in trained.values()), strict=True)
        )
        external = tuple(hospital for hospital in self.external if hospital.key not in trained)
        return replace(self, internal=replace(self.internal, title=title, short=short), external=external)

    @property
    def all(self) -> tuple[Hospital, ...]:
        """The internal hospital, then the external ones."""
        return (self.internal, *self.external)

    @property
    def external_keys(self) -> set[str]:
        """The names of the external cohorts, with or without a score."""
        return {hospital.key for hospital in (*self.external, *self.unscored)}

    @property
    def num(self) -> int:
        """Number of training hospitals and external hospitals."""
        return len({hospital.key for hospital in self.pool or (self.internal,)} | self.external_keys)

    @cached_property
    def children(self) -> list[Hospital]:
        """The external hospitals of children that means over external hospitals leave out, because others have adults."""
        found = [hospital for hospital in self.external if hospital.has_children]
        return found if len(found) < len(self.external) else []

    @cached_property
    def averaged(self) -> list[Hospital]:
        """The external hospitals that means over external hospitals include."""
        return [hospital for hospital in self.external if hospital not in self.children]

    __iter__ = None  # else Python would ask `__getitem__` for 0, 1, 2 without an end

    def __getitem__(self, key: str) -> Hospital:
        """Return the hospital with the cohort name `key`, also if it has no score; its title is `key` if the tables do not name it."""
        return next((hospital for hospital in self.all if hospital.key == key), None) or _find(self.named, key)


def _named(tables: Tables) -> dict[str, Hospital]:
    """Return all hospitals by the names of their cohorts; title and place come from `meta`, else from the cohort table."""
    rows = {str(row["dataset"]): row for row in reversed(records_of(tables["cohorts"]))}
    entries: dict[str, Any] = tables.meta.get("datasets", {})
    named = {}
    for key in {**rows, **entries}:
        row, entry = rows.get(key, {}), entries.get(key, {})
        title, place = (text(entry.get(word)) or text(row.get(word)) for word in ("title", "place"))
        short, approximate = text(entry.get("short")) or title or key, tuple(entry.get("approximate", ()))
        children = entry.get("ages") == "children"
        named[key] = Hospital(key, title or key, short, place, has_children=children, approximate=approximate)
    return named


def _find(named: dict[str, Hospital], key: str) -> Hospital:
    return named.get(key) or Hospital(key, key, key, "")
