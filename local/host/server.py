"""The gRPC service that the Pulumi engine asks to run a Python program: `python -m local.host.server [ENGINE]`.

Each run is a process of its own (`program.py`) in the interpreter that Pulumi.yaml's `virtualenv` names, as with the
official host. The engine ends the host with SIGINT: it ends quietly then, with the processes it started.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import LanguageRuntimeServicer, language_pb2, language_pb2_grpc, plugin_pb2

PROGRAM = Path(__file__).with_name("program.py")
ANALYZER = "analyzer"


def python_of(info: Any) -> str:
    """The interpreter that Pulumi.yaml's option `virtualenv` names (relative to its folder), else this one."""
    name = info.options.fields["virtualenv"].string_value if "virtualenv" in info.options.fields else ""
    if not name:
        return sys.executable
    python = Path(info.root_directory) / name / "bin/python"
    if not python.exists():
        raise FileNotFoundError(f"Pulumi.yaml names the virtualenv {name}: no {python}. Run ./zdm, it makes one")
    return str(python)


class Host(LanguageRuntimeServicer):
    """What the engine needs of a language: run a program or a plugin, and say what a program depends on."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=sys.executable, version=version)

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        # the project's launcher has made the virtual environment from pinned requirements: nothing to add
        return iter(())

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
        entries = [language_pb2.DependencyInfo(name=name, version=found[name]) for name in sorted(found)]
        return language_pb2.GetProgramDependenciesResponse(dependencies=entries)

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Plugins of the installed SDKs, which the engine then gets; none where it must not download."""
        packages = []
        if os.environ.get("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "").lower() not in ("1", "true"):
            for distribution in importlib.metadata.distributions():
                for file in distribution.files or ():
                    if file.name == "pulumi-plugin.json":
                        known = json.loads(Path(str(file.locate())).read_text())
                        if known.get("resource"):
                            package = plugin_pb2.PackageDependency(
                                name=known["name"],
                                kind="resource",
                                version=f"v{known.get('version') or distribution.version}",
                                server=known.get("server", ""),
                            )
                            packages.append(package)
        return language_pb2.GetRequiredPackagesResponse(packages=packages)

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            python = python_of(request.info)
        except FileNotFoundError as error:
            return language_pb2.RunResponse(error=str(error))
        argv = [python, "-P", "-u", str(PROGRAM), self._engine]
        pipe = subprocess.PIPE
        child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=request.info.program_directory)
        self._children.add(child)
        try:
            context.add_callback(lambda: self._end(child))
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(request.SerializeToString())
            child.stdin.close()
            for line in child.stdout:  # what the program prints; the engine shows it
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
            code = child.wait()
        finally:
            self._end(child)
            self._children.discard(child)
        if code == 0:
            return language_pb2.RunResponse()
        if code == 32:  # the program has told the user what is wrong
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"program ended with exit code {code}")

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Run a plugin written in Python (a policy pack, a component provider) and send on what it prints."""
        python = python_of(request.info)
        if request.kind == ANALYZER:
            argv = [python, "-u", "-m", "pulumi.policy", *request.args, request.info.program_directory]
        else:
            argv = [python, "-u", request.info.program_directory, *request.args]
        env = dict(entry.split("=", 1) for entry in request.env) if request.env else dict(os.environ)
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            argv, cwd=request.pwd or None, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        self._children.add(child)
        queue: SimpleQueue[Any] = SimpleQueue()

        def pump(stream: IO[bytes], name: str) -> None:
            while chunk := os.read(stream.fileno(), 1 << 16):
                out = name == "stdout"
                response = language_pb2.RunPluginResponse
                queue.put(response(stdout=chunk) if out else response(stderr=chunk))
            queue.put(None)

        streams = {"stdout": child.stdout, "stderr": child.stderr}
        try:
            context.add_callback(lambda: self._end(child))
            for name, stream in streams.items():
                threading.Thread(target=pump, args=(stream, name), daemon=True).start()
            for _ in streams:
                while (message := queue.get()) is not None:
                    yield message
            yield language_pb2.RunPluginResponse(exitcode=child.wait())
        finally:
            self._end(child)
            self._children.discard(child)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.end()
        return empty_pb2.Empty()

    def end(self) -> None:
        """End every process that was started."""
        for child in tuple(self._children):
            self._end(child)

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            child.terminate()


def main() -> None:
    host = Host(next((word for word in reversed(sys.argv[1:]) if not word.startswith("-")), ""))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=_GRPC_CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    print(port, flush=True)
    ended.wait()
    host.end()
    server.stop(grace=None)
    os._exit(0)  # threads of gRPC that still wait would hold the engine


if __name__ == "__main__":
    main()
