"""What every entry of `estimators:` does, also one that a plug-in adds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from bench.cli.main import app
from bench.config.registry import Entry, Registry
from bench.extensions.estimates.expected_scores import estimate, left_out
from bench.extensions.estimates.from_hospitals import KnownValues
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.calibrators import Platt, fit_platt
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import Settings
from harmonize.errors import RegistryError
from tests.contracts.test_metrics_and_datasets import drawn

Array = NDArray[np.float64]
Install = Callable[[str, str], Registry]
REGISTRY = Registry.read()
ENTRIES = REGISTRY.sections["estimators"]


def given(kind: str) -> pytest.MarkDecorator:
    entries = [entry for entry in REGISTRY.estimators if entry.facts["given"] == kind]
    return pytest.mark.parametrize("entry", entries, ids=[entry.name for entry in entries])


def frozen(values: Array) -> Array:
    """Make an array read-only: an estimator that writes into it raises an error."""
    values.flags.writeable = False
    return values


def internal_findings() -> dict[str, InternalFinding]:
    """Usual and unusual validation splits."""
    draw = np.random.default_rng(0)
    logit = frozen(draw.normal(-1, 1.5, 300))
    label = frozen((draw.random(300) < 1 / (1 + np.exp(-logit))).astype(np.int8))
    fitted = fit_platt(label, logit)
    one, two = frozen(np.array([0.5])), frozen(np.array([1, 0], np.int8))
    return {
        "usual": InternalFinding(label, logit, 0.0, fitted),
        "no threshold": InternalFinding(label, logit, float("nan"), fitted),
        "one class": InternalFinding(
            frozen(np.ones(300, np.int8)), logit, float("nan"), Platt(float("nan"), float("nan"))
        ),
        "all called": InternalFinding(label, logit, float(logit.min()), fitted),
        "constant": InternalFinding(label, frozen(np.zeros(300)), 0.0, fit_platt(label, np.zeros(300))),
        "separated": InternalFinding(two, frozen(np.array([9.0, -9.0])), 9.0, fit_platt(two, np.array([9.0, -9.0]))),
        "one image": InternalFinding(frozen(np.ones(1, np.int8)), one, 0.5, Platt(1.0, 0.0)),
    }


IMAGES: Mapping[str, Array] = {
    "usual": frozen(np.random.default_rng(1).normal(0, 2, 200)),
    "none": frozen(np.empty(0)),
    "one": frozen(np.array([0.0])),
    "constant": frozen(np.full(60, 0.7)),
    "far": frozen(np.array([-1e30, -800.0, 0.0, 800.0, 1e30])),
    "two values": frozen(np.repeat([-1.0, 1.0], [50, 3])),
}


@given("logits")
@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("at_internal", internal_findings())
def test_an_estimator_from_logits_returns_shares_or_nan_and_changes_no_input(
    entry: Entry, at_internal: str, images: str
) -> None:
    internal, logit = internal_findings()[at_internal], IMAGES[images]
    before = [internal.label.copy(), internal.logit.copy(), logit.copy()]
    found = entry.load()(internal, logit, **entry.options)
    assert set(found) <= set(QUANTITIES)
    for name, value in found.items():
        assert isinstance(value, float)
        assert np.isnan(value) or 0 <= value <= 1, (name, value)
    assert all(map(np.array_equal, before, (internal.label, internal.logit, logit)))
    again = entry.load()(internal, logit, **entry.options)
    assert all(np.array_equal(found[name], again[name], equal_nan=True) for name in QUANTITIES if name in found)


@given("runs")
@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("recipes", [["a"], ["a", "a"], ["a", "a", "b", "c"]])
@pytest.mark.parametrize("at_internal", internal_findings())
def test_an_estimator_from_runs_returns_one_share_or_nan_for_each_run(
    entry: Entry, at_internal: str, recipes: list[str], images: str
) -> None:
    internal, draw = internal_findings()[at_internal], np.random.default_rng(0)
    logit_RN = np.stack([IMAGES[images] + draw.normal(0, 0.5, len(IMAGES[images])) for _ in recipes])
    found = entry.load()([internal] * len(recipes), recipes, frozen(logit_RN), **entry.options)
    assert set(found) <= set(QUANTITIES)
    for values in found.values():
        assert values.shape == (len(recipes),)
        assert (np.isnan(values) | ((values >= 0) & (values <= 1))).all()


def hospitals(num: int, num_runs: int, holes: bool) -> tuple[KnownValues, dict[str, Array]]:
    draw = np.random.default_rng(num)
    shape = (num, num_runs, 3)
    internal, truth, seen, here = (draw.uniform(0, 1, s) for s in (shape[1:], shape, shape, shape[1:]))
    if holes:
        truth[draw.random(shape) < 0.3] = np.nan
        seen[draw.random(shape) < 0.3] = np.nan
        internal[0, 0], here[0, 1], truth[:, :, 2] = np.nan, np.nan, np.nan
        internal[-1], truth[:1, :1] = 1.0, 0.0
    return KnownValues(frozen(internal), frozen(truth), {"cbpe": frozen(seen)}), {"cbpe": frozen(here)}


@given("hospitals")
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("num_runs", [1, 9])
@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_an_estimator_from_hospitals_returns_one_share_or_nan_for_each_run_and_finding(
    entry: Entry, num: int, num_runs: int, holes: bool
) -> None:
    known, here = hospitals(num, num_runs, holes)
    before = [values.copy() for values in (known.internal, known.truth, known.estimates["cbpe"], here["cbpe"])]
    found = entry.load()(known, here, **entry.options)
    assert found.shape == (num_runs, 3)
    assert (np.isnan(found) | ((found >= 0) & (found <= 1))).all()
    after = (known.internal, known.truth, known.estimates["cbpe"], here["cbpe"])
    assert all(np.array_equal(one, two, equal_nan=True) for one, two in zip(before, after, strict=True))
    assert np.array_equal(found, estimate(entry, known, here), equal_nan=True)
    assert left_out(entry, known).shape == known.truth.shape


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_it_is(name: str) -> None:
    entry = ENTRIES[name]
    entry.check()
    assert entry.title
    assert entry.about
    assert entry.load().__doc__
    assert entry.facts["given"] in ("logits", "runs", "hospitals")


@pytest.mark.parametrize("block", ["{use: 'a:b'}", "{use: 'a:b', given: logit}", "{use: 'a:b', given: images}"])
def test_an_entry_that_does_not_state_its_input_is_refused(tmp_path: Path, block: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"schema: 1\ninclude: shipped\nestimators: {{mine: {block}}}\n")
    with pytest.raises(RegistryError, match="the estimator does not state its input") as error:
        Registry.read(path)
    assert error.value.where == f"{path}: estimators.mine"
    assert "`given: logits`" in error.value.fix
    assert "`given: hospitals`" in error.value.fix


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package with registry lines and code, as pip does; return the registry with its entries."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def one(lines: str, code: str) -> Registry:
        facts, package = tmp_path / "own_plug-1.0.dist-info", tmp_path / "own_plug"
        facts.mkdir()
        package.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: own_plug\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[unseen_cxr.registry]\nown_plug = own_plug:registry.yaml\n")
        (package / "__init__.py").write_text(code)
        (package / "registry.yaml").write_text(f"estimators:\n{lines}")
        invalidate_caches()
        return Registry.read()

    yield one
    invalidate_caches()


def test_an_estimator_of_a_plug_in_is_listed_and_scored(install: Install) -> None:
    registry = install(
        "  guess: {use: 'own_plug:guess', with: {share: 0.25}, given: logits, title: Guess}\n"
        "  always: {use: 'own_plug:always', given: hospitals}\n",
        "def guess(internal, logit, share):\n    return {'auroc': share}\n"
        "def always(known, here):\n    return known.internal * 0 + 0.75\n",
    )
    shown = CliRunner().invoke(app, ["list", "estimators"])
    assert shown.exit_code == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert lines["guess"].split()[-1] == lines["always"].split()[-1] == "own_plug"
    assert [entry.name for entry in registry.estimators][-2:] == ["guess", "always"]
    outside = replace(drawn("all"), dataset="nih")
    of_logits = tuple(entry for entry in registry.estimators if entry.facts["given"] == "logits")
    settings = Settings(num_resamples=5, estimators=of_logits)
    table = score_run("r", ["A"], "internal", [drawn("val"), drawn("test"), outside], settings).detail["estimates"]
    row = table[table["estimator"] == "guess"]
    assert row["auroc"].tolist() == [0.25]
    known, here = hospitals(3, 2, holes=False)
    always = registry.sections["estimators"]["always"]
    assert (estimate(always, known, here) == 0.75).all()
