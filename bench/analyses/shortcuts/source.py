"""Which hospital is a picture from? Linear classifiers on frozen features, beside controls that tell what they can know.

What it can show: the features still hold the source. What it cannot: that the network uses it (a random network holds
it too, and often shows it better).
Shapes: N images of all sources, D features, C components, K sources, F findings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analyses.shortcuts.evaluation import Judged, confusion, judge, judge_repeats
from bench.analyses.shortcuts.linear import Array, Floats, few_shot, out_of_fold, projections
from bench.analyses.shortcuts.sample import MIN_PATIENTS, NUM_FOLDS, PER_SOURCE, Codes, Sample, draw_sample, shuffled
from harmonize.labels.findings import NO_FINDING
from harmonize.seeds import stream
from reports.schemas.tables import SCHEMAS

SHOTS = {8: 4, 32: 16}  # images of each source that a few-shot probe learns from -> principal components it sees
COLUMNS = tuple(name for name in SCHEMAS["sources"] if name != "run_id")
CONFUSION = tuple(name for name in SCHEMAS["source_confusion"] if name != "run_id")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What is known of one cohort's images, in one order; label_NF: 1, 0, -1 where neither is stated."""

    feature_ND: NDArray[np.floating]
    patient_id: NDArray[Any]
    label_NF: NDArray[np.int8] | None = None
    logit_NF: NDArray[np.floating] | None = None


def source_probe(
    sources: Mapping[str, Source], findings: tuple[str, ...] = (), seed: int = 0, most: int = PER_SOURCE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the `sources` and `source_confusion` tables of one run (without run_id): how well classifiers name the source.

    Probes: features (principal components of the run's features, with all images or few shots; controls none, shuffled,
    no_finding: healthy images alone, matched: the same findings in every source), labels (which findings there are),
    logits (the labels and the run's logits: what these add). Predictions are out of fold; 95 % intervals over the judged
    patients. Empty, with the reason in `.attrs["reason"]`, when fewer than two sources have 20 patients. Raises ValueError
    for features that are not finite.
    """
    sample = draw_sample({name: source.patient_id for name, source in sources.items()}, seed, most)
    if isinstance(sample, str):
        return _empty(sample)
    x_ND = sample.gather({name: np.asarray(source.feature_ND, np.float32) for name, source in sources.items()})
    inputs = projections(sample, x_ND)
    found = feature_probe(sample, x_ND, seed, inputs)
    frames = [labelled(judged, "features", "none", shots) for shots, (judged, _) in found.items()]
    tables = [confusion(found[0][1], sample.source, sample.names).assign(probe="features", control="none")]
    frames += _controls(sample, x_ND, inputs, _labels(sample, sources, findings), findings, seed)
    for probe, inputs_ND in _from_labels(sample, sources, findings).items():
        prob_NK = out_of_fold(sample, projections(sample, inputs_ND.astype(np.float32)), sample.source)
        frames.append(labelled(judge(prob_NK, sample.source, sample.ids, seed), probe, "none"))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)], pd.concat(tables, ignore_index=True)[list(CONFUSION)]


def feature_probe(
    sample: Sample, x_ND: Floats, seed: int = 0, inputs: list[Floats] | None = None
) -> dict[int, tuple[Judged, Array]]:
    """Return, by images per source that it learns from (0: all in the other folds), what a probe reaches, and prob [N, K].

    inputs: what `projections` gives, where it is known. Of few shots the probabilities are the mean over the repeats in
    which an image was not learnt from.
    """
    prob_NK = out_of_fold(sample, inputs or projections(sample, x_ND), sample.source)
    found = {0: (judge(prob_NK, sample.source, sample.ids, seed), prob_NK)}
    for shots, components in SHOTS.items():
        if np.bincount(sample.source).min() >= 2 * shots:
            prob_RNK = few_shot(sample, x_ND, shots, components, seed)
            mean_NK = np.nan_to_num(np.nanmean(prob_RNK, axis=0))
            found[shots] = (judge_repeats(prob_RNK, sample.source, sample.ids, seed), mean_NK)
    return found


def labelled(judged: Judged, probe: str, control: str, shots: int = 0) -> pd.DataFrame:
    """Return rows of the table `sources`."""
    return judged.rows().assign(probe=probe, control=control, shots=shots)


def _empty(reason: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    kinds = {"probe": "str", "control": "str", "metric": "str", "source": "str", "named": "str"}
    whole = {"shots": "int64", "num_sources": "int64", "n": "int64", "count": "int64"}
    frames = []
    for columns in (COLUMNS, CONFUSION):
        series = {name: pd.Series(dtype=(kinds | whole).get(name, "float64")) for name in columns}
        frames.append(pd.DataFrame(series))
        frames[-1].attrs["reason"] = reason
    return frames[0], frames[1]


def _controls(
    sample: Sample,
    x_ND: Floats,
    inputs: list[Floats],
    label_NF: NDArray[np.int8] | None,
    findings: tuple[str, ...],
    seed: int,
) -> list[pd.DataFrame]:
    """Return the controls of the full probe: shuffled sources, and images that findings cannot tell apart."""
    named = shuffled(sample, seed)
    out = [labelled(judge(out_of_fold(sample, inputs, named), named, sample.ids, seed), "features", "shuffled")]
    if label_NF is None:
        return out
    for control, chosen in _alike(label_NF, findings).items():
        rows, fold = _matched(sample, label_NF, chosen, seed)
        if np.bincount(sample.source[rows], minlength=len(sample.names)).min() >= MIN_PATIENTS:
            part = replace(sample.part(rows), fold=fold)
            prob_NK = out_of_fold(part, projections(part, x_ND[rows]), part.source)
            out.append(labelled(judge(prob_NK, part.source, part.ids, seed), "features", control))
    return out


def _labels(sample: Sample, sources: Mapping[str, Source], findings: tuple[str, ...]) -> NDArray[np.int8] | None:
    """Return the labels [N, F] of the sample; a finding that some source never states is -1 throughout."""
    known = {name: sources[name].label_NF for name in sample.names}
    arrays = {name: labels for name, labels in known.items() if labels is not None}
    if len(arrays) < len(known) or not findings:
        return None
    label_NF = np.asarray(sample.gather(arrays), np.int8)
    stated = np.array([(label_NF[sample.source == k] >= 0).any(0) for k in range(len(sample.names))]).all(0)
    return np.where(stated, label_NF, np.int8(-1))


def _alike(label_NF: NDArray[np.int8], findings: tuple[str, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return which images enter each control that findings cannot tell apart: the healthy, and all.

    Healthy: by the label "No Finding", else by the absence of all that every source states.
    """
    stated: NDArray[np.bool_] = np.asarray((label_NF >= 0).any(0))
    if NO_FINDING in findings and stated[findings.index(NO_FINDING)]:
        healthy = label_NF[:, findings.index(NO_FINDING)] == 1
    else:
        healthy = (label_NF[:, stated] == 0).all(1) & stated.any()
    return {"no_finding": healthy, "matched": np.ones(len(label_NF), bool)} if stated.any() else {}


def _matched(sample: Sample, label_NF: NDArray[np.int8], chosen: NDArray[np.bool_], seed: int) -> tuple[Codes, Codes]:
    """Return as many images of each source of every combination of labels, and their folds.

    One image of each source go into a fold together: else a fold with more of one source leaves fewer of it to learn from,
    and a classifier of the labels is worse than chance.
    """
    _, pattern = np.unique(label_NF, axis=0, return_inverse=True)
    order = stream(seed, "matched labels").permutation(len(label_NF))
    rows: list[Codes] = []
    for code in np.unique(pattern.ravel()[chosen]):
        alike = order[(chosen & (pattern.ravel() == code))[order]]
        members = [alike[sample.source[alike] == k] for k in range(len(sample.names))]
        rows += list(np.stack([each[: min(map(len, members))] for each in members], axis=1))
    matched = np.array(rows, np.int64).reshape(-1, len(sample.names))
    fold = np.repeat(np.arange(len(matched)) % NUM_FOLDS, len(sample.names))
    return matched.ravel(), fold


def _from_labels(sample: Sample, sources: Mapping[str, Source], findings: tuple[str, ...]) -> dict[str, Array]:
    """Return the inputs of the probes on labels, and on labels with logits; nothing where labels are not known."""
    label_NF = _labels(sample, sources, findings)
    if label_NF is None or not (label_NF >= 0).any():
        return {}
    known_NF = label_NF[:, (label_NF >= 0).any(0)].astype(np.float64)
    known_NF[known_NF < 0] = np.nan
    label_N = np.where(np.isnan(known_NF), np.nanmean(known_NF, axis=0), known_NF)  # a doubt must not tell the source
    logits = {name: sources[name].logit_NF for name in sample.names}
    arrays = {name: values for name, values in logits.items() if values is not None}
    inputs = {"labels": label_N}
    if len(arrays) == len(logits):
        inputs["logits"] = np.concatenate([label_N, sample.gather(arrays)], axis=1)
    return inputs
