"""The limits in SECURITY.md are those of the code."""

import re
from importlib import import_module
from pathlib import Path

from harmonize.images import limits as image_limits

ROOT = Path(__file__).parents[2]
LISTED = {
    name: int(number.replace(",", ""))
    for number, name in re.findall(r"\| ([\d,]+) \| `([\w.]+\.[A-Z_]+)` \|", (ROOT / "SECURITY.md").read_text("utf-8"))
}


def test_the_numbers_in_the_table_are_the_constants() -> None:
    places = {name: name.rpartition(".") for name in LISTED}
    assert {name: getattr(import_module(module), key) for name, (module, _, key) in places.items()} == LISTED


def test_the_table_lists_all_limits_of_images() -> None:
    constants = {f"{image_limits.__name__}.{key}" for key in vars(image_limits) if key.isupper()}
    assert constants <= LISTED.keys()
