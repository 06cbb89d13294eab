"""Stacks: preview, up, destroy, outputs, and what the literal `pulumi` needs to do the same.

A local stack is brought up by the same engine and program as one on AWS; plugins, state and parts are this machine's.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

from infra.revision import ENVIRONMENT as REVISION
from infra.revision import UNKNOWN
from local import engine, parts
from local.parts import maven
from scripts.console import Console, Step, duration
from scripts.context import PROJECT, git_revision
from scripts.errors import UsageError, ZdmError
from scripts.markdown import preview_markdown

PLUGIN = PROJECT / f".zdm/plugins/debezium-{maven.DEBEZIUM}.zip"
"""The default of the setting `cdc.plugin`."""
SNAPSHOTS = "**zdm:index:Snapshots$**"
"""URNs of the snapshots of a stack: children of that component."""
DATABASES = ("**zdm:index:AuroraCluster**", "**zdm:index:SourceMySQL**")
"""URNs of the two databases of a stack, with what is theirs."""
_PAST = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted", "same": "unchanged"}


class Busy(ZdmError):
    """Another run is changing the stack: nothing was done."""


@dataclass(frozen=True)
class StackResult:
    """What an operation on a stack did, or (preview) would do."""

    outcome: engine.Outcome
    expect_no_changes: bool = False

    @property
    def ok(self) -> bool:
        return not (self.outcome.refused or (self.expect_no_changes and self.outcome.changes))

    def to_json(self) -> dict[str, Any]:
        done = self.outcome
        changes = [{"op": c.op, "type": c.type, "name": c.name, "properties": list(c.properties)} for c in done.changes]
        violations = [
            {
                "rule": v.rule, "mandatory": v.mandatory, "type": v.type, "name": v.name, "says": v.says,
                "wrong": v.wrong,
            }
            for v in done.violations
        ]  # fmt: skip
        return {
            "operation": done.operation, "stack": done.stack, "seconds": done.seconds, "counts": dict(done.counts),
            "changes": changes, "violations": violations,
        }  # fmt: skip

    def render(self, out: RichConsole) -> None:
        done = self.outcome
        if done.changes and done.operation == "preview":
            table = Table("", "resource", "name", "because of", box=None, pad_edge=False)
            for change in done.changes:
                table.add_row(_mark(change.op), _short(change.type), change.name, ", ".join(change.properties))
            out.print(table)
        if done.violations:
            table = Table("", "resource", "rule", "what is wrong, and the way out", box=None, pad_edge=False)
            for broken in done.violations:
                mark = "[red]refused[/red]" if broken.mandatory else "[yellow]hint[/yellow]"
                table.add_row(mark, escape(broken.name), broken.rule, escape(broken.wrong))
            out.print(table)
        verb = "would change" if done.operation == "preview" else "changed"
        out.print(f"{done.stack}: {summary(done)}; {done.changed} {verb}, in {duration(done.seconds)}")
        if self.expect_no_changes and done.changes:
            out.print("[red]no changes were expected[/red]: the stack is not what its program says")


def summary(outcome: engine.Outcome) -> str:
    """`61 created, 2 unchanged`."""
    return ", ".join(f"{count} {_PAST.get(op, op)}" for op, count in sorted(outcome.counts.items())) or "nothing there"


def _mark(op: str) -> str:
    colour = {"create": "green", "update": "yellow", "delete": "red"}.get(op, "magenta")
    return f"[{colour}]{op}[/{colour}]"


def _short(token: str) -> str:
    """`aws:rds/cluster:Cluster` -> `aws.rds.Cluster`, as the program says it."""
    package, _, rest = token.partition(":")
    module, _, name = rest.rpartition(":")
    return ".".join(part for part in (package, module.partition("/")[0], name) if part and part != "index")


# --- operations -----------------------------------------------------------------------------------------------------


def preview(
    stack: str,
    *,
    local: bool,
    console: Console,
    refresh: bool = False,
    expect_no_changes: bool = False,
    markdown: Path | None = None,
    plan: Path | None = None,
) -> StackResult:
    """What `up` would change, and which rules it would break. `refresh` first reads what is really there."""
    with _told():
        ensure_parts(console, ("pulumi", "debezium"))
        ensure_plugin(console)
        deployment = engine.workspace(stack, local)
        outcome = _operate(deployment, "preview", f"Preview {stack}", console, refresh=refresh, plan=plan)
        if markdown is not None:
            markdown.write_text(preview_markdown(outcome))
        return StackResult(outcome, expect_no_changes)


def look(stack: str, *, local: bool, console: Console, refresh: bool, create: bool = False) -> engine.Outcome:
    """What would change, without the rules; `refresh` first reads what is really there. `create`: a local stack that is
    not there is made up (its state, and nothing else)."""
    with _told():
        ensure_parts(console, ("pulumi", "debezium"))
        ensure_plugin(console)
        deployment = engine.workspace(stack, local, create=create)
        title = f"Look at what {stack} really has" if refresh else f"Look at what {stack} is to be"
        return _operate(deployment, "preview", title, console, refresh=refresh, with_policies=False)


def up(
    stack: str,
    *,
    local: bool,
    console: Console,
    refresh: bool = False,
    config: Mapping[str, str] | None = None,
    snapshot: str = "",
) -> StackResult:
    """Create or update the stack; `config` is kept in its file, `refresh` repairs what a reboot or a kill took away.

    `snapshot` labels snapshots of databases, servers and volumes, which are there before anything else is touched.
    """
    with _told():
        ensure_parts(console, parts.NAMES if local else ("pulumi", "debezium"))
        ensure_plugin(console)
        deployment = engine.workspace(stack, local)
        if config:
            deployment.set_config(config)
        revision = git_revision()  # before the label is written into a file that git knows
        if refresh:
            _operate(deployment, "refresh", f"Look at what {stack} really has", console)
        if snapshot:
            deployment.set_config({"snapshots.label": snapshot})
            if deployment.has("aurora-cluster"):
                title = f"Snapshots {snapshot} of {stack}, before anything is changed"
                deployment.tell(**{REVISION: deployment.outputs().get("revision") or UNKNOWN})  # still the former one
                _operate(deployment, "up", title, console, only=[SNAPSHOTS])
        deployment.tell(**{REVISION: revision})
        return StackResult(_operate(deployment, "up", f"Bring up {stack}", console))


def up_generated(name: str, config: Mapping[str, Any], *, title: str, console: Console) -> dict[str, Any]:
    """Bring up a local stack on the settings of `dev` with those of `config`; returns its outputs."""
    with _told():
        ensure_plugin(console)
        # throwaway, and its settings are the rules' business when a stack that stays has them
        return dict(_operate(engine.workspace(name, True, config), "up", title, console, with_policies=False).outputs)


def adopt_databases(stack: str, instances: Mapping[str, str], *, local: bool, console: Console) -> StackResult:
    """Makes the engine's record true of databases that took others' places under their names, and of nothing else.

    `instances`: the resource id of each RDS instance by its identifier. The engine knows an instance by that id (as
    AWS' provider does since its version 5), and would take one that was replaced for gone.
    """
    with _told():
        deployment = engine.workspace(stack, local, create=False)
        deployment.tell(
            **{REVISION: deployment.outputs().get("revision") or UNKNOWN}
        )  # no deployment: still the former
        deployment.set_ids("aws:rds/instance:Instance", "identifier", instances)
        _operate(deployment, "refresh", f"Look at the databases of {stack}", console, only=DATABASES)
        return StackResult(_operate(deployment, "up", f"The record of {stack}'s databases", console, only=DATABASES))


def destroy(stack: str, *, local: bool, console: Console) -> StackResult:
    """Delete everything in the stack; of a local one also what the engine does not know (processes, data, network)."""
    with _told():
        ensure_parts(console, ("pulumi",))
        deployment = engine.workspace(stack, local, create=False)
        try:
            outcome = _operate(deployment, "destroy", f"Destroy {stack}", console)
        except engine.ProtectedError as error:
            way = f"./zdm up {stack}{' --local' if local else ''} -c decommission=true"
            raise engine.EngineError(f"{error}. To take it down, first: {way}") from error
        if local:
            _clear(stack, console)
        if deployment.generated:
            deployment.remove()
        return StackResult(outcome)


def outputs(stack: str, *, local: bool) -> dict[str, Any]:
    """The outputs of a stack that is up."""
    with _told():
        return engine.workspace(stack, local, create=False).outputs()


def settings_file(stack: str, *, local: bool) -> Path:
    """The file with the settings of a stack that is there."""
    with _told():
        return engine.workspace(stack, local, create=False).file


def _operate(
    deployment: engine.Deployment, operation: str, title: str, console: Console, **options: Any
) -> engine.Outcome:
    with console.step(title) as step:

        def tell(progress: engine.Progress) -> None:
            step.update(str(progress))

        outcome: engine.Outcome = getattr(deployment, operation)(tell, **options)
        step.done(summary(outcome))
        return outcome


def _clear(stack: str, console: Console) -> None:
    """Remove what a destroyed local stack leaves: stray processes first, then its folder.

    Reports stay, and copies of databases that were meant to outlive the stack: final snapshots and retained ones.
    """
    from local.stack import existing_stack

    there = existing_stack(stack)
    if there is None:
        return
    for process in there.processes():
        if process.running():
            console.warn(f"{process.home.name} was still running, without a resource: stopped")
            process.stop()
    for path in there.home.iterdir():
        if path.name not in ("report", "data"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    there.forget()
    if there.snapshots.is_dir():
        kept = sorted(f"{copy.parent.name}/{copy.name}" for copy in there.snapshots.glob("*/*"))
        console.warn(f"kept the snapshots {', '.join(kept)}; to be rid of them, remove {there.snapshots}")
    with contextlib.suppress(OSError):
        there.home.rmdir()


# --- what is needed -------------------------------------------------------------------------------------------------


def home() -> Path:
    """Where local stacks live."""
    from local.stack import default_root

    return default_root()


def ensure_parts(console: Console, names: Sequence[str] = parts.NAMES) -> None:
    """Have the parts ready, so that nothing waits for a download later. Raises ZdmError with the way out."""
    missing = [name for name in names if parts.look(name).part is None]
    if missing:
        with _told(), console.step(f"Get {', '.join(missing)} (once)") as step:
            parts.prepare(missing, _Side(step))


class _Side:
    """Shows the progress of parts that are fetched side by side as one text."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._now: dict[str, str] = {}

    def __call__(self, part: str, text: str) -> None:
        self._now[part] = text
        if text.startswith("ready"):
            del self._now[part]
        self._step.update("; ".join(f"{name}: {what}" for name, what in sorted(self._now.items())))


def ensure_plugin(console: Console, *, anew: bool = False) -> Path:
    """The plugin ZIP of Debezium that the program uploads for MSK Connect."""
    if anew or not PLUGIN.is_file():
        ensure_parts(console, ("debezium",))
        with _told(), console.step("Make the Debezium plugin") as step:
            parts.debezium_zip(PLUGIN)
            step.done(f"{PLUGIN.stat().st_size / 1e6:.0f} MB")
    return PLUGIN


def env_exports(local: bool) -> str:
    """Shell exports that let the literal `pulumi` work on these stacks: eval "$(./zdm env --local)"."""
    with _told():
        ensure_parts(Console(), parts.NAMES if local else ("pulumi",))
        env = engine.environment(local)
        if local:
            # the literal `pulumi up -s dev` wants the stack to be there
            for stack in engine.project_stacks():
                if engine.has_local_salt(PROJECT / f"Pulumi.{stack}.yaml"):
                    engine.workspace(stack, True)
            ensure_plugin(Console())
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    return "\n".join(lines) + "\n"


def local_environment(stack: str) -> dict[str, str]:
    """What reaches the local cloud of a stack. Raises UsageError if there is no such local stack."""
    from local.environment import environment

    there = environment(stack)
    if not there:
        raise UsageError(f"there is no local stack {stack!r}; bring it up with: ./zdm up {stack} --local")
    return there


def raise_if_broken(stack: str) -> None:
    """ZdmError if a part of the local stack is dead or failed: what `up --refresh` would mend."""
    from local.provider import registry
    from local.stack import existing_stack

    there = existing_stack(stack)
    if there is None:
        raise ZdmError(f"there is no local stack {stack!r}")
    for token in registry.tokens("part"):
        for record in there.records.all(token):
            handler = registry.handler(token)
            state = handler.read(there, record.id, record.outputs)
            if state is None or handler.needs_repair(state):
                told = "is gone" if state is None else f"is dead or failed ({', '.join(handler.needs_repair(state))})"
                dead = [process for process in there.processes() if not process.running()]
                logs = "".join(f"\n  {process.home.name}: {process.tail(3)}" for process in dead)
                raise ZdmError(
                    f"{record.id} ({token}) of the local stack {stack} {told}. "
                    f"Mend it with: ./zdm up {stack} --local --refresh; logs: {there.home / 'run'}{logs}"
                )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The errors of engine and parts, as errors of the commands."""
    try:
        yield
    except engine.BusyError as error:
        raise Busy(str(error)) from error
    except (engine.EngineError, parts.PartError) as error:
        raise ZdmError(str(error)) from error
