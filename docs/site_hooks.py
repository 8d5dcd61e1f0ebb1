"""Hooks of mkdocs: add generated pages and those of the repository's root, and keep the site free of other hosts.

Documents link to files as the repository has them. `on_page_markdown` turns such links into links of the site.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import typer.main
from column_reference import column_reference  # beside this file: mkdocs adds its folder to the path
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bench.cli.main import app
from reports import extensions, hooks

ROOT = Path(__file__).parents[1]
PUBLISHED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Documentation"]
ROOT_PAGES = {f"{name}.md": f"{name.lower()}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY")}
ROOT_PAGES["README.md"] = "index.md"
PUBLIC = (
    "read_data",
    "load",
    "cohorts.splits.assign",
    "cohorts.cohort.Cohort",
    "cohorts.specs.CohortSpec",
    "errors",
    "labels.findings",
)
# weight of a page in the search: people search for a problem, not for the reference of a function
BOOST = {"faq.md": 4, "real-data.md": 2, "extensions/your-own-model.md": 2, "columns.md": 0.2, "command-line.md": 0.2}
FOR_DEVELOPERS = ("api/", "dev/", "architecture.md", "changelog.md", "contributing.md", "security.md")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
LOADED = re.compile(r"<(?:script|link(?! rel=\"canonical\")|img|iframe)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that the repository keeps elsewhere."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    files.append(File.generated(config, "command-line.md", content="\n\n".join(command_line())))
    files.append(File.generated(config, "columns.md", content="\n\n".join(column_reference())))
    for page, content in api_pages().items():
        files.append(File.generated(config, f"api/{page}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site; a file that the site does not hold is named without a link. Also weigh the page."""
    name = page.file.src_uri
    page.meta["search"] = {"boost": BOOST.get(name, 0.1 if name.startswith(FOR_DEVELOPERS) else 1)}
    folder = ROOT if page.file.src_uri in ROOT_PAGES.values() else (ROOT / "docs" / page.file.src_uri).parent

    own = (ROOT / "docs" / page.file.src_uri).parent  # where mkdocs resolves the links of the page

    def link(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = (folder / target).resolve()
        if path.parent == ROOT and path.name in ROOT_PAGES:
            return f"[{text}]({os.path.relpath(ROOT / 'docs' / ROOT_PAGES[path.name], own)}{anchor})"
        if path.is_relative_to(ROOT / "docs") and path.suffix != ".ipynb":
            return f"{picture}[{text}]({os.path.relpath(path, own)}{anchor})"
        return text if text.startswith("`") else f"`{path.relative_to(ROOT)}`"

    return markdown if name.startswith("api/") else LINK.sub(link, markdown.replace(f"]({PUBLISHED}", "](docs/"))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from another host."""
    if match := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {match[0]}")
    return output


def api_pages() -> dict[str, str]:
    """Return the references of the three packages, made from their docstrings, by name of the page."""
    libraries = [module.__name__ for module in extensions.modules(hooks.Library)]
    shown = {
        "bench": ["bench.api", *libraries],
        "harmonize": [f"harmonize.{name}" for name in PUBLIC],
        "reports": ["reports.tables", "reports.page", "reports.site"],
    }
    return {page: "\n\n".join([f"# {page}", *(f"::: {name}" for name in names)]) for page, names in shown.items()}


def command_line() -> Iterator[str]:
    """Yield the reference of the command line: the help of each command, as the terminal shows it."""
    yield "# Command line\n\nThe help of each command. [Output and exit codes](running.md#output-and-exit-codes) are common to all."
    group = typer.main.get_command(app)
    for name, command in commands(group, "bench"):
        with click.Context(command, info_name=name, terminal_width=100, max_content_width=100) as context:
            yield f"## {name}\n\n```text\n{command.get_help(context)}\n```"


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with its full name."""
    members = getattr(command, "commands", {})
    if not members:
        yield name, command
    for word, member in members.items():
        yield from commands(member, f"{name} {word}")
