"""The page: a run, an image, what the run says of it, and how well it does where the image may come from.

Streamlit runs `show` anew after each change. torch takes seconds to import: the page stands before that.
An uploaded image lives in memory while its session does, and nowhere else.
"""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from bench.app.result_table import RULES, answer_html, performance_html, surest_first
from bench.app.selectable_runs import ANYWHERE, Choice, choices, grids, said_of, sample, sample_sites
from bench.store.store import Store
from bench.system.disclaimer import NOTICE
from harmonize.errors import CxrError, DatasetError
from harmonize.images.image_header import InMemory

if TYPE_CHECKING:
    from bench.runs.new_images import StoredRun

STORE = "BENCH_STORE"  # the environment variable by which `bench app` says which store
TYPES = ["png", "jpg", "jpeg", "dcm", "dicom"]
_STYLE = """<style>
.st-key-notice { position: fixed; inset: auto 0 0 0; z-index: 1000; width: 100%; padding: .5rem 1rem; background: #7a1f00;
  display: block; height: auto; }
.st-key-notice > * { width: 100%; }
.st-key-notice p { color: #fff; font-size: .95rem; line-height: 1.4; font-weight: 600; text-align: center; margin: 0; padding: 0; }
.st-key-notice [data-testid="stMarkdownContainer"] { margin: 0; }
[data-testid="stMainBlockContainer"] { padding: 2.5rem 2rem 5rem; max-width: 76rem; }
[data-testid="stSidebarContent"] { padding-bottom: 4rem; }
</style>"""


@dataclass(frozen=True)
class _Ready:
    """A run in memory, and the lock of the one who asks it: heat maps hold the network still."""

    stored: "StoredRun"
    lock: threading.Lock = field(default_factory=threading.Lock)


def show() -> None:
    """Draw the page."""
    st.set_page_config("Unseen: one image", layout="wide")
    st.html(_STYLE)
    with st.container(key="notice"):
        st.markdown(NOTICE)
    st.title("One image, one run")
    root = Path(os.environ.get(STORE, "runs"))
    try:
        store = Store.open(root, create=False)
        found, torn = choices(store), grids(store)[1]
    except CxrError as error:
        if root.is_file() or (root / "store.json").exists():
            _refused(error)
        else:
            _empty(f"There is no run store at `{root}` yet.")
        return
    if torn:
        st.warning(
            f"Cannot be read: {_plain(', '.join(torn))}. Their runs are left out; `bench check --store` says more."
        )
    if not found:
        _empty(f"The store `{root}` holds no finished run with weights yet.")
        return
    with st.sidebar:
        choice, origin, rule = _asked(found)
        image, truth = _image(choice)
    try:
        with st.spinner("Loading the run"):
            ready = _load(str(root), choice.run_id)
        if image is None:
            _waiting()
        else:
            _answer(ready, choice, image, truth, origin, rule)
    except CxrError as error:
        _refused(error)
    _performance(choice)


@st.cache_resource(max_entries=2, show_spinner=False)
def _load(root: str, run_id: str) -> _Ready:
    from bench import api

    return _Ready(api.load_run(root, run_id))


def _empty(what: str) -> None:
    """Say what to do where nothing can be chosen."""
    st.info(f"{what} Make one, without data or a GPU:")
    st.code("bench run --grid demo", language="bash")
    st.markdown("Then reload this page. Is the store somewhere else? Start the page with `bench app --store FOLDER`.")


def _refused(error: CxrError) -> None:
    """Show what is wrong, where, and the mend, as plain text."""
    st.error(f"{_plain(error.what)}\n\n**where:** {_plain(error.where)}\n\n**fix:** {_plain(error.fix)}")


def _asked(found: list[Choice]) -> tuple[Choice, str, str]:
    """Return the run, where the image may come from, and the rule of the threshold."""
    st.header("Run")
    number = st.selectbox(
        "Run of the store, the best abroad first", range(len(found)), format_func=lambda k: found[k].title, key="run"
    )
    choice = found[number or 0]
    st.caption(f"Run {choice.run_id} of the grid {choice.manifest.content['name']}, trained on {choice.internal}.")
    origin = st.selectbox(
        "Where may the image come from?", list(choice.origins), format_func=choice.origins.__getitem__, key="origin",
        help="Says how well this run did there. It changes no probability.",
    )  # fmt: skip
    rule = st.selectbox("Threshold of the calls", list(RULES), format_func=RULES.__getitem__, key="rule")
    return choice, origin or ANYWHERE, rule or "f1_max"


def _image(choice: Choice) -> tuple[InMemory | None, tuple[str, ...] | None]:
    """Return the image and, of a synthetic one, what was drawn into it."""
    st.header("Image")
    kind = st.radio("Image", ["Upload", "Synthetic sample"], horizontal=True, key="kind", label_visibility="collapsed")
    if kind == "Upload":
        file: Any = st.file_uploader("A frontal chest radiograph: PNG, JPEG or DICOM", type=TYPES, key="file")
        st.caption("It stays in the memory of this machine while the page is open, and is not stored.")
        return (None if file is None else InMemory(file.name, file.getvalue())), None
    site = st.selectbox("Drawn as this hospital takes them", sample_sites(choice), key="site")
    patient = st.number_input("Patient", 0, 99_999, 1, key="patient")
    return sample(choice, site, int(patient))


def _waiting() -> None:
    st.info(
        "Upload a frontal chest radiograph in the side bar, or take a synthetic sample there, to see what the run says of it."
    )


def _answer(
    ready: _Ready, choice: Choice, image: InMemory, truth: tuple[str, ...] | None, origin: str, rule: str
) -> None:
    """Show what the run says of an image. Raises DatasetError for one that cannot be used."""
    from bench import api

    with ready.lock:
        found = api.predict(ready.stored, [image])
    if not found.num_images:
        fix = "give a whole PNG, JPEG or DICOM file of one chest radiograph"
        raise DatasetError(f"cannot use the image: {found.skipped['reason'].iloc[0]}", image.name, fix)
    table = surest_first(found.table)
    remarks = [said for said in str(table["warnings"].iloc[0]).split("; ") if said]
    if remarks:
        said = "\n".join(f"- {_plain(each)}" for each in remarks)
        st.warning(f"This image is unlike those the run has learnt from; its numbers mean less:\n{said}")
    if truth is not None:
        st.caption(f"Synthetic image. Drawn into it: {', '.join(truth) or 'no finding'}.")
    left, right = st.columns([4, 7], gap="medium")
    with right:
        st.html(answer_html(table, ready.stored.points, rule, lambda finding: said_of(choice, origin, finding)))
        st.caption(
            "AUROC there: how well the run tells images with the finding from images without, in the hospital chosen in the side bar"
            + (", from the worst to the best of those it was not trained in (so many know the finding)." if origin == ANYWHERE else ", with its 95 % interval.")
        )  # fmt: skip
    with left:
        finding = st.selectbox("Heat map of", list(table["finding"]), key="finding")
        with ready.lock:
            explanation = api.explain(ready.stored, image, [finding])
        shown = st.toggle("Show the heat map", value=True, key="shown")
        picture = api.overlay(explanation, finding) if shown else explanation.gray
        what = f"with the evidence for {finding}" if shown else "alone"
        st.image(picture, caption=f"{image.name}, as the run is shown it, {what}", width="stretch")
        if explanation.finding_maps[0].empty:
            st.caption("The map is empty: nothing in the image speaks for this finding.")
        st.caption("Bright yellow: most evidence. It shows where evidence lies, not how far a disease reaches.")


def _performance(choice: Choice) -> None:
    """Show how well the run does at the internal hospital and at the external hospitals."""
    st.subheader("How well this run does")
    rows = choice.auroc[choice.auroc["finding"] == "macro"].set_index("dataset")
    if rows.empty:
        st.info("It has no scores yet: `bench score` makes them, and with them thresholds and calibration.")
        return
    places = [(name, name) for name in choice.origins if name in rows.index]
    if "external" in rows.index:
        places.append(("external", "mean of the external cohorts"))
    shown = []
    for name, said in places:
        role = "internal, its test patients" if name == choice.internal else "external, never seen in training"
        value = "{:.3f} [{:.3f}, {:.3f}]".format(*rows.loc[name, ["value", "low", "high"]])
        shown.append((said, value, role if name != "external" else ""))
    st.html(performance_html(shown))
    if choice.synthetic:
        st.caption("This run learnt from synthetic images: its numbers say nothing about patients.")


def _plain(text: str) -> str:
    """Return text that markdown shows as it is."""
    return "".join(c if c.isalnum() or c in " .,:;/-" else f"&#{ord(c)};" if c.isprintable() else "?" for c in text)
