"""Report tables that do not depend on scores: cohorts, splits and training history."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.manifest import Manifest
from bench.planning.protocol import CohortRole
from bench.results.read_predictions import labels_of, reference
from harmonize.cohorts.splits import shared_patients
from harmonize.labels.findings import UNMAPPED_CODE, space

_STATES = {"present": 1, "absent": 0, "uncertain": -1, "not_mentioned": -2, "unmapped": UNMAPPED_CODE}


def findings_of(manifest: Manifest) -> list[str]:
    """Return the scored findings that at least one run of the grid learns, in the order of the grid's label space."""
    configs = [run.config for run in manifest.runs or manifest.imported]
    learned = {finding for config in configs for finding in config.findings}
    findings = [finding for finding in space(configs[0].space) if finding in learned]
    return [finding for finding in findings if finding not in manifest.uncounted(findings)]


@dataclass(frozen=True, slots=True)
class CohortTables:
    """The report tables about the data, and the label states from which the leaderboard's scores are computed."""

    frames: dict[str, pd.DataFrame]  # name -> table: cohorts, splits and prevalence
    # (cohort, split) -> label states [number of images, number of findings]
    headline_states: dict[tuple[str, str], NDArray[np.int8]]
    shared_patients: int  # number of patients in more than one split of the internal hospital
    test_images: int  # number of images behind the headline scores; an image of a pool counts once


def cohort_tables(manifest: Manifest, findings: list[str]) -> CohortTables:
    """Build the tables `cohorts`, `splits` and `prevalence` (label states of `findings`) for all cohorts of a grid.

    A pool has the images of those of its hospitals on which at least one run trains. A hospital that a run leaves out has a row
    of its own as an external hospital.
    """
    config = manifest.shared
    if manifest.leaves_one_out:
        config = replace(config, leave_out="")
    rows, splits, prevalence, headline, shared = [], [], [], {}, 0
    tested: dict[str, list[pd.Series[str]]] = {}  # id of a cohort -> ids of images behind headline scores
    for cohort in (*manifest.cohorts, *manifest.left_out):
        labels = labels_of(manifest, cohort, config, findings)
        if cohort.hospitals:
            labels = labels.of_hospitals([hospital.name for hospital in manifest.pooled])
        table, flow, role = labels.table, cohort.flow, CohortRole.of(cohort)
        internal = role.role == "internal"
        hospital = manifest.hospital(cohort)
        split = pd.Series(labels.split, index=table.index)
        if internal:
            shared += shared_patients(table, split, cohort.name)
        sex, view = table["sex"], table["view"]
        rows.append(
            {
                "dataset": cohort.name,
                "role": cohort.role,
                "layout": cohort.layout,
                "title": hospital.title,
                "place": hospital.place,
                "label_source": reference(manifest, cohort),
                "found": flow.get("found", len(table)),
                "absent": cohort.absent,
                "not_frontal": flow.get("not_frontal", 0),
                "unreadable": cohort.unreadable,
                "used": len(table) - cohort.unreadable,
                "patients": table["patient_id"].nunique(),
                "female": int((sex == "F").sum()),
                "male": int((sex == "M").sum()),
                "age_median": float(table["age"].median()),
                "ap": int((view == "AP").sum()),
                "pa": int((view == "PA").sum()),
                "headline_split": role.headline_name,
                "fingerprint": "/".join(sorted(set(cohort.fingerprints.values()))),
                "licence": manifest.licence(cohort),
            }
        )
        split_masks = (
            [(s, split == s) for s in sorted(set(labels.split))]
            if internal
            else [(cohort.headline_split, pd.Series(role.headline_rows(split), index=split.index))]
        )
        for name, mask in split_masks:
            splits.append(
                {
                    "dataset": cohort.name,
                    "split": name,
                    "images": int(mask.sum()),
                    "patients": table.loc[mask, "patient_id"].nunique(),
                }
            )
            if name == rows[-1]["headline_split"]:
                # the images of a hospital that is left out are rows of the pool's table
                tested.setdefault(cohort.id or manifest.cohorts[0].id, []).append(table.loc[mask, "image_id"])
                headline[cohort.name, str(name)] = labels.state_NK[mask.to_numpy()]
            for k, finding in enumerate(findings):
                state = labels.state_NK[mask.to_numpy(), k]
                counts = {column: int((state == code).sum()) for column, code in _STATES.items()}
                prevalence.append({"dataset": cohort.name, "split": name, "finding": finding, **counts})
    frames = {
        "cohorts": pd.DataFrame(rows),
        "splits": pd.DataFrame(splits),
        "prevalence": pd.DataFrame(prevalence),
    }
    test_images = sum(ids[0].size if len(ids) == 1 else pd.concat(ids).nunique() for ids in tested.values())
    return CohortTables(frames, headline, shared, test_images)
