"""Selection of a report's gallery pictures by a fixed rule. Pictures of real patients are included only on request.

A case is a pair of an image and a finding. The kind of a case says how the prediction compares with the label, such as
"false negative".
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.extensions.heat_maps.image_sample import KINDS
from bench.extensions.heat_maps.pictures import picture_name
from bench.planning.manifest import Manifest
from bench.store.checked_folders import CheckedFolder
from reports.schemas.criterion import DEFAULT
from reports.tables import rows_of

MOST, MOST_BYTES = 200, 700_000  # maximum number of pictures on a page, and their maximum total size in bytes
ASK = "pictures of real radiographs are left out; `bench report --with-images` adds them"
AGAIN = "damaged pictures are left out; delete the folder `attention` of the run, and `bench run` makes them again"
# A case's sum of ranks grows by this number for each earlier case of the same run, hospital, finding and kind, because
# further cases of a kind show less that is new.
LESS_TELLING = 4


def with_pictures(
    manifest: Manifest, frames: Mapping[str, pd.DataFrame], with_real_images: bool
) -> tuple[pd.DataFrame, str]:
    """Return the table `gallery` with the pictures of the page, and a message if pictures are left out, else "".

    Pictures of patients are left out, unless `with_real_images` is set. Pictures that differ from their checksums are
    always left out. A page gets at most MOST pictures and about MOST_BYTES; later cases have no picture. The function
    `first` sorts the cases by the ranks of the run, the hospital and the finding. The internal hospital comes first;
    the other hospitals and the findings are sorted by gap, largest first.
    """
    gallery = frames["gallery"].reset_index(drop=True)
    order = first(gallery, _runs(frames), _hospitals(manifest, frames), _findings(frames))
    gallery = gallery.iloc[order].reset_index(drop=True)
    if not manifest.phantom and not with_real_images:
        return gallery.assign(picture=None), ASK if len(gallery) else ""
    folders = {a.run: manifest.store.root / a.folder for a in manifest.analyses if a.name == "attention"}
    pictures: dict[int, bytes] = {}
    damaged: list[str] = []
    columns = ("run_id", "dataset", "finding", "kind", "rank")
    size = 0
    for i, (run_id, dataset, finding, kind, rank) in enumerate(rows_of(gallery, *columns)):
        name = f"gallery/{picture_name(str(dataset), str(finding), str(kind), int(rank))}"
        picture, problem = CheckedFolder(folders[str(run_id)]).read_with_problem(name)
        if problem:
            damaged.append(f"{name} of run {run_id} {problem}")
        else:
            pictures[i] = picture
            size += len(picture)
        if len(pictures) >= MOST or size >= MOST_BYTES:
            break
    column = pd.Series([pictures.get(i) for i in range(len(gallery))], gallery.index, dtype=object)
    return gallery.assign(picture=column), f"{AGAIN}: {'; '.join(damaged)}" if damaged else ""


def first(gallery: pd.DataFrame, runs: Sequence[str], hospitals: Sequence[str], findings: Sequence[str]) -> list[int]:
    """Return the indices of the gallery's rows in display order: sorted by a sum of ranks, lowest sum first.

    The sum has the positions of the row's run, hospital and finding in the given lists, and LESS_TELLING for each
    earlier case of the same kind. Cases that differ only in their kind stay together, so that correct cases are never
    shown without errors.
    """
    rank_sum = np.zeros(len(gallery), np.int64)
    for column, order in (("run_id", runs), ("dataset", hospitals), ("finding", findings)):
        rank = {name: i for i, name in enumerate(order)}
        rank_sum += (
            gallery[column].astype(str).map(lambda name, rank=rank: rank.get(name, len(rank))).to_numpy(np.int64)
        )
    rank_sum += LESS_TELLING * gallery["rank"].to_numpy(np.int64)
    kind = gallery["kind"].map({name: i for i, name in enumerate(KINDS)}).to_numpy()
    keys = [gallery[column].astype(str).to_numpy() for column in ("finding", "dataset", "run_id")]
    return [int(i) for i in np.lexsort([kind, *keys, rank_sum])]


def _runs(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    ranks = frames.get("ranks")
    if ranks is None or ranks.empty:
        return []
    return DEFAULT.rows(ranks).sort_values("mean_rank")["run_id"].astype(str).tolist()


def _hospitals(manifest: Manifest, frames: Mapping[str, pd.DataFrame]) -> list[str]:
    gaps = frames.get("mean_gaps")
    external = [] if gaps is None else gaps.sort_values("value", ascending=False)["dataset"].astype(str).tolist()
    return [manifest.source, *(name for name in external if name != "external")]


def _findings(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    gaps = frames.get("gaps")
    if gaps is None or gaps.empty:
        return []
    external = gaps[(gaps["dataset"] == "external") & (gaps["finding"] != "macro")]
    return external.groupby("finding")["value"].mean().sort_values(ascending=False).index.astype(str).tolist()
