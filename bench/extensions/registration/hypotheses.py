"""Hypotheses of a registration: read them from a YAML file, and find the recipes that their checks name.

A hypothesis has a name, a statement in words, and optionally a check, which the page of the grid answers:

    - name: regnet-higher
      statement: RegNetY has a higher AUROC than the SE-ResNet at external hospitals.
      check: {metric: auroc, at: external, higher: regnety_tiny, lower: seresnet_tiny}
    - name: gap
      statement: The networks have a lower AUROC at external hospitals.
      check: {metric: gap, above: 0}

A check asks only for a number that the page of every grid has: `bench.extensions.registration.sections` answers it with the verdict
that the page gives this number.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.planning.manifest import Manifest
from bench.results.cohort_tables import findings_of
from bench.results.grid_recipes import configuration
from bench.scoring.across_runs.ablation import references
from bench.scoring.across_runs.recipes import seed_groups
from harmonize.errors import ConfigError
from harmonize.yaml_file import read_yaml
from reports import extensions

EXTERNAL, MACRO = "external", "macro"
MOST = 100  # maximum number of hypotheses
LONGEST_NAME, LONGEST = 80, 1000  # maximum number of characters of a name, and of a statement
KEYS = ("name", "statement", "check")
CHECK_KEYS = ("metric", "at", "finding", "of", "higher", "lower", "above", "below")
# metrics of the table `pairs`
PAIRED = ("auroc", "gap", *(module.METRIC for module in extensions.modules("criterion")))
_EXAMPLE = "write {metric: auroc, higher: RECIPE, lower: RECIPE} or {metric: gap, above: 0}"
_IN_WORDS = "or leave `check` out: the hypothesis is then registered in words"


def read_items(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a YAML file of hypotheses, each with name, statement and perhaps check.

    Reads only the file: a plan of the grid is not needed. Raises ConfigError for an invalid file; checks are not looked at.
    """
    raw = read_yaml(path)
    if not isinstance(raw, list) or not raw:
        raise ConfigError(
            "the file has no list of hypotheses", str(path), "write one `- name: ...` for each hypothesis"
        )
    if len(raw) > MOST:
        raise ConfigError(f"{len(raw)} hypotheses", str(path), f"register at most {MOST}")
    items: list[dict[str, Any]] = []
    for number, item in enumerate(raw):
        where = f"{path}: [{number}]"
        _check_keys(item, KEYS, where)
        name = _text(item, "name", LONGEST_NAME, where)
        statement = _text(item, "statement", LONGEST, where)
        if name in {earlier["name"] for earlier in items}:
            raise ConfigError(f"two hypotheses have the name {name!r}", where, "give each hypothesis its own name")
        items.append({**item, "name": name, "statement": statement})
    return items


def read_hypotheses(path: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the hypotheses of a YAML file, as a registration stores them; `manifest`: of the planned grid.

    Each has name, statement, check (as in the file; {} without a check) and question: what the check asks for, with the
    ids of the runs that it names; {} without a check. Raises ConfigError for an invalid file, for recipes that the grid does
    not have, and for a check that no number of the page answers.
    """
    recipes = _Recipes(manifest)
    hypotheses: list[dict[str, Any]] = []
    for number, item in enumerate(read_items(path)):
        check = item.get("check")
        question = {} if check is None else _question(check, manifest, recipes, f"{path}: [{number}].check")
        hypotheses.append(
            {"name": item["name"], "statement": item["statement"], "check": check or {}, "question": question}
        )
    return hypotheses


class _Recipes:
    """The recipes of a planned grid that the page will rank: their runs and settings."""

    def __init__(self, manifest: Manifest) -> None:
        runs = {run.id: run for run in manifest.ranked}
        self.of = [tuple(ids) for ids in seed_groups({run_id: configuration(run) for run_id, run in runs.items()})]
        firsts = [runs[run_ids[0]] for run_ids in self.of]
        self.names = [run.flat_config for run in firsts]  # settings, with names of registry entries
        # settings, with titles of registry entries, as in the table `ablation`
        self.titles = [run.flat_config | dict(run.titles) for run in firsts]

    @property
    def varying(self) -> list[str]:
        """Return the settings in which the recipes differ."""
        keys = dict.fromkeys(key for settings in self.names for key in settings)
        return [k for k in keys if k != "seed" and len({str(settings.get(k)) for settings in self.names}) > 1]

    def settings(self, raw: object, where: str) -> dict[str, Any]:
        """Return the settings that select recipes: `raw` itself, or the setting that has the value `raw`."""
        if isinstance(raw, Mapping) and raw:
            for key in raw:
                if key == "seed" or not any(key in settings for settings in self.names):
                    differ = ", ".join(self.varying) or "nothing"
                    fix = f"{ConfigError.hint(key, self.varying)}recipes of this grid differ in: {differ}"
                    raise ConfigError(f"{key!r} is not a setting of a recipe", where, fix)
            return dict(raw)
        keys = [key for key in self.varying if any(self._has(i, key, raw) for i in range(len(self.of)))]
        if len(keys) == 1:
            return {keys[0]: raw}
        values = {key: sorted({str(settings.get(key)) for settings in self.names}) for key in self.varying}
        choices = (
            "; ".join(f"{key}: {', '.join(of_key)}" for key, of_key in values.items()) or "the grid has one recipe"
        )
        what = f"{raw!r} is a value of {len(keys)} settings" if keys else f"no recipe has a setting {raw!r}"
        raise ConfigError(what, where, f"write {{SETTING: VALUE}}; {choices}")

    def matching(self, settings: Mapping[str, Any]) -> list[int]:
        """Return the indices of the recipes with these settings."""
        return [i for i in range(len(self.of)) if all(self._has(i, key, value) for key, value in settings.items())]

    def _has(self, index: int, key: str, value: object) -> bool:
        return str(value) in (str(self.names[index].get(key)), str(self.titles[index].get(key)))


def _question(check: object, manifest: Manifest, recipes: _Recipes, where: str) -> dict[str, Any]:
    """Return what a check asks for: kind (pair, factor, gap or recipe_gap), metric, at, finding and the keys of the kind.

    The keys of the kinds: higher and lower (pair: ids of the runs; factor: levels) and factor; sign ("above" or "below"),
    and runs (recipe_gap).
    """
    _check_keys(check, CHECK_KEYS, where)
    assert isinstance(check, Mapping)
    metric, at, finding = check.get("metric"), check.get("at", EXTERNAL), check.get("finding", MACRO)
    cohorts = [cohort.name for cohort in (*manifest.cohorts, *manifest.left_out)]
    _choose(metric, PAIRED, f"{where}.metric", "metric with a verdict on the page")
    _choose(at, (EXTERNAL, *cohorts), f"{where}.at", "hospital of this grid")
    _choose(finding, (MACRO, *findings_of(manifest)), f"{where}.finding", "finding of this grid")
    asked = {"metric": metric, "at": at, "finding": finding}
    signs = [key for key in ("above", "below") if key in check]
    if ("higher" in check) != ("lower" in check) or ("higher" in check) == bool(signs) or len(signs) > 1:
        raise ConfigError("the check compares nothing", where, _EXAMPLE)
    if signs:
        return asked | _gap_question(check, signs[0], recipes, cohorts[0], asked, where)
    if "of" in check or finding != MACRO:
        fix = f"recipes are compared by their macro scores: remove it, {_IN_WORDS}"
        raise ConfigError("no such comparison is on the page", f"{where}.{'of' if 'of' in check else 'finding'}", fix)
    if at == cohorts[0] and metric != "auroc":
        raise ConfigError(
            f"the internal hospital has no such difference in {metric}", f"{where}.at", "name another hospital"
        )
    sides = {side: recipes.settings(check[side], f"{where}.{side}") for side in ("higher", "lower")}
    return asked | _sides_question(sides, recipes, asked, where)


def _gap_question(
    check: Mapping[str, Any], sign: str, recipes: _Recipes, internal: str, asked: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the keys of a check of a gap against 0."""
    if asked["metric"] != "gap" or type(check[sign]) is not int or check[sign] != 0:
        fix = (
            f"write {{metric: gap, {sign}: 0}}: the page has verdicts only on whether a gap differs from 0, {_IN_WORDS}"
        )
        raise ConfigError(f"no verdict on the page answers {sign}: {check[sign]!r}", f"{where}.{sign}", fix)
    if asked["at"] == internal:
        raise ConfigError("the internal hospital has no gap", f"{where}.at", "name an external hospital")
    if "of" not in check:
        if asked["finding"] != MACRO:
            raise ConfigError("the page has no mean gap of a finding", f"{where}.finding", "name one recipe with `of`")
        return {"kind": "gap", "sign": sign}
    chosen = recipes.matching(recipes.settings(check["of"], f"{where}.of"))
    if len(chosen) != 1:
        fix = "name one recipe with all its settings: {SETTING: VALUE, ...}"
        raise ConfigError(f"{len(chosen)} recipes match", f"{where}.of", fix)
    return {"kind": "recipe_gap", "sign": sign, "runs": list(recipes.of[chosen[0]])}


def _sides_question(
    sides: Mapping[str, Mapping[str, Any]], recipes: _Recipes, asked: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the keys of a comparison: of two recipes, or of two levels of a factor over all pairs of recipes."""
    found = {side: recipes.matching(settings) for side, settings in sides.items()}
    for side, chosen in found.items():
        if not chosen:
            raise ConfigError(f"no recipe matches {dict(sides[side])}", f"{where}.{side}", "see `bench run --dry-run`")
    if set(found["higher"]) & set(found["lower"]):
        raise ConfigError("a recipe matches both sides", where, "name other settings")
    if all(len(chosen) == 1 for chosen in found.values()):
        return {"kind": "pair", **{side: list(recipes.of[chosen[0]]) for side, chosen in found.items()}}
    keys = {key for settings in sides.values() for key in settings}
    if len(keys) != 1 or asked["metric"] not in ("auroc", "gap") or asked["at"] != EXTERNAL:
        fix = "name one recipe on each side with all its settings, or two values of one setting with metric auroc or gap at external"
        raise ConfigError(f"{len(found['higher'])} and {len(found['lower'])} recipes match", where, fix)
    (factor,) = keys
    reference = references(recipes.titles)[factor]
    levels = {side: str(recipes.titles[chosen[0]].get(factor)) for side, chosen in found.items()}
    if reference not in levels.values():
        fix = f"compare with {reference}, the most frequent value; the page compares all values with it"
        raise ConfigError(f"the page does not compare {' with '.join(levels.values())}", where, fix)
    return {"kind": "factor", "factor": factor, **levels}


def _check_keys(block: object, allowed: Sequence[str], where: str) -> None:
    """Raise ConfigError unless `block` is a mapping with only allowed keys."""
    if not isinstance(block, Mapping) or not block:
        raise ConfigError(f"expected a block of keys (got {block!r})", where, f"keys: {', '.join(allowed)}")
    ConfigError.known_keys(block, allowed, where)


def _text(item: Mapping[str, Any], key: str, longest: int, where: str) -> str:
    """Return a text of a hypothesis. Raises ConfigError if it is missing, too long, or has control characters."""
    value = item.get(key)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or len(text) > longest or not text.isprintable():
        what = f"{key} is missing, no text, or has control characters" if len(text) <= longest else f"{key} is too long"
        raise ConfigError(what, f"{where}.{key}", f"write a text of at most {longest} characters")
    return text


def _choose(value: object, choices: Sequence[str], where: str, what: str) -> None:
    """Raise ConfigError with a suggestion unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"no {what}: {value!r}", where, f"{ConfigError.suggestion(value, choices)} {_IN_WORDS}")


def in_words(question: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return what a check asks for, as a text; `names`: run id -> name. "" without a check.

    >>> asked = {"metric": "auroc", "at": "external", "finding": "macro"}
    >>> in_words(asked | {"kind": "pair", "higher": ["a", "b"], "lower": ["c"]}, {"a": "x seed 0", "b": "x seed 1", "c": "y"})
    'auroc, external, macro: x > y'
    >>> in_words(asked | {"metric": "gap", "kind": "gap", "sign": "above"}, {})
    'gap, external, macro: above 0'
    """
    if not question:
        return ""
    start = f"{question['metric']}, {question['at']}, {question['finding']}: "
    if question["kind"] == "pair":
        higher, lower = (_recipe_name(question[side], names) for side in ("higher", "lower"))
        return f"{start}{higher} > {lower}"
    if question["kind"] == "factor":
        return f"{start}{question['factor']} {question['higher']} > {question['lower']} (mean over pairs of recipes)"
    of = f"{_recipe_name(question['runs'], names)} " if "runs" in question else ""
    return f"{start}{of}{question['sign']} 0"


def _recipe_name(run_ids: Sequence[str], names: Mapping[str, str]) -> str:
    """Return the name of the recipe of some runs: their names without the seeds; ids for runs without a name."""
    return ", ".join(dict.fromkeys(re.sub(r"( ·)? seed [0-9]+$", "", names.get(run_id, run_id)) for run_id in run_ids))
