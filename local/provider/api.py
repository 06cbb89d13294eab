"""How a resource type of the AWS API is carried out: by boto3 calls against the API server of the stack.

A `Call` names a boto3 operation and where its arguments come from: a property (dotted path), a template with `{}`
around property names, or a function of all values. Arguments without a value are left out. `found` and `outputs` are
JMESPath expressions over the answer of the reading call (`<name>` stands for a value), or templates. Values are the
properties and `id`, `region`, `account`; `old` is the former state, in an update only.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from local.environment import AWS_PORT, aws_environment
from local.provider.handler import Handler, HandlerError
from local.provider.settings import ProviderSettings

if TYPE_CHECKING:
    from local.stack import LocalStack

Values = dict[str, Any]
Spec = str | Callable[[Values], Any]

PROCESS = "aws-control-plane"
START_SECONDS = 60
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_GONE = re.compile(r"NotFound|NoSuch|NonExistent|DoesNotExist|InvalidKeyId|^404$")


# --- the server -------------------------------------------------------------------------------------------------------


class ApiServer:
    """The AWS API server of one stack: started when something needs it, stopped when nothing lives in it any more."""

    def __init__(self, stack: LocalStack, region: str) -> None:
        self._stack = stack
        self._region = region
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}
        self._busy = 0

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.session.Session()

    def client(self, service: str) -> Any:
        """The one boto3 client of a service, with the server running."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
        self.start()
        return self._clients[service]

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        environment = aws_environment(self._stack, self._region)
        addressing: Any = {"addressing_style": "path"}
        client = self._session.client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=self._region,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(max_pool_connections=32, retries={"total_max_attempts": 1}, s3=addressing),
        )
        client.meta.events.register("before-sign.s3-control", _without_account)
        return client

    def start(self) -> None:
        """Starts the server unless it runs; one that starts again has all its resources back."""
        from local.stack import PROJECT

        process = self._stack.process(PROCESS)
        if process.running() and self._up:
            return
        address = self._stack.address("aws")

        def listens() -> bool:
            with socket.socket() as probe:
                probe.settimeout(0.2)
                return probe.connect_ex((address, AWS_PORT)) == 0

        journal = self._stack.data("aws")
        process.start(
            [sys.executable, "-m", "local.provider.aws_api", address, str(AWS_PORT), str(journal)],
            env={
                **os.environ,
                "PYTHONPATH": str(PROJECT),
                "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
                "MOTO_ACM_VALIDATION_WAIT": "0",
                "MOTO_ACCOUNT_ID": ProviderSettings().account,
            },
            ready=listens,
            timeout=START_SECONDS,
        )
        self._up = True

    _up = False

    def __enter__(self) -> ApiServer:
        with self._lock:
            self._busy += 1
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._busy -= 1

    def stop_if_empty(self) -> None:
        """Stops the server and drops its memory once no record lives in it and nothing is being made."""
        with self._lock:
            if self._busy or any(_uses_api(kind) for kind in self._stack.records.kinds()):
                return
            self._up = False
            self._stack.process(PROCESS).remove()
            shutil.rmtree(self._stack.data("aws"), ignore_errors=True)


def _uses_api(kind: str) -> bool:
    """Whether resources of this kind keep something in the API server: all of AWS but Kafka and copies of databases.

    (Databases keep the secrets of their master users there, connectors read theirs.)
    """
    alone = kind.startswith("aws:msk:") or kind in ("aws:rds:ClusterSnapshot", "aws:rds:Snapshot")
    return kind.startswith("aws:") and not alone


def _without_account(request: Any, **_: Any) -> None:
    """The account in front of the host name is a name in AWS's DNS only; it is in the request as well."""
    request.url = re.sub(r"//\d{12}\.", "//", request.url)


_servers: dict[tuple[str, str], ApiServer] = {}
_servers_lock = threading.Lock()


def server(stack: LocalStack, region: str = "us-east-1") -> ApiServer:
    """The stack's API server, as one region sees it."""
    with _servers_lock:
        return _servers.setdefault((str(stack.home), region), ApiServer(stack, region))


# --- the table's words ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One boto3 operation and the sources of its arguments."""

    operation: str
    arguments: Mapping[str, Spec] = field(default_factory=dict)
    when: Callable[[Values], Any] = lambda values: True


@dataclass(frozen=True)
class Update:
    """The calls that carry out a change of one of these properties."""

    properties: tuple[str, ...]
    calls: tuple[Call, ...]
    on_create: bool = False
    """Also after the creation, where the creating call does not take the property."""


@dataclass(frozen=True)
class Tagging:
    """How a service sets and removes tags."""

    tag: Call
    untag: Call


@dataclass
class Api(Handler):
    """A type whose whole life is calls to the API server."""

    service: str
    create_call: Call
    id: Spec
    read_call: Call | None = None
    found: str = "@"
    outputs: Mapping[str, str] = field(default_factory=dict)
    updates: tuple[Update, ...] = ()
    delete_calls: tuple[Call, ...] = ()
    tagging: Tagging | None = None
    gone: Callable[[Any], bool] = lambda found: False
    more: Callable[[Api, ApiServer, Values, Any], Values] | None = None
    """Outputs that take more than one call to know."""
    tell: Callable[[LocalStack, Values], None] | None = None
    """Whom a change concerns, told when it is recorded."""
    before_update: Callable[[LocalStack, Values], None] | None = None
    """Runs before the calls of an update, and may refuse it."""
    before_delete: Callable[[ApiServer, Values], None] | None = None
    adjust: Callable[[LocalStack, Values], Values] | None = None
    """Outputs that this machine decides, such as the address of a load balancer."""
    settings: ProviderSettings = field(default_factory=ProviderSettings)

    def create(self, stack: LocalStack, urn_name: str, inputs: Values) -> tuple[str, Values]:
        region = inputs.get("region") or self.settings.region
        with server(stack, region) as api:
            values = self._values({**inputs, "region": region, "urn_name": urn_name})
            answer = self._call(api, self.create_call, values)
            answer.pop("ResponseMetadata", None)
            values["id"] = id = self._id(values, answer)
            for update in self.updates:
                if update.on_create and any(inputs.get(p) is not None for p in update.properties):
                    self._perform(api, update.calls, values)
            if self.tagging and inputs.get("tagsAll"):
                made = self._state(stack, api, id, {**inputs, "region": region}) or {}
                self._call(api, self.tagging.tag, self._values({**made, "id": id, "tag_map": inputs["tagsAll"]}))
            state = self._state(stack, api, id, {**inputs, "region": region})
            if state is None:
                raise HandlerError(f"{self.service} did not keep {urn_name} ({id}): see the log of {PROCESS}")
            return id, state

    def read(self, stack: LocalStack, id: str, state: Values) -> Values | None:
        region = state.get("region") or self.settings.region
        with server(stack, region) as api:
            return self._state(stack, api, id, {**state, "region": region})

    def update(self, stack: LocalStack, id: str, old: Values, new_inputs: Values) -> Values:
        region = new_inputs.get("region") or old.get("region") or self.settings.region
        with server(stack, region) as api:
            computed = {k: v for k, v in old.items() if k not in new_inputs and k in (*self.outputs, "arn")}
            merged = {**computed, **new_inputs, "region": region}
            values = {**self._values(merged), "id": id, "old": old}
            if self.before_update:
                self.before_update(stack, values)
            for update in self.updates:
                if any(old.get(p) != new_inputs.get(p) for p in update.properties):
                    self._perform(api, update.calls, values)
            if self.tagging and old.get("tagsAll", {}) != new_inputs.get("tagsAll", {}):
                self._retag(api, values, old.get("tagsAll") or {}, new_inputs.get("tagsAll") or {})
            state = self._state(stack, api, id, merged)
            if state is None:
                raise HandlerError(f"{id} is gone from {self.service}: run `up --refresh` to make it again")
            return state

    def delete(self, stack: LocalStack, id: str, state: Values) -> None:
        region = state.get("region") or self.settings.region
        if not stack.records.home.exists():
            return
        with server(stack, region) as api:
            values = {**self._values({**state, "region": region}), "id": id}
            try:
                if self.before_delete:
                    self.before_delete(api, values)
                self._perform(api, self.delete_calls, values)
            except Exception as error:
                if not _is_gone(error):
                    raise

    def recorded(self, stack: LocalStack, outputs: Values) -> None:
        if self.tell:
            self.tell(stack, outputs)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _values(self, values: Values) -> Values:
        return {"account": self.settings.account, "partition": "aws", **values}

    def _id(self, values: Values, answer: Values) -> str:
        if callable(self.id):
            return str(self.id({**values, "answer": answer}))
        return _template(self.id, values) if _PLACEHOLDER.search(self.id) else str(_search(self.id, answer))

    def _state(self, stack: LocalStack, api: ApiServer, id: str, known: Values) -> Values | None:
        values = {**self._values(known), "id": id}
        found: Any = {}
        if self.read_call:
            try:
                answer = self._call(api, self.read_call, values)
            except Exception as error:
                if _is_gone(error):
                    return None
                raise
            found = _search(self._fill(self.found, values), answer)
            if found is None or self.gone(found):
                return None
        state = dict(known)
        for name, source in self.outputs.items():
            is_template = _PLACEHOLDER.search(source)
            value = (
                _template(source, {**values, **state}) if is_template else _search(self._fill(source, values), found)
            )
            if value is not None:
                state[name] = value
        if self.more:
            state |= self.more(self, api, {**values, **state}, found)
        if self.adjust:
            state |= self.adjust(stack, {**values, **state})
        return {k: v for k, v in state.items() if k not in ("account", "partition", "urn_name")}

    @staticmethod
    def _fill(expression: str, values: Values) -> str:
        return re.sub(r"<(\w+)>", lambda m: str(values.get(m[1], "")), expression)

    def _perform(self, api: ApiServer, calls: tuple[Call, ...], values: Values) -> None:
        for call in calls:
            if call.when(values):
                self._call(api, call, values)

    def _call(self, api: ApiServer, call: Call, values: Values) -> Any:
        arguments = {
            name: value for name, spec in call.arguments.items() if (value := _value(spec, values)) is not None
        }
        return getattr(api.client(self.service), call.operation)(**arguments)

    def _retag(self, api: ApiServer, values: Values, old: Values, new: Values) -> None:
        assert self.tagging
        changed = {k: v for k, v in new.items() if old.get(k) != v}
        removed = [k for k in old if k not in new]
        if changed:
            self._call(api, self.tagging.tag, {**values, "tag_map": changed})
        if removed:
            self._call(api, self.tagging.untag, {**values, "tag_keys": removed})


@dataclass
class Recorded(Handler):
    """A type that is only kept in the records: neither a part nor the API server can do more for it."""

    id: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    settings: ProviderSettings = field(default_factory=ProviderSettings)
    on_create: Callable[[LocalStack, Values], None] | None = None

    def create(self, stack: LocalStack, urn_name: str, inputs: Values) -> tuple[str, Values]:
        values = {"region": self.settings.region, **inputs, "account": self.settings.account}
        if self.on_create:
            self.on_create(stack, values)
        id = _template(self.id, values)
        made = {name: _template(source, {**values, "id": id}) for name, source in self.outputs.items()}
        return id, {"region": values["region"], **inputs, **made}

    def read(self, stack: LocalStack, id: str, state: Values) -> Values | None:
        return state

    def update(self, stack: LocalStack, id: str, old: Values, new_inputs: Values) -> Values:
        return {**{k: old[k] for k in (*self.outputs, "region") if k in old}, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Values) -> None:
        pass


def _is_gone(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return isinstance(response, dict) and bool(_GONE.search(str(response.get("Error", {}).get("Code", ""))))


def _value(spec: Spec, values: Values) -> Any:
    if callable(spec):
        return spec(values)
    if _PLACEHOLDER.search(spec):
        return _template(spec, values)
    value: Any = values
    for part in spec.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _template(text: str, values: Values) -> str:
    return _PLACEHOLDER.sub(lambda m: str(values[m[1]]), text)


@cache
def _compiled(expression: str) -> Any:
    import jmespath  # type: ignore[import-untyped]

    return jmespath.compile(expression)


def _search(expression: str, answer: Any) -> Any:
    return _compiled(expression).search(answer)
