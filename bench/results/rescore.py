"""Score a finished grid with other settings, from the store alone, under a new name.

Nothing is trained or predicted again, and the run ids stay the same. A user can change the label mapping, the findings,
the threshold rule, the metrics, and min_count (the minimum number of patients per class).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config.grid_file import check_name, shipped_grids
from bench.config.registry import Registry
from bench.planning.manifest import Manifest, read_manifest
from bench.scoring.thresholds import RULES
from harmonize.cohorts import label_mapping
from harmonize.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """The settings to change; None or empty keeps the setting of the grid."""

    mapping: str | None = None
    findings: tuple[str, ...] = ()
    min_count: int | None = None
    threshold: str | None = None
    registry: Path | None = None  # registry file whose metrics are scored

    @property
    def empty(self) -> bool:
        """Return whether no setting changes."""
        return self == ScoreChange()


def rescored(manifest: Manifest, name: str, change: ScoreChange, command: str) -> Manifest:
    """Write a manifest with the same runs and changed settings under another name; return the new manifest.

    A second call with the same change and name adds the runs that have finished since the first call. Raises
    ConfigError for an unknown value. Also raises ConfigError if `name` is an invalid folder name, the name of a grid of
    `bench run`, or the name of scores with other settings.
    """
    path = _path(manifest, name, change)
    findings = {finding for run in manifest.runs or manifest.imported for finding in run.config.findings}
    for finding in change.findings:
        _check(finding, sorted(findings), "--findings", "finding of this grid")
    again, changes = manifest, []
    if change.mapping is not None:
        _check(change.mapping, label_mapping.MAPPINGS, "--mapping", "mapping")
        again = replace(again, mapping=change.mapping)
        changes.append(f"labels read as {change.mapping}")
    if change.findings:
        again = replace(again, counted=tuple(dict.fromkeys(change.findings)))
        changes.append(f"{len(again.counted)} of {len(findings)} findings")
    if change.min_count is not None:
        if change.min_count < 1:
            raise ConfigError(f"--min-count is {change.min_count}", "--min-count", "give a number of patients from 1")
        again = replace(again, min_count=change.min_count)
        changes.append(f"numbers from {change.min_count} patients on")
    if change.threshold is not None:
        _check(change.threshold, list(RULES), "--threshold", "threshold rule")
        again = replace(again, threshold=change.threshold)
        changes.append(f"calls at {change.threshold}")
    if change.registry is not None:
        registry = Registry.read(change.registry)
        for entry in (*registry.custom_metrics, *registry.estimators):
            entry.check()  # before the manifest is written, so that a wrong name leaves nothing behind
        entries = registry.sections["metrics"].values()
        bins = next((int(e.options.get("bins", 15)) for e in entries if e.name == "ece"), again.bins)
        again = replace(again, custom_metrics=registry.custom_metrics, estimators=registry.estimators, bins=bins)
        changes.append("metrics of another registry")
    how = ", ".join(changes)
    again = replace(
        again,
        name=name,
        title=f"{manifest.title}: {how}",
        scored_from=manifest.scored_from or manifest.name,
        scored_by=command,
        scored_how=how,
    )
    _check_same_way(path, again)
    again.write()
    return again


def _path(manifest: Manifest, name: str, change: ScoreChange) -> Path:
    """Return the path of the manifest with the new settings.

    Raises ConfigError if the name is invalid or belongs to a grid of `bench run`, and if no setting changes.
    """
    check_name(name, "--as")
    path = manifest.store.root / "grids" / f"{name}.json"
    if change.empty:
        fix = "change a setting: --mapping, --findings, --min-count, --threshold or --registry"
        raise ConfigError(f"the scores of {name!r} would equal those of the grid", "--as", fix)
    taken = path.is_file() and not read_manifest(manifest.store, name).scored_from
    # A later `bench run` of a shipped grid would overwrite a manifest of the same name.
    if taken or name in shipped_grids():
        raise ConfigError(f"{name!r} is the name of a grid", "--as", "choose a name that no grid has")
    return path


def _check_same_way(path: Path, again: Manifest) -> None:
    """Raise ConfigError if `path` has a manifest with other settings than `again`: its scores would be overwritten."""
    if path.is_file():
        before = read_manifest(again.store, path.stem)
        if any(getattr(before, key) != getattr(again, key) for key in _SETTINGS):
            what = f"{path.stem!r} has other scores already: those of {before.scored_from}, {before.scored_how}"
            raise ConfigError(what, "--as", f"choose another name, or delete {path} to reuse this name")


_SETTINGS = ("scored_from", "mapping", "counted", "min_count", "threshold", "custom_metrics", "estimators", "bins")


def _check(value: str, choices: Sequence[str], where: str, what: str) -> None:
    """Raise ConfigError with a suggestion unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"no {what} {value!r}", where, ConfigError.suggestion(value, choices))
