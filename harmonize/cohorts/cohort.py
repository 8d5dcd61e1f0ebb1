"""Load a dataset as a validated table with one row per image, and count every excluded row."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cohorts import invariants, label_mapping
from harmonize.cohorts.bad_rows import separate_bad_rows
from harmonize.cohorts.cohort_filters import filter_groups, filter_rows
from harmonize.cohorts.exclude_list import remove_listed, with_own_splits
from harmonize.cohorts.hospital_names import hospital_name
from harmonize.cohorts.specs import CohortSpec
from harmonize.cohorts.splits import refuse_two_splits
from harmonize.datasets import FAULT, TABLE, UNKNOWN, Remark, adapter
from harmonize.datasets.ids import WRITE_ALIKE, alike, look_alike, require_match
from harmonize.datasets.image_files import are_files, other_ending, relative_paths, same_name
from harmonize.errors import DatasetError
from harmonize.labels.findings import FINDINGS, HYBRID, NO_FINDING, PRESENT, UNMAPPED_CODE, check_source, labels_yaml

QUARANTINE = ("image_id", "path", "reason")
UNKNOWN_LABEL = "unknown label "  # start of the reason in `Cohort.doubts`, followed by the label
ADULT_FROM = 18  # years
ABSENT = "listed but absent"  # reason in `Cohort.quarantine` for an image without a file


@dataclass(frozen=True, eq=False)  # no slots: `cached_property` stores `id` in `__dict__`
class Cohort:
    """The images of one dataset after harmonization: the frontal images, or the images that `spec.choice` selects.

    table       the columns BASE, columns of this dataset, native labels, then one Int8 column of label states for each
                finding; for each label source in `spec.training`, one more such column for each finding
    quarantine  image_id, path and reason of bad rows, and of listed images without a file
    flow        image counts in this order: found (all rows), excluded images by reason, repeated_row and bad_row
                (if any), listed_in_exclude (if `spec.exclude` has lists), not_frontal, other filters, absent, kept.
                Then counts of kept images with remarks: `contradictory` ("No Finding" together with another finding),
                and if any, `unlabelled` (every finding null), `contradictory_sex` and `unknown_label`
    doubts      image_id, path, reason of kept images whose patient has both sexes (F and M), or whose label is not in
                the vocabulary of the dataset
    remarks     doubts about files and words: ids of lists that the dataset does not have, views that count as not
                frontal because their word is not known, and the remarks of the adapter
    """

    name: str
    layout: str
    root: Path
    table: pd.DataFrame
    quarantine: pd.DataFrame
    flow: dict[str, int]
    phantom: bool
    spec: CohortSpec
    doubts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(QUARANTINE)))
    remarks: tuple[Remark, ...] = ()

    @property
    def facts(self) -> dict[str, str]:
        """Return texts about the cohort (title, place, license ...) for pages."""
        texts = label_mapping.facts(self.layout, self.spec.label_source, self.table["split"])
        if are_children(self.table["age"]):
            texts["ages"] = "children"
        if not self.phantom:
            return texts
        hospital = hospital_name(self.name, self.layout, texts, self.phantom)
        return texts | {"title": hospital.title, "place": hospital.place}

    @cached_property
    def id(self) -> str:
        """Return 12 hex digits that change when the label mapping or the table changes."""
        digest = hashlib.sha256()
        digest.update(_rules(self.spec, [str(column) for column in self.table.columns]))
        for column in self.table.columns:
            digest.update(b"\x1e" + str(column).encode())
            digest.update(_bytes(self.table[column]))
        return digest.hexdigest()[:12]


def are_children(age: "pd.Series[float]") -> bool:
    """Return whether every recorded age [N] is below 18 years, and at least half of the ages are recorded.

    >>> [are_children(pd.Series(ages)) for ages in ([1.0, 17.0, np.nan], [1.0, 18.0], [1.0, np.nan, np.nan])]
    [True, False, False]
    """
    return bool(age.notna().mean() >= 0.5 and age.max() < ADULT_FROM)


def load(
    spec: CohortSpec,
    mapping: str = "default",
    findings: Sequence[str] = FINDINGS,
    *,
    images: bool = True,
    tables_alone: bool = False,
) -> Cohort:
    """Load one cohort: read the native table, check it, select the images on disk, and map the findings.

    With `images=False`, no image file is searched: every listed image counts as present. With `tables_alone=True`,
    every listed image counts as present if no listed image is on disk; if some are on disk, the images without a file
    are left out as usual. Bad rows (see `bad_rows.separate_bad_rows`) go to the quarantine.

    Raises DatasetError for missing files or columns, too many bad rows, a patient in two official splits, a label source
    without any image of the cohort, or if no image remains. Raises ConfigError for a label source or gold subset (rows
    that physicians labeled) that the layout does not have.
    """
    where = str(spec.root / spec.table) if isinstance(spec.table, str) else str(spec.root)
    phantom = any((folder / "phantom.json").is_file() for folder in (spec.root, spec.root.parent))
    native, invariant_remarks = invariants.checked(
        _read(spec, spec.label_source), spec.layout, spec.root, spec.label_source, phantom
    )
    adapter_remarks = getattr(adapter(spec.layout), "remarks", None)
    remarks: list[Remark] = [*(adapter_remarks(native, spec.root) if adapter_remarks else []), *invariant_remarks]
    flow = {"found": len(native)}
    native["path"] = relative_paths(spec.root, native["path"])
    if "drop" in native:
        if FAULT in native:  # ignore `drop` of a row with a fault: it comes from cells that may be wrong
            native["drop"] = native["drop"].where(native[FAULT] == "", "")
        for reason in sorted(set(native["drop"]) - {""}):
            flow[reason.replace(" ", "_")] = int((native["drop"] == reason).sum())
        _without_unknown_words(native[native["drop"] == "no split"].copy(), spec, remarks, _SPLIT)
        native = native[native["drop"] == ""].drop(columns=["drop", f"{UNKNOWN}split"], errors="ignore")
    native, bad_rows = separate_bad_rows(native, where, flow)
    native, own_splits = with_own_splits(native, spec.split, flow)
    remarks += own_splits
    refuse_two_splits(native, native["split"], where)
    if len(similar := alike(native["patient_id"])):
        remarks.append(Remark("patient ids", look_alike(similar), WRITE_ALIKE))
    native, more = remove_listed(native, spec.exclude, flow)
    remarks += more
    native = _without_unknown_words(native, spec, remarks)
    native = filter_rows(native, spec.choice, spec.layout, spec.root, flow)
    on_disk = are_files(spec.root, native["path"]) if images else np.ones(len(native), bool)
    if not on_disk.all():
        renamed = same_name(spec.root, native.loc[~on_disk, "path"], native.loc[on_disk, "path"])
        native["path"] = native["path"].mask(native.index.isin(renamed.index[renamed != ""]), renamed)
        on_disk[~on_disk] = renamed != ""
    if tables_alone and not on_disk.any():
        on_disk = np.ones(len(native), bool)
    absent = native.loc[~on_disk, ["image_id", "path"]].assign(reason=ABSENT)
    flow["absent"] = len(absent)
    native = filter_groups(native[on_disk], spec.choice, flow).reset_index(drop=True)
    flow["kept"] = len(native)
    if native.empty:
        raise _no_images(spec, where, flow, absent, remarks)
    states = _states(native, spec, mapping, findings)
    table = pd.concat([native, states, *_training_states(native, states, spec, mapping)], axis=1)
    flow["contradictory"] = _contradictory(states)
    unknown_labels = label_mapping.unknown_words(native, spec.layout)
    two_sex_rows = native.loc[_two_sexes(native), ["image_id", "path"]].assign(reason="contradictory sex")
    unknown_label_rows = native.loc[unknown_labels.index, ["image_id", "path"]].assign(
        reason=UNKNOWN_LABEL + unknown_labels.map(repr)
    )
    counts = {"unlabelled": int(states.isna().all(axis=1).sum())}
    counts |= {"contradictory_sex": len(two_sex_rows), "unknown_label": len(unknown_label_rows)}
    flow |= {name: number for name, number in counts.items() if number}
    doubts = pd.concat([two_sex_rows, unknown_label_rows])
    quarantine = pd.concat([bad_rows, absent], ignore_index=True)
    doubts = doubts.reset_index(drop=True)
    return Cohort(spec.name, spec.layout, spec.root, table, quarantine, flow, phantom, spec, doubts, tuple(remarks))


_SPLIT = {"split": "these images are left out"}  # effect of a word of a split that the mapping does not list
_EFFECTS = {
    "view": "their view counts as unknown, so not as frontal",
    "sex": "their sex counts as not stated",
    "age": "their age counts as unknown",
}


def _without_unknown_words(
    native: pd.DataFrame, spec: CohortSpec, remarks: list[Remark], effects: Mapping[str, str] = _EFFECTS
) -> pd.DataFrame:
    """Return the table without the columns of words that the adapter does not know; add a remark for each column."""
    of_mapping = spec.layout == TABLE
    for what, effect in effects.items():
        if UNKNOWN + what in native:
            words = native.pop(UNKNOWN + what).fillna("")
            counts = words[words != ""].value_counts()
            if len(counts):
                shown = ", ".join(f"{word!r} ({number:,})" for word, number in counts.head(5).items())
                more = f", and {len(counts) - 5} more" if len(counts) > 5 else ""
                found = f"{counts.sum():,} of {len(native):,} images have a word that is not known: {shown}{more}"
                fix = f"add the words to `{what}` of the mapping" if of_mapping else "use the words of the release"
                remarks.append(Remark(what, found, f"{fix}; {effect}"))
    return native


def _no_images(
    spec: CohortSpec, where: str, flow: dict[str, int], absent: pd.DataFrame, remarks: Sequence[Remark]
) -> DatasetError:
    """Return the error for a cohort without images; it names the files with another ending, and the remarks."""
    counts = ", ".join(f"{number:,} {name}" for name, number in flow.items())
    fix = "check that the images are below `root:`, in the published folders, and that the filters select some"
    causes = [f"{remark.what}: {remark.found}" for remark in remarks if remark.level == "warning"]
    if renamed := other_files(spec.root, absent):
        causes.append(renamed)
        fix = "give the files the names of the table, or write the names of the files into the table"
    return DatasetError("; ".join([f"the cohort has no images ({counts})", *causes]), where, fix)


def other_files(root: Path, absent: pd.DataFrame) -> str:
    """Return that a file with another ending is there instead of the first missing image, as text; "" if none is."""
    path = next(iter(absent["path"]), "")
    name = other_ending(root, path)
    return f"the table lists {path}, but the folder has {name}" if name else ""


def _read(spec: CohortSpec, source: str) -> pd.DataFrame:
    """Return the native table with the labels of one label source."""
    check_source(spec.layout, source, f"{spec.name}.label_source")
    module = adapter(spec.layout)
    native: pd.DataFrame
    if spec.layout == TABLE:
        native = module.read(spec.root, spec.table, spec.mapping)
    else:
        native = module.read(spec.root) if source == "default" else module.read(spec.root, source)
    return native


def _states(native: pd.DataFrame, spec: CohortSpec, mapping: str, findings: Sequence[str]) -> pd.DataFrame:
    """Return the states of the findings; findings in `spec.hybrid` come from another label source."""
    states = label_mapping.apply(native, spec.layout, mapping, findings, spec.label_source)
    for source in dict.fromkeys(source for _, source in spec.hybrid):
        from_source = [name for name, name_source in spec.hybrid if name_source == source and name in states]
        if not from_source:
            continue
        source_table = _read(replace(spec, label_source=source), source)
        if FAULT in source_table:
            source_table = source_table[source_table[FAULT] == ""]
        source_table = source_table.drop_duplicates("image_id")
        _require_source(native, source_table, source, spec)
        source_states = label_mapping.apply(source_table, spec.layout, mapping, from_source, source).set_axis(
            source_table["image_id"]
        )
        aligned = source_states.reindex(native["image_id"])  # images missing from the label source become null
        aligned = aligned.set_axis(native.index)
        states[from_source] = aligned[from_source]
    return states


def _require_source(native: pd.DataFrame, rows: pd.DataFrame, source: str, spec: CohortSpec) -> None:
    """Raise DatasetError if the table `rows` of a label source has no image of the cohort."""
    what = f"labels of the source {source}"
    require_match(native["image_id"], rows["image_id"], what, spec.root, may_be_few=True)


def training_column(source: str, finding: str) -> str:
    """Return the column of a finding's training labels from a label source.

    >>> training_column("chexbert", "Edema")
    'train:chexbert:Edema'
    """
    return f"train:{source}:{finding}"


def _training_states(native: pd.DataFrame, states: pd.DataFrame, spec: CohortSpec, mapping: str) -> list[pd.DataFrame]:
    """Return one table of training labels for each label source in `spec.training`.

    The label is null if the label source does not have the image. The label source `hybrid` takes some findings from
    other label sources; the other findings keep the states of the cohort (`states`).
    """
    tables = []
    for name, hybrid in spec.training:
        source_of = dict(hybrid) if name == HYBRID else dict.fromkeys(map(str, states), name)
        labels = states.copy()
        for source in dict.fromkeys(source_of.values()):
            findings = [finding for finding in map(str, labels) if source_of.get(finding) == source]
            if not findings:
                continue
            rows = _read(replace(spec, label_source=source), source)
            for column in {FAULT, "drop"} & set(rows):
                rows = rows[rows[column] == ""]
            rows = rows.drop_duplicates("image_id").set_index("image_id", drop=False)
            _require_source(native, rows, source, spec)
            mapped = label_mapping.apply(rows, spec.layout, mapping, findings, source).reindex(native["image_id"])
            labels[findings] = mapped.set_axis(native.index)
        tables.append(labels.set_axis([training_column(name, str(finding)) for finding in labels], axis=1))
    return tables


def _contradictory(states: pd.DataFrame) -> int:
    """Return the number of images for which "No Finding" and another finding are present."""
    if NO_FINDING not in states:
        return 0
    present = states.eq(PRESENT).fillna(False)
    others = present.drop(columns=NO_FINDING)
    return int((present[NO_FINDING] & others.any(axis=1)).sum())


def _two_sexes(native: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the mask of rows whose patient has both sexes, F and M."""
    codes, patients = pd.factorize(native["patient_id"])
    has_sex = [np.bincount(codes[(native["sex"] == sex).to_numpy()], minlength=len(patients)) > 0 for sex in "FM"]
    mask: NDArray[np.bool_] = (has_sex[0] & has_sex[1])[codes]
    return mask


def _rules(spec: CohortSpec, columns: Sequence[str]) -> bytes:
    """Return the label rules as bytes: the mapping file, or each finding's native labels from labels.yaml.

    Rules of findings that the table does not have are left out. So a new label space does not change the ids of cohorts
    without its findings.
    """
    if spec.layout == TABLE:
        return Path(spec.mapping).read_bytes()
    block = labels_yaml()["datasets"][spec.layout]
    rules = label_mapping.entries(spec.layout, spec.label_source)
    native_labels = {
        finding: [
            *(rules[finding].get(key) for key in ("native", "strict", "broad")),
            *([rules[finding]["doubtful"]] if "doubtful" in rules[finding] else []),
        ]
        for finding in columns
        if finding in rules
    }
    return repr([block["family"], native_labels, block.get("silent"), block.get("exclusive")]).encode()


def _bytes(column: pd.Series) -> bytes:
    """Return the bytes of a column, independent of the pandas version."""
    if isinstance(column.dtype, pd.Int8Dtype):
        return column.to_numpy(np.int8, na_value=UNMAPPED_CODE).tobytes()
    if column.dtype == np.float64:
        return "\x1f".join(map(repr, column.tolist())).encode()
    return "\x1f".join(map(str, column.tolist())).encode()
