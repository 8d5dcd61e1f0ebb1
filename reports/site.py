"""Write a site: a folder with the page, one page per run, and the tables of the report."""

import json
import re
from base64 import b64encode
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from harmonize.disk_space import writing
from reports import failed_parts
from reports.html.section import write
from reports.html.shell import shell
from reports.page import STYLES, render
from reports.report_data import report_data
from reports.report_data.hospitals_and_runs import Run
from reports.sections.run_detail import RunDetails
from reports.sentences.data import pictures_notice
from reports.tables import SYNTHETIC_KEY, Tables


def write_site(tables: Tables, folder: Path) -> Path:
    """Write the files of a site into `folder`, and return the path of index.html.

    The files are index.html, data.html, runs/<run id>.html, data/<table>.json and data/<table>.parquet. All links are
    relative, and the pages make no network requests. So the folder can be opened from disk or served from any address.
    Raises DiskFullError if the disk is full.
    """
    with writing(folder):
        return _write_site(tables, folder)


def _write_site(tables: Tables, folder: Path) -> Path:
    """Write the files that `write_site` lists; a full disk raises a plain OSError, without the message of DiskFullError."""
    data = report_data.read(Tables({**tables.meta, "site": True}, tables.frames))
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    details = RunDetails.of(data, data.entries)
    style_and_script = shell(STYLES)
    for run in data.entries:
        body = re.sub(r'href="#run-([^"]+)"', r'href="\1.html"', _body(details, run))  # runs of a recipe
        page = write(
            "run_page.html.j2",
            **style_and_script,
            title=f"{run.label} · Unseen",
            headline=run.label,
            phantom=data.tables.synthetic,
            sections=(),
            run=run,
            body=body,
            pictures_notice=pictures_notice(data.tables.synthetic, body.count('src="data:image/')),
        )
        (folder / "runs" / f"{run.id}.html").write_text(str(page) + "\n", encoding="utf-8", newline="\n")
    files = write(
        "data_files.html.j2",
        **style_and_script,
        title="Data · Unseen",
        headline="Tables of the leaderboard",
        phantom=data.tables.synthetic,
        sections=(),
        files=[(name, len(frame), list(frame.columns)) for name, frame in tables.frames.items() if len(frame)],
    )
    (folder / "data.html").write_text(str(files) + "\n", encoding="utf-8", newline="\n")
    tables.save(folder / "data")
    for name, frame in tables.frames.items():
        (folder / "data" / f"{name}.json").write_text(_as_json(frame, tables.synthetic), encoding="utf-8")
    index = folder / "index.html"
    index.write_text(render(Tables(dict(data.meta), tables.frames)), encoding="utf-8", newline="\n")
    return index


def _body(details: RunDetails, run: Run) -> str:
    """Return the HTML of a run's details; the reason if they fail."""

    def otherwise(part: failed_parts.FailedPart) -> Markup:
        return write("failed_section.html.j2", key="failed", name=part.name, reason=part.reason)

    return str(failed_parts.attempt(f"details of run {run.id}", lambda: details.body(run, drawn=True), otherwise))


def _as_json(frame: pd.DataFrame, synthetic: bool) -> str:
    """Return a table as the text of a JSON object with the keys synthetic, columns and data (the rows).

    Missing values become null, pictures become base64 text.
    """
    if "picture" in frame:
        pictures = [
            b64encode(bytes(p)).decode() if isinstance(p, bytes | bytearray) else None for p in frame["picture"]
        ]
        frame = frame.assign(picture=pd.Series(pictures, index=frame.index, dtype=object))
    text = frame.to_json(orient="split", index=False, double_precision=10)
    content = {key: value for key, value in json.loads(text).items() if key != "index"}
    return json.dumps({SYNTHETIC_KEY: synthetic, **content}, separators=(",", ":"))
