"""Pages opened in a real browser, and what they said and asked for."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ONE_PROCESS = "--process-per-site"  # not one of FLAGS: benchmarks open each page in a new process
_contexts = {}  # {(browser, whether scripts run): context}

CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const known = new Map([[null, [255, 255, 255]]]);  // what is behind an element, once for all texts in it
  const back = e => {
    if (!known.has(e)) { const c = parse(getComputedStyle(e).backgroundColor); known.set(e, c.length < 4 || c[3] > 0 ? c : back(e.parentElement)); }
    return known.get(e);
  };
  const low = new Set();
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('.skip, .vh, script, title')) continue;
    const style = getComputedStyle(e), a = lum(parse(e instanceof SVGElement ? style.fill : style.color)), b = lum(back(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    // getClientRects comes last, because it makes the browser lay out folded parts
    if (ratio < 4.5 && e.getClientRects().length) low.add(`${e.tagName}.${e.getAttribute('class')} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


def chromium():
    """Return where Chromium is, or None. The shell without windows opens a page in two thirds of the time of the whole browser."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return os.environ.get("UNSEEN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def shared_context(browser, java_script_enabled: bool):
    """Return the context in which a browser opens all its visits, with or without scripts.

    One tab of the context stays open. If the browser has the flag ONE_PROCESS, the process of this tab shows all files. It keeps
    the compiled scripts of an address, so another visit of this address takes a second less. Pages store nothing that a later visit
    could see.
    """
    key = (browser, java_script_enabled)
    if key not in _contexts:
        _contexts[key] = browser.new_context(java_script_enabled=java_script_enabled)
        _contexts[key].set_default_timeout(300_000)  # ms
        _contexts[key].new_page().goto(Path(__file__).as_uri())
    return _contexts[key]


@cache
def _folder():
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="visit-")


def one_address(file: Path) -> str:
    """Return an address at which a file can be opened until the next call. It is the same for all files, see `shared_context`."""
    link = Path(_folder().name) / "page.html"
    link.unlink(missing_ok=True)
    link.symlink_to(file.absolute())
    return link.as_uri()


def wait_until(page, state: str) -> None:
    """Return when a JavaScript expression is true of a page; playwright's own waiting evaluates text, which the page's policy refuses."""
    page.evaluate(f"new Promise(done => {{ const ask = () => ({state}) ? done() : setTimeout(ask, 10); ask(); }})")


def record_copies(page) -> None:
    """Make a page append each text that it copies to `window.copied`, in place of the clipboard."""
    page.evaluate("() => { window.copied = []; navigator.clipboard.writeText = async text => { copied.push(text); }; }")


class Visit:
    """An open page that remembers what it said and asked for."""

    def __init__(
        self, browser, file: Path | str, width=1440, height=900, color_scheme="light", java_script_enabled=True
    ):
        self.page = shared_context(browser, java_script_enabled).new_page()
        self.show(width, color_scheme, height)
        self.said, self.asked = [], []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(file if isinstance(file, str) else one_address(file))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()

    def show(self, width: int, color_scheme: str, height: int = 900) -> None:
        """Set the size of the window in CSS pixels, and the color scheme (`light` or `dark`)."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=color_scheme)
