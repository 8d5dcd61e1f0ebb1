"""Seeded synthetic tables in the form that reports read, for any number of runs and hospitals, and for rare states."""

import json
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from bench.config.settings import Settings
from bench.scoring.gaps.hospital_means import weights
from harmonize.cohorts.hospital_names import HospitalName, hospital_name
from harmonize.labels.findings import FINDINGS
from reports.page import render
from reports.schemas.common_findings import common_findings
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests import invented_decisions, invented_more

HOSPITALS = {
    "chexpert": ("CheXpert", "Stanford, US", 0.0, 300),
    "mimic": ("MIMIC-CXR", "Boston, US", 0.02, 320),
    "padchest": ("PadChest", "Alicante, ES", 0.045, 310),
    "vindr": ("VinDr-CXR", "Hanoi, VN", 0.05, 320),
    "nih": ("NIH-14", "Bethesda, US", 0.07, 320),
    "brax": ("BRAX", "São Paulo, BR", 0.1, 315),
}
UNMAPPED = {("vindr", "Edema"), ("nih", "No Finding"), ("brax", "Lung Lesion")}
RANKED_BY = (("auroc", "none"), ("auprc", "none"), ("ece", "platt"))  # metric and calibrator
# half widths of the intervals of a difference of two runs: its own, and corrected for all pairs
HALF, WIDE = 0.01, 0.015
FAMILIES = ("classic", "modern", "attention", "other", "efficient", "lightweight", "scratch")
NAMES = ("DenseNet-121", "ConvNeXt-T", "SE-ResNeXt-50", "RegNetY-4GF", "EfficientNetV2-S", "MobileNetV3-L", "SE-ResNet")


@dataclass(frozen=True, slots=True)
class Invented:
    """Settings of a synthetic study."""

    runs: int = 24
    failed: int = 0
    seed: int = 7
    hospitals: tuple[str, ...] = tuple(HOSPITALS)  # the first is the internal hospital
    phantom: bool = False
    shortcut: str = ""  # a finding with a very high internal and a low external AUROC
    sign: float = 1.0  # -1: external scores are better than internal scores
    noise: float = 1.0  # factor for the width of intervals
    below_half: bool = False  # the last run has AUROCs below 0.5
    name: str = ""  # replaces the name of every run, to test hostile text
    patients: float = 1.0  # factor for the number of patients; with few patients, findings are below min_count
    epochs: int = 5
    internal_labels: tuple[str, ...] = FINDINGS
    external_labels: tuple[str, ...] = FINDINGS
    internal_few: tuple[str, ...] = ()  # findings that the internal hospital labels, but does not score: two positives
    failing: str = ""  # a finding of `internal_few` with an AUROC far below 0.5 at every external hospital


def tables(settings: Invented | None = None) -> Tables:
    """Return the tables of a synthetic study, which the caller may change."""
    made = _tables(settings or Invented())
    return Tables(deepcopy(made.meta), {name: frame.copy() for name, frame in made.frames.items()})


@cache
def _tables(study: Invented) -> Tables:
    rng = np.random.default_rng(study.seed)
    internal, others = study.hospitals[0], study.hospitals[1:]
    prevalence = _prevalence(study, rng)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    frames = {}
    macro: dict[str, dict[str, float]] = {}
    for i in range(study.runs + study.failed):
        run_id = f"{rng.integers(16**12):012x}"
        failed = i >= study.runs
        rows["runs"].append(_run(study, i, run_id, failed))
        if not failed:
            macro[run_id] = _score(study, rng, rows, i, run_id, prevalence)
    score = "external" if others else "internal"
    order = sorted((r for r in macro if np.isfinite(macro[r][score])), key=lambda r: -macro[r][score])
    scores = rows["scores"]
    rows |= invented_decisions.decisions(scores, study.noise)
    rows["ranks"] = _rankings(study, rows, order)
    for key in (*others, "external") if others else ():
        gaps = [macro[r]["internal"] - macro[r][key] for r in order]
        if gaps:
            mean = float(np.mean(gaps))
            half_width = 0.012 * study.noise
            worse = sum(v - 0.02 * study.noise > 0 for v in gaps)
            better = sum(v + 0.02 * study.noise < 0 for v in gaps)
            rows["mean_gaps"].append(
                {
                    "dataset": key,
                    "value": mean,
                    "low": mean - half_width,
                    "high": mean + half_width,
                    "num_runs": len(gaps),
                    "num_worse": worse,
                    "num_better": better,
                    "all_low": mean - 1.4 * half_width,
                    "all_high": mean + 1.4 * half_width,
                }
            )
    rows["pairs"] = invented_more.pairs(scores, rows["gaps"], order, HALF * study.noise, WIDE * study.noise)
    rows["curves"] = invented_more.curves(scores)
    rows["confusion"] = invented_more.confusion(scores)
    rows["subgroups"] = invented_more.subgroups(scores, SCHEMAS["subgroups"])
    _cohorts(study, rows, prevalence)
    _frontier(rows, order if others else [])
    for name, columns in SCHEMAS.items():
        frames[name] = pd.DataFrame(rows[name], columns=list(columns))
    meta = {
        "title": "Invented study",
        "grid": "invented",
        "source": internal,
        "phantom": study.phantom,
        "settings": msgspec.json.decode(msgspec.json.encode(Settings())),
        "test_images": 1234,
        "split": {"train": 0.7, "val": 0.1, "test": 0.2},
        "command": "bench run --grid invented",
        "created_from": order,
        "findings": list(FINDINGS),
        "notes": _notes(study),
        "datasets": {k: asdict(_named(study, k)) for k in study.hospitals},
    }
    return Tables(meta, frames)


def rescored(made: Tables, **changes: Any) -> Tables:
    """Return the tables with changed settings of scoring in their metadata."""
    return replace(made, meta=made.meta | {"settings": made.meta["settings"] | changes})


@cache
def page_of(study: Invented) -> str:
    """Return the page of a synthetic study, drawn once in each process of the tests."""
    return render(tables(study))


def ranked_ids(made: Tables) -> list[str]:
    """Return the ids of the first ranking of a page, by mean external AUROC, best first."""
    ranks = made["ranks"]
    first = (ranks["metric"] == "auroc") & (ranks["dataset"] == "external") & (ranks["finding"] == "macro")
    return [str(run_id) for run_id in ranks["run_id"][first]]


def _rankings(study: Invented, rows: dict[str, list[dict[str, Any]]], ranked_ids: list[str]) -> list[dict[str, Any]]:
    """Make the rankings by AUROC, gap, AUPRC, ECE and net benefit of every hospital, the ranking by the external mean first."""
    scored = [row for row in rows["scores"] if (row["metric"], row["calibrator"]) in RANKED_BY]
    scored += [row | {"metric": "gap"} for row in rows["gaps"]]
    scored += [row for row in rows["net_benefit"] if row["metric"] == "net_benefit" and "net_benefit" in SCHEMAS]
    by: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {
        ("auroc", "external" if study.hospitals[1:] else study.hospitals[0], "macro"): {}
    }
    for row in scored:
        if row["finding"] == "macro" and row["run_id"] in ranked_ids and np.isfinite(row["value"]):
            by.setdefault((row["metric"], row["dataset"], row["finding"]), {})[row["run_id"]] = row
    out = []
    for criterion, of_run in by.items():
        sign = 1 if criterion[0] in ("gap", "ece") else -1
        order = sorted(of_run, key=lambda run: (sign * of_run[run]["value"], ranked_ids.index(run)))
        half = (0.02 if criterion[0] == "gap" else 0.03) * study.noise
        score = np.array([-sign * of_run[run]["value"] for run in order])
        better = score[:, None] - score > WIDE * study.noise
        share = np.exp((score - score[:1]) / (0.006 * study.noise))
        group, anchor = 0, np.inf
        for k, run_id in enumerate(order):
            value = of_run[run_id]["value"]
            lead = score[k] - score[k + 1] if k + 1 < len(order) else np.nan
            if anchor - score[k] > WIDE * study.noise:
                group, anchor = group + 1, score[k]
            out.append(
                {
                    **dict(zip(("metric", "dataset", "finding"), criterion, strict=True)),
                    "run_id": run_id,
                    **{name: of_run[run_id][name] for name in ("value", "low", "high")},
                    "mean_rank": k + 1.0,
                    "rank_low": 1 + int(better[:, k].sum()),
                    "rank_high": len(order) - int(better[k].sum()),
                    "p_best": share[k] / share.sum(),
                    "group": group,
                    "all_low": value - half,
                    "all_high": value + half,
                    "lead": lead,
                    "lead_low": lead - HALF * study.noise,
                    "lead_high": lead + HALF * study.noise,
                    "lead_all_low": lead - WIDE * study.noise,
                    "lead_all_high": lead + WIDE * study.noise,
                }
            )
    return out


def _frontier(rows: dict[str, list[dict[str, Any]]], ranked_ids: list[str]) -> None:
    """Make the Pareto front of external AUROC and cost."""
    macs = {row["run_id"]: row["macs"] for row in rows["costs"]}
    for k, run_id in enumerate(ranked_ids):
        on_front = all(macs[run_id] < macs[better] for better in ranked_ids[:k])
        numbers = {
            "amount": macs[run_id],
            "on_front": on_front,
            "gain": 0.01,
            "gain_low": -0.01,
            "gain_high": 0.03,
        }
        rows["frontier"].append({"run_id": run_id, "cost": "macs", **numbers})


def _named(study: Invented, key: str) -> HospitalName:
    """Return the name of a hospital; a synthetic study has no real names."""
    title, place, *_ = HOSPITALS[key]
    return hospital_name(key, key, {"title": title, "place": place}, study.phantom)


def _notes(study: Invented) -> list[str]:
    """Return the notes at the top of the page."""
    planted = (
        f"The synthetic training hospital prints a tag on images with {study.shortcut}; elsewhere the tag is random."
    )
    absent = [
        f"{_named(study, k).short} is absent: no folder {k}/ in the data."
        for k in HOSPITALS
        if k not in study.hospitals
    ]
    return [planted] * bool(study.shortcut) + absent


def _prevalence(study: Invented, rng: np.random.Generator) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (present, n) for each hospital and each finding that it labels."""
    counts = {}
    for key in study.hospitals:
        n = round(HOSPITALS[key][3] * study.patients)
        for k, finding in enumerate(FINDINGS):
            share = float(np.clip(rng.normal(0.3 if k == 0 else 0.16, 0.07), 0.02, 0.6))
            labels = study.internal_labels if key == study.hospitals[0] else study.external_labels
            if (key, finding) not in UNMAPPED and finding in labels:
                few = key == study.hospitals[0] and finding in study.internal_few
                counts[key, finding] = (2 if few else round(share * n), n)
    return counts


def _run(study: Invented, i: int, run_id: str, failed: bool) -> dict[str, Any]:
    name = study.name or NAMES[i % len(NAMES)]
    variant = ("", "sam", "lion", "focal", "u_ones", "clahe_224")[(i // len(NAMES)) % 6]
    difference = " · ".join(
        text for text in (variant, f"seed {i // (len(NAMES) * 6)}" if study.runs > 42 else "") if text
    )
    if study.runs <= 4:
        name, difference = study.name or NAMES[i // 2], f"seed {i % 2}" if study.runs > 1 else ""
    return {
        "run_id": run_id,
        "kind": "run",
        "of": "",
        "name": name,
        "architecture": name.lower(),
        "family": FAMILIES[NAMES.index(name) if name in NAMES else 0],
        "optimizer": variant if variant in ("sam", "lion") else "adamw",
        "loss": "focal" if variant == "focal" else "bce",
        "uncertainty": "u_ignore",
        "preprocessing": "imagenet_224",
        "augmentation": "light",
        "weights": "imagenet",
        "corpus": "in1k",
        "weights_licence": "apache-2.0" if i else "cc-by-nc-4.0",
        "train_on": study.hospitals[0],
        "seed": i % 2,
        "what": difference,
        "state": "failed" if failed else "done",
        "reason": "the loss was not finite at step 40 of epoch 1" if failed else "",
        "remark": "",
        "epochs": study.epochs,
        "best_epoch": 3 + i % 3,
        "gradient_evaluations": 600.0,
        "seconds": 61.0 + i,
        "date": "2026-01-31",
        "command": f"bench run --grid invented --only {run_id}",
        "config": json.dumps({"architecture": name, "optimizer": {"name": "adamw", "lr": 0.001}, "seed": i % 2}),
        "commit": "0123abc",
        "versions": "torch 2.15.0, timm 1.0.31, numpy 2.4.6",
        "device": "cpu (2 threads)",
        "weights_sha256": run_id * 5 + "0000",
    }


Rows = dict[str, list[dict[str, Any]]]
Counts = dict[tuple[str, str], tuple[int, int]]  # (hospital, finding) -> (present, images)


def _score(
    study: Invented, rng: np.random.Generator, rows: Rows, i: int, run_id: str, counts: Counts
) -> dict[str, float]:
    """Make the scores, costs, probes and history of one run; return its macro AUROC by hospital."""
    internal, others = study.hospitals[0], study.hospitals[1:]
    skill, reliance = rng.normal(0, 0.016), rng.uniform(0.5, 1.5)
    auroc = _auroc(study, rng, i, skill, reliance, counts)
    scored = {k: {f for f in FINDINGS if _enough(counts.get((k, f), (0, 0)))} for k in study.hospitals}
    means = _macros(auroc, scored, internal)
    macro = {
        key: _hospital(study, rows, run_id, key, auroc, reliance, counts, means.get(key)) for key in study.hospitals
    }
    with_scores = [k for k in others if np.isfinite(means[k][0])]
    macro["external"] = float(np.mean([means[k][0] for k in with_scores])) if with_scores else float("nan")
    macro["internal"] = macro[internal]
    if with_scores:
        auroc_half = 0.008 * study.noise
        rows["scores"] += [
            _number(run_id, "external", internal, study, "macro", "auroc", macro["external"], auroc_half, 0, 0, 9),
            _number(run_id, "external", internal, study, "macro", "ece", 0.06 * reliance, 0.006, 0, 0, 9, "platt"),
        ]
    _gaps(study, rows, run_id, auroc, scored, means)
    size = 1 + i % 9
    rows["costs"].append(
        {
            "run_id": run_id,
            "params": 2.6e6 * size,
            "trainable_params": 2.6e6 * size,
            "macs": 0.22e9 * size**1.7,
            "flops": 0.44e9 * size**1.7,
            "not_counted": "silu 1.6 %" if i % 2 else "",
            "images_per_second": 2400 / size,
            "throughput_device": "cpu (2 threads)",
            "peak_memory_bytes": 4e8,
            "seconds_per_epoch": 11.0,
            "image_size": 224,
        }
    )
    for control, value in (("none", 0.86 + 0.05 * reliance), ("shuffled", 0.17)):
        rows["sources"].append(
            {
                "run_id": run_id,
                "probe": "features",
                "control": control,
                "shots": 0,
                "metric": "balanced_accuracy",
                "value": value,
                "low": value - 0.03,
                "high": min(1.0, value + 0.03),
                "chance": 1 / len(study.hospitals),
                "num_sources": len(study.hospitals),
                "n": 600,
            }
        )
    for e in range(1, study.epochs + 1):
        rows["history"].append(
            {
                "run_id": run_id,
                "epoch": e,
                "train_loss": 0.5 / e + 0.1,
                "val_loss": 0.45 / e + 0.16 + 0.01 * e,
                "val_auroc": 0.86 + skill - 0.3 / (e + 1) ** 1.5,
                "lr": 1e-3 / e,
                "seconds": 12.0,
            }
        )
    return macro


def _auroc(
    study: Invented, rng: np.random.Generator, i: int, skill: float, reliance: float, counts: Counts
) -> dict[tuple[str, str], float]:
    """Return the AUROC of each hospital and finding."""
    auroc = {}
    for key, f in counts:
        shift = study.sign * HOSPITALS[key][2] * reliance
        value = 0.84 + 0.05 * np.sin(2.1 * FINDINGS.index(f)) + skill - shift + rng.normal(0, 0.008)
        if f == study.shortcut:
            at_internal = key == study.hospitals[0]
            value = 0.985 + rng.normal(0, 0.003) if at_internal else 0.66 - shift + rng.normal(0, 0.02)
        if f == study.failing and key != study.hospitals[0]:
            value = 0.24 + rng.normal(0, 0.01)
        if study.below_half and i == study.runs - 1:
            value = 1 - value
        auroc[key, f] = float(np.clip(value, 0.02, 0.995))
    return auroc


def _hospital(
    study: Invented,
    rows: Rows,
    run_id: str,
    key: str,
    auroc: dict[tuple[str, str], float],
    reliance: float,
    counts: Counts,
    mean: tuple[float, int] | None,
) -> float:
    """Make the scores and the reliability of one run at one hospital; return the macro AUROC. mean: that of an external one."""
    internal = study.hospitals[0]
    gap = 0.0 if key == internal else HOSPITALS[key][2]
    findings_of_hospital = [f for f in FINDINGS if (key, f) in auroc]
    for f in findings_of_hospital:
        present, n = counts[key, f]
        half_width = study.noise * 0.175 / np.sqrt(max(present, 4)) if _enough((present, n)) else np.nan
        value = auroc[key, f] if _enough((present, n)) else np.nan
        rows["scores"].append(_number(run_id, key, internal, study, f, "auroc", value, half_width, n, present))
    values = [auroc[key, f] for f in findings_of_hospital if _enough(counts[key, f])]
    macro, num = (float(np.mean(values)) if values else float("nan"), len(values)) if mean is None else mean
    n = min((counts[key, f][1] for f in findings_of_hospital), default=0)
    for metric, calibrator, value, half_width in (
        ("auroc", "none", macro, 0.012 * study.noise),
        ("ece", "platt", 0.015 + gap * reliance, 0.005),
        ("ece", "none", 0.04 + gap, 0.005),
        ("auprc", "none", macro - 0.4, 0.005),
        ("brier", "platt", 0.1, 0.005),
    ):
        rows["scores"].append(
            _number(run_id, key, internal, study, "macro", metric, value, half_width, n, 0, num, calibrator)
        )
    if key != internal and num:
        drift = gap * reliance
        rows["scores"].append(
            _number(run_id, key, internal, study, "macro", "ece_drift", drift, 0.006, n, 0, num, "platt")
        )
    for calibrator, strength in (("none", 4.8), ("platt", 3.0)):
        for bin_number in range(10):
            confidence = (bin_number + 0.5) / 10
            observed = float(np.clip(confidence - gap * strength * np.sin(np.pi * confidence), 0, 1))
            rows["reliability"].append(
                {
                    "run_id": run_id,
                    "dataset": key,
                    "calibrator": calibrator,
                    "bin": bin_number,
                    "confidence": confidence,
                    "count": int(900 * np.exp(-3 * confidence)) + 12,
                    "smooth": observed,
                    "smooth_low": max(0, observed - 0.04),
                    "smooth_high": min(1, observed + 0.04),
                }
            )
    return macro


def _macros(
    auroc: dict[tuple[str, str], float], scored: dict[str, set[str]], internal: str
) -> dict[str, tuple[float, int]]:
    """Return the macro AUROC of each external hospital over the findings of the means, and how many of these it scores."""
    others = [key for key in scored if key != internal]
    table = np.array([[f in scored[key] for f in FINDINGS] for key in others], bool).reshape(len(others), len(FINDINGS))
    used = common_findings(table, np.array([f in scored[internal] for f in FINDINGS]))
    table &= used
    value = np.array([[auroc.get((key, f), 0.0) for f in FINDINGS] for key in others]).reshape(table.shape)
    of_cells = weights(table) if others else np.empty((0, 0, len(FINDINGS)))
    return {
        key: (float((of_cells[h] * value).sum()) if table[h].any() else float("nan"), int(table[h].sum()))
        for h, key in enumerate(others)
    }


def _gaps(
    study: Invented,
    rows: Rows,
    run_id: str,
    auroc: dict[tuple[str, str], float],
    scored: dict[str, set[str]],
    means: dict[str, tuple[float, int]],
) -> None:
    """Make the gaps of each finding and hospital, and of the macros."""
    internal = study.hospitals[0]
    used = [
        f for f in FINDINGS if f in scored[internal] and (len(means) == 1 or sum(f in scored[k] for k in means) > 1)
    ]
    inside = float(np.mean([auroc[internal, f] for f in used])) if used else float("nan")
    for f in (*FINDINGS, "macro"):
        pairs, sizes = [], []
        for key, (mean, num) in means.items():
            pair, size = (inside, mean), num
            if f != "macro":
                size = int(f in scored[internal] and f in scored[key])
                pair = (auroc[internal, f], auroc[key, f]) if size else (float("nan"), float("nan"))
            pairs += [pair] * bool(size)
            sizes += [size] * bool(size)
            rows["gaps"].append(_gap(run_id, key, f, *(pair if size else (np.nan, np.nan)), 0.03 * study.noise, size))
        if means:
            at_internal, at_external = (float(np.mean([p[s] for p in pairs])) if pairs else np.nan for s in (0, 1))
            rows["gaps"].append(
                _gap(run_id, "external", f, at_internal, at_external, 0.018 * study.noise, min(sizes, default=0))
            )


def _enough(counts: tuple[int, int]) -> bool:
    return counts[0] >= 10 and counts[1] - counts[0] >= 10


def _gap(
    run_id: str, dataset: str, finding: str, internal: float, external: float, half: float, count: int
) -> dict[str, Any]:
    value = internal - external
    return {
        "run_id": run_id,
        "dataset": dataset,
        "finding": finding,
        "value": value,
        "low": value - half,
        "high": value + half,
        "internal": internal,
        "external": external,
        "num_findings": count,
        "n": 300,
        "num_positive": 40,
        "num_patients": 280,
    }


def _number(
    run_id: str,
    dataset: str,
    internal: str,
    study: Invented,
    finding: str,
    metric: str,
    value: float,
    half: float,
    n: int,
    present: int,
    count: int = 1,
    calibrator: str = "none",
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "dataset": dataset,
        "split": "test" if dataset == internal else "all",
        "reference": "phantom" if study.phantom else "report",
        "mapping": "default",
        "subgroup": "all",
        "selection": "best_val",
        "calibrator": calibrator,
        "operating_point": "",
        "finding": finding,
        "metric": metric,
        "value": value,
        "low": value - half,
        "high": value + half,
        "n": n,
        "num_positive": present,
        "num_negative": n - present,
        "num_patients": n,
        "num_findings": count,
    }


def _cohorts(study: Invented, rows: Rows, prevalence: dict[tuple[str, str], tuple[int, int]]) -> None:
    internal = study.hospitals[0]
    for key in study.hospitals:
        hospital, n = _named(study, key), round(HOSPITALS[key][3] * study.patients)
        used = n * 7 if key == internal else n
        rows["cohorts"].append(
            {
                "dataset": key,
                "role": "internal" if key == internal else "external",
                "layout": key,
                "title": hospital.title,
                "place": hospital.place,
                "label_source": "radiologists" if key == "vindr" else "report labeler",
                "found": round(used * 1.3),
                "absent": 3,
                "not_frontal": round(used * 0.3) - 3,
                "unreadable": 0,
                "used": used,
                "patients": used - 20,
                "female": used // 2,
                "male": used - used // 2,
                "age_median": 57.0 if key != "vindr" else float("nan"),
                "ages": used if key != "vindr" else 0,
                "children": 0,
                "ap": used // 3,
                "pa": used - used // 3,
                "headline_split": "test" if key == internal else "all",
                "fingerprint": f"{hash_of(key):016x}",
                "licence": "research only",
            }
        )
        shares = {"train": 0.7, "val": 0.1, "test": 0.2} if key == internal else {"test": 1.0}
        for split, share in shares.items():
            sizes = {"images": round(used * share), "patients": round((used - 20) * share)}
            rows["splits"].append({"dataset": key, "split": split, **sizes})
        for finding in FINDINGS:
            present, total = prevalence.get((key, finding), (0, 0))
            rows["prevalence"].append(
                {
                    "dataset": key,
                    "split": "test" if key == internal else "all",
                    "finding": finding,
                    "present": present,
                    "absent": total - present,
                    "uncertain": 0,
                    "not_mentioned": 0,
                    "unmapped": 0 if total else n,
                }
            )


def hash_of(key: str) -> int:
    """Return a number that depends on the key only."""
    return int.from_bytes(key.encode().ljust(8, b"."), "big") % 16**16
