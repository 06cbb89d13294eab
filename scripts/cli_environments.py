"""The commands about environments: snapshots, staging from production, promotion, records, cost. Imported by `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.cli_frame import (
    ENVIRONMENTS,
    Answer,
    DryRun,
    Json,
    Local,
    OutputsFile,
    StackName,
    app,
    console_of,
    context,
    finish,
)

# --- personal data --------------------------------------------------------------------------------------------------

subject_app = typer.Typer(
    no_args_is_help=True, help="What the law lets a person ask for: a copy of their data, or its end."
)
app.add_typer(subject_app, name="subject", rich_help_panel=ENVIRONMENTS)

Classes = Annotated[
    Path | None, typer.Option(help="File of the data classes (else data-classes.yaml).", metavar="FILE", exists=True)
]
SubjectId = Annotated[
    str, typer.Argument(help="Who: the id of a person, as data-classes.yaml defines one.", metavar="ID")
]


@app.command(rich_help_panel=ENVIRONMENTS)
def privacy(
    stack: StackName,
    classes: Classes = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """List the data class of every column; exit with 1, and propose, where a column has none."""
    from scripts.environments import privacy as command

    found = command.run(context(stack, local, outputs), file=classes or command.FILE, console=console_of(json))
    return finish(found, json)


@subject_app.command("export")
def subject_export(
    id: SubjectId,
    stack: StackName,
    output: Annotated[
        Path | None, typer.Option(help="File for all rows as JSON; only its owner may read it.", metavar="FILE")
    ] = None,
    classes: Classes = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Everything that both databases have of a person, as signed JSON."""
    from scripts.environments import privacy, subject

    found = subject.export(
        context(stack, local, outputs), id, privacy.classes_of(classes or privacy.FILE), console=console_of(json)
    )
    if output is not None:
        subject.save(found, output)
    return finish(found, json)


@subject_app.command("erase")
def subject_erase(
    id: SubjectId,
    stack: StackName,
    dry_run: DryRun = False,
    classes: Classes = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Erase a person's data in both databases; rows that the books need stay, without telling whose they were."""
    from scripts.environments import privacy, subject

    done = subject.erase(
        context(stack, local, outputs),
        id,
        privacy.classes_of(classes or privacy.FILE),
        dry_run=dry_run,
        console=console_of(json),
    )
    return finish(done, json)
