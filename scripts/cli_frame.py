"""What every command of the command line is made with: the application, shared options, how a result is printed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from local.stack import default_root
from scripts.console import Console, Result
from scripts.context import Context, context_from, context_from_file
from scripts.errors import UsageError

app = typer.Typer(
    name="zdm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Move a shop from MySQL to Aurora PostgreSQL without its customers noticing.",
    epilog="Start with [bold]./zdm rehearse[/bold]; every command has its own --help.",
)

INTERRUPTED = 130

STACK, MACHINE, DATA, SWITCH, ENVIRONMENTS = "Stack", "This machine", "Data", "Switch", "Environments"

StackName = Annotated[
    str, typer.Argument(help="Stack: dev, staging, prod, or the name of a local one.", metavar="STACK")
]
Local = Annotated[
    bool, typer.Option("--local/--cloud", help="Use the local cloud of this machine.", envvar="ZDM_LOCAL")
]
OutputsFile = Annotated[
    Path | None,
    typer.Option("--outputs", help="Outputs from a file made by `pulumi stack output --json` ('-': standard input)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")]
Record = Annotated[bool, typer.Option("--record", help="Keep the result as evidence, signed, in the stack's archive.")]
Tables = Annotated[list[str] | None, typer.Option("--table", "-t", help="Only this table (repeatable).")]


@dataclass(frozen=True)
class Answer:
    """What a command returns to `main`: whether the answer is yes, and the exit code if it is not."""

    ok: bool
    code: int = 1


def context(stack: str, local: bool, outputs: Path | None) -> Context:
    """The stack's context, from a file or from the stack itself; points this process at a local stack's cloud."""
    home = default_root() / stack / "commands"
    if outputs is not None and not local:
        return context_from_file(outputs, home)
    from scripts import stacks

    if local:
        os.environ.update(stacks.local_environment(stack))
    if outputs is not None:
        return context_from_file(outputs, home)
    return context_from(stacks.outputs(stack, local=local), f"stack {stack}", home)


def context_of_another(stack: str, local: bool, profile: str = "") -> Context:
    """The context of a further stack, beside that of `context`: its AWS API is reached without the environment.

    `profile` is one of AWS's shared configuration, for a stack in another account.
    """
    from scripts import stacks

    cloud = stacks.local_environment(stack) if local else {"AWS_PROFILE": profile} if profile else {}
    out = stacks.outputs(stack, local=local)
    return context_from(out, f"stack {stack}", default_root() / stack / "commands", cloud)


def console_of(json_mode: bool) -> Console:
    return Console(json_mode=json_mode)


def text_of(path: Path) -> str:
    """A file's text, or standard input's."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read: {e}") from e


def pairs(config: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in config or []:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--config {item!r} is not KEY=VALUE, such as cdc.state=running")
        pairs[key] = value
    return pairs


def finish(result: Result, json_mode: bool) -> Answer:
    """Prints a command's result and makes its answer the exit code."""
    Console(json_mode=json_mode).result(result.to_json(), result.render)
    return Answer(bool(result.ok))
