"""Hybrid labels: choose for each finding the label source with the best validation AUROC.

Train one network per label source and score each network on the radiologists' validation set (`expert_valid`). Pass
the AUROCs to `best_sources`, and write the result under `label_source:` in the data file. Test sets are not used.
"""

import math
from collections.abc import Mapping, Sequence


def best_sources(
    auroc: Mapping[str, Mapping[str, float]], findings: Sequence[str], usual: str = "default"
) -> dict[str, str]:
    """Return finding -> label source with the highest AUROC, from {source: {finding: AUROC}}.

    The first source wins a tie. A finding without any score (missing or NaN) gets `usual`.

    >>> scores = {"chexbert": {"Edema": 0.954, "Pneumonia": 0.90}, "visualchexbert": {"Edema": 0.95, "Pneumonia": 0.93}}
    >>> best_sources(scores, ["Edema", "Pneumonia", "Lung Lesion"])
    {'Edema': 'chexbert', 'Pneumonia': 'visualchexbert', 'Lung Lesion': 'default'}
    """
    chosen = {}
    for finding in findings:
        scored = {source: float(scores.get(finding, math.nan)) for source, scores in auroc.items()}
        for source, value in scored.items():
            if not (math.isnan(value) or 0 <= value <= 1):
                raise ValueError(f"the AUROC of {finding} from {source} is {value}, not in [0, 1]")
        stated = {source: value for source, value in scored.items() if not math.isnan(value)}
        chosen[finding] = max(stated, key=stated.__getitem__) if stated else usual
    return chosen


def label_source(chosen: Mapping[str, str], usual: str = "default") -> dict[str, str]:
    """Return the value of `label_source:` in the data file: `default`, and the findings with another source.

    >>> label_source({"Edema": "chexbert", "Pneumonia": "visualchexbert"}, usual="chexbert")
    {'default': 'chexbert', 'Pneumonia': 'visualchexbert'}
    """
    return {"default": usual, **{finding: source for finding, source in chosen.items() if source != usual}}
