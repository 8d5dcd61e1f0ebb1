"""Print the size of a report page: words of visible prose, height at three widths, and printed pages.

    python scripts/page_size.py leaderboard.html

The script needs Playwright and Chromium, as the tests in tests/browser do. UNSEEN_CHROMIUM may name the browser. Words in
tables, figures, menus and closed `<details>` are not counted, because a reader does not have to read them.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTHS = (1440, 1280, 360)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WORDS = """() => {
  const skipped = 'table, script, style, noscript, svg, details:not([open]) > :not(summary), nav, dialog, [hidden]';
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let words = 0;
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (!parent.closest(skipped) && parent.getClientRects().length) words += (texts.currentNode.textContent.match(/\\p{L}{2,}/gu) || []).length;
  }
  return words;
}"""


def words(page: Any) -> int:
    """Return the number of words of visible prose on an open page."""
    return int(page.evaluate(WORDS))


def height(page: Any) -> int:
    """Return the height of an open page in px."""
    return int(page.evaluate("document.documentElement.scrollHeight"))


def printed_pages(page: Any, folder: Path) -> int:
    """Return the number of pages that an open page needs on paper; `folder` receives the PDF file."""
    file = folder / "page.pdf"
    page.pdf(path=file, prefer_css_page_size=True)
    return len(re.findall(rb"/Type\s*/Page\b", file.read_bytes()))


def main(html: Path) -> None:
    """Open the page at each width and print its numbers."""
    from playwright.sync_api import sync_playwright

    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    browser_path = os.environ.get("UNSEEN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=browser_path, args=FLAGS)
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(html.resolve().as_uri())
            print(f"{width:>5} px wide: {height(page):,} px high, {words(page):,} words of visible prose")
            if width == WIDTHS[0]:
                print(f"    printed: {printed_pages(page, Path(folder))} pages")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
