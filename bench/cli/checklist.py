"""`bench checklist`: the items of TRIPOD+AI and CLAIM that the store answers, and those that people have to write."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, StoredGridOption, StoreOption, examples
from bench.cli.text_tables import wrapped

CHECKLIST_EXAMPLES = examples("bench checklist --grid main-study", "bench checklist --grid main-study -o methods.md")


def checklist(
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The Markdown file. Default: in the report's folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fill the reporting checklists of journals.

    Fills the items of TRIPOD+AI and CLAIM that stored values answer, with links to these values, and names who has to
    write the others. Needs the report of the grid.
    """
    from bench.planning.manifest import read_manifest
    from bench.results.checklist_text import json_document, write_checklists
    from bench.results.checklists import filled_checklists
    from bench.store.store import Store

    manifest = read_manifest(Store.open(store, create=False), grid)
    filled = filled_checklists(manifest)
    path = write_checklists(manifest, filled, output)
    if as_json:
        typer.echo(json.dumps(json_document(manifest, filled), indent=1))
    else:
        typer.echo("\n".join(wrapped([each.summary for each in filled])))
    typer.echo(f"checklists: {path}", err=as_json)
