"""The engine, the language host and the driving of stacks, with the real engine and a small program without a cloud."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from local import engine, parts

ROOT = Path(__file__).parents[2]
PROGRAM = '''
"""A program that needs no provider."""
import time
from pathlib import Path

import pulumi

config = pulumi.Config()
count = config.require_int("count")
print("hello from the program")
if count > 9:
    raise pulumi.RunError("2 settings are wrong:\\n  count: at most 9\\n  list: is missing")
if count < 0:
    raise ValueError("count is negative")


class Piece(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("tiny:index:Piece", name)
        self.register_outputs({})


for i in range(count):
    Piece(f"piece-{i}")
if config.get_bool("slow"):
    Path(config.require("mark")).write_text("started")
    time.sleep(120)
pulumi.export("count", count)
pulumi.export("list", config.get_object("list"))
pulumi.export("folder", str(Path.cwd()))
pulumi.export("word", config.get_secret("word"))
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one stack, `dev`, and its own state."""
    folder = tmp_path / "project"
    (folder / "infra").mkdir(parents=True)
    (folder / "infra/__main__.py").write_text(PROGRAM)
    (folder / ".venv").symlink_to(sys.prefix)
    settings = {
        "name": "tiny",
        "main": "infra/",
        "runtime": {"name": "python", "options": {"virtualenv": ".venv"}},
        "config": {"count": {"type": "integer", "default": 1}},
    }
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(settings))
    (folder / "Pulumi.dev.yaml").write_text("config:\n  tiny:count: 2\n")
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZDM_PYTHON", sys.executable)
    yield folder


def tree(folder: Path) -> dict[str, str]:
    """The project's own files."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".venv" not in path.parts)
    return {str(path.relative_to(folder)): path.read_text() for path in files if path.suffix != ".pyc"}


@pytest.mark.real
def test_a_generated_stack_lives_and_ends_without_a_trace_in_the_project(project: Path) -> None:
    before = tree(project)
    seen: list[engine.Progress] = []
    stack = engine.workspace("rehearse", True, {"count": 3, "list": ["a", "b"]}, project=project)

    planned = stack.preview()
    assert planned.counts == {"create": 4}
    assert ("create", "piece-0") in {(change.op, change.name) for change in planned.changes}

    made = stack.up(seen.append)
    assert made.counts == {"create": 4}
    assert made.outputs["count"] == 3
    assert made.outputs["list"] == ["a", "b"]
    assert made.outputs["folder"] == str(project / "infra")
    assert seen[-1].done == seen[-1].known == 4
    assert seen[-1].running == ()

    again = engine.workspace("rehearse", True, project=project).up()
    assert (again.changed, again.counts) == (0, {"same": 4})

    smaller = engine.workspace("rehearse", True, {"count": 2}, project=project).up()
    assert [(change.op, change.name) for change in smaller.changes] == [("delete", "piece-2")]
    assert smaller.outputs.get("list") is None

    gone = engine.workspace("rehearse", True, create=False, project=project)
    assert gone.destroy().counts == {"delete": 3}
    gone.remove()
    with pytest.raises(engine.EngineError, match=r"no local stack 'rehearse'; bring it up with"):
        engine.workspace("rehearse", True, create=False, project=project)
    assert tree(project) == before


@pytest.mark.real
def test_a_stack_of_the_project_without_salt_is_left_alone(project: Path) -> None:
    before = tree(project)
    stack = engine.workspace("dev", True, project=project)
    stack.set_config({"list": '["x"]', "count": "1"})
    assert stack.up().outputs["list"] == ["x"]
    assert engine.workspace("dev", True, project=project).outputs()["count"] == 1
    assert tree(project) == before


@pytest.mark.real
def test_the_programs_mistakes_reach_the_user_as_they_are(project: Path) -> None:
    with pytest.raises(engine.EngineError) as caught:
        engine.workspace("rehearse", True, {"count": 10}, project=project).preview()
    said = "preview of stack rehearse failed:\n2 settings are wrong:\n  count: at most 9\n  list: is missing"
    assert str(caught.value) == said
    with pytest.raises(engine.EngineError, match=r"(?s)count is negative\n  File .*__main__.py.*ValueError"):
        engine.workspace("rehearse", True, {"count": -1}, project=project).preview()


@pytest.mark.real
def test_the_literal_pulumi_sees_the_same_stack(project: Path) -> None:
    env = engine.environment(True)
    own = {**os.environ, **env}

    def pulumi(*words: str) -> str:
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"], cwd=project, env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("stack", "init", "dev")  # writes the salt, as a committed file of a stack for one machine has it
    assert engine.has_local_salt(project / "Pulumi.dev.yaml")
    before = tree(project)
    assert "3 to create" in pulumi("preview", "-s", "dev")
    pulumi("up", "-s", "dev", "--yes", "--skip-preview")
    assert engine.workspace("dev", True, project=project).up().changed == 0
    assert json.loads(pulumi("stack", "output", "--json", "-s", "dev"))["count"] == 2
    assert "hello from the program" in pulumi("up", "-s", "dev", "--yes")  # preview and update in one host
    assert engine.workspace("dev", True, project=project).destroy().counts == {"delete": 3}
    assert tree(project) == before


@pytest.mark.real
def test_an_interrupted_run_ends_its_processes_and_its_lock(project: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"""
from pathlib import Path
from local import engine
settings = {{"count": 1, "slow": True, "mark": {str(mark)!r}}}
engine.workspace("rehearse", True, settings, project=Path({str(project)!r})).up()
"""
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.05)
    assert mark.exists()
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=90)[0].decode()
    assert "KeyboardInterrupt" in said
    assert still_running(str(project)) == []
    assert engine.workspace("rehearse", True, {"count": 1}, project=project).up().outputs["count"] == 1


def still_running(text: str) -> list[str]:
    """Command lines of processes whose working folder or arguments hold the text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if text in words or text in os.readlink(process / "cwd"):
                found.append(words)
        except OSError:
            continue
    return found


@pytest.mark.real
def test_a_dead_holders_lock_is_released_and_a_living_ones_is_not(project: Path) -> None:
    stack = engine.workspace("rehearse", True, {"count": 1}, project=project)
    stack.up()
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = engine.home() / "state/.pulumi/locks/organization/tiny/rehearse"
    folder.mkdir(parents=True, exist_ok=True)
    host = os.uname().nodename
    lock = {"pid": dead.pid, "username": "someone", "hostname": host, "timestamp": "2026-01-01T00:00:00Z"}
    (folder / "a.json").write_text(json.dumps(lock))
    assert engine.workspace("rehearse", True, project=project).up().changed == 0
    (folder / "b.json").write_text(json.dumps({**lock, "pid": os.getpid()}))
    with pytest.raises(engine.EngineError, match="being changed by another run"):
        engine.workspace("rehearse", True, project=project).up()


def test_a_stack_of_the_cloud_that_is_unknown_is_said(project: Path) -> None:
    with pytest.raises(engine.EngineError, match=r"no Pulumi\.nowhere\.yaml: the stacks are dev"):
        engine.workspace("nowhere", False, project=project)


@pytest.mark.real
def test_environment_puts_the_local_clouds_plugins_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path))
    local, cloud = engine.environment(True), engine.environment(False)
    assert local["PATH"].split(os.pathsep)[0] == str(ROOT / "local/bin")
    assert str(ROOT / "local/bin") not in cloud["PATH"]
    assert local["PULUMI_BACKEND_URL"].startswith(f"file://{tmp_path}")
    assert "PULUMI_BACKEND_URL" not in cloud
    assert "PULUMI_CONFIG_PASSPHRASE" not in cloud


class HostProcess:
    """The language host as the engine starts it."""

    def __init__(self) -> None:
        host = ROOT / "local/host/pulumi-language-python"
        self.process = subprocess.Popen(
            [str(host), "127.0.0.1:1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "ZDM_PYTHON": sys.executable},
        )
        assert self.process.stdout is not None
        self.channel = grpc.insecure_channel(f"127.0.0.1:{int(self.process.stdout.readline())}")
        self.stub: Any = language_pb2_grpc.LanguageRuntimeStub(self.channel)


@pytest.fixture
def host() -> Iterator[HostProcess]:
    made = HostProcess()
    yield made
    made.channel.close()
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate()


def test_the_host_ends_quietly_on_an_interrupt(host: HostProcess) -> None:
    host.stub.Handshake(language_pb2.LanguageHandshakeRequest(engine_address="127.0.0.1:1"), timeout=30)
    host.process.send_signal(signal.SIGINT)
    out, err = host.process.communicate(timeout=20)
    assert (host.process.returncode, out, err) == (0, "", "")


def test_the_host_says_what_the_program_is_made_of(host: HostProcess) -> None:
    about = host.stub.About(language_pb2.AboutRequest(), timeout=30)
    assert about.version.startswith("3.")
    reply = host.stub.GetProgramDependencies(language_pb2.GetProgramDependenciesRequest(), timeout=30)
    assert "pulumi" in {entry.name for entry in reply.dependencies}
    reply = host.stub.GetRequiredPackages(language_pb2.GetRequiredPackagesRequest(), timeout=30)
    assert {"aws", "cloudflare"} <= {package.name for package in reply.packages}
    assert list(host.stub.RuntimeOptionsPrompts(language_pb2.RuntimeOptionsRequest(), timeout=30).prompts) == []
    assert list(host.stub.InstallDependencies(language_pb2.InstallDependenciesRequest(), timeout=30)) == []


def test_the_host_runs_plugins_and_sends_what_they_print(host: HostProcess, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        "import os, sys\n"
        "print('port', *sys.argv[1:], flush=True)\n"
        "print(os.environ['WHY'], file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    info = language_pb2.ProgramInfo(root_directory=str(tmp_path), program_directory=str(tmp_path), entry_point=".")
    env = [*(f"{name}={value}" for name, value in os.environ.items()), "WHY=because"]
    request = language_pb2.RunPluginRequest(pwd=str(tmp_path), args=["one"], env=env, info=info, kind="resource")
    replies = list(host.stub.RunPlugin(request, timeout=60))
    assert b"".join(reply.stdout for reply in replies) == b"port one\n"
    assert b"".join(reply.stderr for reply in replies) == b"because\n"
    assert replies[-1].exitcode == 3


def test_a_missing_virtual_environment_is_named(host: HostProcess, tmp_path: Path) -> None:
    info = language_pb2.ProgramInfo(root_directory=str(tmp_path), program_directory=str(tmp_path), entry_point=".")
    info.options.update({"virtualenv": "nowhere"})
    reply = host.stub.Run(language_pb2.RunRequest(info=info), timeout=30)
    assert f"no {tmp_path}/nowhere/bin/python" in reply.error


def test_the_parts_errors_name_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZDM_PULUMI", str(tmp_path))
    with pytest.raises(parts.PartError, match="ZDM_PULUMI"):
        engine.environment(False)
