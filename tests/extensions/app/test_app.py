"""Each state of the `bench app` page, run by streamlit's test client, and the command that starts the page."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
from streamlit.testing.v1 import AppTest

from bench.cli.predict import distance_line
from bench.extensions.app import server as appcli
from bench.extensions.app.view import runs_with_weights, shown_table
from bench.runs.elsewhere import call_of, worth_of
from bench.runs.new_images import infer, load
from bench.store.store import Store
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.images.image_header import InMemory
from reports import verdicts

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


def dropped(page: AppTest, *images: tuple[str, bytes]) -> AppTest:
    page.file_uploader(key="files").set_value([(name, content, "image/png") for name, content in images]).run()
    assert not page.exception
    return page


def test_a_missing_store_is_an_error_and_an_empty_one_shows_how_to_fill_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "**fix:**" in opened(tmp_path / "none", monkeypatch).error[0].value
    Store.open(tmp_path / "runs")
    page = opened(tmp_path / "runs", monkeypatch)
    assert "no finished run" in page.info[0].value
    assert page.code[0].value == "bench run --grid demo"
    (tmp_path / "runs" / "store.json").write_text("[")
    assert "unreadable" in opened(tmp_path / "runs", monkeypatch).error[0].value


def test_the_page_does_not_import_torch_at_start() -> None:
    script = "import sys, bench.extensions.app.view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.grid
def test_the_page_shows_the_same_predictions_as_the_command_beside_a_heat_map(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(finished / "runs", monkeypatch)
    assert page.error[0].value == f"**{TRAINED_ON_SYNTHETIC}**"
    assert "Drop frontal chest radiographs" in page.info[0].value
    store = Store.open(finished / "runs", create=False)
    runs = runs_with_weights(store)
    assert len(page.selectbox(key="run").options) == len(runs) == 2
    assert runs[0].external_auroc >= runs[1].external_auroc
    assert any(f"**External AUROC:** {runs[0].external_auroc:.3f}" in text.value for text in page.markdown)
    file = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    name = "![x](http://a.example/b.png) *c*.png"
    before = set(finished.rglob("*"))
    dropped(page, (name, file.read_bytes()))
    assert set(finished.rglob("*")) == before
    assert len(page.error) == 1
    inference = infer(load(store, runs[0].run), [InMemory(name, file.read_bytes())])
    table = inference.table.set_index("finding")
    assert distance_line(inference, table["distance"].iloc[0]) in [text.value for text in page.caption]
    (shown,) = (element.value for element in page.table)
    pd.testing.assert_frame_equal(shown, shown_table(inference.table, inference.threshold), check_index_type=False)
    for finding, row in shown.iterrows():
        chance = table["calibrated"].fillna(table["probability"])[finding]
        assert row["Probability"].startswith(f"{chance:.3f}")
        assert row["Decision"].startswith(call_of(table.loc[finding], "f1_max"))
        assert row["At a new hospital"] == worth_of(table.loc[finding])
    assert page.selectbox(key="finding").options == list(shown.index)
    captions = [picture.caption for pictures in page.get("image") for picture in pictures.proto.imgs]
    escaped = "&#33;&#91;x&#93;&#40;http&#58;//a.example/b.png&#41; &#42;c&#42;.png"
    assert captions == [f"{escaped}, as the model gets it", f"Heat map for {shown.index[0]}"]


def test_positive_findings_are_first_although_a_rare_finding_has_a_low_threshold() -> None:
    table = pd.DataFrame(
        {
            "finding": ["No Finding", "Fracture", "Edema", "Pneumothorax"],
            "probability": [0.7, 0.9, 0.4, 0.1],
            "calibrated": [0.6, float("nan"), 0.3, 0.05],
            "call_youden": [0.0, 1.0, 1.0, float("nan")],
            "threshold_youden": [0.8, 0.5, 0.35, float("nan")],
            "verdict": [verdicts.USEFUL, verdicts.CHANCE, verdicts.USEFUL, verdicts.TOO_FEW],
            "auroc": [0.8, 0.5, 0.75, float("nan")],
            "auroc_low": [0.7, 0.4, 0.72, float("nan")],
            "auroc_high": [0.9, 0.6, 0.8, float("nan")],
            "hospital": "",
        }
    )
    shown = shown_table(table, "youden")
    assert list(shown.index) == ["Edema", "Fracture", "No Finding", "Pneumothorax"]
    assert list(shown["Decision"]) == [
        "positive (output 0.400, threshold 0.350)",
        "no call",
        "negative (output 0.700, threshold 0.800)",
        "no threshold",
    ]
    assert list(shown["Probability"]) == ["0.300", "0.900 (uncalibrated)", "0.600", "0.050"]
    assert list(shown["At a new hospital"])[::3] == ["useful at a new hospital: 0.75 [0.72, 0.80]", "too few hospitals"]


@pytest.mark.grid
def test_an_unusable_image_is_refused_with_a_fix(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    # of several images, the last that was dropped is shown
    page = dropped(opened(finished / "runs", monkeypatch), ("a.png", file.read_bytes()), ("<b>x</b>.png", b"no image"))
    message = page.error[-1].value
    for words in ("cannot use the image", "not a JPEG, PNG or DICOM image", "**fix:** give a complete PNG"):
        assert words in message
    assert "<b>" not in message


@pytest.mark.grid
def test_the_page_reports_damaged_weights(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(store_copy / "runs", create=False)
    for run in runs_with_weights(store):
        (store.run_dir(run.run) / "model.safetensors").write_bytes(b"damaged")
    assert "model.safetensors is damaged" in opened(store.root, monkeypatch).error[-1].value


def test_the_command_binds_to_localhost_and_sends_no_telemetry(
    tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = appcli.command(8600, headless=True)
    pairs = list(zip(words[5::2], words[6::2], strict=True))
    given = dict(pairs)
    assert given["--server.address"] == "127.0.0.1"
    assert given["--browser.gatherUsageStats"] == "false"
    assert given["--server.headless"] == "true"
    assert int(given["--server.maxUploadSize"]) <= 100
    assert not any("enableXsrf" in word or "CORS" in word for word in words)
    assert {value for key, value in pairs if key == "--server.allowedHosts"} == {"127.0.0.1", "localhost"}
    assert given["--server.xsrfCookieSameSite"] == "strict"
    assert given["--client.allowedOrigins"] == "http://127.0.0.1:8600"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'unseen-cxr[app]'" in here("app", cwd=tmp_path, code=2).stderr
