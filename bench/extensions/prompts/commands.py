"""`bench prompts`: encode texts for zero-shot runs with the text model of a local folder."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.group import RUN
from bench.cli.options import examples

PROMPTS_EXAMPLES = examples("bench prompts --texts prompts.yaml --model MODEL -o prompts.safetensors")


def add(app: typer.Typer) -> None:
    """Add the command `bench prompts`."""
    app.command("prompts", rich_help_panel=RUN, epilog=PROMPTS_EXAMPLES)(prompts)


def prompts(
    texts: Annotated[
        Path, typer.Option("--texts", exists=True, dir_okay=False, help="YAML file: label space and wordings.")
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model", exists=True, file_okay=False, help="Folder of a CLIP or SigLIP model (transformers, open_clip)."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("prompts.safetensors"),
) -> None:
    """Encode the texts of findings for `head: prompts`.

    Needs the extra `text`. The text model is not needed again: runs use the file alone.
    """
    from bench.extensions.prompts.text_prompts import PromptTexts, open_text_model

    wanted = PromptTexts.read(texts)
    made = wanted.encoded(open_text_model(model), output)
    shape = made.shape
    typer.echo(
        f"{output}: {len(made.findings)} findings, {len(made.wordings)} wordings, {shape.width} numbers per text; "
        f"for image networks with {shape.features} features"
    )
