"""Open-i, the Indiana University collection: 7,470 radiographs of 3,955 reports of two hospital systems.

Layout: ecgen-radiology/<number>.xml (one file per report), NLMCXR_png/<image>.png, nlmcxr_dicom_metadata.csv (headers of the
DICOM files) and nlmcxr_tsne_pa.csv (corrected views of one image per report), both as shipped in the package torchxrayvision.
Labels: the MeSH headings that two annotators gave to each report. The part before the first "/" is the label, in lower case:
"Opacity/lung/base/left" is "opacity". "borderline" of cardiomegaly, and the site of a mass or nodule outside the lung, follow
after a comma. All images of a report have its labels. "normal" never occurs with another label.
The headers state a patient for each report (its number), but neither sex nor age.
Views: a header alone is not believed, because many lateral images have the view PA or AP. An image is frontal or lateral if
the corrected views say so. If the caption names a lateral view, the other of two images has the other view. Without corrected
views, the headers of a report count if they agree with its caption. Other views are UNKNOWN. The header says which frontal
images are PA or AP.
Additional column: drop ("no labels" for a report without a heading, or with only "No Indexing", 95 published reports).
Source: Demner-Fushman et al. 2016, doi:10.1093/jamia/ocv080. Free to download: openi.nlm.nih.gov.
"""

from pathlib import Path
from xml.etree import ElementTree as ET  # nosec B405

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, LABELS
from harmonize.datasets.columns import base_columns
from harmonize.datasets.csvfile import find, read_text, recode, require, unknown_words
from harmonize.datasets.ids import require_match
from harmonize.errors import DatasetError

SIGNATURE = ("ecgen-radiology", "NLMCXR_png")
REPORTS = "ecgen-radiology"
IMAGES = "NLMCXR_png"
HEADERS = "nlmcxr_dicom_metadata.csv"
CORRECTED = "nlmcxr_tsne_pa.csv"
_VIEWS = {"PA": "PA", "AP": "AP"} | dict.fromkeys(("LL", "RL", "LATERAL", "LARGE LATERAL"), "LATERAL")
_UNLABELED = "no indexing"
_SITES = ("breast", "heart", "mediastinum", "paratracheal", "pleura")  # outside the lung
_QUALIFIERS = {
    "cardiomegaly": ("borderline",),
    "mass": _SITES,
    "nodule": _SITES,
}  # label: parts that change its meaning


def read(root: Path) -> pd.DataFrame:
    """Return one row per image: the base columns, drop and "native:labels"."""
    headers = require(root, "openi", HEADERS)
    files = sorted((root / REPORTS).glob("*.xml"))
    if not files:
        raise DatasetError(f"no reports: {REPORTS}/*.xml", str(root), "openi: unpack NLMCXR_reports.tgz there")
    rows = [
        (image, report, labels, caption) for report, labels, images in map(_report, files) for image, caption in images
    ]
    raw = pd.DataFrame(rows, columns=["image", "report", "labels", "caption"], dtype=str)
    views = read_text(headers, ["imageid", "View Position"])
    require_match(raw["image"], views["imageid"], "views", headers)
    views = views.drop_duplicates("imageid").set_index("imageid").reindex(raw["image"]).fillna("").set_axis(raw.index)
    word = views["View Position"].str.strip()
    header = recode(word, _VIEWS, "UNKNOWN")
    side = _sides(root, raw, header)
    is_unlabeled = raw["labels"].isin(["", _UNLABELED])
    columns = base_columns(
        image_id=raw["image"],
        patient_id=raw["report"],
        study_id=raw["report"],
        view=side.where(side != "FRONTAL", header.where(header.isin(["PA", "AP"]), "FRONTAL")),
        path=f"{IMAGES}/" + raw["image"] + ".png",
        drop=np.where(is_unlabeled, "no labels", ""),
    )
    columns |= {LABELS: raw["labels"].where(~is_unlabeled, "")} | unknown_words(word, _VIEWS, "view")
    faults = {FAULT: views[FAULT].astype(object)} if (views[FAULT] != "").any() else {}
    return pd.DataFrame(columns | faults)


def _sides(root: Path, raw: pd.DataFrame, header: "pd.Series[str]") -> "pd.Series[str]":
    """Return FRONTAL, LATERAL or UNKNOWN for each image; `header` has the view that the header of each image states."""
    frontal, lateral = header.isin(["PA", "AP"]), header == "LATERAL"
    names_lateral = raw["caption"].str.contains(r"lat|two|\b2(?:v|\b)", case=False)
    groups = raw["report"]
    is_pair = names_lateral & (groups.groupby(groups).transform("size") == 2)
    path = find(root, CORRECTED)
    if path is not None:
        corrected = (
            read_text(path, ["imageid", "tsne-view"]).drop_duplicates("imageid").set_index("imageid")["tsne-view"]
        )
        require_match(raw["image"], corrected.index.to_series(), "corrected views", path, may_be_few=True)
        word = corrected.reindex(raw["image"]).set_axis(raw.index)
        frontal, lateral = word == "PA", word == "L"
    else:
        agrees = (
            is_pair & (frontal.groupby(groups).transform("sum") == 1) & (lateral.groupby(groups).transform("sum") == 1)
        )
        agrees |= ~names_lateral
        frontal, lateral = frontal & agrees, lateral & agrees
    known = frontal | lateral
    is_other = is_pair & ~known & (known.groupby(groups).transform("sum") == 1)
    frontal |= is_other & lateral.groupby(groups).transform("any")
    lateral |= is_other & ~frontal
    return pd.Series(np.select([frontal, lateral], ["FRONTAL", "LATERAL"], "UNKNOWN"), raw.index)


def _label(heading: str) -> str:
    """Return the label of a heading: its first part, with a part of _QUALIFIERS if the heading has one.

    >>> _label("Opacity/lung/base"), _label("Mass/breast/left"), _label("Cardiomegaly/borderline")
    ('opacity', 'mass, breast', 'cardiomegaly, borderline')
    """
    label, *parts = (" ".join(part.split()).lower() for part in heading.split("/"))
    other = next((part for part in parts if part in _QUALIFIERS.get(label, ())), "")
    return f"{label}, {other}" if other else label


def _report(path: Path) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the id of a report, its labels joined with "|", and the ids and captions of its images.

    Raises DatasetError for a file that is no report.
    """
    try:
        # expat limits the expansion of entities, and ElementTree loads no external entities
        report = ET.parse(path).getroot()  # noqa: S314  # nosec B314
    except (ET.ParseError, OSError) as error:
        raise DatasetError(f"not a readable report: {error}", str(path), "unpack NLMCXR_reports.tgz again") from error
    uid = report.find("uId")
    if uid is None or not uid.get("id"):
        raise DatasetError("the report has no id (uId)", str(path), "use the reports as published")
    headings = [_label(node.text or "") for node in report.iterfind("MeSH/major")]
    labels = "|".join(dict.fromkeys(heading for heading in headings if heading))
    images = [(str(image.get("id")), image.findtext("caption") or "") for image in report.iterfind("parentImage")]
    return str(uid.get("id")), labels, images
