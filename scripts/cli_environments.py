"""The commands about environments: snapshots, staging from production, promotion, records, cost. Imported by `cli`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from scripts.cli_frame import (
    ENVIRONMENTS,
    Answer,
    DryRun,
    Json,
    Local,
    OutputsFile,
    Record,
    StackName,
    Tables,
    app,
    console_of,
    context,
    context_of_another,
    finish,
    text_of,
)
from scripts.errors import Undone, UsageError


class _SnapshotGroup(typer.core.TyperGroup):
    """`./zdm snapshot STACK` is `./zdm snapshot take STACK`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["take", *args]
        return super().parse_args(ctx, args)


snapshot_app = typer.Typer(
    cls=_SnapshotGroup,
    no_args_is_help=True,
    help="Databases, servers and volumes as they are, together; and the proof that they can be restored. "
    "`./zdm snapshot STACK` takes a set.",
)


app.add_typer(snapshot_app, name="snapshot", rich_help_panel=ENVIRONMENTS)


SetName = Annotated[str, typer.Argument(help="Id or label of a snapshot set.", metavar="SET")]


def moment(text: str, option: str) -> datetime | None:
    """A moment in UTC as options give it. Raises `UsageError` that names the option."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as e:
        raise UsageError(f"{option} must be a moment such as 2026-01-31T10:00:00Z, not {text!r}") from e
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > datetime.now(UTC):
        raise UsageError(f"{option} {at.isoformat()} is not yet")
    return at


@snapshot_app.command("take")
def snapshot_take(
    stack: StackName,
    reason: Annotated[str, typer.Option(help="Why, in a few words; kept with each snapshot.")] = "",
    label: Annotated[
        str, typer.Option(help="Names the set; taken again under it, a set that broke off is completed.")
    ] = "",
    protect: Annotated[bool, typer.Option("--protect", "--keep", help="Never to be pruned.")] = False,
    copy_to: Annotated[str, typer.Option(help="Also copy it to this region.", metavar="REGION")] = "",
    copy_key: Annotated[str, typer.Option(help="The key there: ARN of a customer's key.", metavar="ARN")] = "",
    share_with: Annotated[str, typer.Option(help="Let this account copy and restore it.", metavar="ACCOUNT")] = "",
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Snapshot databases, servers and volumes together, and wait until all can be restored."""
    from scripts.environments import snapshot_take as command

    options = command.Options(reason, label, dry_run, protect, copy_to, copy_key, share_with)
    return finish(command.run(context(stack, local, outputs), options, console_of(json)), json)


@snapshot_app.command("list")
def snapshot_list(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """The sets, the newest first: what they are of, whether they are complete, verified, protected."""
    from scripts.environments import snapshot_table as command

    return finish(command.list_sets(context(stack, local, outputs), console_of(json)), json)


@snapshot_app.command("show")
def snapshot_show(
    stack: StackName, set: SetName, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """One set with its parts, and what each is consistent to; exit with 1 if it is incomplete."""
    from scripts.environments import snapshot_table as command

    return finish(command.show(context(stack, local, outputs), set), json)


@snapshot_app.command("protect")
def snapshot_protect(
    stack: StackName,
    set: SetName,
    undo: Annotated[bool, typer.Option("--undo", help="Let it be pruned again.")] = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Keep a set from being pruned."""
    from scripts.environments import snapshot_table as command

    return finish(command.protect(context(stack, local, outputs), set, not undo), json)


@snapshot_app.command("prune")
def snapshot_prune(
    stack: StackName,
    newest: Annotated[int, typer.Option(help="Complete sets that stay in any case.", min=0)] = 3,
    days: Annotated[int, typer.Option(help="Days of which the newest set stays.", min=0)] = 7,
    weeks: Annotated[int, typer.Option(help="Weeks of which the newest set stays.", min=0)] = 4,
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Delete old sets: never the last good one, a protected one, or one that is in use."""
    from scripts.environments import snapshot_table as command
    from scripts.environments.snapshot_prune import Policy

    policy = Policy(newest, days, weeks)
    return finish(
        command.prune(context(stack, local, outputs), policy, dry_run=dry_run, console=console_of(json)), json
    )


@snapshot_app.command("verify")
def snapshot_verify(
    stack: StackName,
    set: Annotated[
        str | None, typer.Argument(help="Id or label; the newest complete set unless given.", metavar="[SET]")
    ] = None,
    at: Annotated[
        str, typer.Option(help="Rather restore the running databases as they were then.", metavar="TIME")
    ] = "",
    latest: Annotated[bool, typer.Option("--latest", help="The same, at the newest time there is.")] = False,
    live: Annotated[
        bool, typer.Option("--live/--no-live", help="Count the live tables, too, and hold the counts against them.")
    ] = True,
    dry_run: DryRun = False,
    record: Record = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Restore a set beside, read every row, check indexes and constraints, measure RTO and RPO, destroy the copy."""
    from scripts.environments import evidence
    from scripts.environments import snapshot_verify as command

    of = context(stack, local, outputs)
    keep = evidence.keeper(of, evidence.VERIFIED, _recorded(record, dry_run))
    result = command.run(
        of,
        set,
        at=moment(at, "--at"),
        latest=latest,
        live=live,
        dry_run=dry_run,
        console=console_of(json),
    )
    return finish(keep(result), json)


def _recorded(record: bool, dry_run: bool) -> bool:
    if record and dry_run:
        raise UsageError("--record keeps what was done: it does not go with --dry-run")
    return record


@app.command(rich_help_panel=ENVIRONMENTS)
def refresh(
    stack: StackName,
    source: Annotated[str, typer.Option("--from", help="The stack whose data it gets.", metavar="STACK")] = "prod",
    snapshot: Annotated[
        str, typer.Option(help="Id or label of a set; the newest verified one unless given.", metavar="SET")
    ] = "",
    at: Annotated[str, typer.Option(help="Rather its data as it was at this moment.", metavar="TIME")] = "",
    only: Annotated[str, typer.Option(help="Only this engine: mysql or aurora.")] = "",
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Also from a set that was never proven to be restorable.")
    ] = False,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Keep the former servers, under other names.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Take back what a refresh has begun, as long as nothing was swapped.")
    ] = False,
    classes: Annotated[
        Path | None, typer.Option(help="File of the data classes (else data-classes.yaml).", metavar="FILE")
    ] = None,
    source_profile: Annotated[
        str, typer.Option(help="AWS profile that reaches the other stack, where it has another account.")
    ] = "",
    dry_run: DryRun = False,
    record: Record = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Give a stack production's data, masked: restored beside, checked, and swapped in. Run again, it goes on."""
    from scripts import stacks
    from scripts.environments import evidence
    from scripts.environments import refresh as command
    from scripts.environments.refresh_check import Request

    request = Request(snapshot, moment(at, "--at"), only, allow_unverified, keep_old, discard, dry_run, classes)
    console = console_of(json)

    def adopt(ids: Mapping[str, str]) -> object:
        return stacks.adopt_databases(stack, ids, local=local, console=console)

    of = context(stack, local, outputs)
    keep = evidence.keeper(of, evidence.REFRESH, _recorded(record, dry_run))
    another = context_of_another(source, local, source_profile)
    return finish(keep(command.run(of, another, request, console, adopt if outputs is None else None)), json)


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


class _PromoteGroup(typer.core.TyperGroup):
    """`./zdm promote SOURCE TARGET` is `./zdm promote start SOURCE TARGET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["start", *args]
        return super().parse_args(ctx, args)


promote_app = typer.Typer(
    cls=_PromoteGroup,
    no_args_is_help=True,
    help="Bring up in the next stack what was proven in this one. `./zdm promote staging prod` starts one.",
)


evidence_app = typer.Typer(no_args_is_help=True, help="What was proven of a stack: signed records in its archive.")


findings_app = typer.Typer(no_args_is_help=True, help="What tests found; open ones stand in a promotion's way.")


app.add_typer(promote_app, name="promote", rich_help_panel=ENVIRONMENTS)


app.add_typer(evidence_app, name="evidence", rich_help_panel=ENVIRONMENTS)


app.add_typer(findings_app, name="findings", rich_help_panel=ENVIRONMENTS)


GitHub = Annotated[bool, typer.Option("--github", help="In issues on GitHub (through gh), not in the repository.")]


By = Annotated[str, typer.Option("--by", help="Who.", metavar="NAME")]


@promote_app.command("start")
def promote_start(
    source: Annotated[str, typer.Argument(help="Stack in which the revision was proven.", metavar="SOURCE")],
    target: Annotated[str, typer.Argument(help="Stack that gets it.", metavar="TARGET")],
    dry_run: DryRun = False,
    approve: Annotated[str, typer.Option(help="Who lets it go on.", metavar="NAME")] = "",
    accept: Annotated[
        list[str] | None, typer.Option(help="Go on with this open finding of medium severity (repeatable).")
    ] = None,
    window_override: Annotated[
        str, typer.Option(help="Why it cannot wait for the window (promotion.window).", metavar="REASON")
    ] = "",
    watch: Annotated[
        float | None, typer.Option(help="Seconds to watch it (default: promotion.watchMinutes).", min=1)
    ] = None,
    source_profile: Annotated[
        str, typer.Option(help="Profile of AWS' configuration for SOURCE, where it is in another account.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take an open promotion back.")] = False,
    give_up: Annotated[
        str, typer.Option(help="Close an open promotion as it is: someone has seen to it.", metavar="REASON")
    ] = "",
    local: Local = False,
    json: Json = False,
) -> Answer:
    """Promote a revision: refused without fresh proofs; watched, and taken back if the stack is not well.

    Killed, run it again: it goes on where it was.
    """
    from scripts import stacks
    from scripts.context import context_from
    from scripts.environments import promote as command
    from scripts.environments.promote_hands import Engine
    from scripts.environments.promote_refusals import Asked

    if sum((dry_run, undo, bool(give_up))) > 1:
        raise UsageError("--dry-run, --undo and --give-up exclude each other")
    console = console_of(json)
    first = context(target, local, None)
    scene = command.Scene(
        Asked(source, target, approve, tuple(filter(None, accept or ())), window_override, watch),
        context_of_another(source, local, source_profile),
        lambda: context_from(stacks.outputs(target, local=local), f"stack {target}", first.home),
        Engine(source, target, local, console),
        console,
    )
    if undo:
        result = command.undo(scene)
    elif give_up:
        result = command.give_up(scene, give_up)
    else:
        result = command.run(scene, dry_run=dry_run)
    return Answer(finish(result, json).ok, code=Undone.exit_code if result.outcome == "returned" else 1)


@promote_app.command("status")
def promote_status(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Show the open promotion into a stack, or else the last one."""
    from scripts.environments import promote as command

    return finish(command.status(context(stack, local, outputs)), json)


@evidence_app.command("list")
def evidence_list(
    stack: StackName,
    kind: Annotated[str, typer.Option(help="Only of this kind.")] = "",
    number: Annotated[int, typer.Option(help="So many of each kind.", min=1)] = 3,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Show the newest records of each kind."""
    from scripts.environments import evidence_page as command

    return finish(command.show_all(context(stack, local, outputs), kind=kind, number=number), json)


@evidence_app.command("show")
def evidence_show(
    stack: StackName,
    name: Annotated[str, typer.Argument(help="The record's id.", metavar="ID")],
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Show one record; exit with 1 if it is not authentic."""
    from scripts.environments import evidence_page as command

    return finish(command.show(context(stack, local, outputs), name), json)


@evidence_app.command("add")
def evidence_add(
    stack: StackName,
    kind: Annotated[str, typer.Argument(help="functional, faults (JUnit XML) or security (SARIF, or plain JSON).")],
    file: Annotated[Path, typer.Option(help="The result.", metavar="FILE")],
    revision: Annotated[str, typer.Option(help="Of which revision it is (default: of what is up in the stack).")] = "",
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Keep a result that was made elsewhere; exit with 1 if it is not good."""
    from scripts.environments import evidence_page as command

    return finish(command.add(context(stack, local, outputs), kind, file, revision), json)


@findings_app.command("add")
def findings_add(
    stack: StackName,
    title: Annotated[str, typer.Argument(help="What was found, in a line.")],
    severity: Annotated[str, typer.Option(help="low, medium, high or critical.")],
    by: By,
    file: Annotated[
        Path | None, typer.Option(help="What there is to say, in Markdown ('-': standard input).", metavar="FILE")
    ] = None,
    revision: Annotated[str, typer.Option(help="In which revision (default: this one).")] = "",
    github: GitHub = False,
    json: Json = False,
) -> Answer:
    """Note what was found in a stack. High and critical ones block promotions until they are closed."""
    from scripts.environments import findings as command

    text = text_of(file) if file else ""
    store = command.store_of("github" if github else "repository")
    return finish(command.add(store, stack, title, severity=severity, found_by=by, text=text, revision=revision), json)


@findings_app.command("list")
def findings_list(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    stack: Annotated[str, typer.Option(help="Only those found in this stack.")] = "",
    github: GitHub = False,
    json: Json = False,
) -> Answer:
    """Show the open findings."""
    from scripts.environments import findings as command

    store = command.store_of("github" if github else "repository")
    return finish(command.show_all(store, everything=everything, stack=stack), json)


@findings_app.command("show")
def findings_show(
    name: Annotated[str, typer.Argument(help="The finding's id.", metavar="ID")],
    github: GitHub = False,
    json: Json = False,
) -> Answer:
    """Show one finding."""
    from scripts.environments import findings as command

    return finish(command.show(command.store_of("github" if github else "repository"), name), json)


@findings_app.command("close")
def findings_close(
    name: Annotated[str, typer.Argument(help="The finding's id.", metavar="ID")],
    by: By,
    how: Annotated[str, typer.Option(help="How it was dealt with.", metavar="TEXT")],
    github: GitHub = False,
    json: Json = False,
) -> Answer:
    """Say that a finding was dealt with, by whom and how."""
    from scripts.environments import findings as command

    store = command.store_of("github" if github else "repository")
    return finish(command.close(store, name, by=by, how=how), json)


@app.command(rich_help_panel=ENVIRONMENTS)
def drift(
    stack: StackName,
    databases: Annotated[
        bool, typer.Option("--databases", help="Also look into both databases: accounts, control tables, flags.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the result in Markdown, for a job's summary.", metavar="FILE")
    ] = None,
    record: Record = False,
    local: Local = False,
    json: Json = False,
) -> Answer:
    """Compare what is really there with the program, property by property: exit with 1 where they differ."""
    from scripts.environments import drift as command
    from scripts.environments import evidence

    keep = evidence.keeper(context(stack, local, None), evidence.DRIFT, True) if record else None
    result = command.run(stack, local=local, databases=databases, markdown=markdown, console=console_of(json))
    return finish(keep(result) if keep else result, json)


@app.command(rich_help_panel=ENVIRONMENTS)
def cost(
    stack: StackName,
    prices: Annotated[
        Path | None, typer.Option(help="File of list prices (else contract/prices.yaml).", metavar="FILE")
    ] = None,
    refresh_prices: Annotated[
        bool, typer.Option("--refresh-prices", help="First read the prices from AWS' Price List, into the file.")
    ] = False,
    local: Local = False,
    json: Json = False,
) -> Answer:
    """What the stack costs a month, by its resources and by the bill: exit with 1 where a bound is broken."""
    from scripts.environments import cost as command

    result = command.run(stack, local=local, prices=prices, refresh_prices=refresh_prices, console=console_of(json))
    return finish(result, json)


class _ArchiveGroup(typer.core.TyperGroup):
    """`./zdm archive STACK` is `./zdm archive take STACK`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["take", *args]
        return super().parse_args(ctx, args)


archive_app = typer.Typer(
    cls=_ArchiveGroup,
    no_args_is_help=True,
    help="MySQL's last state, in S3 under lock. `./zdm archive STACK` takes one.",
)


app.add_typer(archive_app, name="archive", rich_help_panel=ENVIRONMENTS)


ArchiveId = Annotated[str, typer.Option("--id", help="Archive; else the newest complete one.", metavar="ID")]


@archive_app.command("take")
def archive_take(
    stack: StackName,
    workers: Annotated[
        int, typer.Option(help="Connections to the source, when nobody can write to it; else one.", min=1, max=32)
    ] = 4,
    max_running: Annotated[
        int, typer.Option(help="Slow down while more other threads run on the source than this.", min=1)
    ] = 25,
    classes: Classes = None,
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Archive the source: schema, rows, checksums; run again, it goes on where it was."""
    from scripts.environments import archive as command
    from scripts.environments import privacy

    result = command.take(
        context(stack, local, outputs),
        classes=privacy.named_classes(classes or privacy.FILE),
        dry_run=dry_run,
        limits=command.Limits(workers=workers, max_running=max_running),
        console=console_of(json),
    )
    return finish(result, json)


@archive_app.command("list")
def archive_list(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Show every archive, until when it is locked, and which are incomplete."""
    from scripts.environments import archive as command

    return finish(command.list_archives(context(stack, local, outputs)), json)


@archive_app.command("show")
def archive_show(
    stack: StackName, archive: ArchiveId = "", local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Show what an archive has; with --json its whole manifest."""
    from scripts.environments import archive as command

    return finish(command.show(context(stack, local, outputs), archive), json)


@archive_app.command("verify")
def archive_verify(
    stack: StackName,
    archive: ArchiveId = "",
    table: Tables = None,
    sample: Annotated[
        int, typer.Option(help="Objects of each table that are restored into temporary tables of the source.", min=0)
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample.")] = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Read everything back, and restore a sample: exit with 1 if any object or row is not what was archived."""
    from scripts.environments import archive_verify as command

    result = command.run(
        context(stack, local, outputs),
        archive=archive,
        tables=table,
        sample=sample,
        seed=seed,
        console=console_of(json),
    )
    return finish(result, json)
