"""The same cohort in two orders: which image of one bundle is which of another, told by what both say of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harmonize.errors import StoreError

_FIX = "export both with --keep-order, or all runs of a cohort in one bundle"


def same_images(
    here: pd.DataFrame,
    there: pd.DataFrame,
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    name: str,
    where: str,
) -> Mapping[str, str]:
    """Return the image ids of one cohort table by those of another that shows the same images under other ordinals.

    An image is known by its labels, its attributes and the logits of the runs that both bundles have (ours, theirs: their
    predictions). Raises StoreError when there is no such run, when their logits or the labels differ, or when patients do not fit.
    """
    if not ours:
        raise StoreError(f"{name} is there in two orders, and no run is in both bundles", where, _FIX)
    one, two = _described(here, ours), _described(there, theirs)
    if list(one.columns) != list(two.columns) or len(one) != len(two):
        raise StoreError(
            f"{name} has {len(one)} images or other columns in one bundle, {len(two)} in the other", where, _FIX
        )
    columns = [c for c in one.columns if c not in ("image_id", "patient_id")]
    a, b = (
        t.assign(key=_keys(t[columns])).sort_values(["key", "image_id"], kind="stable", ignore_index=True)
        for t in (one, two)
    )
    if not (a["key"] == b["key"]).all():
        fix = "one of them is wrong, or was made with other labels: ask their makers, or merge one of them alone"
        raise StoreError(f"a run that both have says other logits or labels on {name}", where, fix)
    pairs = pd.DataFrame({"one": a["patient_id"], "two": b["patient_id"]}).drop_duplicates()
    if pairs["one"].duplicated().any() or pairs["two"].duplicated().any():
        raise StoreError(f"the images of {name} cannot be told apart well enough to join the bundles", where, _FIX)
    return dict(zip(b["image_id"], a["image_id"], strict=True))


def _described(table: pd.DataFrame, predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a cohort table with the logits of runs beside its columns; NaN for images that a run lacks."""
    for number, frame in enumerate(predictions):
        table = table.merge(
            frame.add_prefix(f"{number}:").rename(columns={f"{number}:image_id": "image_id"}), on="image_id", how="left"
        )
    return table


def _keys(frame: pd.DataFrame) -> list[str]:
    plain = frame.astype(object).where(frame.notna(), None)
    return (
        ["\x1f".join(map(repr, row)) for row in plain.to_numpy(object).tolist()]
        if len(frame)
        else list(np.empty(0, object))
    )
