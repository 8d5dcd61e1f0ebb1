"""What the details of a run show of its heat maps: the first pictures of the gallery."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bench.extensions.heat_maps.gallery_cases import pictures_of
from reports.html.section import write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData

MOST = 12  # maximum number of pictures of a run


@dataclass(frozen=True, slots=True)
class PictureDetails:
    """The cases of each run that have a picture, in the order of the gallery."""

    pictures: Mapping[str, Sequence[Mapping[str, Any]]]  # run id -> pictures

    @classmethod
    def of(cls, data: ReportData, _run_ids: Collection[str]) -> "PictureDetails":
        """Collect the pictures of all runs."""
        by_run: dict[str, list[Mapping[str, Any]]] = {}
        for picture in pictures_of(data, data.tables["gallery"]):
            by_run.setdefault(picture["run_id"], []).append(picture)
        return cls(by_run)

    def html(self, data: ReportData, run: Run, drawn: bool) -> Markup:
        """Return the pictures of a run; unless `drawn`, a script copies them from the gallery when a reader opens the run."""
        pictures = self.pictures.get(run.id, ())[:MOST]
        return write("run_pictures.html.j2", data=data, run=run, pictures=pictures, drawn=drawn)

    def figures(self, _data: ReportData, _run: Run) -> Markup:
        """Return no figure."""
        return Markup("")


details = PictureDetails.of
