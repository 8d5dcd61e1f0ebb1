"""The page prints each number with one interval and one verdict, whatever the tables: text, figures, tables, scripts."""

import base64
import gzip
import json
import re
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from bench.scoring.across_runs import ablation_tables
from bench.scoring.across_runs.all_pairs import pairs
from bench.scoring.across_runs.ranks import ranks
from reports.formatting import places
from reports.page import render
from reports.report_data.report_data import read
from reports.sections import factors
from reports.sentences import verdicts
from reports.tables import Tables
from tests.drawn_scores import covariances
from tests.synthetic import Invented, page_of, tables

pytestmark = pytest.mark.slow  # half a second to a second each: pages of invented studies

VOID = {"meta", "input", "br", "wbr", "hr", "img", "line", "circle", "path", "rect", "polyline", "polygon", "link"}
NUMBER = r"−?\d?\.\d{3}"
INTERVAL = re.compile(rf"\[?({NUMBER})(?:, |–| to )({NUMBER})\]?")
VERDICT = re.compile(r"\b(clear|unclear|excludes 0|includes 0)\b")
BENEFIT = "net_benefit"  # the metric of an extension: printed in many places, if there is this extension
STUDIES = [
    Invented(runs=3, seed=seed, noise=noise, sign=sign, hospitals=("chexpert", "mimic", "padchest", "nih"))
    for seed, noise, sign in ((0, 1.0, 1.0), (1, 3.5, 1.0), (2, 6.0, -1.0), (3, 2.5, 1.0))
]


class Parser(HTMLParser):
    """Collects the elements of a page below one without a name, the first of `path`."""

    def __init__(self):
        super().__init__()
        self.path = [Element()]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs)
        self.path[-1].children.append(element)
        if tag not in VOID:
            self.path.append(element)

    def handle_startendtag(self, tag, attrs):
        self.path[-1].children.append(Element(tag, attrs))

    def handle_endtag(self, tag):
        if tag not in VOID:
            self.path.pop()

    def handle_data(self, data):
        self.path[-1].children.append(data)


class Element:
    """An element of the page with its attributes and children; a string child is text."""

    def __init__(self, tag="", attributes=()):
        self.tag, self.attributes, self.children = tag, dict(attributes), []

    @classmethod
    def of(cls, page):
        """Return the page as an element."""
        parser = Parser()
        parser.feed(page)
        return parser.path[0]

    def all(self, tag="", css="", **attributes):
        """Return the elements below this one, in order, by tag, class and attributes."""
        found = []
        for child in self.children:
            if not isinstance(child, str):
                classes = (child.attributes.get("class") or "").split()
                same = all(child.attributes.get(name) == value for name, value in attributes.items())
                found += [child] * ((not tag or child.tag == tag) and (not css or css in classes) and same)
                found += child.all(tag, css, **attributes)
        return found

    @property
    def text(self):
        """The text below this element, without scripts, with a space around each element."""
        parts = [
            c if isinstance(c, str) else f" {c.text} " for c in self.children if isinstance(c, str) or c.tag != "script"
        ]
        return re.sub(r"\s+", " ", "".join(parts)).strip()


class Printed:
    """What the page prints about each quantity, a key such as ("gap", run): values, intervals and verdicts."""

    def __init__(self):
        self.values, self.intervals, self.verdicts = (defaultdict(set) for _ in range(3))

    def add(self, key, text, verdict=""):
        values, bounds = re.findall(NUMBER, text), INTERVAL.search(text)
        if values:
            self.values[key].add(values[0])
        if bounds:
            self.intervals[key].add(bounds.groups())
        self.verdicts[key] |= {word for word in [verdict, *VERDICT.findall(text)] if word}


@cache
def shown(study):
    """Return what the page reads from the tables of a study, the page, and what it prints; tests only read them."""
    made = tables(study)
    board, page = read(made), Element.of(page_of(study))
    return board, page, collect(page, board)


def marks(figure):
    """Return the verdict that each mark of a figure shows: filled is clear, hollow is unclear, gray ("") is no verdict."""
    meanings = {"dot": "clear", "dot o": "unclear", "dot n": ""}
    return [meanings[dot.attributes["class"]] for dot in figure.all("circle")]


def compared_scores(page):
    """Return the data of the comparison: the scores of each run, and the pairs "first second" -> a list per metric."""
    block = page.all("script", id="compare-scores")[0].children[0]
    return json.loads(gzip.decompress(base64.b64decode(block)))


def collect(page, board):
    """Return what the opening, ranking, drawers and the section on hospitals print about runs and hospitals."""
    printed = Printed()
    of_ranking(printed, page, board)
    for run in board.ranked:
        of_drawer(printed, page.all("details", id=run.anchor)[0], run.id, board)
    of_hospitals(printed, page.all("section", id="hospitals")[0], board)
    of_rankings(printed, page, board)
    data = compared_scores(page)
    of_pair = data["pairs"][f"{board.ranked[0].id} {board.ranked[1].id}"][0]
    tied = len(board.groups[0]) > 1
    printed.add("lead", "{} [{}, {}]".format(*map(places, of_pair[:3])), "unclear" if tied else "clear")
    for run, cells in data["runs"].items():
        keys = [("external", run), None, ("gap", run), *[("benefit", run)] * (BENEFIT in board.further)]
        keys += [("auroc", run, h.key) for h in board.hospitals.external]
        for key, cell in zip(keys, cells, strict=True):
            if key and cell:
                printed.add(key, " ".join(c if isinstance(c, str) else f"{c:.3f}".removeprefix("0") for c in cell))
    [figure] = [svg for svg in page.all("svg", "wide") if svg.attributes["aria-label"].startswith("Generalization gap")]
    parts = re.split(r", (?=[A-Z])", figure.attributes["aria-label"].partition(": ")[2])
    for part, verdict in zip(parts, marks(figure), strict=True):
        printed.add(("mean gap", re.split(rf" {NUMBER}", part)[0]), part, verdict)
    return printed


def of_ranking(printed, page, board):
    """Add the cells of the ranking."""
    for row in page.all("tr", "row"):
        run = row.attributes["data-id"]
        for key in ("internal", "external", "gap", "ece", *["benefit"] * (BENEFIT in board.further)):
            [cell] = row.all("td", f"c-{key}")
            printed.add((key, run), cell.text, marks(cell)[0] if key == "gap" else "")
            if key == "benefit":
                printed.verdicts[key, run].add(of_benefit(cell.text))
            printed.add((key, run), cell.all("", "v")[0].text)


def of_benefit(text):
    """Return the verdict on a net benefit; the ranking prints no word if the network is better."""
    words = ("no better than all or none", "worse than none", "worse than all")
    return next((word for word in words if word in text), "better")


def of_rankings(printed, page, board):
    """Add the scores of the rankings that a reader can choose."""
    rankings, ranked = (page.all("script", id=name)[0].children[0] for name in ("rankings", "ranked"))
    rankings, ids = json.loads(gzip.decompress(base64.b64decode(rankings))), [run["id"] for run in json.loads(ranked)]
    places_of = {"auroc.external": ("external",), "gap.external": ("gap",), "ece.external": ("ece",)}
    places_of |= {"net_benefit.external": ("benefit",)} if BENEFIT in board.further else {}
    for key in (h.key for h in board.hospitals.external):
        # the section on hospitals shows the AUROC over the findings that the internal hospital has, too
        places_of |= {f"auroc.{key}": ("auroc, every finding", key), f"gap.{key}": ("gap", key)}
        places_of |= {f"net_benefit.{key}": ("benefit", key)} if BENEFIT in board.further else {}
    for name, (quantity, *hospital) in places_of.items():
        for row, (value, *bounds) in zip(rankings[name]["row"], rankings[name]["score"], strict=True):
            printed.add((quantity, ids[row], *hospital), f"{value} [{', '.join(bounds)}]")


def of_drawer(printed, drawer, run, board):
    """Add the summary of a run's details, and the gaps in its first table."""
    [summary] = drawer.all("p", "sum")
    printed.add(("gap", run), summary.text.partition("gap ")[2])
    printed.add(("external", run), summary.text.removeprefix("External AUROC "))
    benefits = [table for table in drawer.all("div", "scroll") if table.attributes["aria-label"] == "Net benefit"]
    assert len(benefits) == (BENEFIT in board.further)
    for table in benefits:
        *of_hospitals, of_macro = [cell.text for cell in table.all("tr")[-1].all("td")]
        printed.add(("benefit", run), of_macro)
        printed.verdicts["benefit", run].add(of_benefit(of_macro))
        for hospital, cell in zip(board.hospitals.all, of_hospitals, strict=True):
            printed.add(("benefit", run, hospital.key), cell)
    for row in drawer.all("table", "cells")[0].all("tr")[1:]:
        name, cells = row.all("th")[0].text, row.all("td")
        if name.startswith("Gap"):
            for hospital, cell in zip(board.hospitals.external, cells[1:], strict=False):
                printed.add(("gap", run, hospital.key), cell.text)
        elif name == "Macro mean":
            printed.add(("gap", run), cells[-1].text)


def of_hospitals(printed, section, board):
    """Add the numbers of the colored table, and those behind the scatter."""
    for row in section.all("table", "heat")[0].all("tr")[1:]:
        run = row.all("a")[0].attributes["data-run"].removeprefix("run-")
        for hospital, cell in zip(board.hospitals.external, row.all("td")[1:], strict=True):
            printed.add(("auroc", run, hospital.key), cell.all("b")[0].text)
            printed.add(("gap", run, hospital.key), cell.all("i")[0].text)
    labels = {run.label: run.id for run in board.ranked}
    for row in section.all("details", "data")[-1].all("tr")[1:]:
        cells = [cell.text for cell in row.all("td")]
        printed.add(("gap", labels[row.all("th")[0].text]), f"{cells[4]} {cells[5]}")


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: f"seed{study.seed}")
def test_a_number_has_one_value_one_interval_and_one_verdict_wherever_it_is_printed(study):
    _, _, printed = shown(study)
    assert len(printed.values) > 20
    for name, texts in (("values", printed.values), ("intervals", printed.intervals), ("verdicts", printed.verdicts)):
        assert {key: found for key, found in texts.items() if len(found) > 1} == {}, name


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: f"seed{study.seed}")
def test_the_opening_sentences_print_the_intervals_of_figure_and_ranking(study):
    board, page, printed = shown(study)
    sentences = " ".join(paragraph.text for paragraph in page.all("p", "stand"))
    found = re.findall(rf"({NUMBER})(?: AUROC)? (\[.*?\])( \(unclear\))?", sentences)
    assert len(found) == 3  # mean gap, best score, lead
    for value, bounds, unclear in found:
        interval = INTERVAL.search(bounds).groups()
        keys = [key for key, values in printed.values.items() if value in values]
        if value.lstrip("−") == places(abs(board.hospitals.mean_gap.value)):
            continue  # the mean over hospitals is printed only here
        assert any(interval in printed.intervals[key] for key in keys), (value, bounds)
        if unclear:
            assert any("unclear" in printed.verdicts[key] for key in keys), value


def covariances_of(made, noise, seed):
    """Return the covariances of the macro AUROCs and gaps of each run, with errors of its own."""
    generator = np.random.default_rng(seed)
    drawn = defaultdict(dict)
    for metric, table in (("auroc", made["scores"]), ("gap", made["gaps"])):
        rows = table[(table["finding"] == "macro") & (table["metric"] == "auroc" if metric == "auroc" else True)]
        for row in rows.itertuples():
            drawn[row.run_id][f"{metric}/{row.dataset}"] = row.value + noise * generator.normal(size=400)
    return covariances(drawn)


@cache
def with_tested_pairs(study, noise):
    """Return the tables of a study whose ranks, pairs and ablation are computed from covariances.

    Each recipe is a level of one factor, with three seeds. So each row of the ablation is the difference of one pair.
    """
    made = tables(study)
    scores, gaps = made["scores"], made["gaps"]
    covariance = covariances_of(made, noise, study.seed)
    configs = {run: {"architecture": f"level{k}"} for k, run in enumerate(covariance.ids)}
    metrics = ablation_tables.metrics(scores, gaps, covariance)
    effects, _, _ = ablation_tables.ablation(configs, metrics, dict.fromkeys(configs, 3))
    computed = {
        "ranks": ranks(scores, covariance),
        "pairs": pairs(scores, gaps, {}, covariance, study.hospitals[0]),
        "ablation": effects,
    }
    return Tables(made.meta, {**made.frames, **computed}), {c["architecture"]: run for run, c in configs.items()}


@cache
def page_of_tested_pairs(seed, noise):
    made, _ = with_tested_pairs(Invented(runs=7, seed=seed), noise)
    return Element.of(render(made))


@pytest.mark.parametrize("noise", [0.002, 0.006, 0.02])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_pair_of_recipes_has_one_verdict_in_groups_lead_comparison_and_ablation(noise, seed):
    made, run_of_level = with_tested_pairs(Invented(runs=7, seed=seed), noise)
    board, page = read(made), page_of_tested_pairs(seed, noise)
    differences = {tuple(key.split()): cells[0] for key, cells in compared_scores(page)["pairs"].items()}

    def compared(one, other):
        """The verdict on one - other in the comparison of pinned recipes: that of the thin line."""
        sign, numbers = (1, differences[one, other]) if (one, other) in differences else (-1, differences[other, one])
        low, high = numbers[3:]
        assert low <= numbers[1] <= numbers[2] <= high
        return 0 if low <= 0 <= high else sign * (1 if low > 0 else -1)

    groups = defaultdict(list)
    for body in page.all("tbody"):
        if "data-group" in body.attributes:
            groups[int(body.attributes["data-group"])] += [r.attributes["data-id"] for r in body.all("tr", "row")]
    for number, (anchor, *others) in groups.items():
        assert [compared(anchor, other) for other in others] == [0] * len(others)
        assert number + 1 not in groups or compared(anchor, groups[number + 1][0]) == 1
    first, second = (run.id for run in board.ranked[:2])
    leads = re.search(
        r"Its lead over [^[]*, \S+ \[[^\]]*\] ?, is (clear|unclear)", " ".join(p.text for p in page.all("p", "stand"))
    )
    assert leads.group(1) == ("clear" if compared(first, second) else "unclear")
    cells = [row for row in page.all("section", id="factors")[0].all("tr") if len(row.all("td")) == 5]
    assert len(cells) == 6
    for row in cells:
        level, verdict = row.all("th")[0].text, row.all("td")[1].text
        sign = compared(run_of_level[level], run_of_level["level0"])
        assert verdict == {0: "no clear mean change", 1: "higher mean", -1: "lower mean"}[sign]
        assert marks(row.all("td")[0]) == ["clear" if sign else "unclear"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_change_over_fewer_than_three_pairs_has_neither_word_nor_mark_of_a_verdict(seed):
    made, _ = with_tested_pairs(Invented(runs=7, seed=seed), 0.002)
    few = Tables(made.meta, {**made.frames, "ablation": made["ablation"].assign(num_run_pairs=1)})
    section = Element.of(render(few)).all("section", id="factors")[0]
    rows = [row.all("td") for row in section.all("tr") if len(row.all("td")) == 5]
    assert len(rows) == 6
    for change, verdict, *_ in rows:
        assert verdict.text.startswith("too few pairs")
        assert marks(change) == [""]
    [legend] = section.all("p", "key")
    assert marks(legend) == [""]
    assert legend.text == "gray: fewer than three pairs of runs, no verdict"
    [with_pairs] = page_of_tested_pairs(seed, 0.002).all("section", id="factors")
    assert not with_pairs.all("p", "key")


def test_words_on_a_mean_over_pairs_cannot_be_read_as_a_verdict_on_a_pair():
    of_pairs = {verdicts.CLEAR, verdicts.UNCLEAR, verdicts.HIGHER, verdicts.LOWER}
    assert not of_pairs & {*factors.VERDICTS["auroc"], *factors.VERDICTS["gap"], verdicts.UNCLEAR_MEAN}
    assert all(
        "mean" in words for words in (*factors.VERDICTS["auroc"], *factors.VERDICTS["gap"], verdicts.UNCLEAR_MEAN)
    )
