"""The page of `bench app`: choose a run and an image; show the run's predictions and its performance.

Streamlit calls `show` again after each change of a setting. The import of torch takes seconds, so the page appears before this
import. An uploaded image stays in memory until the browser session ends, and is never written to disk.
"""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from bench.extensions.app import library
from bench.extensions.app.comparison import (
    DIFFERENCE_CAPTION,
    comparison,
    comparison_html,
    difference_view,
    picture,
    same_frame,
)
from bench.extensions.app.result_table import RULES, answer_html, calls_first, performance_html
from bench.extensions.app.selectable_runs import (
    ANYWHERE,
    SelectableRun,
    auroc_texts,
    grids,
    macro_auroc_text,
    runs_with_weights,
    sample,
    sample_sites,
    site_name,
)
from bench.store.store import Store
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.errors import CxrError, DatasetError
from harmonize.images.image_header import InMemory
from reports.formatting import listing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from bench.extensions.app.panel import Explanation
    from bench.runs.new_images import Inference
    from bench.runs.stored_run import StoredRun

LETTERS = ("A", "B")  # how the page names two compared models
STORE = "BENCH_STORE"  # environment variable with the path of the store; `bench app` sets it
TYPES = ["png", "jpg", "jpeg", "dcm", "dicom"]
_STYLE = """<style>
.st-key-notice { position: fixed; inset: auto 0 0 0; z-index: 1000; width: 100%; padding: .5rem 1rem; background: #7a1f00;
  display: block; height: auto; }
.st-key-notice > * { width: 100%; }
.st-key-notice p { color: #fff; font-size: .95rem; line-height: 1.4; font-weight: 600; text-align: center; margin: 0; padding: 0; }
.st-key-notice [data-testid="stMarkdownContainer"] { margin: 0; }
[data-testid="stMainBlockContainer"] { padding: 2.5rem 2rem 5rem; max-width: 76rem; }
[data-testid="stSidebarContent"] { padding-bottom: 4rem; }
[data-testid="stCaptionContainer"], [data-testid="stImageCaption"] { color: inherit; opacity: .8; }
[data-testid="stImageCaption"] * { color: inherit; opacity: 1; }
</style>"""


@dataclass(frozen=True)
class _Ready:
    """A loaded run, and a lock for it. Sessions share the run, and computing a heat map temporarily changes the network's state."""

    stored: "StoredRun"
    lock: threading.Lock = field(default_factory=threading.Lock)


def show() -> None:
    """Draw the page."""
    st.set_page_config("Unseen: one image", layout="wide")
    st.html(_STYLE)
    with st.container(key="notice"):
        st.markdown(NOTICE)
    st.title("Try a model on one X-ray")
    root = Path(os.environ.get(STORE, "runs"))
    try:
        store = Store.open(root, create=False)
        runs, unreadable = runs_with_weights(store), grids(store)[1]
    except CxrError as error:
        if root.is_file() or (root / "store.json").exists():
            _refused(error)
        else:
            _empty(f"There is no run store at `{root}` yet.")
        return
    if unreadable:
        st.warning(
            f"Unreadable grids: {_plain(', '.join(unreadable))}. Their runs are not listed. `bench check --store` shows why."
        )
    if not runs:
        _empty(f"The store `{root}` has no finished run with weights yet.")
        return
    with st.sidebar:
        choice, origin, rule = _run_settings(runs)
        second = _second_run(runs, choice)
        image, truth = _image(choice)
    choices = [choice] if second is None else [choice, second]
    _origin(choices, origin)
    try:
        with st.spinner("Loading the run"):
            ready = [_load(str(root), chosen.run_id) for chosen in choices]
        if image is None:
            st.info(
                "Upload a frontal chest radiograph in the side bar, or choose a synthetic sample, to see the predictions."
            )
        elif second is None:
            _answer(ready[0], choice, image, truth, origin, rule)
        else:
            _compare(ready, choices, image, truth, rule)
    except CxrError as error:
        _refused(error)
    for letter, chosen in zip(LETTERS, choices, strict=False):
        _performance(chosen, "" if second is None else f"model {letter} does: {chosen.title}")


@st.cache_resource(max_entries=2, show_spinner=False)
def _load(root: str, run_id: str) -> _Ready:
    from bench import api

    return _Ready(api.load_run(root, run_id))


def _empty(problem: str) -> None:
    """Show why there is no run to choose (`problem`), and how to make a store with runs."""
    st.info(f"{problem} This command makes one, without data or a GPU:")
    st.code("bench run --grid demo", language="bash")
    st.markdown("Then reload this page. Is the store somewhere else? Start the page with `bench app --store FOLDER`.")


def _refused(error: CxrError) -> None:
    """Show an error as plain text: what is wrong, where, and how to fix it."""
    st.error(f"{_plain(error.what)}\n\n**where:** {_plain(error.where)}\n\n**fix:** {_plain(error.fix)}")


def _run_settings(runs: list[SelectableRun]) -> tuple[SelectableRun, str, str]:
    """Show the settings of the side bar. Return the chosen run, the origin of the image, and the threshold rule (a key of RULES)."""
    st.header("Model")
    number = st.selectbox(
        "Model (best external AUROC first)", range(len(runs)), format_func=lambda k: runs[k].title, key="run"
    )
    choice = runs[number or 0]
    st.caption(f"Run {choice.run_id} of the grid {choice.manifest.name}.")
    origin = st.selectbox(
        "Which hospital is the image from?",
        list(choice.origins),
        format_func=choice.origins.__getitem__,
        key="origin",
        help="Selects the AUROC that the page shows. It does not change the probabilities.",
    )
    rule = st.selectbox("Decision threshold", list(RULES), format_func=RULES.__getitem__, key="rule")
    return choice, origin or ANYWHERE, rule or "f1_max"


def _second_run(runs: list[SelectableRun], choice: SelectableRun) -> SelectableRun | None:
    """Let the user choose a second run to compare with the first. Return None if there is none or the user chooses none."""
    others = [run for run in runs if run.run_id != choice.run_id]
    if not others:
        return None
    number: int | None = st.selectbox(
        "Compare with",
        range(len(others)),
        index=None,
        format_func=lambda k: others[k].title,
        key="second",
        placeholder="No comparison",
    )
    return None if number is None else others[number]


def _image(choice: SelectableRun) -> tuple[InMemory | None, tuple[str, ...] | None]:
    """Let the user choose an image. Return the image, and the findings drawn into a synthetic image.

    The image is None until the user uploads a file. The findings are None for an uploaded file.
    """
    st.header("Image")
    kind = st.radio("Image", ["Upload", "Synthetic sample"], horizontal=True, key="kind", label_visibility="collapsed")
    if kind == "Upload":
        file: Any = st.file_uploader("A frontal chest radiograph: PNG, JPEG or DICOM", type=TYPES, key="file")
        st.caption("The image is kept in memory only and never saved.")
        return (None if file is None else InMemory(file.name, file.getvalue())), None
    site = st.selectbox("Hospital", sample_sites(choice), format_func=lambda name: site_name(name).title, key="site")
    patient = st.number_input("Patient", 0, 99_999, 1, key="patient")
    return sample(choice, site, int(patient))


def _origin(choices: list[SelectableRun], origin: str) -> None:
    """Show where each model was trained, and its AUROC at the hospital of the image. Warn if a model saw only synthetic images."""
    synthetic = [letter for letter, choice in zip(LETTERS, choices, strict=False) if choice.synthetic]
    if synthetic:
        only = f"Model {synthetic[0]}: " if len(synthetic) < len(choices) else ""
        st.error(f"**{only}{TRAINED_ON_SYNTHETIC}**")
    for letter, choice in zip(LETTERS, choices, strict=False):
        name = f"**Model {letter}:** {_plain(choice.title)}  \n" if len(choices) > 1 else ""
        titles = {ANYWHERE: "hospitals never seen in training", **choices[0].titles, **choice.titles}
        st.markdown(
            f"{name}**Trained at:** {_plain(choice.titles[choice.internal])}  \n"
            f"**AUROC at {_plain(titles[origin])}:** {_plain(macro_auroc_text(choice, origin))}"
        )


def _answer(
    ready: _Ready, choice: SelectableRun, image: InMemory, truth: tuple[str, ...] | None, origin: str, rule: str
) -> None:
    """Show the predictions and the heat map of an image. Raises DatasetError for an unusable image."""
    inference = _predict(ready, image)
    table = calls_first(inference.table, rule)
    _remarks([inference], truth)
    head = "AUROC at other hospitals" if origin == ANYWHERE else "AUROC at this hospital"
    st.html(answer_html(table, ready.stored.points, rule, head, lambda finding: auroc_texts(choice, origin, finding)))
    st.caption(
        "AUROC for this finding in the external hospitals: lowest and highest, with 95 % intervals (number of hospitals)."
        if origin == ANYWHERE
        else "AUROC for this finding, with its 95 % interval."
    )
    finding = st.selectbox("Heat map of", list(table["finding"]), key="finding", width=320)
    with ready.lock:
        explanation = library.explain(ready.stored, image, [finding])
    left, right = st.columns(2, gap="medium")
    left.image(explanation.gray, caption=f"{_plain(image.name)}, as the model gets it", width="stretch")
    right.image(library.overlay(explanation, finding), caption=f"Heat map for {finding}", width="stretch")
    if explanation.finding_maps[0].empty:
        st.caption("The map is empty: no evidence for this finding in the image.")
    st.caption("Bright yellow: most evidence. It shows where the model looks, not the extent of disease.")
    _downloads(choice, image, inference, explanation)


def _predict(ready: _Ready, image: InMemory) -> "Inference":
    """Return the predictions of a run for one image. Raises DatasetError for an unusable image."""
    from bench import api

    with ready.lock:
        inference = api.predict(ready.stored, [image])
    if not inference.num_images:
        fix = "give a complete PNG, JPEG or DICOM file of one chest radiograph"
        raise DatasetError(f"cannot use the image: {inference.skipped['reason'].iloc[0]}", image.name, fix)
    return inference


def _remarks(inferences: "list[Inference]", truth: tuple[str, ...] | None) -> None:
    """Show how the image differs from a model's training images, and list the findings of a synthetic image.

    `truth`: the findings of a synthetic image; None for an uploaded image.
    """
    from bench.cli.predict import distance_line

    warnings = [w for inference in inferences for w in str(inference.table["warnings"].iloc[0]).split("; ") if w]
    if warnings:
        lines = "\n".join(f"- {_plain(warning)}" for warning in dict.fromkeys(warnings))
        st.warning(f"This image differs from the training images. Predictions may be unreliable.\n{lines}")
    for letter, inference in zip(LETTERS, inferences, strict=False):
        line = distance_line(inference, inference.table["distance"].iloc[0])
        name = f"Model {letter}: " if len(inferences) > 1 else ""
        missing = f"distance: not available ({_plain(inference.no_distances)})"
        st.caption(f"{name}Image {line or missing}.")
    if truth is not None:
        st.caption(
            f"Synthetic image with {listing(truth, len(truth))}." if truth else "Synthetic image without findings."
        )


def _compare(
    ready: list[_Ready], choices: list[SelectableRun], image: InMemory, truth: tuple[str, ...] | None, rule: str
) -> None:
    """Show the predictions and heat maps of two runs for one image side by side, with their difference."""
    inferences = [_predict(one, image) for one in ready]
    _remarks(inferences, truth)
    table = comparison(inferences[0].table, inferences[1].table, rule)
    st.html(comparison_html(table, rule, [f"Model {letter}" for letter in LETTERS]))
    learned_by_both = list(table.loc[table["difference"].notna(), "finding"])
    if not learned_by_both:
        st.info("The two models have no finding in common: there are no heat maps to compare.")
        return
    finding = st.selectbox("Heat maps of", learned_by_both, key="finding", width=320)
    explanations = []
    for one in ready:
        with one.lock:
            explanations.append(library.explain(one.stored, image, [finding]))
    maps = [explanation.finding_maps[0] for explanation in explanations]
    change = None
    if same_frame(ready[0].stored.geometry, ready[1].stored.geometry):
        change = difference_view(explanations[0], maps[0], maps[1])
    columns = st.columns(4 if change is not None else 3, gap="small")
    columns[0].image(explanations[0].gray, caption=f"{_plain(image.name)}, as model A gets it", width="stretch")
    for letter, column, explanation in zip(LETTERS, columns[1:], explanations, strict=False):
        column.image(library.overlay(explanation, finding), caption=f"Model {letter}: {finding}", width="stretch")
    if change is None:
        st.caption("No difference of the maps: the two models crop the image differently.")
    else:
        columns[3].image(change[..., ::-1], caption=DIFFERENCE_CAPTION, width="stretch")
    st.caption("Each map has its own scale. A map shows where a model looks, not the extent of disease.")
    _comparison_downloads(choices, image, inferences, table, explanations, change)


def _comparison_downloads(
    choices: list[SelectableRun],
    image: InMemory,
    inferences: "list[Inference]",
    table: "pd.DataFrame",
    explanations: "list[Explanation]",
    change: "NDArray[np.uint8] | None",
) -> None:
    """Show buttons to download the comparison (CSV), both results (JSON) and the heat maps (PNG)."""
    from bench.cli.predict import json_document
    from bench.extensions.app.explain_image import png
    from bench.extensions.app.panel import panel
    from bench.store.safe_csv import csv_text

    ids = [choice.run_id for choice in choices]
    name = f"{Path(image.name).stem}-{ids[0][:6]}-{ids[1][:6]}"
    synthetic = any(inference.synthetic for inference in inferences)
    facts: dict[str, Any] = {
        "image": image.name,
        "first_run": ids[0],
        "second_run": ids[1],
        "trained_on_synthetic": synthetic,
    }
    documents = [json_document(inference, inference.table) for inference in inferences]
    drawn = [panel(explanation, explanation.finding_maps[0]) for explanation in explanations]
    names = [f"Model {letter}: {choice.title}" for letter, choice in zip(LETTERS, choices, strict=True)]
    finding = explanations[0].finding_maps[0].finding
    files: tuple[tuple[str, str | bytes, str, str], ...] = (
        ("Comparison (CSV)", csv_text(table.assign(**facts)), f"{name}.csv", "text/csv"),
        ("Both results (JSON)", json.dumps(documents, allow_nan=False), f"{name}.json", "application/json"),
        ("Heat maps (PNG)", png(picture(drawn, names, change)), f"{name}-{finding}.png", "image/png"),
    )
    _download_buttons(files)


def _download_buttons(files: tuple[tuple[str, str | bytes, str, str], ...]) -> None:
    """Show a row of download buttons. `files`: for each button its label, and the file's content, name and media type."""
    with st.container(horizontal=True):
        for label, data, file_name, mime in files:
            st.download_button(label, data, file_name, mime, on_click="ignore")


def _downloads(choice: SelectableRun, image: InMemory, inference: "Inference", explanation: "Explanation") -> None:
    """Show buttons to download the result (CSV and JSON, as `bench predict` writes them) and the heat map (PNG)."""
    from bench.cli.predict import csv_document, json_document
    from bench.extensions.app.explain_image import png
    from bench.extensions.app.panel import panel

    name = f"{Path(image.name).stem}-{choice.run_id[:6]}"
    finding_map = explanation.finding_maps[0]
    content = json.dumps(json_document(inference, inference.table), allow_nan=False)
    files: tuple[tuple[str, str | bytes, str, str], ...] = (
        ("Result (CSV)", csv_document(inference, inference.table), f"{name}.csv", "text/csv"),
        ("Result (JSON)", content, f"{name}.json", "application/json"),
        ("Heat map (PNG)", png(panel(explanation, finding_map)), f"{name}-{finding_map.finding}.png", "image/png"),
    )
    _download_buttons(files)


def _performance(choice: SelectableRun, name: str = "") -> None:
    """Show the run's macro AUROC at the internal and the external hospitals.

    `name`: end of the heading after "How well", used when two runs are compared.
    """
    st.subheader("How well this model does" if not name else f"How well {_plain(name)}")
    rows = choice.auroc[choice.auroc["finding"] == "macro"].set_index("dataset")
    if rows.empty:
        st.info("This run has no scores yet. `bench score` computes scores, thresholds and calibration.")
        return
    hospitals = [(name, choice.titles[name]) for name in choice.origins if name in rows.index]
    if "external" in rows.index:
        hospitals.append(("external", "Mean of the external hospitals"))
    table = []
    for name, title in hospitals:
        is_internal = name == choice.internal
        role = f"{choice.internal_role}, test patients" if is_internal else "external, never seen in training"
        value = "{:.3f} [{:.3f}, {:.3f}]".format(*rows.loc[name, ["value", "low", "high"]])
        table.append((title, value, role if name != "external" else ""))
    st.html(performance_html(table))


def _plain(text: str) -> str:
    """Escape text so that markdown shows it unchanged."""
    return "".join(c if c.isalnum() or c in " .,;/-" else f"&#{ord(c)};" if c.isprintable() else "?" for c in text)
