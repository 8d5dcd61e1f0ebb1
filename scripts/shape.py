"""Print the size and shape of the project beside their limits; exit with 1 if a number is above its limit.

    python scripts/shape.py
    python scripts/shape.py --root OTHER_CHECKOUT

Only the standard library is used. Lines are all lines of Python files. A limit is raised only with a sentence that says why.
"""

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from call_journey import PACKAGES, follow, read_modules

EXTENSIONS = "bench/extensions/"
# one module turns the manifest into JSON and back; others read records
MANIFEST = "bench/planning/planned_grid.py"
READ_BY_KEY = re.compile(r"\b(?:run|cohort)\[\"|\bmanifest\.content\[")
# Function: most stops, files and climbs. 280, 100 and 20 were wanted for `run`, 300, 110 and 30 for `evaluate`, 200, 80 and 25 for
# `estimate`. A journey counts each public function that any path can reach, so a third fewer stops would need longer functions, or
# fewer checks before torch is imported; neither reads better.
JOURNEYS = {
    "bench.cli.main.run": (377, 131, 40),
    "bench.extensions.imported.commands.evaluate": (452, 154, 84),
    "bench.extensions.estimates.commands.estimate": (331, 116, 61),
}
# both as wanted
CORE_LINES, CORE_FILES = 62_000, 430
# Wanted: 20,500. Features that left the core (prompts, vectors, symptoms, reproduction, clusters, heat maps, label efficiency,
# label policies) are 6,200 lines. Calibration, new hospitals, downloads, readings of labels, single readers, groups of people
# and masks of lungs and heart are younger than the limit: 4,200 lines.
EXTENSION_LINES = 32_850
# Wanted: 800. Most of the others name a paragraph of a longer function, whose caller would not read better with the paragraph in it.
CALLED_ONCE = 1_215


class Measure(NamedTuple):
    """A number of the project with its limit."""

    name: str
    value: int
    limit: int


def measures(root: Path) -> Iterator[Measure]:
    """Yield all numbers of a checkout."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    sources = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    core = {path: text for path, text in sources.items() if not path.startswith(EXTENSIONS)}
    of_core = sum(text.count("\n") for text in core.values())
    yield Measure("lines of the core", of_core, CORE_LINES)
    yield Measure("files of the core", len(core), CORE_FILES)
    yield Measure(
        "lines of the extensions", sum(text.count("\n") for text in sources.values()) - of_core, EXTENSION_LINES
    )
    by_key = sum(len(READ_BY_KEY.findall(text)) for path, text in sources.items() if path != MANIFEST)
    yield Measure("reads of the manifest by key", by_key, 0)
    yield Measure("files of bench/results", sum(path.startswith("bench/results/") for path in sources), 16)
    yield Measure("public classes with the name of another", repeated_classes(sources), 0)
    yield Measure("private functions that are called once", called_once(sources), CALLED_ONCE)
    modules = read_modules(root)
    for start, limits in JOURNEYS.items():
        journey = follow(modules, start)
        found = (len(journey.stops), journey.files, journey.climbs)
        for what, value, limit in zip(("stops", "files", "climbs"), found, limits, strict=True):
            yield Measure(f"{what} of {start}", value, limit)
    yield from _documents(root)


def repeated_classes(sources: dict[str, str]) -> int:
    """Return the number of public classes whose name another public class has."""
    names = Counter(
        node.name
        for text in sources.values()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return sum(count for count in names.values() if count > 1)


def called_once(sources: dict[str, str]) -> int:
    """Return the number of private functions and methods that their module names once."""
    total = 0
    for text in sources.values():
        tree = ast.parse(text)
        named = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        named += Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        functions = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        total += sum(named[name] == 1 for name in functions if name.startswith("_") and not name.startswith("__"))
    return total


def _documents(root: Path) -> Iterator[Measure]:
    pages = [path for path in (root / "docs").rglob("*.md") if root / "docs" / "dev" not in path.parents]
    # 22 were wanted; the last one is the page of the live leaderboards
    yield Measure("pages of documents", len(pages), 23)
    yield Measure("words of documents", sum(map(_words, pages)), 40_000)
    yield Measure("words of README.md", _words(root / "README.md"), 900)
    yield Measure("words of CONTRIBUTING.md", _words(root / "CONTRIBUTING.md"), 1_200)
    yield Measure("words of SECURITY.md", _words(root / "SECURITY.md"), 1_200)


def _words(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").split())


def main() -> None:
    """Print a row for each number."""
    parser = argparse.ArgumentParser(description="Print the size and shape of the project beside their limits.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to read")
    found = list(measures(parser.parse_args().root))
    for name, value, limit in found:
        print(f"{name:<60}{value:>8,}  of{limit:>8,}{'' if value <= limit else '  too many'}")
    sys.exit(any(value > limit for _, value, limit in found))


if __name__ == "__main__":
    main()
