"""The Pulumi engine and what it needs to run this project's program, on AWS or on this machine.

A `Deployment` is one stack with the operations on it, through the Automation API. Two kinds of workspace:
- the project's own folder, for stacks of the cloud, and for local ones whose `Pulumi.<stack>.yaml` there holds the salt
  of the local passphrase: the literal `pulumi` sees the same stack;
- a folder under `.zdm/.engine/work/`, for generated stacks (a rehearsal): the settings of another stack with overrides.
  Nothing in the project is written.

The project's policy pack (`policies/`) runs beside every preview and update.

Local stacks keep their state under `.zdm/.engine/`, with a passphrase that is no secret: it guards throwaway data only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation as auto
from pulumi.automation import EngineEvent
from pulumi.automation._cmd import CommandResult
from pulumi.automation.errors import create_command_error
from semver import VersionInfo

from local import parts
from local.parts.cache import locked

PROJECT = Path(__file__).resolve().parents[1]
PASSPHRASE = "local"
_HOST = "pulumi-language-python"
_STACK = "pulumi:pulumi:Stack"
_PATH = re.compile(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)')
_CANCEL_SECONDS = 120.0
"""How long an interrupted engine may take to finish what it is doing."""


class EngineError(RuntimeError):
    """The engine could not do what was asked; the message holds what it said."""


class BusyError(EngineError):
    """Another run is changing the stack."""


class ProtectedError(EngineError):
    """The stack has something that must not be deleted by mistake."""


@dataclass(frozen=True)
class Progress:
    """How far an operation is: resources finished and known so far, what is under way, seconds since the start."""

    done: int
    known: int
    running: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        names = ", ".join(self.running[:3]) + (f" and {len(self.running) - 3} more" if len(self.running) > 3 else "")
        return f"{self.done} of {self.known} resources{': ' + names if names else ''}"


@dataclass(frozen=True)
class Difference:
    """One property as it is (in the state, or really, after a look) and as the program says; secrets are hidden."""

    path: str
    real: Any
    expected: Any


@dataclass(frozen=True)
class Change:
    """What happens to one resource (`create`, `update`, `delete`, ...), and the properties that ask for it."""

    op: str
    type: str
    name: str
    urn: str
    properties: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Resource:
    """A resource as the program declares it; what only the cloud will say is not among its inputs, or is unknown."""

    type: str
    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """A rule of the policy pack that a resource breaks. An update ends at the first that is mandatory."""

    rule: str
    mandatory: bool
    type: str
    name: str
    says: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.name}: {self.wrong} (rule {self.rule}: {self.says})"


@dataclass(frozen=True)
class Outcome:
    """What an operation did. `counts` is by operation (`same` included), `changes` all that is not `same`.

    A preview that breaks mandatory rules is an outcome too; anything else that does is an error.
    """

    operation: str
    stack: str
    seconds: float
    counts: Mapping[str, int]
    changes: tuple[Change, ...]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """Of a preview: as far as they are known."""
    violations: tuple[Violation, ...] = ()
    resources: tuple[Resource, ...] = ()
    """All that the program declares, without components."""

    @property
    def changed(self) -> int:
        return len(self.changes)

    @property
    def refused(self) -> bool:
        return any(violation.mandatory for violation in self.violations)


OnProgress = Callable[[Progress], None]


def home() -> Path:
    """Where the engine's local state is: `.engine` under ZDM_HOME, else under the project's `.zdm`."""
    return Path(os.environ.get("ZDM_HOME") or PROJECT / ".zdm").absolute() / ".engine"


def environment(local: bool, report: parts.Report = parts.on_stderr) -> dict[str, str]:
    """What the engine needs in its environment besides the caller's own. Gets the engine; raises PartError.

    PATH: the local cloud's plugins (only if `local`), the engine's folder, the caller's PATH, and this project's
    language host where no official one is beside the engine or on PATH.
    """
    engine = Path(parts.require("pulumi", report).command["pulumi"][0])
    path = os.environ.get("PATH", os.defpath)
    beside = engine.resolve().with_name(_HOST)
    folders = [str(PROJECT / "local/bin")] if local else []
    if shutil.which("pulumi", path=path) != str(engine):
        folders.append(str(engine.parent))
    folders += [entry for entry in path.split(os.pathsep) if entry and entry not in folders]
    host = str(PROJECT / "local/host")
    if not beside.exists() and shutil.which(_HOST, path=path) is None and host not in folders:
        folders.append(host)
    env = {"PATH": os.pathsep.join(folders), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    if local:
        state = home() / "state"
        state.mkdir(parents=True, exist_ok=True)
        env |= {
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_HOME": str(home() / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
        }
    return env


def project_stacks(project: Path = PROJECT) -> list[str]:
    """Names of the stacks that have a settings file in the project."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in project.glob("Pulumi.?*.yaml"))


def workspace(
    stack: str,
    local: bool,
    overrides: Mapping[str, Any] | None = None,
    *,
    project: Path = PROJECT,
    base: str = "dev",
    create: bool = True,
    report: parts.Report = parts.on_stderr,
) -> Deployment:
    """The stack, ready for operations.

    With `overrides` (settings by name, `zdm:` may be left out), or without a `Pulumi.<stack>.yaml`, a local stack is a
    generated one on the settings of `base`. `create=False`: EngineError if there is no such local stack, instead of
    making it; a stack of the cloud is never made here, because its owner must choose who keeps its secrets.
    """
    file = project / f"Pulumi.{stack}.yaml"
    if not file.is_file() and not local:
        raise EngineError(f"there is no {file.name}: the stacks are {', '.join(project_stacks(project)) or 'none'}")
    env = environment(local, report)
    generated = local and (overrides is not None or not has_local_salt(file))
    if not generated:
        if overrides:
            raise EngineError("settings of a stack that is not local stand in its file: pulumi config set KEY VALUE")
        return Deployment(stack, project, env, local, create=create and local, policies=project / "policies")
    folder = home() / "work" / stack
    if create:
        _generate(stack, project, base if not file.is_file() else stack, folder, overrides)
    elif not (folder / "Pulumi.yaml").is_file():
        raise EngineError(_no_stack(stack, local))
    return Deployment(stack, folder, env, local, create=create, generated=True, policies=project / "policies")


def _no_stack(stack: str, local: bool) -> str:
    if local:
        return f"there is no local stack {stack!r}; bring it up with: ./zdm up {stack} --local"
    return (
        f"there is no stack {stack!r} where `pulumi` keeps its state. Say where that is, and make it once: "
        f"pulumi login s3://BUCKET; pulumi stack init {stack} --secrets-provider 'awskms://alias/KEY?region=REGION'"
    )


def has_local_salt(file: Path) -> bool:
    """Whether a stack's file is fit for the literal `pulumi` on this machine without being changed by it."""
    return file.is_file() and "encryptionsalt" in (yaml.safe_load(file.read_text()) or {})


def _generate(stack: str, project: Path, base: str, folder: Path, overrides: Mapping[str, Any] | None) -> None:
    """Write the folder of a generated stack. Without `overrides` settings that are there already stay."""
    settings = yaml.safe_load((project / "Pulumi.yaml").read_text())
    settings["main"] = str(project / settings.get("main", ""))
    runtime = settings.get("runtime")
    if isinstance(runtime, dict) and "virtualenv" in runtime.get("options", {}):
        runtime["options"]["virtualenv"] = str(project / runtime["options"]["virtualenv"])
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "Pulumi.yaml", settings)
    target, source = folder / f"Pulumi.{stack}.yaml", project / f"Pulumi.{base}.yaml"
    old = yaml.safe_load(target.read_text()) if target.is_file() else {}
    if old and overrides is None:
        return
    known = (yaml.safe_load(source.read_text()) if source.is_file() else {}) or {}
    config = dict(known.get("config") or {})
    for key, value in (overrides or {}).items():
        _put(config, settings["name"], key, value)
    salt = {"encryptionsalt": old["encryptionsalt"]} if old and "encryptionsalt" in old else {}
    _write(target, {**salt, "config": config})


def _put(config: dict[str, Any], project: str, key: str, value: Any) -> None:
    """Set one setting; `aurora.readers` is inside a group, which keeps its others."""
    namespace, _, path = key.rpartition(":")
    first, *rest = path.split(".")
    name = f"{namespace or project}:{first}"
    if not rest:
        config[name] = value
        return
    group = config[name] = dict(config.get(name) or {})
    for part in rest[:-1]:
        group[part] = group = dict(group.get(part) or {})
    group[rest[-1]] = value


def _write(path: Path, data: Mapping[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(yaml.safe_dump(dict(data), sort_keys=False))
    part.replace(path)


class Command(auto.PulumiCommand):
    """The engine's binary, in a session of its own: Ctrl-C cancels it, once, and waits until it has saved its state."""

    def __init__(self, binary: str, version: str) -> None:
        self.command = binary
        self.version = VersionInfo.parse(version)

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], Any] | None = None,
        on_error: Callable[[str], Any] | None = None,
    ) -> CommandResult:
        process = subprocess.Popen(
            [self.command, "--non-interactive", *args],
            cwd=cwd,
            env={**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        chunks: dict[str, list[str]] = {"stdout": [], "stderr": []}

        def consume(name: str, stream: Any, callback: Callable[[str], Any] | None) -> None:
            for line in stream:
                chunks[name].append(line.rstrip())
                if callback:
                    callback(line.rstrip())

        streams = (("stdout", process.stdout, on_output), ("stderr", process.stderr, on_error))
        threads = [threading.Thread(target=consume, args=entry, daemon=True) for entry in streams]
        for thread in threads:
            thread.start()
        try:
            process.wait()
        except BaseException:
            _cancel(process)
            raise
        finally:
            for thread in threads:
                thread.join(5)
        result = CommandResult("\n".join(chunks["stdout"]), "\n".join(chunks["stderr"]), process.returncode)
        if process.returncode:
            raise create_command_error(result)
        return result


def _cancel(process: subprocess.Popen[str]) -> None:
    """Ask the engine to stop and wait for it; then tell it twice; then kill it with all it started."""
    for number, seconds in ((signal.SIGINT, _CANCEL_SECONDS), (signal.SIGINT, 20.0)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Deployment:
    """One stack and the operations on it. Each raises EngineError with what the engine said went wrong."""

    def __init__(
        self,
        stack: str,
        folder: Path,
        env: Mapping[str, str],
        local: bool,
        *,
        create: bool = True,
        generated: bool = False,
        policies: Path | None = None,
    ) -> None:
        """`policies`: folder of the policy pack, if there is one."""
        self.name, self.folder, self.env, self.local, self.generated = stack, folder, dict(env), local, generated
        self._packs = [str(policies)] if policies is not None and (policies / "PulumiPolicy.yaml").is_file() else []
        part = parts.require("pulumi")
        options = auto.LocalWorkspaceOptions(
            work_dir=str(folder), env_vars=self.env, pulumi_command=Command(part.command["pulumi"][0], part.version)
        )
        if local:
            _release_dead_lock(stack)
        with self._errors("open"):
            workspace = auto.LocalWorkspace(**vars(options))
            try:
                self.stack = auto.Stack.select(stack, workspace)
            except auto.StackNotFoundError:
                if not create:
                    raise EngineError(_no_stack(stack, local)) from None
                with locked(home() / "create.lock"):
                    self.stack = auto.Stack.create_or_select(stack, workspace)

    def up(
        self,
        on_progress: OnProgress | None = None,
        *,
        refresh: bool = False,
        with_policies: bool = True,
        only: Sequence[str] = (),
    ) -> Outcome:
        """Create or update. `refresh` first reads what is really there (also what an interrupted run left open).

        `only` are patterns of the URNs that may change; nothing else does.
        """
        packs = self._packs if with_policies else []
        return self._operate(
            "up", on_progress, refresh=refresh or None, policy_packs=packs or None, target=list(only) or None
        )

    def has(self, pattern: str) -> bool:
        """Whether the stack has a resource with such a name."""
        with self._errors("look"):
            known = self.stack.export_stack().deployment or {}
        return any(fnmatch(r["urn"].rpartition("::")[2], pattern) for r in known.get("resources") or ())

    def preview(
        self,
        on_progress: OnProgress | None = None,
        *,
        refresh: bool = False,
        plan: Path | None = None,
        with_policies: bool = True,
    ) -> Outcome:
        """What `up` would do. `refresh` first reads what is really there; `plan` is the file to keep it in."""
        packs = self._packs if with_policies else []
        options = {"refresh": refresh or None, "plan": str(plan.absolute()) if plan else None}
        return self._operate("preview", on_progress, policy_packs=packs or None, **options)

    def refresh(self, on_progress: OnProgress | None = None, *, only: Sequence[str] = ()) -> Outcome:
        """Bring the state up to what is really there; `only` what has URNs of these patterns is looked at, if given."""
        return self._operate("refresh", on_progress, clear_pending_creates=True, target=list(only) or None)

    def set_ids(self, token: str, property: str, ids: Mapping[str, str]) -> None:
        """Writes into the state which resource is meant now: of type `token`, by the value of one of its outputs."""
        with self._errors("look"):
            known = self.stack.export_stack()
            changed = False
            for resource in (known.deployment or {}).get("resources") or ():
                wanted = ids.get(str((resource.get("outputs") or {}).get(property)))
                if resource["type"] == token and wanted and resource.get("id") != wanted:
                    resource["id"] = wanted
                    changed = True
            if changed:
                self.stack.import_stack(known)

    def destroy(self, on_progress: OnProgress | None = None) -> Outcome:
        """Delete every resource. The stack itself stays, without resources (`remove` ends it).

        Raises `ProtectedError`, with nothing deleted, while something in it is protected: the engine would delete what
        it can before it says so.
        """
        with self._errors("destroy"):
            known = self.stack.export_stack().deployment or {}
        protected = [r["urn"].rpartition("::")[2] for r in known.get("resources") or () if r.get("protect")]
        if protected:
            raise ProtectedError(f"{self.name} is protected ({', '.join(protected)}); nothing was deleted")
        return self._operate("destroy", on_progress)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, in the clear."""
        with self._errors("outputs"):
            return {name: value.value for name, value in self.stack.outputs().items()}

    def tell(self, **variables: str) -> None:
        """Variables of the program's environment, from the next operation on."""
        self.env |= variables
        self.stack.workspace.env_vars = dict(self.env)

    @property
    def file(self) -> Path:
        """The stack's settings."""
        return self.folder / f"Pulumi.{self.name}.yaml"

    def set_config(self, values: Mapping[str, str]) -> None:
        """Set settings in the stack's file: `group.setting`, or a whole group as JSON."""
        known = yaml.safe_load(self.file.read_text()) or {}
        config = known.setdefault("config", {})
        for key, value in values.items():
            structured = value.strip().startswith(("[", "{"))
            _put(config, self._project(), key, json.loads(value) if structured else value)
        _write(self.file, known)

    def remove(self) -> None:
        """Forget a stack without resources, and the folder of a generated one."""
        with self._errors("remove"):
            self.stack.workspace.remove_stack(self.name, preserve_config=not self.generated)
        if self.generated:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _project(self) -> str:
        return str(yaml.safe_load((self.folder / "Pulumi.yaml").read_text())["name"])

    def _operate(self, operation: str, on_progress: OnProgress | None, **options: Any) -> Outcome:
        watch = _Watch(on_progress)
        outputs: dict[str, Any] = {}
        with self._errors(operation, watch), watch.ticking():
            method = getattr(self.stack, operation)
            try:
                result = method(color="never", on_event=watch.event, suppress_progress=True, **options)
                outputs = {name: value.value for name, value in getattr(result, "outputs", {}).items()}
                outputs = outputs or watch.outputs
            except auto.CommandError:
                if operation != "preview" or not watch.only_refused:
                    raise
        seconds = round(time.monotonic() - watch.begin, 2)
        changes, violations = tuple(watch.changes), tuple(watch.violations)
        resources = tuple(watch.resources.values())
        return Outcome(operation, self.name, seconds, dict(watch.counts), changes, outputs, violations, resources)

    @contextlib.contextmanager
    def _errors(self, operation: str, watch: _Watch | None = None) -> Iterator[None]:
        try:
            yield
        except auto.ConcurrentUpdateError as error:
            raise BusyError(
                f"stack {self.name} is being changed by another run; wait for it, or if there is none: "
                f"pulumi cancel {self.name}"
            ) from error
        except auto.CommandError as error:
            said = [*map(str, watch.mandatory), *watch.errors] if watch else []
            said = said or [_last_words(error)]
            raise EngineError(f"{operation} of stack {self.name} failed:\n" + "\n".join(said)) from error


class _Watch:
    """What the engine's events say about an operation."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.begin = time.monotonic()
        self.errors: list[str] = []
        self.changes: list[Change] = []
        self.violations: list[Violation] = []
        self.resources: dict[str, Resource] = {}
        self.outputs: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self._tell = on_progress
        self._running: dict[str, str] = {}
        self._known: set[str] = set()
        self._done: set[str] = set()
        self._lock = threading.Lock()

    def event(self, event: EngineEvent) -> None:
        if event.resource_pre_event:
            meta = event.resource_pre_event.metadata
            with self._lock:
                self._known.add(meta.urn)
                if not event.resource_pre_event.planning and not _is_component(meta) and _name(meta.op) != "same":
                    self._running[meta.urn] = f"{meta.type.rpartition(':')[2]} {meta.urn.rpartition('::')[2]}"
                self._note(meta)
        elif event.res_outputs_event or event.res_op_failed_event:
            done = event.res_outputs_event or event.res_op_failed_event
            assert done is not None
            with self._lock:
                self._known.add(done.metadata.urn)
                self._done.add(done.metadata.urn)
                if done.metadata.type == _STACK and done.metadata.new is not None:
                    self.outputs = dict(done.metadata.new.outputs or {})
                self._running.pop(done.metadata.urn, None)
        elif event.policy_event:
            violation = _violation(event.policy_event)
            if violation not in self.violations:
                self.violations.append(violation)
        elif event.diagnostic_event and event.diagnostic_event.severity == "error":
            diagnostic = event.diagnostic_event
            where = f"{diagnostic.urn.rpartition('::')[2]}: " if diagnostic.urn else ""
            text = where + diagnostic.message.strip()
            if text not in self.errors:
                self.errors.append(text)
        elif event.summary_event:
            self.counts = Counter({_name(op): count for op, count in event.summary_event.resource_changes.items()})

    @property
    def mandatory(self) -> list[Violation]:
        return [violation for violation in self.violations if violation.mandatory]

    @property
    def only_refused(self) -> bool:
        """Whether broken rules are all that went wrong with a preview."""
        return bool(self.mandatory) and self.errors in ([], ["preview failed"])

    def _note(self, meta: Any) -> None:
        op, name = _name(meta.op), meta.urn.rpartition("::")[2]
        if meta.type == _STACK:
            return
        if op not in ("refresh", "delete") and meta.new is not None and not _is_component(meta):
            self.resources[meta.urn] = Resource(meta.type, name, meta.new.inputs or {})
        if op in ("same", "read", "refresh"):
            return
        properties = tuple(sorted(meta.detailed_diff or meta.diffs or ()))
        self.changes.append(Change(op, meta.type, name, meta.urn, properties, _differences(meta, properties)))

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Tell the progress twice a second while the engine works."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(0.5):
                self.tell()

        thread = threading.Thread(target=tick, daemon=True)
        if self._tell:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self._tell:
                thread.join()
                self.tell()

    def tell(self) -> None:
        if self._tell:
            with self._lock:
                now = Progress(
                    len(self._done), len(self._known), tuple(self._running.values()), time.monotonic() - self.begin
                )
            self._tell(now)


def _violation(event: Any) -> Violation:
    urn = event.resource_urn or ""
    says, _, wrong = event.message.strip().partition("\n")
    kind = urn.split("::")[2].rpartition("$")[2] if urn.count("::") >= 3 else ""
    name = urn.rpartition("::")[2] or "the stack"
    return Violation(event.policy_name, event.enforcement_level == "mandatory", kind, name, says, wrong)


def _differences(meta: Any, paths: Sequence[str]) -> tuple[Difference, ...]:
    """What the paths of a change are in the old state and in the new inputs. The old outputs are what was found; what
    a provider does not give back is only in the old inputs."""
    if meta.old is None or meta.new is None:
        return ()
    found = []
    for path in paths:
        expected = _at(meta.new.inputs, path)
        seen = _at(meta.old.outputs, path)
        real = _at(meta.old.inputs, path) if seen is None or seen == expected else seen
        found.append(Difference(path, real, expected))
    return tuple(found)


def _at(value: Any, path: str) -> Any:
    """The value at a property path such as `rules[0].tags["a b"].c`; None where there is none."""
    for quoted, number, plain in _PATH.findall(path):
        if isinstance(value, Mapping):
            value = value.get(quoted or plain)
        elif isinstance(value, Sequence) and not isinstance(value, str) and number and int(number) < len(value):
            value = value[int(number)]
        else:
            return None
    return value


def _name(op: Any) -> str:
    return str(getattr(op, "value", op))


def _is_component(meta: Any) -> bool:
    state = meta.new or meta.old
    return state is not None and not getattr(state, "custom", True)


def _last_words(error: auto.CommandError) -> str:
    """The engine's own message out of the Automation API's error, which holds all it ever wrote."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return "\n".join(said) or str(error).strip()


def _release_dead_lock(stack: str) -> None:
    """Remove locks on a local stack whose holder on this machine is dead (killed, or the machine was restarted)."""
    for lock in (home() / "state/.pulumi/locks").glob(f"**/{stack}/*.json"):
        try:
            held = json.loads(lock.read_text())
            if held["hostname"] == socket.gethostname() and not Path(f"/proc/{int(held['pid'])}").exists():
                lock.unlink()
        except (OSError, ValueError, KeyError):
            continue
