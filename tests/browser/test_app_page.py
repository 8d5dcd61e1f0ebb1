"""The page of `bench app` in a real browser, from the command on: upload, heat map, notice, both themes, a broken file."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.browser.test_accessibility import axe, serious  # noqa: F401
from tests.browser.visit import Visit

pytest.importorskip("bench.extensions.app")
pytest.importorskip("streamlit", reason="streamlit is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.grid]
SLOW = 300_000  # ms: the first answer waits for torch
ROOT = __file__.rpartition("/tests/")[0]


@pytest.fixture(scope="module")
def address(finished):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": ROOT, "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "bench.cli", "app", "--headless", "--port", str(port)]
    with subprocess.Popen(words, cwd=finished, env=environment, stdout=subprocess.PIPE, text=True) as command:
        try:
            for line in command.stdout:
                if "URL:" in line:
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            command.send_signal(signal.SIGTERM)
            command.wait(300)
    with pytest.raises(OSError):  # noqa: PT011  (whatever kind of refusal: the server went with its command)
        urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.thorough)])
def test_an_uploaded_image_is_answered_and_a_broken_one_refused(browser, address, axe, finished, width, scheme):  # noqa: F811
    """The page of `bench app` in a browser, with its server."""
    file = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    with Visit(browser, address, width, color_scheme=scheme) as visit:
        page = visit.page
        page.get_by_text("External AUROC").wait_for(timeout=SLOW)
        if width < 700:
            page.get_by_test_id("stExpandSidebarButton").click()
        page.locator("input[type=file]").set_input_files(file)
        if width < 700:
            page.get_by_test_id("stSidebarCollapseButton").locator("button").click()
        page.get_by_role("columnheader", name="At a new hospital").wait_for(timeout=SLOW)
        page.get_by_test_id("stImage").locator("img").first.wait_for(timeout=SLOW)
        notice = page.get_by_text("not for clinical use")
        assert notice.is_visible()
        page.get_by_text("External AUROC").scroll_into_view_if_needed()
        box = notice.bounding_box()
        assert 0 <= box["y"] <= 900 - box["height"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ours = '[data-testid="stTable"], .st-key-notice, [data-testid="stCaptionContainer"], [data-testid="stImageCaption"]'
        assert [found for part in ours.split(", ") for found in serious(axe, page, part)] == []
        if width > 700:
            broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
            page.locator("input[type=file]").set_input_files(broken)
            page.get_by_text("not a JPEG, PNG or DICOM image").wait_for(timeout=SLOW)
        assert all(url.split("/")[2] == address.split("/")[2] for url in visit.asked if url.startswith(("http", "ws")))
        assert [said for said in visit.said if "error" in said.lower()] == []
