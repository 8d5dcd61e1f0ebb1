"""Source probes: linear classifiers that predict the source (cohort) of an image from frozen features, with controls.

A probe shows that the features contain the source, but not that the network uses the source: features of a
random network also contain the source, and often more clearly.

Shapes: N images of all sources, D features, C components, K sources, F findings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analyses.shortcuts.evaluation import ProbeScores, confusion, score_probe, score_repeats
from bench.analyses.shortcuts.linear import Array, Floats, few_shot, out_of_fold, projections
from bench.analyses.shortcuts.sample import MIN_PATIENTS, NUM_FOLDS, PER_SOURCE, Codes, Sample, draw_sample, shuffled
from harmonize.labels.findings import NO_FINDING
from harmonize.seeds import stream
from reports.schemas.tables import SCHEMAS

SHOTS = {8: 4, 32: 16}  # training images per source of a few-shot probe -> number of principal components
COLUMNS = tuple(name for name in SCHEMAS["sources"] if name != "run_id")
CONFUSION = tuple(name for name in SCHEMAS["source_confusion"] if name != "run_id")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Features, patients, labels and logits of one cohort's images. A label is 1 (present), 0 (absent) or -1 (unknown)."""

    feature_ND: NDArray[np.floating]
    patient_id: NDArray[Any]
    label_NF: NDArray[np.int8] | None = None
    logit_NF: NDArray[np.floating] | None = None


def source_probe(
    sources: Mapping[str, Source], findings: tuple[str, ...] = (), seed: int = 0, per_source: int = PER_SOURCE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `sources` and `source_confusion` of one run (without run_id), with the scores of its source probes.

    The probe `features` uses principal components of the run's features, and trains on all images of the other folds
    (shots 0) or on few images per source (shots 8 and 32). The probe `labels` uses the labels of the findings; the
    probe `logits` uses labels and the run's logits. Controls of `features`: none, shuffled (sources in random order),
    no_finding (only healthy images), matched (each combination of labels equally often in every source). Predictions
    are out of fold; 95 % intervals are over patients. If fewer than two sources have 20 patients, the tables are empty,
    and their `.attrs["reason"]` is a text with the reason. Raises ValueError for features that are not finite.
    """
    sample = draw_sample({name: source.patient_id for name, source in sources.items()}, seed, per_source)
    if isinstance(sample, str):
        return _empty(sample)
    x_ND = sample.gather({name: np.asarray(source.feature_ND, np.float32) for name, source in sources.items()})
    inputs = projections(sample, x_ND)
    feature_results = feature_probe(sample, x_ND, seed, inputs)
    frames = [source_rows(scores, "features", "none", shots) for shots, (scores, _) in feature_results.items()]
    tables = [confusion(feature_results[0][1], sample.source, sample.names).assign(probe="features", control="none")]
    frames += _controls(sample, x_ND, inputs, _labels(sample, sources, findings), findings, seed)
    for probe, inputs_ND in _from_labels(sample, sources, findings).items():
        prob_NK = out_of_fold(sample, projections(sample, inputs_ND.astype(np.float32)), sample.source)
        frames.append(source_rows(score_probe(prob_NK, sample.source, sample.ids), probe, "none"))
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)], pd.concat(tables, ignore_index=True)[list(CONFUSION)]


def feature_probe(
    sample: Sample, x_ND: Floats, seed: int = 0, inputs: list[Floats] | None = None
) -> dict[int, tuple[ProbeScores, Array]]:
    """Return the results of probes on features: number of training images per source -> (scores, probabilities [N, K]).

    The number 0 means all images of the other folds. `inputs` is the result of `projections`, if already computed. A
    few-shot probability is the mean over the repeats that did not train on the image.
    """
    prob_NK = out_of_fold(sample, inputs or projections(sample, x_ND), sample.source)
    enough = [shots for shots in SHOTS if np.bincount(sample.source).min() >= 2 * shots]
    few_shots = {shots: few_shot(sample, x_ND, shots, SHOTS[shots], seed) for shots in enough}
    results = {0: (score_probe(prob_NK, sample.source, sample.ids), prob_NK)}
    for shots, prob_RNK in few_shots.items():
        mean_NK = np.nan_to_num(np.nanmean(prob_RNK, axis=0))
        results[shots] = (score_repeats(prob_RNK, sample.source, sample.ids), mean_NK)
    return results


def source_rows(scores: ProbeScores, probe: str, control: str, shots: int = 0) -> pd.DataFrame:
    """Return the scores as rows of the table `sources`."""
    return scores.rows().assign(probe=probe, control=control, shots=shots)


def _empty(reason: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    texts = {"probe": "str", "control": "str", "metric": "str", "source": "str", "named": "str"}
    integers = {"shots": "int64", "num_sources": "int64", "n": "int64", "count": "int64"}
    frames = []
    for columns in (COLUMNS, CONFUSION):
        series = {name: pd.Series(dtype=(texts | integers).get(name, "float64")) for name in columns}
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
    """Return the scores of feature probes under up to three controls, as rows of the table `sources`.

    shuffled: sources in random order. no_finding: only healthy images. matched: each combination of labels equally
    often in every source. Without labels, only shuffled is possible. A control with fewer than 20 images of a source is
    left out.
    """
    shuffled_source = shuffled(sample, seed)
    rows_of_controls = [
        source_rows(
            score_probe(out_of_fold(sample, inputs, shuffled_source), shuffled_source, sample.ids),
            "features",
            "shuffled",
        )
    ]
    if label_NF is None:
        return rows_of_controls
    for control, candidates in _control_candidates(label_NF, findings).items():
        rows, fold = _matched(sample, label_NF, candidates, seed)
        if np.bincount(sample.source[rows], minlength=len(sample.names)).min() >= MIN_PATIENTS:
            matched_sample = replace(sample.subset(rows), fold=fold)
            prob_NK = out_of_fold(matched_sample, projections(matched_sample, x_ND[rows]), matched_sample.source)
            score = score_probe(prob_NK, matched_sample.source, matched_sample.ids)
            rows_of_controls.append(source_rows(score, "features", control))
    return rows_of_controls


def _labels(sample: Sample, sources: Mapping[str, Source], findings: tuple[str, ...]) -> NDArray[np.int8] | None:
    """Return the labels [N, F] of the sample, or None without labels.

    If a source has no known label of a finding, this finding is -1 (unknown) in all sources.
    """
    label_arrays = {name: sources[name].label_NF for name in sample.names}
    stated_arrays = {name: labels for name, labels in label_arrays.items() if labels is not None}
    if len(stated_arrays) < len(label_arrays) or not findings:
        return None
    label_NF = np.asarray(sample.gather(stated_arrays), np.int8)
    stated = np.array([(label_NF[sample.source == k] >= 0).any(0) for k in range(len(sample.names))]).all(0)
    return np.where(stated, label_NF, np.int8(-1))


def _control_candidates(label_NF: NDArray[np.int8], findings: tuple[str, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of candidate images for two controls: healthy images for no_finding, all images for matched.

    Healthy images have the label "No Finding". If a source does not have this label, an image is healthy if all
    findings that every source has are absent.
    """
    stated: NDArray[np.bool_] = np.asarray((label_NF >= 0).any(0))
    if NO_FINDING in findings and stated[findings.index(NO_FINDING)]:
        healthy = label_NF[:, findings.index(NO_FINDING)] == 1
    else:
        healthy = (label_NF[:, stated] == 0).all(1) & stated.any()
    return {"no_finding": healthy, "matched": np.ones(len(label_NF), bool)} if stated.any() else {}


def _matched(
    sample: Sample, label_NF: NDArray[np.int8], candidates: NDArray[np.bool_], seed: int
) -> tuple[Codes, Codes]:
    """Return the row indices of matched images, and their folds.

    For every combination of labels, equally many images of each source are chosen among the candidates. Each fold also
    gets equally many images of each source. If a fold had more images of one source, fewer images of this source would
    be left for training, and a classifier that uses only labels would be worse than chance.
    """
    _, pattern = np.unique(label_NF, axis=0, return_inverse=True)
    order = stream(seed, "matched labels").permutation(len(label_NF))
    rows: list[Codes] = []
    for code in np.unique(pattern.ravel()[candidates]):
        rows_of_pattern = order[(candidates & (pattern.ravel() == code))[order]]
        members = [rows_of_pattern[sample.source[rows_of_pattern] == k] for k in range(len(sample.names))]
        rows += list(
            np.stack([source_rows_of_pattern[: min(map(len, members))] for source_rows_of_pattern in members], axis=1)
        )
    matched = np.array(rows, np.int64).reshape(-1, len(sample.names))
    fold = np.repeat(np.arange(len(matched)) % NUM_FOLDS, len(sample.names))
    return matched.ravel(), fold


def _from_labels(sample: Sample, sources: Mapping[str, Source], findings: tuple[str, ...]) -> dict[str, Array]:
    """Return {name of the probe: its input [N, number of columns]}.

    The probe `labels` gets the known labels; the probe `logits` gets the known labels and the logits. The result is
    empty without labels. The probe `logits` is left out if a source has no logits.
    """
    label_NF = _labels(sample, sources, findings)
    if label_NF is None or not (label_NF >= 0).any():
        return {}
    known_NF = label_NF[:, (label_NF >= 0).any(0)].astype(np.float64)
    known_NF[known_NF < 0] = np.nan
    # unknown labels must not identify the source, so the mean replaces them
    filled_NF = np.where(np.isnan(known_NF), np.nanmean(known_NF, axis=0), known_NF)
    logits = {name: sources[name].logit_NF for name in sample.names}
    arrays = {name: values for name, values in logits.items() if values is not None}
    inputs = {"labels": filled_NF}
    if len(arrays) == len(logits):
        inputs["logits"] = np.concatenate([filled_NF, sample.gather(arrays)], axis=1)
    return inputs
