"""What the field's usual mistakes look like in a stored run: what is seen, its likely causes, what mends it.

Everything here is read from the store: records, curves, logits and labels at home. `bench.relook` shows the network its
images again and finds what that alone can tell. A symptom is a `Check` whose `fix` has one cause per line, the likeliest first.

Shapes: N images, K findings.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.checksums import flaws
from bench.collect import labels_of, parts_of, read_table
from bench.config import RunConfig
from bench.external import KIND
from bench.failures import NO_NUMBER, causes_of, of_failure, symptom
from bench.manifest import Manifest, planned
from bench.scoring import diagnostics
from bench.scoring.parts import Part
from bench.scoring.ranking import area, falling
from bench.store import Store
from harmonize.errors import CxrError, StoreError
from harmonize.inspect import Check

_FEWEST = 10  # images of each class before a finding of a part is judged
_NEAR = 0.03  # macro AUROC this near to .5 is called near, however many images there are
_STRAYED = 0.05  # AUROC on `val` by which predictions differ from those that chose the epoch
_FLAT = 0.02  # share of its first value that a training loss must lose to have fallen


@dataclass(frozen=True, slots=True)
class _Areas:
    """AUROC of each finding [K] of a part with enough images of both classes, and its spread were it chance (Mann-Whitney)."""

    findings: list[str]
    auroc: NDArray[np.float64]
    chance: NDArray[np.float64]

    @property
    def macro(self) -> float:
        return float(self.auroc.mean())

    @property
    def spread(self) -> float:
        """Return the standard deviation of `macro`, were all outputs chance and the findings independent."""
        return float(np.sqrt((self.chance**2).sum()) / len(self.chance))


def symptoms(store: Store, run_id: str) -> list[Check]:
    """Return the symptoms of a run of the store, none when it looks well or is not finished.

    Damaged files are not judged here: `bench.integrity` names them.
    """
    where = f"run {run_id}"
    if store.state(run_id) == "failed":
        return list(of_failure(where, (store.run_dir(run_id) / "FAILED").read_text(errors="replace")))
    if store.state(run_id) != "done":
        return []
    try:
        manifest, run = planned(store, run_id, None)
        config = manifest.config(run)
        found = [*_of_curve(where, store.run_dir(run_id) / "history.parquet")]
        spoilt = list(_of_logits(where, manifest, run, config))
        found += spoilt
        if not any(
            check.level == "fault" for check in spoilt
        ):  # what is not finite or no logit cannot be judged further
            found += _of_parts(where, manifest, run, config, found)
        found += _away(where, manifest, run_id)
    except (CxrError, KeyError) as error:
        return [] if isinstance(error, StoreError) else [Check("", where, "note", "", f"not judged: {error}")]
    return found


def home_parts(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> list[Part]:
    """Return what is predicted of a run at home, a part per split."""
    home = [cohort for cohort in manifest.cohorts if cohort["role"] == "home"]
    return parts_of(replace(manifest, content={**manifest.content, "cohorts": home}), run, config, {})


def areas(part: Part, findings: Sequence[str]) -> _Areas | None:
    """Return the AUROCs of the findings of a part that have enough images of both classes; None when none has."""
    names, auroc, chance = [], [], []
    label = part.labels()
    for k, finding in enumerate(findings):
        present, absent = int((label[:, k] == 1).sum()), int((label[:, k] == 0).sum())
        if min(present, absent) >= _FEWEST:
            order = falling(part.logit[:, k])
            names.append(finding)
            auroc.append(area(label[order, k], part.logit[order, k]))
            chance.append(np.sqrt((present + absent + 1) / (12 * present * absent)))
    return _Areas(names, np.array(auroc), np.array(chance)) if names else None


def _of_curve(where: str, path: Path) -> Iterator[Check]:
    """Yield what is odd about the training loss."""
    if not path.is_file():  # of a derived run, or of a bundle
        return
    loss = read_table(path)["train_loss"].to_numpy(np.float64)
    if not np.isfinite(loss).all():
        yield symptom(where, NO_NUMBER, "fault", f"training loss {_numbers(loss)}", causes_of(NO_NUMBER))
    elif len(loss) > 1 and np.ptp(loss) == 0:
        causes: Sequence[str] = (
            "batches hold no positive image, as AUC losses need: set `schedule.sampling: balanced`, or a larger batch",
            "every label is left out: look at `uncertainty` and at `bench data stats --data DATA`",
        )
        yield symptom(where, "the loss does not move", "fault", f"training loss {_numbers(loss)}", causes)
    elif len(loss) > 1 and loss[0] > 0 and loss.min() > loss[0] * (1 - _FLAT):
        causes = (
            "the learning rate is far too low, or so high that steps overshoot: try `schedule.lr` ten times higher and lower",
            "too few steps: more `schedule.epochs`, a smaller `schedule.batch_size`",
            "only the head learns: look at the optimizer's frozen parts",
        )
        yield symptom(where, "the loss does not fall", "warning", f"training loss {_numbers(loss)}", causes)


def _of_logits(where: str, manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> Iterator[Check]:
    """Yield what is wrong with the numbers themselves that a run gave at home."""
    home = str(manifest.content["source"])
    path = manifest.store.run_dir(run["id"]) / "predictions" / f"{home}.parquet"
    logit_NK = read_table(path)[list(config.findings)].to_numpy(np.float64)
    bad = int((~np.isfinite(logit_NK)).sum())
    if bad:
        seen = f"{bad:,} of {logit_NK.size:,} logits on {home} are not finite numbers"
        yield symptom(where, "predictions are not numbers", "fault", seen, causes_of(NO_NUMBER))
    elif len(logit_NK) >= _FEWEST and logit_NK.min() >= 0 and logit_NK.max() <= 1 and np.ptp(logit_NK) > 0:
        seen = f"all {logit_NK.size:,} logits on {home} lie from {logit_NK.min():.3f} to {logit_NK.max():.3f}"
        causes = (
            "the network ends in a sigmoid, or probabilities were stored: predictions are logits, the sigmoid comes later",
            "a loss of your own took the sigmoid twice: `binary_cross_entropy_with_logits`, and no sigmoid in the network",
        )
        yield symptom(where, "probabilities in place of logits", "fault", seen, causes)


def _of_parts(
    where: str, manifest: Manifest, run: Mapping[str, Any], config: RunConfig, found: Sequence[Check]
) -> Iterator[Check]:
    """Yield what logits and labels at home say together."""
    folder, elsewhere = manifest.store.run_dir(run["id"]), run.get("kind") == KIND
    given = _given(manifest, run, config)
    findings = [config.findings[k] for k in given]
    parts = {
        part.split: replace(part, logit=part.logit[:, given], state=part.state[:, given])
        for part in home_parts(manifest, run, config)
    }
    if "val" in parts and not manifest.content.get("scored_from"):
        yield from _strayed(where, parts["val"], folder)
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
        moved, own = diagnostics.other_order(part, findings, _FEWEST), areas(part, findings)
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
        yield from _near_half(where, test, judged, [check.what for check in found], elsewhere)


def _given(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> list[int]:
    """Return which findings to judge: all, but for those that a model from elsewhere, or a panel, was not asked to give."""
    path = manifest.store.run_dir(run["id"]) / "trained.json"
    lacking = json.loads(path.read_text()).get("unlearnt", []) if "kind" in run and path.is_file() else []
    return [k for k, finding in enumerate(config.findings) if finding not in lacking]


def _near_half(where: str, part: Part, judged: _Areas, others: Sequence[str], elsewhere: bool) -> Iterator[Check]:
    seen = f"{part.split} of {part.dataset}: macro AUROC {judged.macro:.3f} of {len(judged.findings)} findings, {len(part.image_id):,} images"
    away = judged.macro - 0.5
    low = [
        f"{finding} {value:.3f}"
        for finding, value, chance in zip(judged.findings, judged.auroc, judged.chance, strict=True)
        if value < 0.5 - 4 * chance
    ]
    if away < -max(_NEAR, 4 * judged.spread) or low:
        causes: Sequence[str] = (
            "present and absent are swapped: in the label mapping (`present:`, `absent:`), or in the file",
            "the output is of the opposite finding, e.g. of No Finding: look at the order of `findings`",
        )
        listed = f"; below .5: {', '.join(low)}" if low else ""
        yield symptom(where, "inverted: AUROC below .5 at home", "fault", seen + listed, causes)
    elif abs(away) <= max(_NEAR, 2 * judged.spread):
        slow = (
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
            "its weights are not the trained ones, or it does not read these findings here: look at the cohorts away, too",
        )
        own = (*slow, *causes) if any("loss does not" in what for what in others) else (*causes, *slow)
        yield symptom(
            where,
            "AUROC near .5 at home",
            "warning",
            f"{seen} (chance: .5 ± {2 * judged.spread:.3f})",
            foreign if elsewhere else own,
        )


def _strayed(where: str, part: Part, folder: Path) -> Iterator[Check]:
    """Yield a symptom when predictions on `val` are not as good as the epoch was that they are said to be of."""
    path = folder / "history.parquet"
    trained = folder / "trained.json"
    if not path.is_file() or not trained.is_file() or flaws(folder):
        return
    history = read_table(path).set_index("epoch")
    best = json.loads(trained.read_text()).get("best_epoch")
    if best not in history.index or "val_auroc" not in history:
        return
    then, now = float(history.loc[best, "val_auroc"]), _macro(part)
    if abs(then - now) > _STRAYED:
        causes = (
            "the checkpoint was not loaded: predictions come from other weights, or from a new head (`bench check RUN` compares them)",
            "evaluation shows the images otherwise than training (normalisation, size, colour order): `bench check RUN` tries others",
            "predictions were joined to other images: align them by image_id",
        )
        seen = f"AUROC on val {now:.3f} from the stored predictions, {then:.3f} when epoch {best} was chosen"
        yield symptom(where, "predictions are not of the chosen epoch", "fault", seen, causes)


def _macro(part: Part) -> float:
    """Return macro AUROC over the findings with both classes, as training computes it on `val`."""
    label = part.labels()
    values = []
    for k in range(label.shape[1]):
        order = falling(part.logit[:, k])
        values.append(area(label[order, k], part.logit[order, k]))
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _away(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield what lies below .5 away from home by more than its whole interval again: too far for chance among many cells."""
    path = manifest.scores / run_id / "diagnostics.parquet"
    if not path.is_file():
        return
    table: pd.DataFrame = read_table(path)
    home = str(manifest.content["source"])
    below = table[(table["kind"] == diagnostics.INVERTED) & (table["dataset"] != home)]
    far = below[below["value"] + (below["high"] - below["low"]) < 0.5]
    for dataset, rows in far.groupby("dataset"):
        seen = ", ".join(f"{r.finding} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples())
        causes = (
            f"labels of {dataset} are read the wrong way round: look at its mapping, and at `bench data stats --data DATA`",
            f"images of {dataset} are inverted (MONOCHROME1 shown as it is): `bench data stats --data DATA --html data.html`",
            "a shortcut that means the opposite there: the section on shortcuts of the page",
        )
        yield symptom(where, f"inverted on {dataset}", "warning", seen, causes)


def too_few(store: Store, run_id: str) -> Check | None:
    """Return a note about the findings that have no AUROC at home for want of patients, None when all have one."""
    manifest, run = planned(store, run_id, None)
    config = manifest.config(run)
    home = next(cohort for cohort in manifest.cohorts if cohort["role"] == "home")
    labels = labels_of(manifest, home, config)
    test, patients = labels.split == "test", labels.table["patient_id"].to_numpy(str)
    counts = [
        (finding, len(set(patients[test & (labels.state_NK[:, k] == 1)]))) for k, finding in enumerate(config.findings)
    ]
    few = [f"{finding} ({number})" for finding, number in counts if number < manifest.settings.min_count]
    if not few:
        return None
    seen = f"patients of the home test split with it, fewer than {manifest.settings.min_count}: {', '.join(few)}"
    fix = "rare: it stays without a number, by the grid's `min_count`; more data, or another home, mends it"
    return Check("", f"run {run_id}: findings without an AUROC", "note", "", seen, fix)


def _numbers(values: NDArray[np.float64]) -> str:
    shown = [f"{value:.4g}" for value in (values if len(values) <= 4 else [*values[:2], *values[-2:]])]
    return ", ".join(shown if len(values) <= 4 else [*shown[:2], "...", *shown[2:]])


__all__ = ["areas", "home_parts", "symptoms", "too_few"]
