"""CI measures every benchmark that the document does not leave out with a reason."""

import re
from pathlib import Path

import yaml

from benchmarks.__main__ import listed

ROOT = Path(__file__).parents[3]


def test_ci_measures_every_benchmark_but_those_that_the_document_leaves_out() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    (command,) = (step["run"] for step in workflow["jobs"]["speed"]["steps"] if "--check" in step.get("run", ""))
    in_ci = set(re.findall(r"\b[BG]\d+\b", command))
    document = (ROOT / "docs" / "dev" / "benchmarks.md").read_text()
    table = document.split("| left out | why |", 1)[1].split("\n\n", 1)[0]
    reasons = dict(re.findall(r"^\| ([BG]\d+(?: to [BG]\d+)?) \| (.+) \|$", table, re.MULTILINE))
    left_out = set()
    for names in reasons:
        first, _, last = names.partition(" to ")
        left_out |= {f"{first[0]}{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1)}
    assert not in_ci & left_out
    assert in_ci | left_out == {benchmark.name for benchmark in listed()}
