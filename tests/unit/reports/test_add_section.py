"""The steps of "Add a report section" in docs/dev/add.md, done in a copy of the project, are all that a new section needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
SECTION = (
    (PROJECT / "docs" / "dev" / "add.md").read_text().partition("\n## Add a report section\n")[2].partition("\n## ")[0]
)
BLOCKS = re.findall(r"```\w+\n# (\S+): ([^\n]*)\n(.*?)```", SECTION, re.DOTALL)
pytestmark = pytest.mark.slow  # a page of a copy of the project

RENDERED = """
from pathlib import Path
from reports.page import render
from tests.synthetic import Invented, tables

Path("page.html").write_text(render(tables(Invented(runs=3, name="<script>alert(1)</script>"))))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page that a copy of the project renders after the steps are done."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("reports", "harmonize", "tests"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("kernels-*", "*.pyc.*"))
    function, template, import_line, place = BLOCKS
    for path, _, text in (function, template):
        (root / path).write_text(text)
    code = (root / "reports/page.py").read_text()
    code = code.replace(
        "from reports.sections.learning import", import_line[2] + "from reports.sections.learning import"
    )
    (root / "reports/page.py").write_text(
        code.replace(after := "    PlacedSection(hospitals, HOSPITALS, ranked_only=True),\n", after + place[2], 1)
    )
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", RENDERED], cwd=root, env=environment, check=True, timeout=300)
    return (root / "page.html").read_text()


def test_the_document_has_a_function_a_template_and_two_lines() -> None:
    assert [path for path, _, _ in BLOCKS] == [
        "reports/sections/lowest.py",
        "reports/templates/lowest.html.j2",
        "reports/page.py",
        "reports/page.py",
    ]


def test_the_section_is_on_the_page_in_its_group_and_in_the_list_of_the_group(page: str) -> None:
    order = re.findall(r'<section id="([\w-]+)"', page)
    assert order.index("lowest") == order.index("hospitals") + 1
    assert '<a href="#lowest">Lowest</a>' in page.partition('id="group-hospitals"')[2].partition("</p>")[0]


def test_the_section_has_a_row_per_run_with_its_lowest_score_and_escaped_names(page: str) -> None:
    section = page.partition('<section id="lowest"')[2].partition("</section>")[0]
    assert section.count('<th scope="row">') == 3
    assert len(re.findall(r'<span class="v">\.\d+</span>', section)) == 3
    assert "&lt;script&gt;" in section
    assert "<script>" not in section
