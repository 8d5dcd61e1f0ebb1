"""The page: complete, deterministic, escaped, and within its content security policy."""

import base64
import gzip
import html
import json
import re
import subprocess
import sys
from functools import lru_cache
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from reports.formatting import places
from reports.html.section import GROUPS
from reports.page import render
from reports.report_data.report_data import read
from reports.sections.opening import WIDE, gap_figure
from reports.tables import Tables
from tests.synthetic import FINDINGS, Invented, page_of, tables

HOSTILE = "<script>alert(1)</script>\"'=cmd|' /C calc'!A0 {{7*7}} %{x} </title>"
STATES = {
    "many": Invented(),
    "phantom": Invented(runs=4, phantom=True, shortcut="Pleural Effusion"),
    "one": Invented(runs=1),
    "absent cohort": Invented(runs=3, hospitals=("chexpert", "mimic", "nih")),
    "one external": Invented(runs=2, hospitals=("chexpert", "nih")),
    "internal only": Invented(runs=2, hospitals=("chexpert",)),
    "failed": Invented(runs=2, failed=2),
    "all failed": Invented(runs=0, failed=2),
    "below half": Invented(runs=3, below_half=True),
    "few patients": Invented(runs=4, patients=0.15, noise=3),
    "reversed": Invented(runs=4, sign=-1.0),
    "nothing in common": Invented(runs=2, internal_labels=FINDINGS[:2], external_labels=FINDINGS[2:]),
    "more rows than at once": Invented(runs=70, failed=1),
    "two in common": Invented(runs=4, internal_labels=FINDINGS[:4], external_labels=FINDINGS[2:]),
}
VOID = {"meta", "input", "br", "wbr", "line", "circle", "rect", "use"}


class Checker(HTMLParser):
    """Collects what a policy forbids, and whether every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.bad, self.ids, self.hrefs, self.headings, self.text = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.bad += [f"<{tag} {n}>" for n in names if n == "style" or n.startswith("on") or n == "src"]
        self.ids += [names["id"]] if "id" in names else []
        self.hrefs += [names["href"]] if "href" in names else []
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@lru_cache(maxsize=1)  # tests of one page follow each other
def checked(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def unpacked(page, block):
    """What a data block of the page keeps as base64 of gzip."""
    return gzip.decompress(base64.b64decode(re.search(rf'id="{block}">([^<]+)<', page).group(1))).decode()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in {"many", "more rows than at once"} else [])
        for name in STATES
    ],
)
def page(request):
    return page_of(STATES[request.param])


def test_every_page_is_well_formed_with_unique_ids_and_no_broken_internal_link(page):
    found = checked(page)
    assert len(found.ids) == len(set(found.ids))
    assert {h[1:] for h in found.hrefs if h.startswith("#")} <= set(found.ids)
    assert all(h.startswith("#") for h in found.hrefs)


def test_no_page_has_anything_that_the_policy_forbids(page):
    assert checked(page).bad == []


def test_no_page_shows_nan_none_or_template_syntax(page):
    text = " ".join(checked(page).text)
    assert not re.findall(r"\b(nan|NaN|None|inf)\b|<built-in|object at 0x|\{\{|\{%", text)


def test_headings_start_at_one_h1_and_skip_no_level(page):
    headings = checked(page).headings
    assert headings.count(1) == 1
    assert headings[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(headings))


def test_only_hashed_scripts_and_styles_are_allowed(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL) + re.findall(
        r"<style[^>]*>(.*?)</style>", page, re.DOTALL
    )
    for text in inline:
        assert f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert (
        re.findall(
            r"<[^>]*(?:https?:)?//[\w.-]+\.\w+/",
            re.sub(r'<script type="text/plain".*?</script>', "", page, flags=re.DOTALL),
        )
        == []
    )


@pytest.mark.slow
@pytest.mark.parametrize("state", ["failed", "phantom"])
def test_the_same_tables_give_the_same_bytes(state, tmp_path):
    made = tables(STATES[state])
    made.save(tmp_path)
    assert render(made) == page_of(STATES[state]) == render(Tables.load(tmp_path))


@pytest.mark.slow
def test_names_are_escaped_everywhere():
    made = tables(Invented(runs=3, failed=1, name=HOSTILE))
    made.meta["title"] = made.meta["grid"] = HOSTILE
    made.meta["notes"] = [HOSTILE]
    made.meta["datasets"]["mimic"] = {"title": HOSTILE, "place": HOSTILE, "flow": {HOSTILE: 1}}
    for column in ("family", "what", "reason", "command", "config", "commit", "versions", "device", "optimizer"):
        made["runs"][column] = HOSTILE
    for column in ("label_source", "licence", "fingerprint"):
        made["cohorts"][column] = HOSTILE
    page = render(made)
    found = checked(page)
    assert "<script>alert" not in page
    assert found.bad == []
    # data blocks: sort data, rankings, hospitals like mine, scores to compare, their pairs, details of runs; and the script
    assert page.count("<script") == 7
    kept = unpacked(page, "details")
    assert all(checked(piece).bad == [] for piece in json.loads(kept).values())
    assert "<script>alert(1)</script>" in " ".join(found.text)


@pytest.mark.slow
def test_the_share_of_images_without_detected_lungs_is_in_the_cohort_section():
    made = tables(Invented(runs=2))
    assert "No lungs were detected" not in page_of(Invented(runs=2))
    name = "adaptive <region>"
    for key, share in zip(made.meta["datasets"], (0.0, 0.125, 0.004), strict=False):
        made.meta["datasets"][key]["no_lungs"] = {name: share}
    page = render(made)
    assert "No lungs were detected in 0 % to 12 % of a cohort’s images" in html.unescape(page)
    assert "adaptive &lt;region&gt;</th>" in page
    assert "<td>0.4 %</td>" in page


@pytest.mark.slow
def test_images_excluded_by_each_filter_are_in_the_cohort_table():
    made = tables(Invented(runs=2))
    flow = {
        "found": 900,
        "no_labels": 77,
        "not_frontal": 5,
        "not_gold": 88,
        "absent": 0,
        "kept": 700,
        "contradictory": 99,
    }
    made.meta["datasets"]["padchest"]["flow"] = flow
    page = render(made)
    assert "no labels 77<br>not gold 88</td>" in page
    assert "contradictory 99" not in page


def cohort_section(page):
    return page[page.index('id="cohorts"') : page.index('id="method"')]


@pytest.mark.slow
def test_images_of_a_split_that_is_not_scored_are_counted_in_the_cohort_table():
    made = tables(Invented(runs=2))
    assert "not scored" not in cohort_section(page_of(Invented(runs=2)))
    splits = made["splits"]
    splits.loc[splits["dataset"] == "vindr", "images"] -= 60
    made["cohorts"]["unreadable"] = 5  # the splits count unreadable images, too
    made["cohorts"]["used"] -= 5
    rows = [row for row in cohort_section(render(made)).split("<tr>") if "not scored" in row]
    assert len(rows) == 1
    assert "not scored 60" in rows[0]
    assert "VinDr" in rows[0]
    assert "<br>not scored 60</td>" in rows[0]


@pytest.mark.slow
def test_images_that_a_bundle_does_not_have_are_counted_in_the_cohort_table():
    made = tables(Invented(runs=2))
    used = made["cohorts"].set_index("dataset")["used"].astype(int)
    for name, beside in (("chexpert", 302), ("vindr", 460)):
        made.meta["datasets"][name]["flow"] = {"found": used[name] + beside, "kept": used[name] + beside}
    rows = cohort_section(render(made)).split("<tr>")
    assert ["CheXpert" in row for row in rows if "and 302 in training, not in the bundle" in row] == [True]
    assert ["VinDr" in row for row in rows if "<br>not scored 460</td>" in row] == [True]


def test_the_dots_of_a_hospital_are_closer_to_its_own_mean_than_to_the_mean_of_the_next_hospital():
    figure = gap_figure(read(tables(Invented(runs=2))), WIDE)
    means = [float(y) for y in re.findall(r'cy="([\d.]+)"', figure)]
    swarms = re.findall(r'<g class="sw">(.*?)</g>', figure)
    assert len(means) == len(swarms) == 5
    for mean, following, swarm in zip(means, means[1:], swarms, strict=False):
        for y in map(float, re.findall(r"M[\d.]+ ([\d.]+)h0", swarm)):
            assert y - mean < (following - mean) / 2


@pytest.mark.slow
def test_failed_runs_come_last_without_a_rank_and_with_their_reason():
    page = page_of(Invented(runs=4, failed=1))
    body = page[page.index('class="failed"') :]
    assert "the loss was not finite at step 40 of epoch 1" in body
    assert page.index('class="failed"') > page.rindex('data-group="')


@pytest.mark.slow
def test_a_phantom_page_is_marked_in_banner_headline_and_footer():
    page = page_of(STATES["phantom"])
    assert '<aside class="banner"' in page
    assert re.search("<h1[^>]*>On synthetic images, ", page)
    assert '<aside class="banner"' not in page_of(STATES["many"])


@pytest.mark.slow
def test_the_finding_with_the_shortcut_is_named_with_its_gap():
    page = page_of(STATES["phantom"])
    assert "Pleural Effusion: mean AUROC .98" in page


def _plain(page):
    """Return the page's words without its marks."""
    return re.sub(r"\s+", " ", " ".join(checked(page).text))


def test_without_an_external_hospital_runs_are_ranked_by_their_internal_auroc():
    said = _plain(page_of(STATES["internal only"]))
    assert "2 runs · 1 hospital" in said
    assert "2 runs scored on internal images; no external hospital was tested" in said
    assert "No external hospital was tested, so the generalization gap" in said
    assert "has the highest measured internal AUROC, ." in said
    assert "By internal AUROC at CheXpert; no external hospital was tested . Runs in a group are tied" in said
    assert not re.findall(
        r"too few patients|0 runs|\bno hospitals\b|of this run|No learning curve|external AUROC \.", said
    )


@pytest.mark.slow
def test_without_a_shared_finding_the_page_says_so_and_shows_the_internal_scores():
    said = _plain(page_of(STATES["nothing in common"]))
    assert "2 runs · 6 hospitals" in said
    assert "internal and external hospitals label no finding in common" in said
    assert "CheXpert and the other hospitals label no finding in common" in said
    assert (
        "internal and external hospitals label no finding in common; internal AUROC (mean of all internally scored findings) ."
        in said
    )
    assert "too few patients" not in said


@pytest.mark.slow
def test_runs_and_scored_runs_are_counted_separately():
    assert "4 runs, 2 with scores · 6 hospitals" in _plain(page_of(STATES["failed"]))
    assert "2 runs, 0 with scores · 6 hospitals" in _plain(page_of(STATES["all failed"]))


@pytest.mark.slow
def test_internal_and_external_auroc_are_drawn_and_listed_on_shared_findings():
    made = tables(STATES["two in common"])
    page = page_of(STATES["two in common"])
    gaps = made["gaps"]
    means = gaps[(gaps["dataset"] == "external") & (gaps["finding"] == "macro")]
    titles = [mark.get_text() for mark in BeautifulSoup(page, "html.parser").select("#hospitals .ch.wide .mk title")]
    for side in ("internal", "external"):
        drawn = [word for title in titles for word in re.findall(rf"{side} (\.\d+)", title)]
        assert sorted(drawn) == sorted(places(v) for v in means[side])
    assert "the same findings (2 findings)" in _plain(page)
    shown = re.findall(r'class="c-internal more"[^>]*><span class="v">([^<]+)', page)
    assert sorted(shown) == sorted(places(v) for v in means["internal"])


@pytest.mark.slow
def test_every_gap_has_a_verdict():
    made = tables(Invented(runs=4, noise=2))
    page, gaps = page_of(Invented(runs=4, noise=2)), made["ranks"].query("metric == 'gap' and dataset == 'external'")
    in_ranking = re.findall(
        r'<span class="\w+ verdict">((?:un)?clear(?: after correction for multiple comparisons)?)</span>', page
    )
    assert len(in_ranking) == 4
    assert in_ranking.count("clear") == int((gaps["all_low"] > 0).sum())
    in_detail = re.findall(r"<i>(?:un)?clear(?: after correction for multiple comparisons)?</i>", page)
    per_run = len(made.meta["findings"]) + 1 + 5
    assert len(in_detail) == 4 * per_run


@pytest.mark.slow
def test_excluded_findings_are_in_the_method_section_and_in_the_run():
    made = tables(Invented(runs=2))
    run_id = str(made["runs"]["run_id"][0])
    made.meta["unlearnt"] = {run_id: ["Edema"]}
    made.meta["duplicates"] = 3
    page = render(made)
    method = page[page.index('id="method"') : page.index('id="runs"')]
    assert "Edema (1 run)" in method
    entry = page[page.index(f'id="run-{run_id}"') :]
    assert "is not compared: Edema." in entry[: entry.index("Reproduce this run")]
    cohorts = cohort_section(page)
    assert "no patient in two splits; 3 images have duplicates in another split" in cohorts


@pytest.mark.slow
def test_a_finding_with_few_patients_has_the_reason_instead_of_a_number():
    page = page_of(STATES["few patients"])
    assert "&lt; 10 patients" in page
    assert "not labeled" in page


@pytest.mark.slow
def test_every_cell_of_a_run_has_its_number_of_images():
    page = page_of(Invented(runs=1))
    table = page[page.index("AUROC by finding and hospital") : page.index("Other metrics, mean over findings")]
    assert all(f in table for f in FINDINGS)
    numbers = re.findall(r'<td>\.\d{3}<i>\[\.\d{3}, \.\d{3}\]</i><i class="n">(\d+ of \d+)</i>', table)
    assert len(numbers) + table.count("not labeled") + table.count("&lt; 10 patients") == 6 * 9


@pytest.mark.slow
def test_one_run_is_not_ranked():
    assert "has a mean external AUROC of" in page_of(Invented(runs=1))


@pytest.mark.slow
def test_every_section_is_in_a_group_of_the_menu_and_most_are_in_its_list():
    page = BeautifulSoup(page_of(Invented(runs=2)), "html.parser")
    menu = [a["href"].removeprefix("#") for a in page.select(".mast nav.wide a")]
    assert [a.get_text() for a in page.select(".mast nav.wide a")] == list(GROUPS)
    assert menu[0] == "ranking"
    assert menu[1:] == [group["id"] for group in page.select("main .group[id]")]
    sections = {section["id"] for section in page.select("main section[id]")}
    assert sections == {section["id"] for section in page.select("main .group > section[id]")}
    listed = {a["href"].removeprefix("#") for a in page.select(".group-head a")}
    assert {"hospitals", "findings", "cost", "calibration", "method", "runs"} <= listed <= sections


@pytest.mark.slow
def test_the_module_writes_a_page_and_reports_a_missing_folder(tmp_path):
    tables(Invented(runs=2)).save(tmp_path / "tables")
    root = Path(__file__).parents[3]
    folders = {"page.html": tmp_path / "tables", "none.html": tmp_path / "absent"}
    commands = ([sys.executable, "-m", "reports", of, "-o", tmp_path / name] for name, of in folders.items())
    done, absent = (subprocess.run(c, cwd=root, capture_output=True, text=True, check=False) for c in commands)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert absent.returncode == 1
    assert "where:" in absent.stderr
    assert "Traceback" not in absent.stderr


@pytest.mark.slow
def test_the_rank_in_the_details_of_a_run_names_its_score_because_the_ranking_can_show_another():
    for study, score in ((Invented(runs=4), "external"), (Invented(runs=4, hospitals=("chexpert",)), "internal")):
        text = BeautifulSoup(page_of(study), "html.parser").select_one("details.run .sum").get_text()
        assert text.endswith(f" of 4 by {score} AUROC")
