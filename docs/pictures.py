"""Pictures of a leaderboard for the documents: light, dark and on a phone, 400 kB each at most.

    PYTHONPATH=. python docs/pictures.py STORE --name leaderboard
    PYTHONPATH=. python docs/pictures.py --runs 500 --name leaderboard-500
    PYTHONPATH=. python docs/pictures.py STORE --tutorial ESTIMATE    # STORE: of the tutorial; ESTIMATE: page of `bench estimate -o`

STORE is a store in which `bench report` wrote a page (the newest is taken), or a page itself; `--runs` invents a study instead. The
pages come from the program alone: give one written without `--with-images`. Chromium is that of UNSEEN_CHROMIUM or of the path.
"""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from reports.page import render
from tests.browser.visit import FLAGS, Visit, chromium
from tests.synthetic import Invented, tables

MOST = 400_000  # bytes of a picture
PORT = 8599  # of the app
VIEWS = (  # ending of the name, width, height, colour scheme
    ("", 1440, 1800, "light"),
    ("-dark", 1440, 900, "dark"),
    ("-phone", 360, 1500, "light"),
)


def newest(store: Path) -> Path:
    """Return the page that a store's last report wrote, or the page itself."""
    if store.is_file():
        return store
    pages = sorted(store.glob("report/*/leaderboard.html"), key=lambda page: page.stat().st_mtime)
    if not pages:
        raise SystemExit(f"{store} holds no report/*/leaderboard.html: run `bench report --store {store}`")
    return pages[-1]


def small(picture: bytes) -> bytes:
    """Return a PNG in all its colors, or with a palette of as many as fit into MOST bytes."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colors in (0, 256, 128, 64, 32):
        out = io.BytesIO()
        (image.quantize(colors) if colors else image).save(out, "PNG", optimize=True)
        if out.tell() <= MOST:
            break
    return out.getvalue()


def take(browser: Browser, page: Path, folder: Path, name: str) -> list[Path]:
    """Write a picture of each view; return their paths."""
    written = []
    for ending, width, height, scheme in VIEWS:
        with Visit(browser, page, width, height, color_scheme=scheme) as visit:
            written.append(write(folder / f"{name}{ending}.png", visit.page.screenshot()))
    return written


def write(path: Path, picture: bytes) -> Path:
    """Write a picture of at most MOST bytes; return its path."""
    path.write_bytes(small(picture))
    return path


def take_tutorial(browser: Browser, store: Path, estimate: Path, folder: Path) -> list[Path]:
    """Write the pictures of the tutorial: page, details of a recipe, estimate, and the app with a synthetic image."""
    with Visit(browser, newest(store), 1280, 800) as visit:
        page = write(folder / "tutorial-page.png", visit.page.screenshot())
        visit.page.click("#rank a[data-run]")
        visit.page.wait_for_selector("#drawer .rd")
        details = write(folder / "tutorial-details.png", visit.page.screenshot())
    with Visit(browser, estimate, 1280, 800) as visit:
        estimated = write(folder / "tutorial-estimate.png", visit.page.screenshot())
    command = [sys.executable, "-m", "bench", "app", "--headless", "--store", str(store), "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:  # noqa: S603
        next(line for line in app.stdout or () if "URL:" in line)
        with Visit(browser, f"http://127.0.0.1:{PORT}", 1280, 800) as visit:
            image = min((store / "phantom").glob("*/nih/images_001/images/*.png"))
            visit.page.locator("input[type=file]").set_input_files(image)
            visit.page.get_by_role("columnheader", name="AUROC at other hospitals").wait_for()
            visit.page.get_by_test_id("stImage").locator("img").first.wait_for()
            answered = write(folder / "tutorial-app.png", visit.page.screenshot())
        app.terminate()
    return [page, details, estimated, answered]


def main() -> None:
    """Take the pictures and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?", help="a store with a report, or a page")
    parser.add_argument("--runs", type=int, default=500, help="of the invented study, where no store is given")
    parser.add_argument("--name", default="leaderboard")
    parser.add_argument("--tutorial", type=Path, metavar="ESTIMATE", help="take the pictures of the tutorial")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = newest(options.store) if options.store else Path(folder) / "invented.html"
        if not options.store:
            page.write_text(render(tables(Invented(runs=options.runs, phantom=True))), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        taken = (
            take_tutorial(browser, options.store, options.tutorial, options.out)
            if options.tutorial
            else take(browser, page, options.out, options.name)
        )
        for path in taken:
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
