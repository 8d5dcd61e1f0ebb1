"""Hypotheses of a registration: what can be registered, and what is refused with its reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.extensions.registration.hypotheses import read_hypotheses
from bench.planning.manifest import Manifest, read_manifest
from bench.store.store import Store
from harmonize.errors import ConfigError

pytestmark = pytest.mark.grid


@pytest.fixture(scope="module")
def four(finished: Path) -> Manifest:
    """The manifest of a grid of four recipes: two architectures, two losses; the runs are planned, not trained."""
    manifest = read_manifest(Store.open(finished / "runs"), "tiny")
    first = manifest.runs[0]
    runs = []
    for architecture in ("seresnet_tiny", "resnet10"):
        for loss in ("bce", "focal"):
            config = replace(first.config, architecture=architecture, loss=loss)
            titles = {**first.titles, "architecture": architecture.upper(), "loss": loss.upper()}
            runs.append(replace(first, id=f"{len(runs):012d}", config=config, titles=titles))
    return replace(manifest, runs=tuple(runs))


def question(tmp_path: Path, manifest: Manifest, check: str) -> dict[str, Any]:
    (tmp_path / "h.yaml").write_text(f"- {{name: a, statement: words, check: {check}}}\n")
    return read_hypotheses(tmp_path / "h.yaml", manifest)[0]["question"]


def test_recipes_are_named_by_the_settings_in_which_they_differ(tmp_path: Path, four: Manifest) -> None:
    sides = "higher: {architecture: resnet10, loss: focal}, lower: {architecture: SERESNET_TINY, loss: bce}"
    found = question(tmp_path, four, f"{{metric: auroc, at: nih, {sides}}}")
    assert found == {"metric": "auroc", "at": "nih", "finding": "macro", "kind": "pair", "higher": ["0" * 11 + "3"], "lower": ["0" * 12]}  # fmt: skip


def test_two_values_of_a_setting_are_compared_over_all_pairs(tmp_path: Path, four: Manifest) -> None:
    found = question(tmp_path, four, "{metric: gap, higher: focal, lower: bce}")
    assert (found["kind"], found["factor"], found["higher"], found["lower"]) == ("factor", "loss", "FOCAL", "BCE")


def test_a_gap_is_compared_with_0(tmp_path: Path, four: Manifest) -> None:
    assert question(tmp_path, four, "{metric: gap, below: 0}")["kind"] == "gap"
    one = "{metric: gap, finding: Edema, of: {architecture: resnet10, loss: bce}, above: 0}"
    assert question(tmp_path, four, one)["runs"] == ["0" * 11 + "2"]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("{}", "expected a block"),
        ("[1]", "expected a block"),
        ("{metric: auroc}", "compares nothing"),
        ("{metric: auroc, higher: resnet10}", "compares nothing"),
        ("{metric: gap, above: 0, below: 0}", "compares nothing"),
        ("{metric: auroc, above: 0}", "no verdict on the page answers"),
        ("{metric: gap, above: 0.1}", "no verdict on the page answers"),
        ("{metric: gap, above: false}", "no verdict on the page answers"),
        ("{metric: gap, finding: Edema, above: 0}", "no mean gap of a finding"),
        ("{metric: gap, at: chexpert, above: 0}", "has no gap"),
        ("{metric: gap, of: resnet10, above: 0}", "2 recipes match"),
        ("{metric: ece, higher: resnet10, lower: seresnet_tiny}", "no metric with a verdict"),
        ("{metrik: auroc}", "did you mean 'metric'"),
        ("{metric: auroc, at: nhi, higher: resnet10, lower: seresnet_tiny}", "did you mean 'nih'"),
        ("{metric: auroc, finding: Edema, higher: resnet10, lower: seresnet_tiny}", "macro scores"),
        ("{metric: auroc, at: nih, higher: resnet10, lower: seresnet_tiny}", "2 and 2 recipes match"),
        ("{metric: auroc, higher: resnet11, lower: seresnet_tiny}", "no recipe has a setting 'resnet11'"),
        ("{metric: auroc, higher: {seed: 0}, lower: {seed: 1}}", "is not a setting of a recipe"),
        ("{metric: auroc, higher: {architecture: resnet10, loss: x}, lower: resnet10}", "no recipe matches"),
        ("{metric: auroc, higher: resnet10, lower: {loss: bce}}", "matches both sides"),
    ],
)
def test_a_check_that_the_page_cannot_answer_is_refused(tmp_path: Path, four: Manifest, check: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        question(tmp_path, four, check)
    assert said in str(error.value)
    assert "[0].check" in error.value.where


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b", "no list of hypotheses"),
        ("[]", "no list of hypotheses"),
        ("- a", "expected a block"),
        ("- {name: a}", "statement is missing"),
        ("- {name: 3, statement: b}", "name is missing"),
        ("- {name: a, statement: b, test: c}", "unknown key"),
        ("- {name: a, statement: b}\n- {name: a, statement: c}", "two hypotheses have the name"),
        (f"- {{name: a, statement: {'b' * 1001}}}", "too long"),
        ('- {name: a, statement: "\\e[2J"}', "control characters"),
        ("- {name: a", "YAML"),
    ],
)
def test_a_file_that_is_no_list_of_hypotheses_is_refused(tmp_path: Path, four: Manifest, text: str, said: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_hypotheses(tmp_path / "h.yaml", four)


def test_the_hypotheses_of_the_document_can_be_registered(tmp_path: Path, four: Manifest) -> None:
    document = (Path(__file__).parents[3] / "docs" / "extensions" / "reporting.md").read_text()
    (tmp_path / "h.yaml").write_text(document.partition("```yaml\n")[2].partition("```")[0])
    runs = tuple(
        replace(run, config=replace(run.config, architecture=architecture, loss="bce"), titles={})
        for run, architecture in zip(four.runs, ("seresnet_tiny", "regnety_tiny"), strict=False)
    )
    found = read_hypotheses(tmp_path / "h.yaml", replace(four, runs=runs))
    assert [item["question"].get("kind") for item in found] == ["pair", "gap", None]
