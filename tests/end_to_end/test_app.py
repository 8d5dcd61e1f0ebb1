"""The page of `bench app`: each of its states, as streamlit itself runs it, and how it is started."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
from streamlit.testing.v1 import AppTest

from bench.app.result_table import answer_html, reversed_at_internal, thresholds
from bench.app.selectable_runs import ANYWHERE, abroad, choices, said_of, sample, sample_sites
from bench.cli import app as appcli
from bench.runs.new_images import infer, load
from bench.store.store import Store
from bench.system.disclaimer import NOTICE
from harmonize.images.image_header import InMemory

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the event loop that AppTest leaves open
]
PAGE = Path(appcli.__file__).parents[1] / "app" / "page.py"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def opened(store: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("BENCH_STORE", str(store))
    page = AppTest.from_file(str(PAGE), default_timeout=180).run()
    assert not page.exception
    assert any(NOTICE in each.value for each in page.markdown)
    return page


def test_without_a_store_or_a_run_the_page_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(tmp_path / "none", monkeypatch)
    assert "no run store" in page.info[0].value
    assert page.code[0].value == "bench run --grid demo"
    assert not page.error
    Store.open(tmp_path / "runs")
    assert "no finished run" in opened(tmp_path / "runs", monkeypatch).info[0].value


def test_a_damaged_store_is_not_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    page = AppTest.from_file(str(PAGE), default_timeout=180).run()
    assert "this is a file" in page.error[0].value


def test_the_page_stands_before_torch_is_imported() -> None:
    said = "import sys, bench.app.view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], check=False).returncode == 0


@pytest.mark.grid
def test_a_sample_is_answered_as_the_command_answers_it(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(finished / "runs", monkeypatch)
    assert "Upload a frontal chest radiograph" in page.info[0].value
    found = choices(Store.open(finished / "runs", create=False))
    assert len(page.selectbox(key="run").options) == len(found) == 2
    assert abroad(found[0].auroc) >= abroad(found[1].auroc)
    page.radio(key="kind").set_value("Synthetic sample").run()
    page.number_input(key="patient").set_value(1).run()
    assert not page.exception
    assert not page.error
    image, drawn = sample(found[0], sample_sites(found[0])[0], 1)
    assert drawn
    assert any(f"Drawn into it: {', '.join(drawn)}." in each.value for each in page.caption)
    stored = load(found[0].store, found[0].run_id)
    table = infer(stored, [image]).table
    chance = table["calibrated"].fillna(table["probability"])
    assert page.selectbox(key="finding").options[0] == table["finding"][chance.idxmax()]
    shown = answer_html(table, stored.points, "f1_max", lambda finding: said_of(found[0], ANYWHERE, finding))
    for row, number in zip(table.to_dict("records"), chance, strict=True):
        assert f"{row['finding']}</th><td>{number:.3f}" in shown
    assert shown.count(">called<") == (table["call_f1_max"] == 1).sum()
    at = thresholds(stored.points, "f1_max")
    turned = reversed_at_internal(stored.points)
    assert shown.count("<small>reversed</small>") == len(turned)
    assert not turned & set(at)
    for row in table.to_dict("records"):  # the line stands on the side of the bar's end that the call says
        if row["finding"] in at and row["calibrated"] == row["calibrated"]:
            assert (row["calibrated"] >= at[row["finding"]]) == bool(row["call_f1_max"])
    rows = found[0].auroc.set_index(["dataset", "finding"])
    finding = next(name for data, name in rows.index if data == "nih" and name != "macro")
    value, low, high = rows.loc[("nih", finding), ["value", "low", "high"]]
    assert said_of(found[0], "nih", finding) == f"{value:.2f} [{low:.2f}, {high:.2f}]"


@pytest.mark.grid
def test_an_image_that_cannot_be_used_is_refused_with_the_mend_and_nothing_is_written(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(finished / "runs", monkeypatch)
    before = set(finished.rglob("*"))
    held = InMemory("<b>x</b>.png", b"no image")
    monkeypatch.setattr("bench.app.view._image", lambda _: (held, None))
    page.run()
    assert not page.exception
    said = page.error[0].value
    for words in ("cannot use the image", "not a JPEG, PNG or DICOM image", "**fix:** give a whole PNG"):
        assert words in said
    assert "<b>" not in said
    assert set(finished.rglob("*")) == before


@pytest.mark.grid
def test_a_run_that_is_damaged_or_unscored_is_said_to_be_so(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(store_copy / "runs" / "scores")
    store = Store.open(store_copy / "runs", create=False)
    for choice in choices(store):
        (store.run_dir(choice.run_id) / "model.safetensors").write_bytes(b"damaged")
    page = opened(store.root, monkeypatch)
    assert "cannot be loaded" in page.error[0].value
    assert any("no scores yet" in each.value for each in page.info)


def test_the_command_binds_to_this_machine_and_sends_nothing(
    tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = appcli.command(8600)
    given = dict(zip(words[5::2], words[6::2], strict=True))
    assert given["--server.address"] == "127.0.0.1"
    assert given["--browser.gatherUsageStats"] == "false"
    assert int(given["--server.maxUploadSize"]) <= 100
    assert not any("Xsrf" in word or "CORS" in word for word in words)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert f"port {port} is in use" in here("app", "--port", str(port), cwd=tmp_path, code=2).stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'unseen-cxr[app]'" in here("app", cwd=tmp_path, code=2).stderr
