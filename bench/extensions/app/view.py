"""The page of `bench app`: choose a run and drop images; show the run's predictions, what they are worth, and heat maps.

Streamlit calls `show` again after each change of a setting. The import of torch takes seconds, so the page appears before this
import. An uploaded image stays in memory until the browser session ends, and is never written to disk.
"""

import math
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from bench.cli.predict import distance_line, evidence_notes
from bench.extensions.heat_maps import library
from bench.results.stored_runs import RunSummary, stored_runs
from bench.runs.elsewhere import call_of, worth_of
from bench.store.store import Store
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.errors import CxrError, DatasetError
from harmonize.images.image_header import InMemory
from reports.formatting import number

if TYPE_CHECKING:
    import pandas as pd

    from bench.runs.new_images import Inference
    from bench.runs.stored_run import StoredRun

STORE = "BENCH_STORE"  # environment variable with the path of the store; `bench app` sets it
TYPES = ["png", "jpg", "jpeg", "dcm", "dicom"]
_STYLE = """<style>
.st-key-notice { position: fixed; inset: auto 0 0 0; z-index: 1000; width: 100%; padding: .5rem 1rem; background: #7a1f00; }
.st-key-notice [data-testid="stMarkdownContainer"] { margin: 0; }
.st-key-notice p { color: #fff; font-weight: 600; text-align: center; margin: 0; }
[data-testid="stMainBlockContainer"] { padding-bottom: 5rem; }
[data-testid="stCaptionContainer"], [data-testid="stImageCaption"], [data-testid="stImageCaption"] * { color: inherit; opacity: 1; }
</style>"""


@dataclass(frozen=True)
class _Ready:
    """A loaded run, and a lock for it. Sessions share the run, and computing a heat map temporarily changes the network's state."""

    stored: "StoredRun"
    lock: threading.Lock = field(default_factory=threading.Lock)


def show() -> None:
    """Draw the page."""
    st.set_page_config("Unseen: single images", layout="wide")
    st.html(_STYLE)
    with st.container(key="notice"):
        st.markdown(NOTICE)
    st.title("Try a model on X-rays")
    root = Path(os.environ.get(STORE, "runs"))
    try:
        runs = runs_with_weights(Store.open(root, create=False))
        if not runs:
            st.info(
                f"The store `{root}` has no finished run with weights. This command makes one, without data or a GPU:"
            )
            st.code("bench run --grid demo", language="bash")
            return
        titles = [f"{run.name} · {run.run[:6]} ({', '.join(run.grids)})" for run in runs]
        with st.sidebar:
            run = runs[st.selectbox("Model", range(len(runs)), format_func=titles.__getitem__, key="run") or 0]
            files = st.file_uploader(
                "Frontal chest radiographs: PNG, JPEG or DICOM", type=TYPES, accept_multiple_files=True, key="files"
            )
            st.caption("Images are kept in memory only and never saved.")
            newest = len(files) - 1
            chosen = st.selectbox("Image", range(len(files)), newest, lambda k: files[k].name) if files else None
        with st.spinner("Loading the run"):
            ready = _load(str(root), run.run)
        if ready.stored.synthetic:
            st.error(f"**{TRAINED_ON_SYNTHETIC}**")
        if run.external_auroc is not None:
            st.markdown(f"**External AUROC:** {run.external_auroc:.3f} (mean of {run.external_members})")
        if chosen is None:
            st.info("Drop frontal chest radiographs in the side bar to see the predictions.")
        else:
            _answer(ready, InMemory(files[chosen].name, files[chosen].getvalue()))
    except CxrError as error:
        st.error(f"{_plain(error.what)}\n\n**where:** {_plain(error.where)}\n\n**fix:** {_plain(error.fix)}")


def runs_with_weights(store: Store) -> list[RunSummary]:
    """Return the finished trained runs of a store, the highest external AUROC first; runs without scores are last."""
    ids = [run_id for run_id in store.run_ids() if (store.run_dir(run_id) / "model.safetensors").is_file()]
    runs = [run for run in stored_runs(store, ids) if run.kind == "run" and run.state == "done"]
    return sorted(runs, key=lambda run: -1.0 if run.external_auroc is None else run.external_auroc, reverse=True)


def shown_table(table: "pd.DataFrame", rule: str) -> "pd.DataFrame":
    """Return the predictions of an image as texts, positive findings first, then by probability (calibrated if available).

    A decision states its threshold, of the threshold rule `rule`. A finding that is not useful at a new hospital has none.
    """
    import pandas as pd

    rows = table.assign(chance=table["calibrated"].fillna(table["probability"])).to_dict("records")
    calls = [call_of(row, rule) for row in rows]
    shown = [
        {
            "Finding": row["finding"],
            "Probability": f"{row['chance']:.3f}{' (uncalibrated)' if math.isnan(row['calibrated']) else ''}",
            "Decision": f"{call} (output {number(row['probability'])}, threshold {number(row[f'threshold_{rule}'])})"
            if call in ("positive", "negative")
            else call,
            "At a new hospital": worth_of(row),
        }
        for row, call in zip(rows, calls, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda k: (calls[k] != "positive", -rows[k]["chance"]))
    return pd.DataFrame([shown[k] for k in order]).set_index("Finding")


@st.cache_resource(max_entries=2, show_spinner=False)
def _load(root: str, run_id: str) -> _Ready:
    from bench import api

    return _Ready(api.load_run(root, run_id))


def _answer(ready: _Ready, image: InMemory) -> None:
    """Show the predictions and the heat map of an image. Raises DatasetError for an unusable image."""
    inference = _predict(ready, image)
    for warning in filter(None, str(inference.table["warnings"].iloc[0]).split("; ")):
        st.warning(f"This image differs from the training images: {_plain(warning)}. Predictions may be unreliable.")
    line = distance_line(inference, inference.table["distance"].iloc[0])
    st.caption(line or f"distance: not available ({_plain(inference.no_distances)})")
    table = shown_table(inference.table, inference.threshold)
    st.table(table)
    st.caption(f"Decision at the threshold `{inference.threshold}` of internal validation patients.")
    for note in evidence_notes(inference.table):
        st.caption(_plain(note))
    finding = st.selectbox("Heat map of", list(table.index), key="finding", width=320)
    with ready.lock:
        explanation = library.explain(ready.stored, image, [finding])
    left, right = st.columns(2)
    left.image(explanation.gray, caption=f"{_plain(image.name)}, as the model gets it", width="stretch")
    right.image(library.overlay(explanation, finding), caption=f"Heat map for {finding}", width="stretch")
    if explanation.finding_maps[0].empty:
        st.caption("The map is empty: no evidence for this finding in the image.")
    st.caption("Bright yellow: most evidence. It shows where the model looks, not the extent of disease.")


def _predict(ready: _Ready, image: InMemory) -> "Inference":
    """Return the predictions of a run for one image. Raises DatasetError for an unusable image."""
    from bench import api

    with ready.lock:
        inference = api.predict(ready.stored, [image])
    if not inference.num_images:
        fix = "give a complete PNG, JPEG or DICOM file of one chest radiograph"
        raise DatasetError(f"cannot use the image: {inference.skipped['reason'].iloc[0]}", image.name, fix)
    return inference


def _plain(text: str) -> str:
    """Escape text so that markdown shows it unchanged."""
    return "".join(c if c.isalnum() or c in " .,;/-" else f"&#{ord(c)};" if c.isprintable() else "?" for c in text)
