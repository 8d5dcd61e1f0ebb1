"""Write or check a table with values of an independent package: inputs and results, as JSON in tests/oracles.

Each script in this folder imports one such package, in an environment of its own (`tox -e oracles`). The package is
never a dependency of this project: the tests compare with the committed table. A script calls `main(name, table)`.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "tests" / "oracles"
TOLERANCE = 1e-9  # absolute and relative


def main(name: str, table: dict[str, Any], tolerance: float = TOLERANCE) -> None:
    """Write the table to tests/oracles/NAME.json; with --check, compare it with this file and exit with 1 if it differs."""
    path = FOLDER / f"{name}.json"
    if "--check" not in sys.argv[1:]:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(table, indent=None, separators=(",", ":")) + "\n")
        print(f"{path}: written")
        return
    differences = list(_differences(json.loads(path.read_text()), json.loads(json.dumps(table)), name, tolerance))
    print("\n".join(differences[:20]) or f"{path}: equal")
    if differences:
        sys.exit(1)


def _differences(stored: Any, found: Any, where: str, tolerance: float) -> list[str]:
    """Return one line for each value that differs by more than the tolerance; `where` names the place in the table."""
    if isinstance(stored, dict) and isinstance(found, dict) and stored.keys() == found.keys():
        return [line for key in stored for line in _differences(stored[key], found[key], f"{where}.{key}", tolerance)]
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        pairs = enumerate(zip(stored, found, strict=True))
        return [line for i, (old, new) in pairs for line in _differences(old, new, f"{where}[{i}]", tolerance)]
    numbers = [isinstance(value, int | float) for value in (stored, found)]
    equal = math.isclose(stored, found, rel_tol=tolerance, abs_tol=tolerance) if all(numbers) else stored == found
    return [] if equal else [f"{where}: {stored} in the file, {found} now"]
