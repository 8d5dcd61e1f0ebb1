"""The rules of a board: board.yaml, and the division of a submission. docs/extensions/sharing.md gives the reason for each rule."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from bench.config.registry import Registry
from bench.config.seen import OTHERS, SeenData
from bench.extensions.board.submission import CLOSED, OPEN
from bench.extensions.bundles.recompute import known_entries, starting_weights
from bench.planning.exposure import Exposure
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.run import read_run
from bench.scoring.scored_split import STANDARD, Settings
from bench.store.checked_folders import CheckedFolder
from harmonize.errors import ConfigError
from harmonize.labels.findings import space
from harmonize.yaml_file import read_yaml
from reports import extensions
from reports.schemas.exposure import CORPORA, NO, UNKNOWN

FILE = "board.yaml"
_FIX = "docs/extensions/sharing.md shows a board.yaml"


@dataclass(frozen=True, slots=True)
class Rules:
    """The content of board.yaml: what all submissions of a board share, so that their numbers can be compared."""

    title: str
    internal: str  # training hospital of the closed division, and internal hospital of each bundle
    external: tuple[str, ...]  # hospitals at which each run is tested
    findings: str  # name of the label space
    mapping: str = "default"
    min_count: int = 10
    threshold: str = "f1_max"
    seeds: int = 3  # smallest number of seeds of a trained recipe
    synthetic: bool = False  # whether the images are synthetic
    url: str = ""  # address of the published site, for the feed
    about: str = ""

    @classmethod
    def read(cls, board: Path) -> Self:
        """Read board.yaml in the folder of a board. Raises ConfigError for a missing file, and for a wrong key or value."""
        path = board / FILE
        if not path.is_file():
            raise ConfigError(
                "the folder is no board: it has no board.yaml", str(board), "copy bench/extensions/board/repository"
            )
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise ConfigError("board.yaml is not a list of keys and values", str(path), _FIX)
        ConfigError.known_keys(content, (each.name for each in fields(cls)), str(path))
        for key in ("title", "internal", "external", "findings"):
            if not content.get(key):
                raise ConfigError(f"the key {key!r} is missing", str(path), _FIX)
        for key, value in content.items():
            _check(key, value, str(path))
        return cls(**{**content, "external": tuple(content["external"])})

    def problems(self, manifest: Manifest) -> dict[str, list[str]]:
        """Return {"hospitals", "settings", "seeds": sentences} of what a bundle lacks or has otherwise; empty lists if nothing."""
        return {
            "hospitals": _hospital_problems(self, manifest),
            "settings": _setting_problems(self, manifest),
            "seeds": _seed_problems(self, manifest),
        }


def _check(key: str, value: Any, where: str) -> None:
    """Raise ConfigError if a value of board.yaml has a wrong type."""
    if key == "external":
        valid = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    elif key in ("min_count", "seeds"):
        valid = type(value) is int and value >= 1
    elif key == "synthetic":
        valid = type(value) is bool
    else:
        valid = isinstance(value, str) and len(value) <= 500 and value.isprintable()
    if key == "url" and value:
        valid = valid and value.startswith(("https://", "http://"))
    if not valid:
        raise ConfigError(f"the value of {key!r} is invalid: {str(value)[:60]!r}", where, _FIX)


def _hospital_problems(rules: Rules, manifest: Manifest) -> list[str]:
    names = [cohort.name for cohort in manifest.cohorts]
    out = []
    if names[0] != rules.internal:
        out.append(f"the internal hospital is {names[0]}, the board has {rules.internal}")
    out += [f"no run was tested at {name}" for name in rules.external if name not in names[1:]]
    out += [f"the board does not have the hospital {name}" for name in names[1:] if name not in rules.external]
    return out


def _setting_problems(rules: Rules, manifest: Manifest) -> list[str]:
    most = max((run.config.findings for run in manifest.run_of.values()), key=len)
    named = manifest.counted or (most if set(most) < set(space(manifest.shared.space)) else ())
    stated = {
        "mapping": (manifest.mapping, rules.mapping),
        "reading": (manifest.settings.reading, STANDARD),
        "min_count": (manifest.min_count, rules.min_count),
        "threshold": (manifest.settings.threshold, rules.threshold),
        "bins": (manifest.bins, Settings().bins),
        "findings": (", ".join(named) or manifest.shared.space, rules.findings),
        "synthetic": (manifest.phantom, rules.synthetic),
        "metrics": ([entry.name for entry in manifest.custom_metrics], []),
    }
    return [f"{key} is {ours}, the board has {theirs}" for key, (ours, theirs) in stated.items() if ours != theirs]


def _seed_problems(rules: Rules, manifest: Manifest) -> list[str]:
    """Return a sentence for each trained recipe with too few seeds, and for each registered run that the bundle lacks."""
    # recipe -> seed -> hash of the weights; seeds with equal weights are one run
    weights: dict[str, dict[int, str]] = {}
    for run in manifest.runs:
        flat = {key: value for key, value in run.flat_config.items() if key != "seed"}
        seal = CheckedFolder(manifest.store.run_dir(run.id)).facts()["seal"]
        weights.setdefault(str(sorted(flat.items())), {})[run.config.seed] = seal.get("weights_after", run.id)
    few = sorted({num for found in weights.values() if (num := len({*found.values()})) < rules.seeds})
    out = [f"a recipe has {number} of {rules.seeds} required seeds" for number in few]
    return out + [f"the registered run {run_id} is missing" for run_id in missing_registered(manifest)]


def missing_registered(manifest: Manifest) -> list[str]:
    """Return the ids of runs that the last registration of a bundle names and the bundle does not have."""
    promised = [run_id for part in extensions.modules("bundle_parts") for run_id in part.promised_runs(manifest)]
    return [run_id for run_id in promised if run_id not in manifest.run_of]


def division_of(rules: Rules, manifest: Manifest, registry: Registry) -> tuple[str, list[str]]:
    """Return the division of a bundle, and why it is not closed; [] for the closed division.

    The facts of the runs decide, not the submitter. `registry`: the registry of the board.
    """
    reasons = [f"{run.name} was trained elsewhere" for run in manifest.imported]
    if rules.internal not in (manifest.cohorts[0].layout, manifest.cohorts[0].name):
        reasons.append(f"the training hospital is {manifest.cohorts[0].name}, not {rules.internal}")
    for row in manifest.runs:
        reasons += [f"run {row.id}: {why}" for why in _open_reasons(row, manifest, registry)]
    return (OPEN if reasons else CLOSED), reasons


def _open_reasons(row: PlannedRun, manifest: Manifest, registry: Registry) -> list[str]:
    run = read_run(manifest.store, row.id)
    known = known_entries(run, registry)
    unknown = sorted(set(run.config.named) - set(known))
    out = [f"the registry of the board has another entry or version of its {key}" for key in unknown]
    weights, architecture = row.config.weights, known.get("architecture", run.entries["architecture"])
    own = bool(row.exposure) and not run.sees_external_images
    pretrained = own or not Exposure.saw_no_data(weights, architecture)
    if run.sees_external_images:
        out.append("it predicts a hospital with statistics of this hospital's images")
    if pretrained and row.corpus not in CORPORA:
        out.append(f"its starting weights may have seen radiographs (corpus {row.corpus or 'not stated'})")
    answers = {name: answer["answer"] for name, answer in row.exposure.items()} if own else {}
    start = starting_weights(known)
    if pretrained and start is not None and "seen" in start.facts:  # the bundle may leave it out
        seen = SeenData.parse(start.facts["seen"], registry.path.parent, f"{start.section}.{start.name}: seen")
        answers |= {c.name: seen.get(c.name, seen[OTHERS]).answer for c in manifest.cohorts}
    out += [
        f"its starting weights {'may have' if answer == UNKNOWN else 'had'} seen {name} (answer {answer})"
        for name, answer in answers.items()
        if answer != NO
    ]
    schedule = row.config.schedule
    if {schedule.select_on, schedule.stop_on} != {"val"}:
        out.append("its epoch was not chosen on the split val")
    if row.config.label_source != "default":
        out.append(f"its training labels are from another source ({row.config.label_source})")
    return out
