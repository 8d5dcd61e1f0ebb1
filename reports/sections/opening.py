"""The first screen of the page: a headline, sentences with intervals, and a figure of the gaps."""

import base64
import math
from typing import Any

from markupsafe import Markup

from reports import extensions, failed_parts, hooks, verdicts
from reports.drawing import svg
from reports.formatting import places, plural
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate, training_lookup
from reports.report_data.report_data import ReportData
from reports.sections.ranking_choices import left_out_of_mean, of_one_finding
from reports.sentences import changes as change_sentences
from reports.sentences import data as data_sentences
from reports.sentences import main_findings as sentences
from reports.sentences import members as member_sentences
from reports.sentences.verdicts import with_verdict
from reports.summaries.gap_causes import finding_shares, marker_runs, marker_sentence, strongest_marker
from reports.tables import records_of, rows_of

# px: widths of the two versions of the figure; the page shows the version that fits, so the text keeps its size
NARROW, WIDE = (328.0, 440.0)
PX_OF_CHARACTER = 6.6  # estimated width of a character of a hospital's name
SHOWN = 6  # number of recipes in the table of the AUROCs that the mean leaves out
NAMED = 60  # up to this number of recipes, each dot shows a name, and a table below the figure has the numbers


def opening(data: ReportData) -> Section:
    """Write the first screen."""
    runs, external, sections = data.ranked, data.hospitals.external, extensions.modules(hooks.Sections)
    notes = failed_parts.of_extensions("note on the mean gap", sections, lambda each: each.gap_note(data))
    headline, counts = verdicts.titles(data)
    return Section(
        "top",
        "",
        write(
            "opening.html.j2",
            data=data,
            kick=_kick(data),
            only_imported=_only_imported(data),
            headline=headline,
            stand=_stand(data),
            counts=counts,
            notes=[note for note in notes if note[1]],
            best=_best(data),
            further=_further(data),
            patients=_patients(data),
            not_internal=_without_internal_score(data),
            why=_why(data),
            marker=_marker(data),
            warning=left_out_of_mean(data),
            left_out=_left_out(data),
            no_mean=bool(data.members_of_first and data.members_of_first.reason),
            left_out_of=data.ranked[:SHOWN],
            wide=gap_figure(data, WIDE),
            narrow=gap_figure(data, NARROW),
            num_runs=len(runs),
            num_external=len(external),
            hospitals=[h for h in external if h.mean_gap.has_value],
            named=runs if 1 < len(runs) <= NAMED else [],
        ),
    )


def main_results(data: ReportData) -> list[str]:
    """Return the sentences of the first screen that commands print, too."""
    said = (*verdicts.titles(data), _best(data), *_further(data))
    return [text for text in said if text]


def gap_figure(data: ReportData, width: float) -> Markup:
    """Draw the gap at each external hospital: a dot per recipe, and above the dots the mean gap with its intervals.

    `width`: NARROW or WIDE, in px.
    """
    hospitals = [h for h in data.hospitals.external if h.mean_gap.has_value]
    values = [e.value for r in data.ranked for e in r.hospital_gaps.values() if e.has_value]
    bounds = [b for h in hospitals for b in (*h.mean_gap.bounds, h.mean_gap.value) if not math.isnan(b)]
    if not values or not hospitals:
        return Markup("")
    low, high = min(0.0, *values, *bounds), max(0.05, *values, *bounds)
    is_wide = width == WIDE
    most_ticks = 6 if is_wide else 4
    if low < 0:  # the axis then starts at a tick
        first, *others = svg.ticks(low, high, most_ticks)
        step = others[0] - first if others else 0.05
        low = first - step if first > low else first
    high *= 1.02
    grid = svg.ticks(low, high, most_ticks)
    names_px = max(PX_OF_CHARACTER * max(len(h.short), 0.95 * len(h.where)) for h in hospitals)
    axis_start = min(max(names_px + 12, 84.0), 130.0 if is_wide else 116.0)
    scale = svg.Scale(low, high, axis_start, width - (44 if is_wide else 40))
    row = 33.0 if len(data.ranked) > NAMED else 32.0  # a deep swarm must not reach the mean of the next hospital
    height = 44 + row * len(hospitals)
    body = "".join(
        svg.line(scale(t), 16, scale(t), height - 22, "g" if t else "ax")
        + svg.text(scale(t), height - 7, svg.tick_text(t, grid), "tk", "middle")
        for t in grid
    )
    for k, hospital in enumerate(hospitals):
        y, gap = 38 + k * row, hospital.mean_gap
        scored = [r for r in data.ranked if r.hospital_gaps[hospital.key].has_value] if len(data.ranked) > 1 else []
        dots = [r.hospital_gaps[hospital.key].value for r in scored]
        step_y = min(5.4, 20 / max(1, _depth(dots, scale)))
        # a shallow swarm is closer to its own mean than to the mean of the next hospital
        y_dots = y + min(8.0, 1 + step_y * _depth(dots, scale) / 2)
        spots = [(x, y_dots + lane * step_y) for x, lane in svg.swarm(dots, scale)]
        if len(dots) <= NAMED:
            names = [f"{r.label}, {hospital.title}: {places(v)}" for r, v in zip(scored, dots, strict=True)]
            body += svg.named_dots([(*spot, name) for spot, name in zip(spots, names, strict=True)], "sw")
        else:
            body += svg.dots(spots, "sw fine")
        y_mean = y - 11 if dots else y
        body += svg.marked(gap, scale, y_mean, 4)
        right = scale(max([gap.value, *gap.bounds] if gap.has_interval else [gap.value]))
        body += svg.text(right + 8, y_mean + 4, places(gap.value), "b halo")
        body += svg.text(0, y - 2, hospital.short, "lb") + svg.text(0, y + 13, hospital.where, "tk")
    zero = scale(0)
    crowded = zero > width - 200  # too little room for the text on the right side of the line at 0
    body += svg.text(zero + (-6 if crowded else 6), 11, "no gap", "tk", "end" if crowded else "start")
    body += svg.text(width, 11, "larger gap →", "tk", "end")
    label = "Generalization gap by hospital: " + ", ".join(f"{h.title} {with_verdict(h.mean_gap)}" for h in hospitals)
    return svg.svg(width, height, body, label, "ch wide" if is_wide else "ch narrow")


def _depth(values: list[float], scale: svg.Scale) -> int:
    """Return the height of a swarm of dots, in steps between lanes; a lane is a row of dots that do not overlap."""
    return max((abs(lane) for _, lane in svg.swarm(values, scale)), default=1) * 2


def _only_imported(data: ReportData) -> bool:
    return bool(data.entries) and data.imported == data.entries


def _kick(data: ReportData) -> str:
    """Return the line above the headline: the numbers of runs, hospitals, findings and test images."""
    images = int(data.meta.get("test_images") or 0)
    counts_in_words = [
        plural(len(data.imported), "imported model")
        if _only_imported(data)
        else sentences.run_count(len(data.runs), len(data.scored), len(data.ranked) if data.unit == "recipe" else 0),
        plural(data.hospitals.num, "hospital"),
        plural(len(data.findings), "finding"),
    ]
    counts_in_words += [plural(images, "test image" if data.tables.synthetic else "real test image")] * bool(images)
    return " · ".join(counts_in_words + ["scores of studies"] * (data.meta["settings"]["unit"] == "study"))


def _stand(data: ReportData) -> str:
    """Return the sentence on the mean gap."""
    if data.only_exposed_models:
        return "Their scores are listed below the ranking. The section on data exposure lists their training data."
    return sentences.mean_gap(
        data.words.place,
        len(data.hospitals.external) or data.hospitals.num_external,
        len(data.ranked),
        data.hospitals.mean_gap,
        sum(h.mean_gap.has_value for h in data.hospitals.averaged),
        data.has_common,
        not all(run.is_imported for run in data.ranked),
        verdicts.no_mean_gap(data),
    )


def _best(data: ReportData) -> str:
    """Return the sentence on the best run and the runs tied with it; the ranking has the settings in which they differ."""
    if not data.ranked:
        return ""
    first, members = data.ranked[0], data.members(data.ranked[0])
    second = next((data.name(run) for run in data.ranked[1:2]), "")
    is_stated = members.left_out or members.per_hospital == (len(data.findings),) * members.num_external
    return sentences.best_run(
        data.name(first),
        first.score,
        len(data.groups[0]) - 1,
        len(data.ranked),
        data.unit,
        (second, first.lead) if first.lead.has_interval else None,
        of_one_finding(data) or ("mean external AUROC" if data.hospitals.external else "internal AUROC"),
        over=member_sentences.over(members) if data.hospitals.external and not is_stated else "",
        but=verdicts.objection(data, first),
    )


def _further(data: ReportData) -> list[str]:
    """Return sentences of extensions, and on the first recipe at a new hospital and its net benefit if it is worse than none."""
    sections = extensions.modules(hooks.Sections)
    said = failed_parts.of_extensions("sentence on the first screen", sections, lambda each: each.opening(data))
    states = (*verdicts.AT_NEW, verdicts.WORSE_THAN_NONE)
    first = data.ranked[:1] if data.hospitals.external else ()
    for run in first:
        found = [verdicts.clause(data, verdict) for verdict in verdicts.of_recipe(data, run) if verdict.state in states]
        said += [f"{data.name(run)} {' and '.join(found)}."] * bool(found)
    return [text for text in said if text]


def _why(data: ReportData) -> list[tuple[str, str]]:
    """Return the sentences on causes of a clear mean gap that stand out, each with the key of its section: a finding, a shortcut."""
    shares = finding_shares(data)
    causes = [("findings", sentences.largest_share(shares))] if shares else []
    if shares and any(data.shortcuts.get(run.id) for run in data.ranked_runs):
        not_tested = change_sentences.untested(len(marker_runs(data)[1]), len(data.ranked_runs))
        causes += [("transplants", sentence) for sentence in (marker_sentence(data), not_tested)]
    return [cause for cause in causes if cause[1]]


def _marker(data: ReportData) -> dict[str, Any]:
    """Return the strongest shortcut: a pair of synthetic images without and with a marker, or the bars and sentence of its test."""
    if (strongest := strongest_marker(data)) is None:
        return {}
    run, row = strongest
    table, finding = data.tables["marker_example"], str(row["finding"])
    found = (
        table[(table["run_id"] == run.id) & (table["finding"] == finding) & table["picture"].notna()]
        if data.tables.synthetic
        else table[:0]
    )
    if len(found):
        (one,) = records_of(found)
        place = data.hospitals[str(one["dataset"])].short
        numbers = (float(one["before"]), float(one["after"]))
        return {
            "words": change_sentences.example(
                place, data.hospitals.internal.short, run.name, finding, *numbers, int(one["n"])
            ),
            "picture": base64.b64encode(bytes(one["picture"])).decode(),
            "numbers": [places(number, 2) for number in numbers],
        }
    value, control, effect, low, high = (float(row[name]) for name in ("value", "control", "effect", "low", "high"))
    words = change_sentences.marker_effect(run.name, finding, value, control, Estimate(effect, low, high))
    return {"words": words, "picture": "", "numbers": []}


def _without_internal_score(data: ReportData) -> str:
    """Name the training hospitals that no internal score includes, because each finding has too few patients; "" for none."""
    found = training_lookup(data.tables, data.hospitals.internal.key)
    scored = {hospital for (_, hospital), estimate in found.items() if estimate.has_value}
    without = [hospital.short for hospital in data.hospitals.pool if scored and hospital.key not in scored]
    return data_sentences.without_internal_score(without, data.min_count)


def _patients(data: ReportData) -> list[str]:
    """Return sentences on hospitals that no mean has, with the lowest AUROC of the first recipe, and on other children."""
    left_out = (data.meta.get("compared") or {}).get("left_out") or ()
    said = [
        data_sentences.left_out(
            (data.hospitals[str(row["cohorts"][0])].short, str(row["title"])),
            *(row[key] for key in ("num_images", "images", "patients")),
        )
        for row in left_out
    ]
    lowest = {}
    for hospital in data.hospitals.children:
        scores = [(e, f) for f in data.findings if (e := _auroc(data, hospital.key, f)).has_value]
        worst = min(scores, key=lambda pair: pair[0].value, default=None)
        lowest[hospital.short] = f"{worst[1]}, {worst[0].with_interval}" if worst else ""
    if lowest:
        said.append(data_sentences.children_apart(lowest))
    apart = {hospital.key for hospital in data.hospitals.children}
    rows = rows_of(data.tables["cohorts"], "dataset", "children", "ages")
    inside = {
        data.hospitals[str(key)].short: (int(some), int(ages)) for key, some, ages in rows if some and key not in apart
    }
    return [*said, data_sentences.children_inside(inside)] if inside else said


def _auroc(data: ReportData, dataset: str, finding: str) -> Estimate:
    return data.cells.get((data.ranked[0].id, dataset, finding), MISSING) if data.ranked else MISSING


def _left_out(data: ReportData) -> list[dict[str, Any]]:
    """Return a row for each AUROC that the mean leaves out: hospital, finding, and the AUROC of the first recipes."""
    members = data.members_of_first
    return [
        {
            "hospital": data.hospitals[hospital].short,
            "finding": finding,
            "values": [data.cells.get((run.id, hospital, finding), MISSING) for run in data.ranked[:SHOWN]],
        }
        for hospital, finding in (members.left_out if members else ())
    ]
