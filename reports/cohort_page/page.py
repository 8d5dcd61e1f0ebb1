"""Render the page of `bench data stats`: a description of each cohort as one HTML file."""

from markupsafe import Markup

from reports.cohort_page.content import CohortPictures, DataPage, Picture
from reports.cohort_page.patients_and_pixels import patients, pixels
from reports.cohort_page.sections import findings, headline, images, method, opening, splits
from reports.html.section import write
from reports.html.shell import joined, policy

__all__ = ["CohortPictures", "DataPage", "Picture", "render"]

ORDER = (opening, images, findings, patients, splits, pixels, method)
STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css", "cohort_page.css")


def render(page: DataPage) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal content gives equal bytes."""
    style, script = joined(STYLES), joined(("theme.js",))
    text = write(
        "cohort_page.html.j2",
        policy=policy([script], [style]),
        title="Unseen: cohorts",
        headline=headline(page),
        phantom=page.phantom,
        page=page,
        sections=[section for section in (make(page) for make in ORDER) if section.html],
        style=Markup(style),  # noqa: S704  (our own files)
        script=Markup(script),  # noqa: S704
    )
    return str(text) + "\n"
