"""State in words how the training of a run deviated from its configuration."""

from collections.abc import Mapping
from typing import Any

from bench.store.store import Store
from harmonize.errors import StoreError


def training_remark(store: Store, run_id: str) -> str:
    """Return the result of `remark_of` for a stored run; "" if trained.json is missing or damaged."""
    try:
        return remark_of(store.read_json(run_id[:2], run_id, "trained.json"))
    except StoreError:
        return ""


def remark_of(trained: Mapping[str, Any]) -> str:
    """Return how a training deviated from its configuration or from that of other runs, as text; "" if it did not.

    `trained`: the content of trained.json. Examples: the time limit stopped the training, memory ran out, or the features
    are tables of vectors.

    >>> remark_of({"stopped": "stopped by its limit of 2 hours after 3 of 8 epochs", "best_epoch": 2})
    'limit reached: stopped by its limit of 2 hours after 3 of 8 epochs'
    """
    titles = {"elsewhere": "trained elsewhere", "stopped": "limit reached"}
    remarks = [f"{title}: {trained[key]}" for key, title in titles.items() if key in trained]
    if isinstance(prompts := trained.get("prompts"), Mapping):
        text = str(prompts.get("text")).replace("; ", ", ")  # "; " separates remarks
        remarks.append(f"wording {prompts.get('wording')} of {prompts.get('of')}: {text}, where {{}} is the finding")
    if "given_vectors" in trained:
        remarks.append(
            "given vectors: the owner of the encoder computed the features, so this run has no heat maps, no transplant "
            "tests and no costs"
        )
    if "micro_batch" in trained:
        remarks.append(
            f"memory ran out: the last forward passes, and so batch norm, used {trained['micro_batch']} images at a time"
        )
    return "; ".join(remarks)
