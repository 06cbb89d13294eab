"""The command line: which commands there are, their options, help and exit codes. What they do is elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from local.stack import default_root
from scripts import cli_environments as cli_environments
from scripts.cli_frame import (
    DATA,
    INTERRUPTED,
    MACHINE,
    STACK,
    SWITCH,
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
    finish,
    pairs,
    text_of,
)
from scripts.console import Console
from scripts.errors import Undone, UsageError, ZdmError


class _CutoverGroup(typer.core.TyperGroup):
    """`./zdm cutover STACK` is `./zdm cutover start STACK`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["start", *args]
        return super().parse_args(ctx, args)


cutover_app = typer.Typer(
    cls=_CutoverGroup,
    no_args_is_help=True,
    help="Make Aurora the writer, watch it, and give up the way back. `./zdm cutover STACK` starts one.",
)
traffic_app = typer.Typer(no_args_is_help=True, help="Where readers go, and whether writes are held.")
app.add_typer(cutover_app, name="cutover", rich_help_panel="Switch")
app.add_typer(traffic_app, name="traffic", rich_help_panel="Switch")

# --- stacks ---------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=STACK)
def preview(
    stack: StackName,
    local: Local = False,
    json: Json = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="First look at what is really there.")] = False,
    expect_no_changes: Annotated[
        bool, typer.Option("--expect-no-changes", help="Exit with 1 if anything would change.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the preview in Markdown, for a pull request.", metavar="FILE")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="File for the engine's plan.", metavar="FILE")] = None,
) -> Answer:
    """Show what `up` would change, and which rules (policies/) it would break: then the exit code is 1."""
    from scripts import stacks

    result = stacks.preview(
        stack,
        local=local,
        refresh=refresh,
        expect_no_changes=expect_no_changes,
        markdown=markdown,
        plan=plan,
        console=console_of(json),
    )
    return finish(result, json)


@app.command(rich_help_panel=STACK)
def up(
    stack: StackName,
    local: Local = False,
    json: Json = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First look at what is really there, and repair it.")
    ] = False,
    config: Annotated[
        list[str] | None, typer.Option("--config", "-c", help="KEY=VALUE, kept in the stack's file.")
    ] = None,
    snapshot: Annotated[
        str, typer.Option(help="Before that, take snapshots of databases, servers and volumes under this label.")
    ] = "",
) -> Answer:
    """Create or update the stack."""
    from scripts import stacks

    made = stacks.up(
        stack, local=local, refresh=refresh, config=pairs(config), snapshot=snapshot, console=console_of(json)
    )
    return finish(made, json)


@app.command(rich_help_panel=STACK)
def destroy(
    stack: StackName,
    local: Local = False,
    json: Json = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Delete everything in the stack."""
    from scripts import stacks

    if not yes and not typer.confirm(f"Delete everything in stack {stack}{' on this machine' if local else ''}?"):
        raise UsageError("nothing was deleted")
    return finish(stacks.destroy(stack, local=local, console=console_of(json)), json)


@app.command(rich_help_panel=STACK)
def outputs(stack: StackName, local: Local = False) -> Answer:
    """Print the stack's outputs as JSON: what every command needs to know about a stack."""
    from scripts import stacks

    Console(json_mode=True).result(stacks.outputs(stack, local=local))
    return Answer(True)


@app.command(rich_help_panel=STACK)
def env(local: Local = False) -> Answer:
    """Print the exports for the literal `pulumi` command: eval "$(./zdm env --local)"."""
    from scripts import stacks

    sys.stdout.write(stacks.env_exports(local))
    return Answer(True)


@app.command(rich_help_panel=STACK)
def plugin() -> Answer:
    """Make the Debezium plugin ZIP that MSK Connect is given."""
    from scripts import stacks

    path = stacks.ensure_plugin(Console(), anew=True)
    sys.stdout.write(f"{path}\n")
    return Answer(True)


# --- data -----------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=DATA)
def bootstrap(
    stack: StackName, dry_run: DryRun = False, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Create the accounts and control tables in both databases, and check the source's binlog settings."""
    from scripts.switch import bootstrap as command

    console = console_of(json)
    return finish(command.run(context(stack, local, outputs), dry_run=dry_run, console=console), json)


@app.command(rich_help_panel=DATA)
def schema(
    stack: StackName,
    stage: Annotated[
        str,
        typer.Option(
            help="tables (with primary keys), indexes (after the copy), constraints (after the cutover), in this order."
        ),
    ] = "tables",
    jobs: Annotated[int, typer.Option(help="Indexes and validations at a time.", min=1, max=16)] = 2,
    views: Annotated[
        Path | None, typer.Option(help="Also write the views, as PostgreSQL's SQL, to this file.", metavar="FILE")
    ] = None,
    skip_unsupported: Annotated[
        bool, typer.Option("--skip-unsupported", help="Leave out, by name, what has no rule yet.")
    ] = False,
    describe: Annotated[
        Path | None, typer.Option(help="Only write MySQL's tables to this file, for the setting dms.tablesFile.")
    ] = None,
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Make the PostgreSQL schema from MySQL's; a second run applies what has changed since."""
    from scripts.data import describe as describing
    from scripts.data import schema as command

    if describe:
        return finish(describing.run(context(stack, local, outputs), file=describe, console=console_of(json)), json)
    if stage not in ("tables", "indexes", "constraints"):
        raise UsageError(f"--stage must be tables, indexes or constraints, not {stage!r}")
    console = console_of(json)
    chosen: Literal["tables", "indexes", "constraints"] = stage  # type: ignore[assignment]
    return finish(
        command.run(
            context(stack, local, outputs),
            stage=chosen,
            dry_run=dry_run,
            skip_unsupported=skip_unsupported,
            jobs=jobs,
            views=views,
            console=console,
        ),
        json,
    )


@app.command(rich_help_panel=DATA)
def survey(
    stack: StackName,
    table: Tables = None,
    full: Annotated[bool, typer.Option("--full", help="Read every row, also of big tables.")] = False,
    sample: Annotated[
        float | None,
        typer.Option(help="Share of a big table that is read (else 0.05, at most 1,000,000 rows).", min=0.0001, max=1),
    ] = None,
    busy: Annotated[
        float, typer.Option(help="Share of the time in which queries run (1: without rest).", min=0.01, max=1)
    ] = 1.0,
    output: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.", metavar="FILE")] = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Say what the source has, what of it moves, and what must be decided or changed first; exit with 1 if any must."""
    from scripts.data import survey as command

    if full and sample is not None:
        raise UsageError("--full reads all, --sample a part: give one of them")
    report = command.run(
        context(stack, local, outputs),
        tables=table,
        sample=1.0 if full else sample,
        busy=busy,
        output=output,
        console=console_of(json),
    )
    return finish(report, json)


@app.command(rich_help_panel=DATA)
def copy(
    stack: StackName,
    table: Tables = None,
    streams: Annotated[int, typer.Option(help="Streams, each with one connection to each side.", min=1, max=32)] = 2,
    max_mb_per_second: Annotated[
        float | None, typer.Option(help="Read no more from the source, in MB a second.", min=0.01)
    ] = None,
    max_running: Annotated[
        int, typer.Option(help="Slow down while more other threads run on the source than this.", min=1)
    ] = 25,
    without_capture: Annotated[
        bool, typer.Option("--without-capture", help="Copy though changes made meanwhile are lost (cdc.state=stopped).")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="First empty the tables that an earlier copy has filled.")
    ] = False,
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Copy the rows that are there, while changes are captured; run again, it goes on where it was."""
    from scripts.data import copy as command

    result = command.run(
        context(stack, local, outputs),
        tables=table,
        streams=streams,
        max_mb_per_second=max_mb_per_second,
        max_running=max_running,
        without_capture=without_capture,
        restart=restart,
        dry_run=dry_run,
        console=console_of(json),
    )
    return finish(result, json)


@app.command("validate-counts", rich_help_panel=DATA)
def validate_counts(
    stack: StackName, table: Tables = None, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Count the rows of every table in both databases: the quick look."""
    from scripts.data import counts as command

    return finish(command.run(context(stack, local, outputs), tables=table, console=console_of(json)), json)


@app.command("data-check", rich_help_panel=DATA)
def data_check(
    stack: StackName,
    table: Tables = None,
    where: Annotated[
        str, typer.Option(help="Only rows under this condition over the one --table, valid in both databases' SQL.")
    ] = "",
    since_last: Annotated[
        bool, typer.Option("--since-last", help="Only what changed since the last clean check of everything.")
    ] = False,
    sample: Annotated[
        float | None, typer.Option(help="Only so many percent of the rows: those seen longest ago, else by chance.")
    ] = None,
    nightly: Annotated[bool, typer.Option("--nightly", help="What changed, and 5 percent of the rows.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, rather than go on with a check that was killed.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="stream (native code compares rows), hash (SQL), or auto: the faster one.")
    ] = "auto",
    repair: Annotated[bool, typer.Option("--repair", help="Copy rows anew that were proven to differ.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: say what would be done.")] = False,
    connections: Annotated[int, typer.Option(help="Connections to each database.", min=1, max=16)] = 2,
    busy: Annotated[
        float,
        typer.Option(
            help="Share of the time in which each connection's queries run (1: without rest).", min=0.01, max=1
        ),
    ] = 1.0,
    patience: Annotated[
        float,
        typer.Option(
            help="Seconds that a row must differ where no CDC can prove that it is not lag.", min=0.1, max=3600
        ),
    ] = 30.0,
    target: Annotated[str, typer.Option(help="Endpoint of Aurora to read rows from: writer or reader.")] = "writer",
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show values of text, binary and JSON columns, too.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="File for the result as a page.", metavar="FILE")] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="File for Prometheus (textfile collector).", metavar="FILE")
    ] = None,
    record: Record = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Compare every row of every table in both databases, also while they change."""
    from scripts.data import proven_check as command
    from scripts.environments import evidence

    if method not in ("auto", "stream", "hash"):
        raise UsageError(f"--method must be auto, stream or hash, not {method!r}")
    if target not in ("writer", "reader"):
        raise UsageError(f"--target must be writer or reader, not {target!r}")
    options = command.Options(
        tables=table,
        where=where,
        since_last=since_last,
        sample=sample,
        nightly=nightly,
        seed=seed,
        restart=restart,
        repair=repair,
        dry_run=dry_run,
        method=method,  # type: ignore[arg-type]
        connections=connections,
        busy=busy,
        patience=patience,
        reader=target == "reader",
        show_values=show_values,
        html=html,
        metrics=metrics,
    )
    if record and not options.whole:
        raise UsageError("--record keeps a check of everything: it goes with none of --table, --where and --sample")
    of = context(stack, local, outputs)
    keep = evidence.keeper(of, evidence.DATA_CHECK, record)
    return finish(keep(command.run(of, options=options, console=console_of(json))), json)


@app.command(rich_help_panel=DATA)
def lag(
    stack: StackName,
    watch: Annotated[float | None, typer.Option(help="Repeat every so many seconds until interrupted.")] = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """How late each table is on the target, in seconds."""
    from scripts.data import lag as command

    return finish(command.run(context(stack, local, outputs), watch=watch, console=console_of(json)), json)


# --- switch ---------------------------------------------------------------------------------------------------------


@traffic_app.command("get")
def traffic_get(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Show the flag in both databases and in the router's store."""
    from scripts.switch import traffic as command

    return finish(command.get(context(stack, local, outputs)), json)


@traffic_app.command("set")
def traffic_set(
    stack: StackName,
    weight: Annotated[float, typer.Argument(help="Percent of the users whose reads go to Aurora, in steps of 0.01.")],
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Send this share of the users' reads to Aurora. Who writes does not change."""
    from scripts.switch import traffic as command

    return finish(command.set_weight(context(stack, local, outputs), weight, dry_run=dry_run), json)


@traffic_app.command("hold")
def traffic_hold(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Hold writes in the router (bounded by the router's hold time)."""
    from scripts.switch import traffic as command

    return finish(command.hold(context(stack, local, outputs)), json)


@traffic_app.command("release")
def traffic_release(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Let held writes go on."""
    from scripts.switch import traffic as command

    return finish(command.release(context(stack, local, outputs)), json)


@traffic_app.command("dual")
def traffic_dual(
    stack: StackName,
    action: Annotated[Literal["on", "off", "status"], typer.Argument(help="on, off or status")],
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Have MySQL's service write to Aurora too what it commits (needs service.dual in the stack's settings)."""
    from scripts.switch import dual as command

    found = command.run(context(stack, local, outputs), action, dry_run=dry_run, console=console_of(json))
    return finish(found, json)


@app.command(rich_help_panel=SWITCH)
def gate(
    stack: StackName,
    window: Annotated[float, typer.Option(help="Seconds to watch.", min=1)] = 60.0,
    approve: Annotated[
        str, typer.Option(help="Who lets the migration go on if the gate is open; a cutover wants it.", metavar="NAME")
    ] = "",
    verify: Annotated[
        Path | None,
        typer.Option(help="Watch nothing: say whether this record (of --json) is authentic ('-': standard input)."),
    ] = None,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Hold latency, errors, lag, throughput and mismatches against their bounds; the verdict is signed and stored."""
    from scripts.switch import gate as command
    from scripts.switch import gate_record

    if verify is not None:
        if approve:
            raise UsageError("--verify looks at a record that is there; --approve makes one")
        return finish(gate_record.verify(context(stack, local, outputs), text_of(verify), verify), json)
    console = console_of(json)
    result = command.run(context(stack, local, outputs), window=window, console=console, approved_by=approve)
    return finish(result, json)


@cutover_app.command("start")
def cutover_start(
    stack: StackName, dry_run: DryRun = False, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Make Aurora the writer: fence, drain, verify, open. Before the commit any failure undoes itself."""
    from scripts.switch import cutover as command

    return _switched(command.run(context(stack, local, outputs), dry_run=dry_run, console=console_of(json)), json)


@cutover_app.command("status")
def cutover_status(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Show who is the writer, whether a run is open, what the way back does, and what to do next."""
    from scripts.switch import cutover as command

    return finish(command.status(context(stack, local, outputs)), json)


@cutover_app.command("resume")
def cutover_resume(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Finish or undo a run that died, as the journal says: committed is finished, anything else undone."""
    from scripts.switch import cutover as command

    return _switched(command.resume(context(stack, local, outputs), console=console_of(json)), json)


@cutover_app.command("abort")
def cutover_abort(stack: StackName, local: Local = False, outputs: OutputsFile = None, json: Json = False) -> Answer:
    """Stop the run that is under way, also another operator's, unless it is committed: it undoes itself."""
    from scripts.switch import cutover as command

    return _switched(command.abort(context(stack, local, outputs), console=console_of(json)), json)


@cutover_app.command("probation")
def cutover_probation(
    stack: StackName,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes to watch (default: kpis.probationMinutes).", min=0.1)
    ] = None,
    manual: Annotated[bool, typer.Option("--manual", help="Only tell a breach, do not roll back.")] = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Watch Aurora after the cutover, and roll back when latency or errors break their bounds."""
    from scripts.switch import probation as command

    result = command.run(context(stack, local, outputs), minutes=minutes, manual=manual, console=console_of(json))
    return Answer(finish(result, json).ok, code=Undone.exit_code if result.outcome == "rolled-back" else 1)


@cutover_app.command("final")
def cutover_final(
    stack: StackName, dry_run: DryRun = False, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Give up the way back: Aurora stays the writer, MySQL is closed for everybody."""
    from scripts.switch import cutover as command

    return finish(command.final(context(stack, local, outputs), dry_run=dry_run), json)


@app.command(rich_help_panel=SWITCH)
def rollback(
    stack: StackName, dry_run: DryRun = False, local: Local = False, outputs: OutputsFile = None, json: Json = False
) -> Answer:
    """Make MySQL the writer again: the cutover's machine with the sides swapped. Nothing is lost."""
    from scripts.switch import cutover as command
    from scripts.switch.journal import Direction

    result = command.run(
        context(stack, local, outputs), dry_run=dry_run, console=console_of(json), direction=Direction.ROLLBACK
    )
    return _switched(result, json)


@app.command("plan-b", rich_help_panel=SWITCH)
def plan_b(
    stack: StackName,
    action: Annotated[
        str,
        typer.Argument(
            help="read-only, mysql-only, half-traffic, pause-dual-write, cdc-to-dms, add-reader; or status.",
            metavar="ACTION",
        ),
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Go back to what was before.")] = False,
    dry_run: DryRun = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Take a road out of trouble, or go back; what was before is kept in the journal."""
    from scripts.switch import plan_b as command
    from scripts.switch.plan_b_action import Scene

    scene = Scene(context(stack, local, outputs), stack, local, console_of(json), deploys=outputs is None)
    if action == "status":
        if undo:
            raise UsageError("status changes nothing that could be undone")
        return finish(command.status(scene), json)
    return finish(command.run(scene, action, undo=undo, dry_run=dry_run), json)


@app.command("load-test", rich_help_panel=SWITCH)
def load_test(
    stack: StackName,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second (else what kpis.throughputPerSecond promises, or 100).", min=1),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds at the full rate.", min=5)] = 60.0,
    tool: Annotated[str, typer.Option(help="zdm (the rehearsals' generator), or k6 where it is on PATH.")] = "zdm",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Load another machine than this one: yours, never production.")
    ] = False,
    record: Record = False,
    local: Local = False,
    outputs: OutputsFile = None,
    json: Json = False,
) -> Answer:
    """Load the sample shop through the router at a constant rate, and hold the KPIs against it."""
    from scripts.environments import evidence
    from scripts.rehearsal import load_test as command

    if tool not in ("zdm", "k6"):
        raise UsageError(f"--tool must be zdm or k6, not {tool!r}")
    of = context(stack, local, outputs)
    keep = evidence.keeper(of, evidence.LOAD_TEST, record)
    result = command.run(
        of,
        rate=rate,
        seconds=duration,
        tool=tool,  # type: ignore[arg-type]
        allow_remote=allow_remote,
        console=console_of(json),
        page=default_root() / stack / "report" if local else None,
    )
    return finish(keep(result), json)


# --- this machine ---------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=MACHINE)
def rehearse(
    ctx: typer.Context,
    rows: Annotated[int, typer.Option(help="Rows of the sample shop.", min=1_000)] = 200_000,
    rate: Annotated[int, typer.Option(help="Writes per second of the load.", min=1)] = 100,
    reads: Annotated[int, typer.Option(help="Reads per second of the load.", min=1)] = 100,
    dump: Annotated[
        list[Path] | None,
        typer.Option("--dump", help="Your own database: mysqldump files, in order (also as plain arguments)."),
    ] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="Further dump files.", show_default=False)] = None,
    skip_unsupported: Annotated[
        bool, typer.Option("--skip-unsupported", help="Leave out, by name, what has no rule yet.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="Seconds of load in each phase.", min=5)] = 15.0,
    seed: Annotated[int, typer.Option(help="Seed of the generated data and load.")] = 1,
    name: Annotated[str, typer.Option(help="Name of the stack; two names can run side by side.")] = "rehearse",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up afterwards.")] = False,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Also back to MySQL, after a provoked breach, and to Aurora again for good."),
    ] = False,
    rounds: Annotated[int, typer.Option(help="With --rollback: so many times back and there again.", min=1)] = 1,
    environments: Annotated[
        bool,
        typer.Option(
            "--environments",
            help="Instead: production's snapshot, staging made of it, and a change's way from dev to production.",
        ),
    ] = False,
    inside: Annotated[Path | None, typer.Option(help="The rehearsal's own folder.", hidden=True)] = None,
    json: Json = False,
) -> Answer:
    """Take a whole shop from MySQL to PostgreSQL on this machine, under load, and report.

    [dim]Examples:[/dim]  ./zdm rehearse --rows 1000000 --rate 500
               ./zdm rehearse --dump schema.sql data.sql --skip-unsupported
               ./zdm rehearse --environments
    """
    from scripts.rehearsal import rehearse as command

    if files and not dump:
        raise UsageError(f"{files[0]}: dump files are given with --dump")
    if environments:
        return _rehearse_environments(ctx, rows, rate, reads, seed, name, keep, inside, json)
    options = command.Options(
        rows=rows,
        rate=rate,
        reads=reads,
        dump=(*(dump or []), *(files or [])),
        skip_unsupported=skip_unsupported,
        phase_seconds=seconds,
        seed=seed,
        name=name,
        keep=keep,
        rollback=rollback,
        rounds=rounds,
    )
    return finish(command.run(options, console=console_of(json)), json)


def _rehearse_environments(
    ctx: typer.Context, rows: int, rate: int, reads: int, seed: int, name: str, keep: bool, inside: Path | None,
    json: bool,
) -> Answer:  # fmt: skip
    """The other rehearsal. Its own defaults hold where nothing was said."""
    from scripts.rehearsal import environments as command
    from scripts.rehearsal.environments_stage import Options

    sources = {option: ctx.get_parameter_source(option) for option in ctx.params}
    given = [option for option, source in sources.items() if source is not None and source.name != "DEFAULT"]
    for option in ("dump", "files", "skip_unsupported", "seconds", "rollback", "rounds"):
        if option in given:
            raise UsageError(f"--{option.replace('_', '-')} does not go with --environments")
    said = {"rate": rate, "reads": reads, "name": name}
    chosen = {option: value for option, value in said.items() if option in given}
    options = Options(rows=rows, seed=seed, keep=keep, inside=inside, **chosen)  # type: ignore[arg-type]
    return finish(command.run(options, console=console_of(json)), json)


@app.command(rich_help_panel=MACHINE)
def report(
    directory: Annotated[Path | None, typer.Argument(help="Folder of a rehearsal's report.")] = None,
    json: Json = False,
) -> Answer:
    """Show the last rehearsal's verdict again, and write its page anew."""
    from scripts.rehearsal import environments_report
    from scripts.rehearsal import report as command

    folder = directory or default_root() / "rehearse" / "report"
    if environments_report.written(folder):
        return finish(environments_report.show(folder), json)
    return finish(command.show(folder), json)


@app.command(rich_help_panel=MACHINE)
def doctor(json: Json = False) -> Answer:
    """Say which parts are there, which are missing and how to get them."""
    from scripts import doctor as command

    return finish(command.run(), json)


@app.command(rich_help_panel=MACHINE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(ctx: typer.Context) -> Answer:
    """Run linters, type checker and tests; further arguments go to pytest."""
    from scripts import testing

    return Answer(testing.run(ctx.args) == 0)


# --- frame ----------------------------------------------------------------------------------------------------------


def _switched(result: Any, json: bool) -> Answer:
    """As `_finish`, with the exit code of what was undone."""
    undone = getattr(result, "outcome", "") == "undone"
    return Answer(finish(result, json).ok, code=Undone.exit_code if undone else 1)


def main() -> None:
    console = Console()
    try:
        answer = app(standalone_mode=False, prog_name="./zdm")
    except ZdmError as e:
        console.err.print(f"[red]error[/red] {_escape(str(e))}")
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        console.err.print("[yellow]interrupted[/yellow]")
        sys.exit(INTERRUPTED)
    except typer.Exit as e:
        sys.exit(e.exit_code)
    except typer.Abort:
        console.err.print("[yellow]not done[/yellow]: nobody confirmed; --yes does it without asking")
        sys.exit(INTERRUPTED)
    except Exception as e:
        if not hasattr(e, "format_message"):
            raise
        e.show() if hasattr(e, "show") else console.error(str(e))
        sys.exit(getattr(e, "exit_code", 2))
    if isinstance(answer, Answer):
        sys.exit(0 if answer.ok else answer.code)
    if answer == INTERRUPTED:  # what the library makes of Ctrl-C
        console.err.print("[yellow]interrupted[/yellow]")
    sys.exit(answer if isinstance(answer, int) else 0)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
