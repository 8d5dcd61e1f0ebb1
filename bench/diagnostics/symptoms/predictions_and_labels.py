"""Symptoms of logits and labels together: chance, inverted, in another order, constant; at the internal and external hospitals.

Shapes: N images, K findings.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import symptom
from bench.planning.imported_run import KIND
from bench.planning.manifest import Manifest
from bench.results.read_predictions import parts_of
from bench.scoring import diagnostics
from bench.scoring.bootstrap.sort_scores import area, falling
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import read_table
from harmonize.checks.release import Check

FEWEST = 10  # images of each class before a finding of a part is judged
_NEAR = 0.03  # macro AUROC this near to .5 is called near, however many images there are


@dataclass(frozen=True, slots=True)
class Areas:
    """AUROC of each finding [K] of a part with enough images of both classes, and its spread were it chance (Mann-Whitney)."""

    findings: list[str]
    auroc: NDArray[np.float64]
    chance: NDArray[np.float64]

    @property
    def macro(self) -> float:
        """Return their mean."""
        return float(self.auroc.mean())

    @property
    def spread(self) -> float:
        """Return the standard deviation of `macro`, were all outputs chance and the findings independent."""
        return float(np.sqrt((self.chance**2).sum()) / len(self.chance))


def internal_parts(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> list[ScoredSplit]:
    """Return what is predicted of a run at the internal hospital, a part per split."""
    internal = [cohort for cohort in manifest.cohorts if cohort["role"] == "internal"]
    return parts_of(replace(manifest, content={**manifest.content, "cohorts": internal}), run, config, {})


def areas(part: ScoredSplit, findings: Sequence[str]) -> Areas | None:
    """Return the AUROCs of the findings of a part that have enough images of both classes; None when none has."""
    names, auroc, chance = [], [], []
    label = part.labels()
    for k, finding in enumerate(findings):
        present, absent = int((label[:, k] == 1).sum()), int((label[:, k] == 0).sum())
        if min(present, absent) >= FEWEST:
            order = falling(part.logit[:, k])
            names.append(finding)
            auroc.append(area(label[order, k], part.logit[order, k]))
            chance.append(np.sqrt((present + absent + 1) / (12 * present * absent)))
    return Areas(names, np.array(auroc), np.array(chance)) if names else None


def judged_parts(
    manifest: Manifest, run: Mapping[str, Any], config: RunConfig
) -> tuple[list[str], dict[str, ScoredSplit]]:
    """Return the findings that the run was asked to give, and what it says of them at the internal hospital, by split."""
    given = _given(manifest, run, config)
    parts = internal_parts(manifest, run, config)
    kept = {p.split: replace(p, logit=p.logit[:, given], state=p.state[:, given]) for p in parts}
    return [config.findings[k] for k in given], kept


def of_parts(
    where: str, run: Mapping[str, Any], findings: Sequence[str], parts: Mapping[str, ScoredSplit], slow: bool
) -> Iterator[Check]:
    """Yield what logits and labels at the internal hospital say together; `slow` is whether the loss did not move or fall."""
    test = parts.get("test") or parts.get("val")
    if test is None:
        return
    dead = diagnostics.constant(test, findings)
    if dead:
        names = ", ".join(each.finding for each in dead)
        causes: Sequence[str] = (
            "training saw one class only of it: `bench data stats --data DATA` counts labels (a column that reads as all 0?)",
            "units of the last layer are dead: lower `schedule.lr`",
            "the head is a new one and was never trained: weights of the backbone alone were loaded",
        )
        share = min(each.value for each in dead)
        yield symptom(
            where, "constant output", "fault", f"{names}: one number in {share:.0%} of images or more", causes
        )
    for part in parts.values():
        moved, own = diagnostics.other_order(part, findings, FEWEST), areas(part, findings)
        if moved and own is not None and moved[0].value > 1 - 2 * own.macro:  # better than turning all outputs round
            causes = (
                "labels or outputs are in another order than `findings`: align them by name, never by position",
                "the weights are of a network with another list of findings: give it that list",
            )
            seen = f"{part.split}: {moved[0].advice}"
            yield symptom(where, "labels in another order", "fault", seen, causes)
            return
    judged = areas(test, findings)
    if judged is not None and len(dead) < len(findings):
        yield from _near_half(where, test, judged, slow, run.get("kind") == KIND)


def _given(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> list[int]:
    """Return which findings to judge: all, but for those that a model from elsewhere, or a panel, was not asked to give."""
    path = manifest.store.run_dir(run["id"]) / "trained.json"
    lacking = json.loads(path.read_text()).get("unlearnt", []) if "kind" in run and path.is_file() else []
    return [k for k, finding in enumerate(config.findings) if finding not in lacking]


def _near_half(where: str, part: ScoredSplit, judged: Areas, slow: bool, elsewhere: bool) -> Iterator[Check]:
    seen = f"{part.split} of {part.dataset}: macro AUROC {judged.macro:.3f} of {len(judged.findings)} findings, {len(part.image_id):,} images"
    external = judged.macro - 0.5
    low = [
        f"{finding} {value:.3f}"
        for finding, value, chance in zip(judged.findings, judged.auroc, judged.chance, strict=True)
        if value < 0.5 - 4 * chance
    ]
    if external < -max(_NEAR, 4 * judged.spread) or low:
        causes: Sequence[str] = (
            "present and absent are swapped: in the label mapping (`present:`, `absent:`), or in the file",
            "the output is of the opposite finding, e.g. of No Finding: look at the order of `findings`",
        )
        listed = f"; below .5: {', '.join(low)}" if low else ""
        yield symptom(where, "inverted: AUROC below .5 at the internal hospital", "fault", seen + listed, causes)
    elif abs(external) <= max(_NEAR, 2 * judged.spread):
        waiting = (
            "training has not begun: more `schedule.epochs`, another `schedule.lr`; the page shows the curve of each run",
        )
        causes = (
            "labels stand beside other images: `bench check --data DATA` (ids, paths), `bench data stats --data DATA --html data.html`",
            "the weights that predicted are not the trained ones: `bench check RUN` compares them",
            "the images are not what they should be (all black, inverted, of another scale): `bench check RUN` tries other scales",
        )
        foreign = (
            "it is not shown the images as in its training: `preprocessing` of its model.yaml (range, mean, std, channels, size)",
            "its outputs are in another order than `outputs.names` of its model.yaml",
            "its weights are not the trained ones, or it does not read these findings here: look at the external cohorts, too",
        )
        own = (*waiting, *causes) if slow else (*causes, *waiting)
        yield symptom(
            where,
            "AUROC near .5 at the internal hospital",
            "warning",
            f"{seen} (chance: .5 ± {2 * judged.spread:.3f})",
            foreign if elsewhere else own,
        )


def external(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield what lies below .5 at external hospitals by more than its whole interval again: too far for chance among many cells."""
    path = manifest.scores / run_id / "diagnostics.parquet"
    if not path.is_file():
        return
    table: pd.DataFrame = read_table(path)
    internal = str(manifest.content["source"])
    below = table[(table["kind"] == diagnostics.INVERTED) & (table["dataset"] != internal)]
    far = below[below["value"] + (below["high"] - below["low"]) < 0.5]
    for dataset, rows in far.groupby("dataset"):
        seen = ", ".join(f"{r.finding} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples())
        causes = (
            f"labels of {dataset} are read the wrong way round: look at its mapping, and at `bench data stats --data DATA`",
            f"images of {dataset} are inverted (MONOCHROME1 shown as it is): `bench data stats --data DATA --html data.html`",
            "a shortcut that means the opposite there: the section on shortcuts of the page",
        )
        yield symptom(where, f"inverted on {dataset}", "warning", seen, causes)
