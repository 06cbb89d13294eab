"""Cloudflare Workers on one machine: each script in a workerd of its own, behind the routes and DNS of the stack.

A script's bindings become workerd's; the Durable Objects of another script live in the process of the script that binds
them, with their data in the folder of the script that has their class. The origins among the bindings
(`https://mysql-api.example`) are replaced by where they are on this machine, found through the stack's DNS records,
load balancers, listeners and target groups. What changes that picture calls `reroute`, and a Worker whose configuration
comes out different is restarted with it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.environment import CLOUDFLARE_PORT, connect_to, worker_url
from local.provider.handler import Handler, HandlerError, Properties

if TYPE_CHECKING:
    from local.processes import Process
    from local.stack import LocalStack

SCRIPT = "cloudflare:index/workersScript:WorkersScript"
DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
COMPATIBILITY_DATE = "2026-04-01"  # for a script that names none
START_SECONDS = 30
STOP_SECONDS = 1.0  # workerd waits for idle connections, which clients keep open for long


# --- configuration ----------------------------------------------------------------------------------------------------


def configuration(stack: LocalStack, script: Properties) -> str:
    """workerd's configuration (Cap'n Proto text) of a script, with origins as they resolve now."""
    name, origins = script["scriptName"], connect_to(stack)
    objects: dict[str, list[str]] = {}
    namespaces: dict[str, str] = {}
    bindings = [
        f"(name = {_text(binding['name'])}, {_binding(name, binding, origins, namespaces, objects)})"
        for binding in script.get("bindings", ())
    ]
    network = 'network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))'
    services = ['(name = "main", worker = .main)', f'(name = "internet", {network})']
    store = f"{stack.address('cloudflare')}:{CLOUDFLARE_PORT}"
    for id, service in namespaces.items():
        http = f'(injectRequestHeaders = [(name = "x-zdm-namespace", value = {_text(id)})])'
        services.append(f'(name = "{service}", external = (address = "{store}", http = {http}))')
    worker = [*_code(script, "script"), f"bindings = {_listed(bindings)}"]
    if name in objects:
        worker += _objects(stack, name, objects[name], services)
    others = {
        owner: [*_code(_owner(stack, name, owner), f"../{owner}/script"), *_objects(stack, owner, classes, services)]
        for owner, classes in objects.items()
        if owner != name
    }
    services += [f"(name = {_text(owner)}, worker = .other{i})" for i, owner in enumerate(others)]
    address = worker_url(stack, name).removeprefix("http://")
    return "\n".join(
        [
            'using Workerd = import "/workerd/workerd.capnp";',
            "const config :Workerd.Config = (",
            f"  services = {_listed(services)},",
            f'  sockets = [(name = "http", address = "{address}", http = (), service = "main")]',
            ");",
            _constant("main", worker),
            *(_constant(f"other{i}", other) for i, other in enumerate(others.values())),
        ]
    )


def _constant(name: str, lines: list[str]) -> str:
    return f"const {name} :Workerd.Worker = (\n  " + ",\n  ".join(lines) + "\n);\n"


def _code(script: Properties, file: str) -> list[str]:
    """The script's code, which lies in `file`, and how the runtime has to behave towards it."""
    if script.get("mainModule"):
        lines = [f"modules = [(name = {_text(script['mainModule'])}, esModule = embed {_text(file)})]"]
    else:
        lines = [f"serviceWorkerScript = embed {_text(file)}"]
    lines.append(f"compatibilityDate = {_text(script.get('compatibilityDate') or COMPATIBILITY_DATE)}")
    if script.get("compatibilityFlags"):
        lines.append(f"compatibilityFlags = [{', '.join(map(_text, script['compatibilityFlags']))}]")
    return lines


def _objects(stack: LocalStack, owner: str, classes: list[str], services: list[str]) -> list[str]:
    """The Durable Objects' namespaces of a script; adds the folder with their data to the services."""
    disk = f"objects of {owner}"
    folder = _text(str(stack.data("workers", owner, "objects")))
    services.append(f"(name = {_text(disk)}, disk = (path = {folder}, writable = true))")
    made = [f"(className = {_text(c)}, uniqueKey = {_text(f'{owner}-{c}')}, enableSql = true)" for c in classes]
    return [f"durableObjectNamespaces = {_listed(made)}", f"durableObjectStorage = (localDisk = {_text(disk)})"]


def _owner(stack: LocalStack, user: str, name: str) -> Properties:
    """The script whose Durable Objects another one binds."""
    scripts = {record.outputs["scriptName"]: record.outputs for record in stack.records.all(SCRIPT)}
    if name not in scripts:
        raise HandlerError(f"Cloudflare API: there is no Worker {name}, whose Durable Objects {user} binds [10061]")
    for other in scripts.values():
        bound = any(b.get("scriptName") == name for b in other.get("bindings") or ())
        if bound and other["scriptName"] not in (user, name):
            raise HandlerError(f"on one machine only one Worker can bind the Durable Objects of {name}")
    return scripts[name]


def _serves(script: Properties) -> bool:
    """Whether a script needs a process: one with Durable Objects and no bindings lives in that of who binds them."""
    return not script.get("migrations") or bool(script.get("bindings"))


def _migrated(old: Properties, script: Properties) -> str | None:
    """The tag of the script's migrations once these are done. Raises `HandlerError` where Cloudflare would refuse."""
    tag, migrations = old.get("migrationTag"), script.get("migrations")
    if not migrations:
        return tag
    if migrations.get("oldTag") != tag:
        raise HandlerError(
            f"Cloudflare API: migration tag precondition failed; current tag is {tag!r}, oldTag says "
            f"{migrations.get('oldTag')!r} [10079]. An upload with migrations does them (again): a script that has "
            "Durable Objects is changed under a new name, or with the next tag"
        )
    return migrations.get("newTag") or tag


def _listed(items: list[str]) -> str:
    return "[\n" + "".join(f"    {item},\n" for item in items) + "  ]"


def _binding(
    script: str,
    binding: Properties,
    origins: dict[str, str],
    namespaces: dict[str, str],
    objects: dict[str, list[str]],
) -> str:
    kind = binding["type"]
    if kind == "plain_text":
        return f"text = {_text(_moved(binding['text'], origins))}"
    if kind == "secret_text":
        return f"text = {_text(binding['text'])}"
    if kind == "json":
        return f"json = {_text(binding['json'])}"
    if kind == "kv_namespace":
        service = namespaces.setdefault(binding["namespaceId"], f"kv{len(namespaces)}")
        return f'kvNamespace = "{service}"'
    if kind == "durable_object_namespace":
        owner, name = binding.get("scriptName") or script, binding["className"]
        if name not in objects.setdefault(owner, []):
            objects[owner].append(name)
        where = "" if owner == script else f", serviceName = {_text(owner)}"
        return f"durableObjectNamespace = (className = {_text(name)}{where})"
    raise HandlerError(
        f"binding {binding['name']} is of type {kind}, which the local cloud does not have: it has plain_text, "
        "secret_text, json, kv_namespace and durable_object_namespace (local/dataplane/workers.py)"
    )


def _moved(text: str, origins: dict[str, str]) -> str:
    """A URL with its origin as it is on this machine; any other text as it is."""
    parts = urlsplit(text) if text.startswith(("http://", "https://")) else None
    origin = f"{parts.scheme}://{parts.netloc}" if parts else ""
    return origins[origin] + text.removeprefix(origin) if origin in origins else text


def _text(value: str) -> str:
    """A Cap'n Proto string."""
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"\\u00([0-9a-f]{2})", r"\\x\1", quoted)


def _content(script: Properties) -> bytes:
    if script.get("content") is not None:
        return str(script["content"]).encode()
    if script.get("contentFile"):
        try:
            content = Path(script["contentFile"]).read_bytes()
        except OSError as e:
            raise HandlerError(f"contentFile of Worker {script['scriptName']}: {e}") from e
        if hashlib.sha256(content).hexdigest() != script["contentSha256"].lower():
            raise HandlerError(f"contentSha256 of {script['scriptName']} is not the hash of {script['contentFile']}")
        return content
    raise HandlerError(f"Worker {script['scriptName']} has neither content nor contentFile")


# --- processes --------------------------------------------------------------------------------------------------------


def _process(stack: LocalStack, name: str) -> Process:
    return stack.process(f"worker-{name}")


def _home(stack: LocalStack, name: str) -> Path:
    return stack.home / "data" / "workers" / name


def _deploy(stack: LocalStack, script: Properties, content: bytes | None = None) -> None:
    """Has the script running with its configuration as of now; touches nothing if it already is."""
    from local import parts
    from local.dataplane.cloud import accepts
    from local.processes import write_atomically

    name = script["scriptName"]
    home, process = _home(stack, name), _process(stack, name)
    with stack.lock("workers"):
        file, code = home / "config.capnp", home / "script"
        home.mkdir(parents=True, exist_ok=True)
        if not _serves(script):
            if content is not None:
                code.write_bytes(content)
            return
        wanted = configuration(stack, script)
        same = file.exists() and file.read_text() == wanted
        if content is not None and not (code.exists() and code.read_bytes() == content):
            code.write_bytes(content)
            same = False
        if not same:
            write_atomically(file, wanted, mode=0o600)
            process.stop(STOP_SECONDS)
        if not process.running():
            host, _, port = worker_url(stack, name).removeprefix("http://").partition(":")
            workerd = parts.require("workerd").command["workerd"]
            process.start(
                [*workerd, "serve", "--experimental", str(file)],
                ready=lambda: accepts(host, int(port), 0.2),
                timeout=START_SECONDS,
            )


def reroute(stack: LocalStack) -> None:
    """Gives every Worker of the stack the origins as they are now."""
    for record in stack.records.all(SCRIPT):
        if (_home(stack, record.outputs["scriptName"]) / "script").exists():
            _deploy(stack, record.outputs)


# --- the resources ----------------------------------------------------------------------------------------------------


class Script(Handler):
    """`cloudflare.WorkersScript`."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        state = self._deployed(stack, inputs)
        return inputs["scriptName"], {**state, "createdOn": state["modifiedOn"]}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        if not (_home(stack, id) / "script").exists():
            return None
        if not _serves(state):
            return {**state, "localStatus": "stored"}
        return {**state, "localStatus": "running" if _process(stack, id).running() else "stopped"}

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**self._deployed(stack, new_inputs, old), "createdOn": old.get("createdOn")}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        with stack.lock("workers"):
            _process(stack, id).stop(STOP_SECONDS)
            _process(stack, id).remove()
            shutil.rmtree(_home(stack, id), ignore_errors=True)

    def needs_repair(self, state: Properties) -> list[str]:
        return ["localStatus"] if state.get("localStatus") == "stopped" else []

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        reroute(stack)

    @staticmethod
    def _deployed(stack: LocalStack, inputs: Properties, old: Properties | None = None) -> Properties:
        content, tag = _content(inputs), _migrated(old or {}, inputs)
        _deploy(stack, inputs, content)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            **inputs,
            "etag": hashlib.sha256(content).hexdigest(),
            "modifiedOn": now,
            "hasModules": "mainModule" in inputs,
            "hasAssets": False,
            "localStatus": "running" if _serves(inputs) else "stored",
            **({"migrationTag": tag} if tag else {}),
        }


class _Recorded(Handler):
    """Kept in the records; what it says decides where requests go."""

    def _id(self, inputs: Properties) -> str:
        raise NotImplementedError

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        return self._id(inputs), self._outputs(inputs)

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**self._outputs(new_inputs), **{k: old[k] for k in ("createdOn",) if k in old}}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        pass

    def _outputs(self, inputs: Properties) -> Properties:
        return dict(inputs)

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        reroute(stack)


class Route(_Recorded):
    """`cloudflare.WorkersRoute`: which host names a script answers."""

    def _id(self, inputs: Properties) -> str:
        return hashlib.sha256(f"{inputs['zoneId']} {inputs['pattern']}".encode()).hexdigest()[:32]


class CustomDomain(_Recorded):
    """`cloudflare.WorkersCustomDomain`: a host name that a script answers, with its DNS record and certificate."""

    def _id(self, inputs: Properties) -> str:
        return hashlib.sha256(f"domain {inputs['hostname']}".encode()).hexdigest()[:32]

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        if stack.records.find(DNS_RECORD, name=inputs["hostname"]):
            raise HandlerError(
                f"Cloudflare API: hostname {inputs['hostname']!r} already has externally managed DNS records [100117]: "
                "a custom domain makes its own, delete the other one"
            )
        return super().create(stack, urn_name, inputs)

    def _outputs(self, inputs: Properties) -> Properties:
        parent = inputs["hostname"].partition(".")[2]
        return {"zoneName": parent, "environment": "production", "certId": self._id(inputs), **inputs}


class DnsRecord(_Recorded):
    """`cloudflare.DnsRecord`: which load balancer a host name leads to."""

    def _id(self, inputs: Properties) -> str:
        text = " ".join(str(inputs.get(name)) for name in ("zoneId", "name", "type", "content"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _outputs(self, inputs: Properties) -> Properties:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "proxied": False,
            **inputs,
            "createdOn": now,
            "modifiedOn": now,
            "proxiable": inputs["type"] in ("A", "AAAA", "CNAME"),
        }
