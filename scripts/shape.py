"""Print the size of the project beside its limits; exit with 1 if a number is above its limit.

    python scripts/shape.py
    python scripts/shape.py --root OTHER_CHECKOUT

Only the standard library is used. Lines are all lines of Python files; words are those of all Markdown files, for information. A
limit is a ratchet: lower it after each deletion, and raise it only with a sentence that says why.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PRODUCT, CHECKS = ("bench", "reports", "harmonize"), ("tests", "benchmarks", "scripts")
EXTENSIONS = "bench/extensions/"
ASKED = re.compile(r"extensions\.modules\(hooks\.(\w+)")
# wanted: 60,000 lines, .75 and 12 hooks
PRODUCT_LINES, LINES_OF_CHECKS, HOOKS = 75_800, 0.85, 12


class Measure(NamedTuple):
    """A number of the project; limit: None if the number has none."""

    name: str
    value: float
    limit: float | None = None


def measures(root: Path) -> Iterator[Measure]:
    """Yield all numbers of a checkout."""
    paths = [path for name in (*PRODUCT, *CHECKS) for path in sorted((root / name).rglob("*.py"))]
    paths += [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "benchmarks").rglob("*.md")]
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    product, checks = (
        {name: text for name, text in texts.items() if name.endswith(".py") and name.split("/")[0] in folders}
        for folders in (PRODUCT, CHECKS)
    )
    lines, of_extensions = _lines(product.values()), _lines(t for n, t in product.items() if n.startswith(EXTENSIONS))
    yield Measure("lines of the core", lines - of_extensions)
    yield Measure("lines of the extensions", of_extensions)
    yield Measure("lines of the product", lines, PRODUCT_LINES)
    yield Measure(
        "lines of tests, benchmarks and scripts per line of it", _lines(checks.values()) / lines, LINES_OF_CHECKS
    )
    yield Measure("hooks of extensions", len(set(hooks(product.values()))), HOOKS)
    yield Measure("words of documents", sum(len(text.split()) for name, text in texts.items() if name.endswith(".md")))


def hooks(sources: Iterable[str]) -> Iterator[str]:
    """Yield the names of the hooks for which a source asks all extensions: `extensions.modules(hooks.Scores)`."""
    for text in sources:
        yield from ASKED.findall(text)


def _lines(sources: Iterable[str]) -> int:
    return sum(text.count("\n") for text in sources)


def main() -> None:
    """Print a row for each number."""
    parser = argparse.ArgumentParser(description="Print the size of the project beside its limits.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to read")
    found = list(measures(parser.parse_args().root))
    for name, value, limit in found:
        beside = "" if limit is None else f"  of {limit:,}{'' if value <= limit else '  too many'}"
        print(f"{name:<60}{round(value, 2):>8,}{beside}")
    sys.exit(any(limit is not None and value > limit for _, value, limit in found))


if __name__ == "__main__":
    main()
