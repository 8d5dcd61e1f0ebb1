"""The cohort page: complete, deterministic, escaped, and within its content security policy."""

import base64
import re
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from bench.extensions.cohort_page.html_page import sentences as say
from bench.extensions.cohort_page.html_page.page import CohortPictures, DataPage, Picture, render
from bench.extensions.cohort_page.statistics.cohort_statistics import describe
from bench.extensions.cohort_page.statistics.image_sample import BINS, ImageSample
from tests.hand import ROWS, A, N, P, U, cohort
from tests.unit.reports.test_page import HOSTILE, Checker

PIXEL = "data:image/jpeg;base64,AAAA"


def many(name, share, **options):
    rows = [
        (
            f"p{k}",
            f"s{k}",
            "",
            "PA" if k % 3 else "AP",
            "FM"[k % 2],
            20.0 + k % 70,
            "",
            (P if k >= share else N, P if k < share else U if k % 9 == 0 else A, A),
        )
        for k in range(100)
    ]
    return cohort(name, rows=rows, **options)


def sample(number=4, unreadable=()):
    sizes = pd.DataFrame({"height": range(100, 100 + number), "width": range(90, 90 + number)})
    return ImageSample(
        number + len(unreadable), tuple(unreadable), sizes, np.full(BINS, 1 / BINS), np.full(number, 100.0)
    )


def pictures(words="Edema"):
    one = Picture(PIXEL, words, 10, 12)
    return CohortPictures((one, one), ((one, one), (one, one)))


def pages():
    a, b = describe(many("a", 40)), describe(many("b", 10, layout="nih"))
    real = describe(many("c", 20, phantom=False))
    unlabelled, none = describe(cohort("d", rows=ROWS[5:])), describe(cohort("e", rows=ROWS[:0]))
    few = describe(cohort("f"))
    return {
        "tables": DataPage((a, b)),
        "images": DataPage(
            (a, b),
            {"a": sample(), "b": sample(3, ["empty file"])},
            {"a": pictures(), "b": pictures("none of the findings")},
            (("x_64",), ("x_224", "x_512")),
        ),
        "real": DataPage((real,), {"c": sample()}),
        "patients shown": DataPage(
            (a, real), {"a": sample(), "c": sample()}, {"a": pictures(), "c": pictures()}, (("x_64",), ("x_224",))
        ),
        "few": DataPage((few,)),
        "nothing used": DataPage((unlabelled, none)),
        "no image readable": DataPage((a,), {"a": sample(0, ["empty file"])}),
        "unread": DataPage((a,), unread=("mimic",)),
    }


PAGES = pages()


class WithPictures(Checker):
    """Allows `src` on pictures that are in the file."""

    def handle_starttag(self, tag, attrs):
        inside = tag == "img" and dict(attrs)["src"].startswith("data:image/")
        super().handle_starttag(tag, [(n, v) for n, v in attrs if not (inside and n == "src")])
        if tag == "img":
            self.open.pop()
            assert dict(attrs)["alt"]


@pytest.fixture(params=list(PAGES))
def page(request):
    return render(PAGES[request.param])


def checked(page):
    found = WithPictures()
    found.feed(page)
    assert found.open == []
    return found


def test_every_page_is_well_formed_with_unique_ids_and_no_broken_link(page):
    found = checked(page)
    assert found.bad == []
    assert len(found.ids) == len(set(found.ids))
    assert {h[1:] for h in found.hrefs} <= set(found.ids)


def test_no_page_shows_nan_none_or_template_syntax(page):
    text = " ".join(checked(page).text)
    assert not re.findall(r"\b(nan|NaN|None|inf)\b|<built-in|object at 0x|\{\{|\{%", text)
    assert not re.findall(r'="[^"]*\b(?:nan|inf)\b[^"]*"', page)


def test_headings_skip_no_level_and_each_figure_has_a_sentence_above(page):
    headings = checked(page).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(headings))
    for block in page.split('<div class="fig">')[1:]:
        assert block.startswith("<h3>")


def test_only_the_hashed_script_and_style_are_allowed(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL) + re.findall(
        r"<style>(.*?)</style>", page, re.DOTALL
    )
    assert len(inline) == 2
    for text in inline:
        assert f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+/", re.sub(r"data:image/[^\"]*", "", page)) == []


@pytest.mark.slow
def test_the_same_cohorts_give_the_same_bytes(page):
    assert page in [render(again) for again in pages().values()]


def test_names_are_escaped_everywhere():
    rows = [(*row[:6], HOSTILE, row[7]) for row in ROWS]
    stats = describe(cohort(HOSTILE, rows=rows, **{HOSTILE: 0}))
    stats.facts.update(title=HOSTILE, place=HOSTILE, licence=HOSTILE, reference=HOSTILE)
    shown = DataPage(
        (stats,),
        {HOSTILE: sample(2, [HOSTILE])},
        {HOSTILE: pictures(HOSTILE)},
        ((HOSTILE,), (HOSTILE,)),
        unread=(HOSTILE,),
    )
    page = render(shown)
    found = checked(page)
    assert found.bad == []
    assert "<script>alert" not in page
    assert page.count("<script") == 1
    assert "<script>alert(1)</script>" in " ".join(found.text)


@pytest.mark.slow
def test_the_page_states_its_contents():
    text = {name: " ".join(checked(render(page)).text) for name, page in PAGES.items()}
    assert "Synthetic images." in text["tables"]
    assert "Synthetic images." not in text["real"]
    assert "It contains no pictures." in text["real"]
    assert "agreements forbid publishing images of patients" in text["real"]
    assert "Images of patients." in text["patients shown"]
    assert "Synthetic images." not in text["patients shown"]
    assert "a synthetic" in " ".join(text["patients shown"].split())  # one of the two cohorts
    assert "mimic could not be read" in text["unread"]
    assert "Pixels" not in text["tables"]
    assert "1 of 4 could not be read" in text["images"]


def test_no_id_of_a_patient_study_or_image_is_on_the_page():
    rows = [(f"patient{k}", f"study{k}", "", "PA", "", np.nan, "", (P, A, A)) for k in range(20)]
    page = render(DataPage((describe(cohort(rows=rows)),)))
    assert not re.findall(r"patient\d|study\d|>i\d", page)


def test_a_share_of_few_images_is_in_no_headline():
    assert "Prevalence of each finding" in render(PAGES["few"])
    assert "times as common" in render(PAGES["tables"])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (say.loss(0, 0, {}), "No image is listed"),
        (say.used_images({}), "No image is listed"),
        (
            say.used_images({"A": (1, 1), "B": (2, 2)}),
            "100\N{NO-BREAK SPACE}% of the listed images are used in every cohort",
        ),
        (say.loss(1, 1, {}), "The one listed image is used"),
        (say.loss(5, 5, {}), "All 5 listed images are used"),
        (say.loss(5, 1, {"absent": 4}), "1 of 5 listed images is used; the only reason for exclusion is “absent” (4)"),
        (
            say.loss(9, 1, {"absent": 3, "strip": 5}),
            "1 of 9 listed images is used; the most frequent reason for exclusion is “strip” (5)",
        ),
        (say.uncertain_labels([]), "No label is uncertain"),
        (say.cooccurrence([]), "Too few images show two findings"),
        (say.cooccurrence([("A", "x", "y", 9, 9)]), "Too few images show two findings"),
        (say.age({"A": float("nan")}), "No cohort records age"),
        (say.age({"A": 50.0, "B": 50.2}), "The median age is 50 years in each of the two cohorts that record age"),
        (say.sex({"A": (0, 0)}, ["A"]), "No cohort records the sex of its patients."),
        (say.sizes({}), "No image could be read"),
        (
            say.sizes({"A": (9, 9), "B": (9, 9)}, [1.0, 1.0]),
            "The median image size is 9 × 9 pixels in every cohort; width / height is 1.00 for every image",
        ),
        (say.gray({"A": 100.0, "B": 104.0}), "The median gray value is about 100 of 255 in every cohort"),
        (say.devices({"A": 0}), "No cohort records the device"),
        (say.per_patient({"A": (3, 3, 1)}), "Each patient has one image"),
        (say.splits(1, 5, 1), "1 patient is in two splits (4 of 5 patients are in one split)"),
    ],
)
def test_sentences_follow_the_numbers(said, expected):
    assert said == expected


def test_a_finding_more_often_uncertain_than_present_is_reported():
    counts = {"present": 10, "absent": 60, "uncertain": 30, "not_mentioned": 0, "unmapped": 0}
    assert "more often than present" in say.uncertain_labels([("Edema", "A", counts)])
    assert "more often than present" not in say.uncertain_labels([("Edema", "A", counts | {"present": 40})])
    assert say.uncertain_labels([("Edema", "A", counts | {"uncertain": 1})]) == "Only 1 label is uncertain"
