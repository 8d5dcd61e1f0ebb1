"""Pages opened in a real browser, and what they said and asked for."""

import os
import shutil
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
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length || e.closest('.skip, .vh, .js-plotly-plot, script')) continue;
    const style = getComputedStyle(e), a = lum(parse(e instanceof SVGElement ? style.fill : style.color)), b = lum(back(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(`${e.tagName}.${e.getAttribute('class')} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


def chromium():
    """Return where Chromium is, or None."""
    return (
        os.environ.get("UNSEEN_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


def wait_until(page, state: str) -> None:
    """Return when a JavaScript expression is true of a page; playwright's own waiting evaluates text, which the page's policy refuses."""
    page.evaluate(f"new Promise(done => {{ const ask = () => ({state}) ? done() : setTimeout(ask, 10); ask(); }})")


class Visit:
    """An open page that remembers what it said and asked for."""

    def __init__(self, browser, file: Path | str, width=1440, height=900, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.context.set_default_timeout(300_000)  # ms
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(file if isinstance(file, str) else file.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def draw(self):
        self.page.evaluate("charts.all()")
