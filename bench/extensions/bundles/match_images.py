"""Match the images of a cohort between two bundles whose ordinals differ, by labels, attributes and logits."""

from collections.abc import Mapping, Sequence

import pandas as pd
from pandas.util import hash_pandas_object

from harmonize.errors import StoreError

_FIX = "export all runs of the cohort as one bundle"


def same_images(
    here: pd.DataFrame,
    there: pd.DataFrame,
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    name: str,
) -> Mapping[str, str]:
    """Return {image id in `there`: image id in `here`} for two cohort tables of the same images with different ids.

    Images are matched by labels, attributes (such as sex) and the logits of the runs that both bundles have. `ours` and `theirs`:
    the predictions of these runs for the images of `here` and `there`, in the same order of runs. `name`: the cohort. Raises
    StoreError if no run is in both bundles, if logits or labels differ, or if the patients of the matched images do not match.
    """
    if not ours:
        what = f"the bundles list the images of {name} in different orders, and no run is in both bundles"
        raise StoreError(what, "", _FIX)
    first, second = _with_logits(here, ours), _with_logits(there, theirs)
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        what = f"{name} has {len(first)} images in one bundle and {len(second)} in the other, or other columns"
        raise StoreError(what, "", _FIX)
    columns = [c for c in first.columns if c not in ("image_id", "patient_id")]
    first, second = (
        table.assign(key=hash_pandas_object(table[columns], index=False)).sort_values(
            ["key", "image_id"], kind="stable", ignore_index=True
        )
        for table in (first, second)
    )
    if not first[columns].equals(second[columns]):
        fix = "one bundle is wrong, or uses other labels: ask their makers, or merge only one of them"
        raise StoreError(f"a run of both bundles has different logits or labels on {name}", "", fix)
    pairs = pd.DataFrame({"first": first["patient_id"], "second": second["patient_id"]}).drop_duplicates()
    if pairs["first"].duplicated().any() or pairs["second"].duplicated().any():
        raise StoreError(f"the images of {name} cannot be matched between the bundles", "", _FIX)
    return dict(zip(second["image_id"], first["image_id"], strict=True))


def _with_logits(table: pd.DataFrame, predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Add the logits of runs to a cohort table, one column "<index of the run>:<finding>" each; NaN without prediction."""
    for number, frame in enumerate(predictions):
        table = table.merge(
            frame.add_prefix(f"{number}:").rename(columns={f"{number}:image_id": "image_id"}), on="image_id", how="left"
        )
    return table
