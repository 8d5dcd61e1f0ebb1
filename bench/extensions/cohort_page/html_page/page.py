"""Render the page of `bench data stats`: a description of each cohort as one HTML file."""

from bench.extensions.cohort_page.html_page.content import CohortPictures, DataPage, Picture
from bench.extensions.cohort_page.html_page.patients_and_pixels import patients, pixels
from bench.extensions.cohort_page.html_page.sections import findings, headline, images, method, opening, splits
from reports.html.section import write
from reports.html.shell import shell

__all__ = ["CohortPictures", "DataPage", "Picture", "render"]

ORDER = (opening, images, findings, patients, splits, pixels, method)
STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css", "cohort_page.css")


def render(page: DataPage) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal content gives equal bytes."""
    text = write(
        "cohort_page.html.j2",
        **shell(STYLES),
        title="Unseen: cohorts",
        headline=headline(page),
        phantom=page.phantom,
        page=page,
        sections=[section for section in (make(page) for make in ORDER) if section.html],
    )
    return str(text) + "\n"
