"""Make the tables of `bench list`. This module does not import torch, so the command is fast."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, metadata

from bench.config.preprocessing_ops import parse
from bench.config.registry import SECTIONS, Entry, Registry
from bench.results.stored_runs import RunSummary
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from reports.formatting import DASH, number

Table = list[list[str]]


def overview(registry: Registry) -> Table:
    """Return one row per registry section: the name of the section and the number of its entries."""
    return [[name, str(len(registry.sections[name]))] for name in SECTIONS]


def entries(registry: Registry, section: str, glob: str) -> list[Entry]:
    """Return the entries of a registry section whose names match the pattern `glob`, such as "resnet*".

    Raises ConfigError if no name matches, because an empty list would hide a typing error.
    """
    matching = [entry for entry in registry.sections[section].values() if fnmatchcase(entry.name, glob)]
    if not matching and glob != "*":
        registry.match(section, glob, "bench list")
        raise ConfigError(f"unknown entry {glob!r} of {section}", "bench list", f"`bench list {section}` shows all")
    return matching


def described(section: str, chosen: Sequence[Entry]) -> Table:
    """Return a header and one row per registry entry. A column in which all entries are empty is left out."""
    columns = [("name", [e.name for e in chosen]), ("title", [e.title if e.title != e.name else "" for e in chosen])]
    if section == "architectures":
        columns += [
            ("million params", [number(e.facts.get("params"), missing="") for e in chosen]),
            ("GMACs at 224", [number(e.facts.get("gmacs"), missing="") for e in chosen]),
            ("min px", [str(e.facts.get("min_px", "")) for e in chosen]),
            ("corpus", [str(e.facts.get("corpus", "")) for e in chosen]),
            ("family", [str(e.facts.get("family", "")) for e in chosen]),
        ]
    columns += [
        ("licence", [_licence(section, e) for e in chosen]),
        ("source", [_source(e) for e in chosen]),
        ("refers to", [_target(e) for e in chosen]),
        ("extension", [e.extension for e in chosen]),
        ("about", [e.about for e in chosen]),
    ]
    return _rows([(word, cells) for word, cells in columns if any(cells)])


def run_table(runs: Sequence[RunSummary], of_grids: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return a header and one row per stored run; a line without remark has about 100 characters at most.

    `of_grids`: name of each grid that was asked for -> run id -> external AUROC; each grid gets a column. Without grids, one
    column has the AUROC, and one the grids of the run. For a trained run, the column "settings" has the settings that vary among the
    runs and differ from their defaults; for a derived run, the runs that it combines. The columns "settings" and "remark" are
    left out if they are empty, and "seed" is left out if all runs have the same seed.
    """
    columns = [
        ("run", [run.run for run in runs]),
        ("state", [run.state for run in runs]),
        ("architecture", [run.architecture if run.kind == "run" else f"{run.kind} {run.architecture}" for run in runs]),
    ]
    if any(run.differences for run in runs):
        columns.append(("settings", [_cut(run.differences or DASH) for run in runs]))
    if len({run.seed for run in runs} - {None}) > 1:
        columns.append(("seed", [number(run.seed, "d") for run in runs]))
    columns += [(f"{name} AUROC", [number(aurocs.get(run.run)) for run in runs]) for name, aurocs in of_grids.items()]
    if not of_grids:
        columns.append(("external AUROC", [number(run.external_auroc) for run in runs]))
        columns.append(("grid", [_grids(run.grids) for run in runs]))
    remarks = [run.remark for run in runs]
    if any(remarks):
        columns.append(("remark", remarks))
    return _rows(columns)


def _cut(settings: str, most: int = 30) -> str:
    """Return the text of settings, cut after `most` characters.

    >>> _cut("optimizer sam, loss focal", 15), _cut("loss bce", 15)
    ('optimizer sam,…', 'loss bce')
    """
    return settings if len(settings) <= most else f"{settings[: most - 1]}…"


def _grids(names: Sequence[str]) -> str:
    """Return the names of the grids of a run, or their number if the names are long."""
    text = ", ".join(names) or DASH
    return f"{len(names)} grids" if len(names) > 1 and len(text) > 20 else text


def _rows(columns: Sequence[tuple[str, Sequence[str]]]) -> Table:
    return [[name for name, _ in columns], *(list(row) for row in zip(*(cells for _, cells in columns), strict=True))]


def _target(entry: Entry) -> str:
    """Return what a registry entry stands for, as text: the name of a timm model, preprocessing steps, or code with options."""
    if entry.use.endswith(":timm_model"):
        return str(entry.options["name"])
    if entry.section == "preprocessing":
        ops = ", ".join(
            f"{name} ({_plain(options)})" if options else name for name, options in parse(entry.facts.get("ops", ()))
        )
        fit = ", ".join(filter(None, (entry.facts.get("fit", "squash"), entry.facts.get("interpolation"))))
        other = "" if "input" in entry.facts else f" (other sizes: {entry.name}_SIZE)"
        return f"{entry.facts.get('size')} px{other}, {fit}: {ops}"
    return f"{entry.use} ({_plain(entry.options)})" if entry.options else entry.use


def _plain(options: Mapping[str, object]) -> str:
    """Return options as text.

    >>> _plain({"lr": 0.1, "nesterov": True})
    'lr 0.1, nesterov True'
    """
    return ", ".join(f"{key} {value}" for key, value in options.items())


def _source(entry: Entry) -> str:
    """Return the publication of a registry entry, else the source of its facts; "this project" for the project's own code, "" if unknown."""
    ours = not entry.extension and (not entry.use or entry.use.startswith(("bench.", "harmonize.")))
    return entry.paper or str(entry.facts.get("source", "")) or ("this project" if ours else "")


def _licence(section: str, entry: Entry) -> str:
    """Return the license of a registry entry as text, "" if unknown.

    For a dataset, this is the license in labels.yaml. For another entry, this is the license that the entry states or, if it
    states none, the license of the Python package with its code.
    """
    if section == "datasets":
        return str(labels_yaml()["datasets"].get(entry.name, {}).get("licence", entry.licence))
    if entry.licence or not (entry.use or entry.facts):
        return entry.licence
    package = entry.use.split(".")[0].partition(":")[0] or "bench"  # an entry without `use` uses code of this project
    if package == "bench":
        return "apache-2.0"
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return ""
    classifiers = [name for name in facts.get_all("Classifier", []) if name.startswith("License :: ")]
    first = "".join(name.rpartition(" :: ")[2] for name in classifiers[:1])
    licence = str(next((facts[key] for key in ("License-Expression", "License") if key in facts), first))
    # some packages state the full text of their license, which is too long for a table
    return licence.lower() if 0 < len(licence) < 25 else f"as {package}"
