"""Write BibTeX entries for the software and a leaderboard, and web addresses of publications."""

import json
from collections.abc import Mapping
from typing import Any

from reports.report_data.hospitals_and_runs import Run

TITLE = "Unseen: how chest X-ray networks do in hospitals they have never seen"  # as in CITATION.cff
AUTHORS = "Unseen developers"
_MARKS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_PREFIXES = {"arXiv:": "https://arxiv.org/abs/", "doi:": "https://doi.org/"}


def bibtex(meta: Mapping[str, Any], commits: list[str], internal: str) -> str:
    """Return two BibTeX entries as text: the software, and this leaderboard.

    `meta`: metadata of the tables. `commits`: commits of the code. `internal`: name of the internal hospital. The date is the
    day on which the last scored run was finished. Missing facts are left out.
    """
    software = meta.get("software") or {}
    version = software.get("version", "")
    date = str(meta.get("date", ""))
    name = str(meta.get("grid", ""))
    notes = [f"trained on {internal}"]
    if meta.get("phantom"):
        notes.append("synthetic images")
    if date:
        notes.append(f"last run {date}")
    leaderboard = {
        "title": f"{meta.get('title') or name}: leaderboard of the grid {name}",
        "year": date[:4],
        "note": ", ".join(notes),
        "howpublished": ", ".join(
            part for part in (f"Unseen {version}".strip(), *(f"commit {commit}" for commit in commits)) if part
        ),
    }
    unseen = {"author": AUTHORS, "title": TITLE, "version": version, "url": software.get("repository", "")}
    return "\n\n".join((entry("software", "unseen", unseen), entry("misc", "unseen-leaderboard", leaderboard)))


def address(source: str) -> str:
    """Return the web address of a publication; "" if `source` is neither a web address nor an arXiv or DOI identifier.

    >>> address("arXiv:1608.06993"), address("https://example.org/a"), address("this project")
    ('https://arxiv.org/abs/1608.06993', 'https://example.org/a', '')
    """
    for prefix, start in _PREFIXES.items():
        if source.startswith(prefix):
            return start + source.removeprefix(prefix).strip()
    return source if source.startswith("https://") else ""


def publications(run: Run, links: Mapping[str, Any], key: str) -> list[tuple[str, str, str]]:
    """Return the publications of a registry entry that a run uses, as (kind, source, web address).

    links: the entry `links` of `meta`: configuration key -> registry entry -> {kind of publication: source}. key: configuration
    key, or "" for the source that the owner of an imported model states.
    """
    value = run.facts.get(key)
    stated = links.get(key, {}).get(value if isinstance(value, str) else "", {})
    if run.is_imported:
        source = json.loads(str(run.facts.get("config") or "{}")).get("source") if not key else ""
        stated = {"source": source} if source else {}
    pretrained = run.facts.get("weights") == "imagenet"
    kinds = {"weights": "starting weights"}
    shown = [(kind, source) for kind, source in stated.items() if kind != "weights" or pretrained]
    return [(kinds.get(kind, kind), source, address(source)) for kind, source in shown]


def entry(kind: str, key: str, fields: dict[str, str]) -> str:
    """Return a BibTeX entry as text. Fields without a value are left out; the characters of LaTeX are escaped, except in the field `url`."""
    lines = [f'  {name} = "{{{value if name == "url" else _tex(value)}}}",' for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _tex(text: str) -> str:
    """Escape the characters that have a meaning in LaTeX."""
    return "".join(_MARKS.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
