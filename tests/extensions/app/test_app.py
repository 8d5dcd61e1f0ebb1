"""Each state of the `bench app` page, run by streamlit's test client, and the command that starts the page."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
from streamlit.testing.v1 import AppTest

from bench.cli.predict import distance_line
from bench.extensions.app import server as appcli
from bench.extensions.app import view
from bench.extensions.app.comparison import (
    DIFFERENCE_CAPTION,
    comparison,
    comparison_html,
    difference_view,
    picture,
    same_frame,
)
from bench.extensions.app.panel import Explanation, FindingMap
from bench.extensions.app.result_table import answer_html, calls_first, reversed_at_internal, thresholds
from bench.extensions.app.selectable_runs import (
    ANYWHERE,
    SelectableRun,
    auroc_texts,
    external_auroc,
    macro_auroc_text,
    runs_with_weights,
    sample,
    sample_sites,
)
from bench.runs.new_images import infer, load
from bench.store.store import Store
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.images.image_header import InMemory
from harmonize.images.pixels import Geometry
from reports.formatting import listing

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the event loop that AppTest leaves open
]
PAGE = Path(appcli.__file__).with_name("page.py")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore `__main__` after a test: AppTest replaces it by the page, which child processes of later tests would then run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def opened(store: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("BENCH_STORE", str(store))
    page = AppTest.from_file(str(PAGE), default_timeout=600).run()
    assert not page.exception
    assert any(NOTICE in text.value for text in page.markdown)
    return page


def test_without_a_store_or_a_run_the_page_shows_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(tmp_path / "none", monkeypatch)
    assert "no run store" in page.info[0].value
    assert page.code[0].value == "bench run --grid demo"
    assert not page.error
    Store.open(tmp_path / "runs")
    assert "no finished run" in opened(tmp_path / "runs", monkeypatch).info[0].value


def test_a_damaged_store_is_reported_as_damaged_not_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "runs"
    Store.open(root)
    (root / "grids").mkdir()
    (root / "grids" / "torn.json").write_text("{")
    page = opened(root, monkeypatch)
    assert "no finished run" in page.info[0].value
    assert "torn" in page.warning[0].value
    assert "bench check --store" in page.warning[0].value
    (root / "store.json").write_text("[")
    page = opened(root, monkeypatch)
    assert "unreadable" in page.error[0].value
    assert not page.info
    assert not page.code
    monkeypatch.setenv("BENCH_STORE", str(root / "store.json"))
    page = AppTest.from_file(str(PAGE), default_timeout=600).run()
    assert "this is a file" in page.error[0].value


def test_the_page_does_not_import_torch_at_start() -> None:
    script = "import sys, bench.extensions.app.view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.grid
def test_the_page_shows_the_same_predictions_as_the_command(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(finished / "runs", monkeypatch)
    assert "Upload a frontal chest radiograph" in page.info[0].value
    runs = runs_with_weights(Store.open(finished / "runs", create=False))
    assert len(page.selectbox(key="run").options) == len(runs) == 2
    assert external_auroc(runs[0].auroc) >= external_auroc(runs[1].auroc)
    page.radio(key="kind").set_value("Synthetic sample").run()
    page.number_input(key="patient").set_value(1).run()
    assert not page.exception
    assert len(page.error) == 1
    image, drawn = sample(runs[0], sample_sites(runs[0])[0], 1)
    assert drawn
    assert any(f"Synthetic image with {listing(drawn, len(drawn))}." in text.value for text in page.caption)
    stored = load(runs[0].store, runs[0].run_id)
    inference = infer(stored, [image])
    table = inference.table
    line = distance_line(inference, table["distance"].iloc[0])
    assert [text.value for text in page.caption].count(f"Image {line}.") == 1  # without a second explanation
    assert " internal validation images" in line
    chance = table["calibrated"].fillna(table["probability"])
    positive = (table["call_f1_max"] == 1) & (table["above_chance"] != 0)
    best_first = chance.sort_values(ascending=False, kind="stable").index
    assert page.selectbox(key="finding").options == [
        table["finding"][row] for call in (True, False) for row in best_first if positive[row] == call
    ]
    shown = answer_html(
        table, stored.points, "f1_max", "AUROC at other hospitals", lambda name: auroc_texts(runs[0], ANYWHERE, name)
    )
    for row, number in zip(table.to_dict("records"), chance, strict=True):
        assert f"{row['finding']}</th><td>{number:.3f}" in shown
    at_chance = table["above_chance"] == 0
    assert shown.count(">positive<") == (~at_chance & (table["call_f1_max"] == 1)).sum()
    assert shown.count(">not above chance<") == at_chance.sum()
    threshold_of = thresholds(stored.points, "f1_max")
    reversed_findings = reversed_at_internal(stored.points)
    assert shown.count("<small>reversed</small>") == len(reversed_findings)
    assert not reversed_findings & set(threshold_of)
    for row in table.to_dict("records"):  # the threshold line and the call agree
        if row["finding"] in threshold_of and row["calibrated"] == row["calibrated"]:
            assert (row["calibrated"] >= threshold_of[row["finding"]]) == bool(row["call_f1_max"])
    rows = runs[0].auroc.set_index(["dataset", "finding"])
    finding = next(name for data, name in rows.index if data == "nih" and name != "macro")
    value, low, high = rows.loc[("nih", finding), ["value", "low", "high"]]
    assert auroc_texts(runs[0], "nih", finding) == [f"{value:.2f} [{low:.2f}, {high:.2f}]"]


@pytest.mark.grid
def test_an_image_from_an_unknown_hospital_has_the_lowest_and_the_highest_auroc_with_intervals(finished: Path) -> None:
    run = runs_with_weights(Store.open(finished / "runs", create=False))[0]
    external = run.auroc[~run.auroc["dataset"].isin([run.internal, "external"])]
    for finding, rows in external.groupby("finding"):
        texts = auroc_texts(run, ANYWHERE, str(finding))
        ends = [rows.loc[rows["value"].idxmin()], rows.loc[rows["value"].idxmax()]]
        lowest, highest = (f"{end.value:.2f} [{end.low:.2f}, {end.high:.2f}]" for end in ends)
        assert texts == ([f"{lowest} –"] if len(rows) > 1 else []) + [highest, f"({len(rows)})"]
    row = pd.DataFrame({"finding": ["Edema"], "probability": [0.5], "calibrated": [0.5], "call_f1_max": [1.0]})
    row = row.assign(above_chance=np.nan, shortcut=np.nan)
    shown = answer_html(
        row,
        pd.DataFrame(columns=["rule", "platt_a", "finding"]),
        "f1_max",
        "AUROC",
        lambda _: ["0.6 [0.5, 0.7]", "(1)"],
    )
    assert '<span class="n">0.6 [0.5, 0.7]</span> <span class="n">(1)</span>' in shown
    assert auroc_texts(run, ANYWHERE, "no such finding") == []


@pytest.mark.grid
def test_the_page_first_says_that_the_run_learned_from_drawings_and_how_well_it_does(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(finished / "runs", monkeypatch)
    page.radio(key="kind").set_value("Synthetic sample").run()
    run = runs_with_weights(Store.open(finished / "runs", create=False))[0]
    shown = list(page.main)
    title = [element.type for element in shown].index("title")
    warning, where = shown[title + 1 : title + 3]
    assert (warning.type, warning.value) == ("error", f"**{TRAINED_ON_SYNTHETIC}**")
    assert "Hospital A &#40;CheXpert layout&#41;" in where.value
    assert "AUROC at hospitals never seen in training" in where.value
    value, low, high = run.auroc.set_index(["dataset", "finding"]).loc[("external", "macro"), ["value", "low", "high"]]
    assert macro_auroc_text(run, ANYWHERE).startswith(f"{value:.2f} [{low:.2f}, {high:.2f}], mean over findings")
    page.selectbox(key="origin").set_value("nih").run()
    value, low, high = run.auroc.set_index(["dataset", "finding"]).loc[("nih", "macro"), ["value", "low", "high"]]
    assert macro_auroc_text(run, "nih") == f"{value:.2f} [{low:.2f}, {high:.2f}], mean over findings"
    assert macro_auroc_text(run, "elsewhere") == "unknown: this model was not tested at this hospital"
    assert any("AUROC at Hospital C &#40;NIH layout&#41;" in text.value for text in page.markdown)
    options = " ".join([*page.selectbox(key="origin").options, *page.selectbox(key="site").options])
    assert "NIH-14" not in options
    assert "Hospital C (NIH layout): never seen in training" in options


@pytest.mark.grid
def test_the_image_is_beside_its_heat_map_and_the_result_can_be_downloaded(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(finished / "runs", monkeypatch)
    page.radio(key="kind").set_value("Synthetic sample").run()
    captions = [picture.caption for pictures in page.get("image") for picture in pictures.proto.imgs]
    assert len(captions) == 2
    assert captions[0].endswith("as the model gets it")
    assert captions[1] == f"Heat map for {page.selectbox(key='finding').value}"
    assert [button.proto.label for button in page.get("download_button")] == [
        "Result (CSV)",
        "Result (JSON)",
        "Heat map (PNG)",
    ]


@pytest.mark.grid
def test_two_runs_are_compared_on_one_image(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(finished / "runs", monkeypatch)
    page.radio(key="kind").set_value("Synthetic sample").run()
    runs = runs_with_weights(Store.open(finished / "runs", create=False))
    page.selectbox(key="second").select_index(0).run()
    assert not page.exception
    assert page.selectbox(key="second").options == [runs[1].title]
    tables = [
        infer(load(run.store, run.run_id), [sample(runs[0], sample_sites(runs[0])[0], 1)[0]]).table for run in runs
    ]
    compared = comparison(tables[0], tables[1], "f1_max")
    assert sorted(compared["finding"]) == sorted(tables[0]["finding"])
    html = comparison_html(compared, "f1_max", ["Model A", "Model B"])
    for row in compared.to_dict("records"):
        assert row["difference"] == row["first"] - row["second"]
        assert f'<td class="n">{row["difference"]:+.3f}</td>' in html
    captions = [picture.caption for pictures in page.get("image") for picture in pictures.proto.imgs]
    finding = page.selectbox(key="finding").value
    assert captions[0].endswith("as model A gets it")
    assert captions[1:] == [f"Model A: {finding}", f"Model B: {finding}", DIFFERENCE_CAPTION]
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels == ["Comparison (CSV)", "Both results (JSON)", "Heat maps (PNG)"]
    assert len(page.error) == 1  # both models learned from drawings: said once
    assert [text.value for text in page.subheader] == [f"How well {escaped}" for escaped in map(shown, runs, "AB")]


def shown(run: SelectableRun, letter: str) -> str:
    """Return the title of a run as the page escapes it."""
    return view._plain(f"model {letter} does: {run.title}")


def test_positive_findings_are_first_although_a_rare_finding_has_a_low_threshold() -> None:
    table = pd.DataFrame(
        {
            "finding": ["No Finding", "Fracture", "Edema", "Pneumothorax"],
            "probability": [0.7, 0.9, 0.4, 0.1],
            "calibrated": [0.6, float("nan"), 0.3, 0.05],
            "call_f1_max": [0.0, 1.0, 1.0, 1.0],
            "above_chance": [1.0, 0.0, 1.0, float("nan")],
        }
    )
    assert list(calls_first(table, "f1_max")["finding"]) == ["Edema", "Pneumothorax", "Fracture", "No Finding"]


def test_findings_that_one_run_has_not_learned_have_no_difference() -> None:
    rows = {
        "image": "a.png",
        "probability": [0.9, 0.2],
        "calibrated": [0.8, float("nan")],
        "call_f1_max": [1.0, float("nan")],
        "above_chance": float("nan"),
    }
    first = pd.DataFrame({"finding": ["Edema", "Cardiomegaly"], **rows})
    second = pd.DataFrame({"finding": ["Cardiomegaly", "Fracture"], **rows})
    table = comparison(first, second, "f1_max").set_index("finding")
    assert list(table.index) == ["Edema", "Cardiomegaly", "Fracture"]
    assert table.loc["Cardiomegaly", "difference"] == pytest.approx(0.2 - 0.9)  # uncalibrated in both
    assert not table.loc["Cardiomegaly", "calibrated"]
    assert table.loc["Edema", "second_call"] == table.loc["Fracture", "first_call"] == "not learned"
    assert table["difference"].notna().sum() == 1
    assert "uncalibrated" in comparison_html(table.reset_index(), "f1_max", ["A", "B"])


def test_the_difference_of_two_maps_is_colored_by_the_larger_one() -> None:
    heats = [np.zeros((4, 4), np.float32), np.zeros((8, 8), np.float32)]
    heats[0][0, 0], heats[1][7, 7] = 3, 5
    maps = [FindingMap("Edema", 0.0, 0.5, heat, False) for heat in heats]
    gray = np.full((8, 8), 100, np.uint8)
    explanation = Explanation("a.png", "run", "gradcam", "4 x 4", 64, gray, None, tuple(maps[:1]))
    view_BGR = difference_view(explanation, maps[0], maps[1])
    assert view_BGR[0, 0, 2] > 150 > view_BGR[0, 0, 0]
    assert view_BGR[7, 7, 0] > 120 > view_BGR[7, 7, 2]
    assert (view_BGR[0, 7] == 100).all()
    assert not same_frame(Geometry(64), Geometry(64, "letterbox"))
    assert same_frame(Geometry(64), Geometry(224))
    assert picture([view_BGR], ["Model A: DenseNet-121 · seed 0"], view_BGR).shape == (2 * (34 + 8), 8 + 2 * 14, 3)


@pytest.mark.grid
def test_an_unusable_image_is_refused_with_a_fix_and_nothing_is_written(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(finished / "runs", monkeypatch)
    before = set(finished.rglob("*"))
    upload = InMemory("<b>x</b>.png", b"no image")
    monkeypatch.setattr("bench.extensions.app.view._image", lambda _: (upload, None))
    page.run()
    assert not page.exception
    message = page.error[-1].value
    for words in ("cannot use the image", "not a JPEG, PNG or DICOM image", "**fix:** give a complete PNG"):
        assert words in message
    assert "<b>" not in message
    assert set(finished.rglob("*")) == before


@pytest.mark.grid
def test_the_name_of_an_upload_is_shown_as_plain_text(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_with_weights(Store.open(finished / "runs", create=False))
    image, _ = sample(runs[0], sample_sites(runs[0])[0], 1)
    upload = InMemory("![x](http://a.example/b.png) *c* :red[d]", image.content)
    monkeypatch.setattr("bench.extensions.app.view._image", lambda _: (upload, None))
    page = opened(finished / "runs", monkeypatch)
    caption = page.get("image")[0].proto.imgs[0].caption
    assert caption.startswith("&#33;&#91;x&#93;&#40;http&#58;//a.example/b.png&#41; &#42;c&#42; &#58;red&#91;d&#93;")


@pytest.mark.grid
def test_the_page_reports_a_damaged_run_and_missing_scores(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(store_copy / "runs" / "scores")
    store = Store.open(store_copy / "runs", create=False)
    for choice in runs_with_weights(store):
        (store.run_dir(choice.run_id) / "model.safetensors").write_bytes(b"damaged")
    page = opened(store.root, monkeypatch)
    assert "model.safetensors is damaged" in page.error[-1].value
    assert any("no scores yet" in text.value for text in page.info)


def test_the_command_binds_to_localhost_and_sends_no_telemetry(
    tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = appcli.command(8600)
    pairs = list(zip(words[5::2], words[6::2], strict=True))
    given = dict(pairs)
    assert given["--server.address"] == "127.0.0.1"
    assert given["--browser.gatherUsageStats"] == "false"
    assert int(given["--server.maxUploadSize"]) <= 100
    assert not any("enableXsrf" in word or "CORS" in word for word in words)
    assert {value for key, value in pairs if key == "--server.allowedHosts"} == {"127.0.0.1", "localhost"}
    assert given["--server.xsrfCookieSameSite"] == "strict"
    assert given["--client.allowedOrigins"] == "http://127.0.0.1:8600"
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert f"port {port} is in use" in here("app", "--port", str(port), cwd=tmp_path, code=2).stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'unseen-cxr[app]'" in here("app", cwd=tmp_path, code=2).stderr
