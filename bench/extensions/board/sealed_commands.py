"""`bench board sealed`: a hospital that gives out neither labels nor predictions of single images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.group import ReadableHelp
from bench.cli.options import JsonOption, examples, only_valid
from bench.cli.text_tables import table_lines
from harmonize.errors import ConfigError
from reports.formatting import number

if TYPE_CHECKING:
    from bench.extensions.board.aggregate import Bounds

sealed_app = typer.Typer(
    cls=ReadableHelp, no_args_is_help=True, rich_markup_mode=None, help="Answer for a hospital that keeps its labels."
)

LaboratoryOption = Annotated[
    str, typer.Option("--laboratory", help="Name of the laboratory, shown in public. Required.")
]
_FILE: dict[str, Any] = {"exists": True, "dir_okay": False}
LabelsOption = Annotated[
    Path, typer.Option("--labels", help="Labels (1, 0, empty): image_id, optionally patient_id.", **_FILE)
]
SealedArgument = Annotated[Path, typer.Argument(help="Folder of the sealed hospital; keep it private.")]


@sealed_app.command("open", epilog=examples("bench board sealed open hospital --labels labels.csv --quota 20"))
def open_(
    folder: SealedArgument,
    labels: LabelsOption,
    quota: Annotated[int, typer.Option("--quota", help="Number of answers for each laboratory.")] = 20,
    step: Annotated[
        float | None,
        typer.Option("--step", help="Round answers to this step of AUROC. Default: .01, or larger for rare findings."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Seal the labels of a hospital.

    Writes labels and ids with hashed ids into a private folder. Give out images only under the hashed ids.
    """
    from bench.extensions.board.sealed import IDS, bits, open_hospital

    made = open_hospital(folder, labels, step, quota)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "findings": made.findings, "step": made.step, "quota": quota}))
    else:
        typer.echo(f"{folder}: {', '.join(made.findings)}; {quota} answers for each laboratory, rounded to {made.step}")
        typer.echo(f"all answers to one laboratory reveal at most {bits(made.step, quota):.0f} bits")
        typer.echo(f"hashed ids of the images: {folder / IDS} (private)")


@sealed_app.command(
    epilog=examples("bench board sealed answer hospital \\", '    --predictions theirs.csv --laboratory "Lab A"')
)
def answer(
    folder: SealedArgument,
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Table of a laboratory: hashed image_id, column per finding.", **_FILE)
    ],
    laboratory: LaboratoryOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer how good predictions are, under a quota.

    The answer is the macro AUROC, rounded. It changes only if the score is better than the laboratory's best earlier answer
    by at least a step (Ladder). Every answer is a line of answers.jsonl, a chain of hashes. Exit code 2: the quota is spent.
    """
    from bench.extensions.board.sealed import answer as answering

    made = answering(folder, predictions, laboratory)
    if as_json:
        facts = {"laboratory": laboratory, "auroc": made.auroc, "left": made.left, "hash": made.hash}
        typer.echo(json.dumps(facts))
    else:
        typer.echo(f"{laboratory}: macro AUROC {number(made.auroc)}; {made.left} answers left; hash {made.hash[:12]}")


@sealed_app.command(
    epilog=examples(
        "bench board sealed aggregate --predictions own.csv --labels labels.csv \\",
        "    --group-by sex -o hospital.json",
    )
)
def aggregate(
    context: typer.Context,
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Table of a model: image_id, a column per finding.", **_FILE)
    ],
    labels: LabelsOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")],
    group_by: Annotated[
        list[str] | None, typer.Option("--group-by", help="Also count the groups of this column; repeat for several.")
    ] = None,
    group_table: Annotated[
        Path | None, typer.Option(help="Table with the columns of --group-by. Default: --labels.", **_FILE)
    ] = None,
    least: Annotated[int, typer.Option("--least", min=2, help="Smallest number of images of a class in a bin.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Write counts of predictions in place of predictions.

    For each finding and patient group, the file has the numbers of positive and negative images in bins of the predicted
    probability. A bin has at least --least images of both classes, or no image. `bench board sealed bounds` computes scores from it.
    """
    only_valid(context, group_by, "with --group-by", "--group-table")
    from bench.extensions.board.aggregate import group_values, histograms, write_aggregate
    from bench.results.prediction_files import IMAGE, PATIENT, read_labeled_predictions, read_table

    columns, table = list(group_by or ()), group_table or labels
    group_values(table, [], columns)  # a wrong column is refused before predictions are read
    findings = []
    if columns and group_table is None:  # columns of groups in the table of labels are no findings
        others, predicted = (IMAGE, PATIENT, *columns), read_table(predictions).columns
        findings = [name for name in read_table(labels).columns if name in predicted and name not in others]
    given = read_labeled_predictions(predictions, labels, findings)
    [split] = given.run.scored_splits
    found = histograms(given, group_values(table, list(split.image_id), columns), least)
    write_aggregate(output, found, least)
    counts = {finding: list(each) for finding, each in found.items()}
    if as_json:
        typer.echo(json.dumps({"file": str(output), "least": least, "groups": counts}))
    else:
        typer.echo(f"{output}: {', '.join(f'{name} ({len(each)} groups)' for name, each in counts.items())}")


@sealed_app.command(epilog=examples("bench board sealed bounds hospital.json --call-at .2"))
def bounds(
    file: Annotated[Path, typer.Argument(help="File that `bench board sealed aggregate` wrote.", **_FILE)],
    call_at: Annotated[float, typer.Option("--call-at", help="Probability from which an image is called.")] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Compute bounds of scores from counts.

    The scores are AUROC, calibration error and net benefit. The true scores lie within the bounds, whatever the
    predictions inside a bin are.
    """
    if not 0 < call_at < 1:
        raise ConfigError(f"{call_at} is no threshold", "--call-at", "give a number between 0 and 1")
    from bench.extensions.board.aggregate import read_aggregate  # imports pandas and scipy

    rows: list[dict[str, Any]] = [
        {
            "finding": finding,
            "group": group,
            "positive": int(each.positive.sum()),
            "images": int(each.positive.sum() + each.negative.sum()),
            "auroc": each.auroc(),
            "ece": each.calibration_error(),
            "mean_error": each.mean_error(),
            "net_benefit": each.net_benefit(call_at),
        }
        for finding, groups in read_aggregate(file).items()
        for group, each in groups.items()
    ]
    scores = ("auroc", "ece", "mean_error", "net_benefit")
    if as_json:
        plain = [{k: [v.low, v.high] if k in scores else v for k, v in row.items()} for row in rows]
        typer.echo(json.dumps({"call_at": call_at, "rows": plain}))
        return
    head = ["finding", "group", "positive", "images", "AUROC", "ECE", "mean - prevalence", f"net benefit at {call_at}"]
    cells = [[str(row[key]) if key not in scores else _text(row[key]) for key in row] for row in rows]
    typer.echo("\n".join(table_lines([head, *cells])))


def _text(bounds: "Bounds") -> str:
    return f"{number(bounds.low)} to {number(bounds.high)}"
