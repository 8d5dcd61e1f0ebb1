"""The page "Columns of the tables": every table of a report with its columns, from the schemas and their comments."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from types import ModuleType

from reports import extensions, hooks
from reports.schemas import shortcut_tables, tables

NEW_ITEM = re.compile(r"[A-Z]|[\w*`, ()]+:")  # a line of a comment that begins a sentence, or describes a column


def column_reference() -> Iterator[str]:
    """Yield the blocks of the page: the columns that tables share, then for each table what a row is and its columns."""
    yield "# Columns of the tables"
    yield (
        "`bench report` writes one Parquet file for each table, in `report/<grid>/tables/`. "
        "[Tables and metrics](scores.md) has formulas and methods. Columns with these names have the same meaning in all "
        'tables that do not state another. A column that "may be empty" can have cells with NaN, None or "". A number that '
        "cannot be computed is NaN."
    )
    shared = inspect.cleandoc(tables.__doc__ or "").split("same meaning in every table:\n")[1]
    yield re.sub(r"(?m)^ +", "- ", shared)
    for name, (about, columns) in sorted(described_tables().items()):
        yield f"## {name}"
        yield "\n".join(f"- {item}" for item in about)
        yield "Columns: " + ", ".join(f"`{column}`" for column in tables.SCHEMAS[name])
        if columns:
            yield "\n".join(f"- `{column}`: {text}" for column, text in columns.items())


def described_tables() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return by table what its comment says, and the texts of those columns that have a comment of their own."""
    modules = (tables, shortcut_tables, *extensions.modules(hooks.Schemas))
    return {name: described for module in modules for name, described in Commented(module).tables()}


class Commented:
    """The source of a module of schemas, with its comments by line."""

    def __init__(self, module: ModuleType) -> None:
        source = inspect.getsource(module)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments = {each.start[0]: each.string[1:] for each in tokens if each.type == tokenize.COMMENT}
        self.lines = source.splitlines()
        self.body = ast.parse(source).body

    def tables(self) -> Iterator[tuple[str, tuple[list[str], dict[str, str]]]]:
        """Yield name and description of each table that the module defines."""
        named = {
            each.targets[0].id: each
            for each in self.body
            if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
        }
        for schemas in (node.value for node in self.body if isinstance(node, ast.AnnAssign)):
            assert isinstance(schemas, ast.Dict)
            for key, value in zip(schemas.keys, schemas.values, strict=True):
                if not isinstance(key, ast.Constant):  # the tables of another module
                    continue
                about = self.above(key.lineno)
                if isinstance(value, ast.Name):
                    about = about or self.above(named[value.id].lineno)
                    value = named[value.id].value
                for part in value.elts if isinstance(value, ast.Tuple) else ():
                    if isinstance(part, ast.Starred) and isinstance(part.value, ast.Name):  # columns that tables share
                        about += self.above(named[part.value.id].lineno)
                yield str(key.value), (about, self.columns(value))

    def above(self, line: int) -> list[str]:
        """Return the items of the comment that ends above a line."""
        first = line
        while self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        items: list[str] = []
        for text in (self.comments[number] for number in range(first, line)):
            if items and (text.startswith("  ") or not NEW_ITEM.match(text.strip())):
                items[-1] += f" {text.strip()}"
            else:
                items.append(text.strip())
        return items

    def columns(self, value: ast.expr) -> dict[str, str]:
        """Return the texts of the columns of a table with a comment beside them or above them."""
        texts = {}
        for column in value.elts if isinstance(value, ast.Tuple) else ():
            if isinstance(column, ast.Constant) and self.lines[column.lineno - 1].lstrip().startswith(
                f'"{column.value}"'
            ):
                text = self.comments.get(column.lineno, "").strip() or " ".join(self.above(column.lineno))
                if text:
                    texts[str(column.value)] = text
        return texts
