"""Write the sections of the cohort page; there is one function per section."""

from typing import Any

from markupsafe import Markup

from bench.extensions.cohort_page.html_page import figures as draw
from bench.extensions.cohort_page.html_page import sentences as say
from bench.extensions.cohort_page.html_page.content import DataPage
from bench.extensions.cohort_page.statistics.cohort_statistics import NOT_READ, SHARES, STATE_NAMES, Stats
from harmonize.cohorts.splits import rule as split_rule
from reports.formatting import integer, percent
from reports.html.section import Section, write
from reports.sentences import data as data_sentences

STATE_WORDS = {
    "present": "present",
    "uncertain": "uncertain",
    "absent": "absent",
    "not_mentioned": "not mentioned",
    "unmapped": "unmapped: no label for this finding",
}
FEWEST = say.FEWEST
LABELLERS = {"report": "reports, labeled by a program", "radiologist": "radiologists", "stated": "dataset labels"}


def headline(page: DataPage) -> str:
    """Return the headline of the page."""
    used = sum(stats.facts["images"] for stats in page.cohorts)
    people = sum(stats.facts["patients"] for stats in page.cohorts)
    return say.headline(len(page.cohorts), used, people, len(page.findings))


def opening(page: DataPage) -> Section:
    """Write the section at the top of the page: counts, and the finding whose prevalence differs most between cohorts."""
    largest = max(int(stats.facts["images"]) for stats in page.cohorts)
    rows = [{"stats": stats, "bar": draw.bar(stats.facts["images"], largest, width=150)} for stats in page.cohorts]
    shared = sum(stats.facts["shared_patients"] for stats in page.cohorts)
    people = sum(stats.facts["patients"] for stats in page.cohorts)
    listed, used = (sum(page.flow(stats, step) for stats in page.cohorts) for step in ("found", "used"))
    losses: dict[str, int] = {}
    for stats in page.cohorts:
        for step, number in _losses(stats):
            losses[step] = losses.get(step, 0) + number
    stand = (
        f"{say.loss(listed, used, losses)}. {most_different(page)}. {say.splits(shared, people, len(page.cohorts))}."
    )
    return Section(
        "top", "", write("cohort_opening.html.j2", page=page, headline=headline(page), stand=stand, rows=rows)
    )


def images(page: DataPage) -> Section:
    """Write the section on the image filters: how many images each filter excludes from each cohort."""
    blocks = []
    for stats in page.cohorts:
        listed = page.flow(stats, "found")
        rows = [
            {
                "words": _step(str(r["step"])),
                "kind": r["kind"],
                "images": r["images"],
                "bar": draw.bar(r["images"], listed, "dot" if r["kind"] == "stock" else "bar1", 110),
            }
            for r in stats.flow.to_dict("records")
            if r["step"] != "kept" or r["images"] != page.flow(stats, "used")
        ]
        losses = dict(_losses(stats))
        sample = page.samples.get(stats.name)
        blocks.append(
            {
                "stats": stats,
                "rows": rows,
                "sample": sample,
                "unread": page.flow(stats, NOT_READ),
                "say": say.loss(listed, page.flow(stats, "used"), losses),
            }
        )
    unread = any(page.flow(stats, NOT_READ) for stats in page.cohorts)
    title = say.used_images({page.title(s): (page.flow(s, "used"), page.flow(s, "found")) for s in page.cohorts})
    return Section(
        "images", "Images", write("cohort_images.html.j2", page=page, blocks=blocks, title=title, unread=unread)
    )


def findings(page: DataPage) -> Section:
    """Write the section on prevalence, label states and co-occurrence of findings."""
    cells = [
        (f, page.title(s), page.counts[s.name, f])
        for s in page.cohorts
        for f in page.findings
        if (s.name, f) in page.counts
    ]
    pairs = [
        (page.title(s), str(r["finding"]), str(r["other"]), int(r["has"]), int(r["both"]))
        for s in page.cohorts
        for r in s.together.to_dict("records")
    ]
    heats = [{"stats": s, "figure": _heat(page, s)} for s in page.cohorts if s.together["stated"].any()]
    legend = [(STATE_WORDS[state], draw.swatch(css)) for state, css in draw.STATE_CSS.items()]
    return Section(
        "findings",
        "Findings",
        write(
            "cohort_findings.html.j2",
            page=page,
            prevalence=_prevalence(page),
            prevalence_title=most_different(page),
            unsaid=say.uncertain_labels(cells),
            legend=legend,
            states=_states(page),
            together=say.cooccurrence(pairs),
            heats=heats,
            ramp=[draw.swatch(f"c{k}") for k in range(8)],
            few=FEWEST,
        ),
    )


def most_different(page: DataPage) -> str:
    """Return the sentence on the finding whose prevalence differs most between cohorts.

    Only cohorts with at least FEWEST images with and without the finding count.
    """
    best: tuple[float, str, str, str] = (0.0, "", "", "")
    for finding in page.findings:
        shares = {}
        for stats in page.cohorts:
            present, counted = _counted(page, stats, finding)
            if min(present, counted - present) >= FEWEST:
                shares[page.title(stats)] = present / counted
        if len(shares) > 1:
            high, low = max(shares, key=lambda n: shares[n]), min(shares, key=lambda n: shares[n])
            best = max(best, (shares[high] / shares[low], finding, high, low))
    return data_sentences.prevalence(best[1], best[0], best[2], best[3])


def splits(page: DataPage) -> Section:
    """Write the section on splits: the size of each split, and the rule that made it."""
    rows = []
    for stats in page.cohorts:
        split_rows = stats.splits.to_dict("records")
        shared, number = stats.facts["shared_patients"], stats.facts["patients"]
        rows.append(
            {
                "stats": stats,
                "parts": split_rows,
                "shared": shared,
                "whole": f"{integer(number - shared)} / {integer(number)}",
            }
        )
    shared, people = sum(r["shared"] for r in rows), sum(s.facts["patients"] for s in page.cohorts)
    title = say.splits(shared, people, len(page.cohorts))
    shares = page.cohorts[0].shares
    context = {"rows": rows, "title": title, "rule": split_rule(shares), "usual": shares == SHARES}
    return Section("splits", "Splits", write("cohort_splits.html.j2", page=page, **context))


def method(page: DataPage) -> Section:
    """Write the section on method: how images and patients are counted, and where the facts come from."""
    grades = [
        (
            page.title(s),
            [str(f) for f, g in zip(s.findings["finding"], s.findings["grade"], strict=True) if g == "approximate"],
        )
        for s in page.cohorts
    ]
    return Section(
        "method",
        "Method",
        write(
            "cohort_method.html.j2",
            page=page,
            labellers=LABELLERS,
            approximate=[(t, f) for t, f in grades if f],
            few=FEWEST,
        ),
    )


def _step(step: str) -> str:
    words = {
        "kept": "kept",
        "unlabelled": "without any label",
        "contradictory": "“No Finding” with another finding",
        "contradictory_sex": "patients with two recorded sexes",
        "absent": "missing file",
        "unreadable": "unreadable",
        "bad_row": "invalid rows",
        "repeated_row": "repeated rows",
        "unknown_label": "unknown label",
        NOT_READ: "not yet read",
    }
    return words.get(step, step.replace("_", " "))


def _losses(stats: Stats) -> list[tuple[str, int]]:
    rows = stats.flow[(stats.flow["kind"] == "loss") & (stats.flow["images"] > 0)]
    return [(_step(str(step)), int(number)) for step, number in zip(rows["step"], rows["images"], strict=True)]


def _counted(page: DataPage, stats: Stats, finding: str) -> tuple[int, int]:
    """Return two numbers of images: with the label state present, and with present, absent or not mentioned."""
    counts = page.counts.get((stats.name, finding))
    if not counts:
        return 0, 0
    return counts["present"], counts["present"] + counts["absent"] + counts["not_mentioned"]


def _prevalence(page: DataPage) -> list[dict[str, Any]]:
    rows = []
    for finding in page.findings:
        shares = []
        for stats in page.cohorts:
            present, counted = _counted(page, stats, finding)
            is_small = min(present, counted - present) < FEWEST
            counts = page.counts.get((stats.name, finding), {})
            shares.append(
                {
                    "n": counted,
                    "num_positive": present,
                    "text": percent(present, counted),
                    "few": is_small,
                    "patients": counts.get("patients_present", 0),
                    "bar": draw.bar(present, counted, "dot", 100),
                }
            )
        rows.append({"finding": finding, "cells": shares})
    return rows


def _states(page: DataPage) -> list[dict[str, Any]]:
    rows = []
    for finding in page.findings:
        cells = []
        for stats in page.cohorts:
            counts = page.counts.get((stats.name, finding), dict.fromkeys(STATE_NAMES, 0))
            total = (
                0 if counts["unmapped"] == sum(counts[s] for s in STATE_NAMES) else sum(counts[s] for s in STATE_NAMES)
            )
            phrases = [
                f"{percent(counts[s], total)} {STATE_WORDS[s].split(':')[0]}"
                for s in ("uncertain", "not_mentioned", "unmapped")
                if counts[s]
            ]
            cells.append({"bar": draw.stacked(counts, draw.STATE_CSS, 120), "parts": phrases, "total": total})
        rows.append({"finding": finding, "cells": cells})
    return rows


def _heat(page: DataPage, stats: Stats) -> Markup:
    shares: dict[tuple[str, str], float | None] = {}
    for r in stats.together.to_dict("records"):
        if r["stated"]:
            shares[str(r["finding"]), str(r["other"])] = r["both"] / r["has"] if r["has"] >= FEWEST else None
    names = [f for f in page.findings if any(f in pair for pair in shares)]
    return draw.heat(
        names,
        shares,
        f"Share of images of {page.title(stats)} with one finding that also show another; numbers are in the table below",
    )
