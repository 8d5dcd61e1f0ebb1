"""Figures can be read: axes have ticks, marks have names, pins and menus do not hide each other, and number and color agree."""

import pytest

from reports.page import render
from tests.browser.test_accessibility import every_section
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser
# number of grid lines of figures in table rows, and the cells whose grid lines are not at the ticks of the nearest axis
ORIGINS = """() => {
  const shown = e => e.checkVisibility() && e.getClientRects().length > 0;
  const lines = svg => [...svg.querySelectorAll('path.g, path.z, line.z, use')].flatMap(mark => {
    const at = mark.getScreenCTM(), path = mark.tagName === 'use' ? document.querySelector(mark.getAttribute('href')) : mark;
    const starts = mark.tagName === 'line' ? [mark.x1.baseVal.value] : [...(path.getAttribute('d') || '').matchAll(/M([\\d.]+) [\\d.]+[vV]/g)].map(m => +m[1]);
    return starts.map(x => at.a * x + at.e);
  });
  const ticks = svg => lines(svg).length ? lines(svg) : [...svg.querySelectorAll('.tk')].map(t => t.getBoundingClientRect()).map(r => (r.left + r.right) / 2);
  const wrong = [];
  let compared = 0;
  for (const table of document.querySelectorAll('main table:not(.src):has(tbody td svg)')) {
    if (!shown(table)) continue;
    const above = [...(table.closest('figure, #cmpbody, .wrap')?.querySelectorAll('.axis-phone svg') || [])].filter(shown);
    for (const cell of table.querySelectorAll('tbody td:has(svg)')) {
      const figure = [...cell.querySelectorAll('svg')].find(svg => !svg.querySelector('.tk') && lines(svg).length);
      if (!figure || !shown(figure)) continue;
      const inside = [...cell.querySelectorAll('svg:has(.tk)')].filter(shown), head = [...table.querySelectorAll('thead tr:last-child > *')][cell.cellIndex];
      const inHead = head ? [...head.querySelectorAll('svg:has(.tk)')].filter(shown).filter(e => !e.closest('thead').matches('table *') || getComputedStyle(e.closest('thead')).position !== 'absolute') : [];
      const axes = inside.length ? inside : inHead.length ? inHead : above;
      const near = (xs, to) => xs.map(x => Math.min(...to.map(t => Math.abs(t - x)))), at = axes.map(ticks), marks = lines(figure);
      const far = at.map(xs => xs.length > marks.length ? near(marks, xs) : near(xs, marks)).sort((a, b) => Math.max(...a) - Math.max(...b))[0] || [NaN];
      compared += far.length;
      if (!(Math.max(...far) <= 1)) wrong.push(`${table.closest('[id]').id} ${cell.className} ${far.map(x => x.toFixed(1))}`);
    }
  }
  return [compared, [...new Set(wrong)]];
}"""
SHOWN = "e => e.checkVisibility() && e.querySelectorAll('.tk').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "axes_and_names.html"
    file.write_text(render(every_section()), encoding="utf-8")
    return file


def test_a_dot_of_the_first_figure_has_the_name_and_value_of_its_recipe(visit):
    names = visit.page.locator(".open .ch.wide .sw title").all_text_contents()
    rows = visit.page.locator(".open details.data tbody tr")
    assert len(names) == visit.page.locator(".open details.data tbody .v").count() > 0
    label, value = (rows.first.locator(css).first.text_content() for css in ("th", ".v"))
    assert any(name.startswith(f"{label}, ") and name.endswith(f": {value}") for name in names)


@pytest.mark.parametrize(
    "width", [360, 1440, *(pytest.param(width, marks=pytest.mark.thorough) for width in (768, 1280))]
)
def test_every_tick_is_above_its_grid_line(browser, page, width):
    with Visit(browser, page, width) as visit:
        for k in (0, 1):
            visit.page.locator("#rank .pin").nth(k).click()
        visit.page.wait_for_selector("#cmpbody svg")
        visit.page.evaluate("document.querySelectorAll('main details').forEach(e => { e.open = true; })")
        compared, wrong = visit.page.evaluate(ORIGINS)
        assert compared > 100
        assert wrong == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_table_of_marks_has_an_axis_with_ticks(browser, page, width):
    with Visit(browser, page, width) as visit:
        css = "#shortcuts .axis-phone .ch" if width == 360 else "#shortcuts thead .ch:has(.tk)"
        assert visit.page.locator(css).first.evaluate(SHOWN) >= 3


@pytest.mark.parametrize("width", [360, 1280])
def test_the_comparison_has_an_axis_and_columns_of_equal_width(browser, page, width):
    with Visit(browser, page, width) as visit:
        for k in (0, 1, 2):
            visit.page.locator("#rank .pin").nth(k).click()
        axis = visit.page.locator("#cmpbody .onlyphone .ch" if width == 360 else "#cmpbody thead .ch").first
        assert axis.evaluate(SHOWN) == 3
        if width == 1280:
            widths = visit.page.evaluate(
                "[...document.querySelectorAll('#cmpbody thead th')].map(e => e.getBoundingClientRect().width)"
            )
            assert max(widths) - min(widths) < 2
            style = visit.page.locator("#cmpbody tbody td").first.evaluate("e => getComputedStyle(e).verticalAlign")
            assert style == "top"
        assert visit.said == []


def test_the_menu_of_columns_is_above_the_tray_of_pins(browser, page):
    with Visit(browser, page, 1280, 500) as visit:
        visit.page.locator("#rank .pin").first.click()
        visit.page.locator("#choose summary").click()
        visit.page.evaluate(
            "scrollBy({ top: document.querySelector('#choose .pop').getBoundingClientRect().bottom - innerHeight, behavior: 'instant' })"
        )
        assert visit.page.evaluate("""() => {
          const box = document.querySelector('#choose .pop').getBoundingClientRect();
          return !!document.elementFromPoint(box.left + 30, Math.min(box.bottom, innerHeight) - 12).closest('#choose');
        }""")


def test_a_long_name_in_the_tray_of_a_phone_keeps_its_cross(browser, page):
    with Visit(browser, page, 360) as visit:
        visit.page.locator("#rank .pin").first.click()
        visit.page.evaluate(
            "document.querySelector('#traynames .name').textContent = 'A network with a long name, seed 0'"
        )
        inside = """() => {
          const [chip, cross] = ['#traynames button', '#traynames .x'].map(name => document.querySelector(name).getBoundingClientRect());
          return cross.width > 0 && cross.right <= chip.right && chip.right <= innerWidth;
        }"""
        assert visit.page.evaluate(inside)


def test_number_and_color_of_the_heat_map_are_the_gap_at_first(visit):
    cell = visit.page.locator("#heat td.q0, #heat td.q7, #heat td.q3").first
    assert cell.locator("i").is_visible()
    assert not cell.locator("b").is_visible()
    visit.page.locator("[data-heat=auroc]").click()
    assert cell.locator("b").is_visible()


def test_the_front_of_the_cost_chart_is_named(visit):
    assert visit.page.locator("#cost .ch.wide .lb").count() > 0


def test_the_first_column_of_a_table_in_the_drawer_stays_on_a_phone(browser, page):
    with Visit(browser, page, 360) as visit:
        visit.page.locator("#rank .c-run a").first.click()
        visit.page.wait_for_selector("#drawer[open] .scroll tbody th")
        wide = "[...document.querySelectorAll('#drawer .scroll')].find(e => e.scrollWidth > e.clientWidth + 60)"
        visit.page.evaluate(f"{wide}.scrollLeft = 60")
        assert visit.page.evaluate(
            f"{wide}.querySelector('tbody th').getBoundingClientRect().left - {wide}.getBoundingClientRect().left"
        ) == pytest.approx(0, abs=1)
