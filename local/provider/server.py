"""The engine's provider protocol for the packages `aws` and `cloudflare`, realised on this machine.

One plugin process serves one provider of one stack; the stack's name comes with the first resource or provider that
the engine asks about. What is common to all types happens here (checks, names, differences, previews, secrets,
records); what is particular is a `Handler`. Handlers run in a pool of threads, so that independent resources are
made at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental import server as sdk_server
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2_grpc

from local.provider import facts, invokes, registry
from local.provider.handler import Handler, HandlerError
from local.provider.settings import ProviderSettings, SettingsError
from local.provider.values import DEFAULTS, UNKNOWN, Asset, Plain, secret_names, to_plain, to_properties

if TYPE_CHECKING:
    from local.stack import LocalStack

THREADS = 32
TAGS_ALL = "tagsAll"

Properties = dict[str, PropertyValue]

_old_inputs: contextvars.ContextVar[Plain | None] = contextvars.ContextVar("old_inputs", default=None)


class LocalProvider(sdk.Provider):
    """The local cloud behind one provider resource."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._stack_name: str | None = None
        self._settings = ProviderSettings()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="handler")
        self._opened: LocalStack | None = None

    # --- the provider itself ------------------------------------------------------------------------------------------

    async def check_config(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        self._learn(request.urn)
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        self._learn(request.urn)
        old, new = to_plain(request.old_state), to_plain(request.new_inputs)
        changed = [name for name in {*old, *new} if old.get(name) != new.get(name) and name != "version"]
        return sdk.DiffResponse(
            changes=bool(changed), replaces=["region"] if "region" in changed else [], diffs=changed
        )

    async def configure(self, request: sdk.ConfigureRequest) -> sdk.ConfigureResponse:
        self._settings = ProviderSettings.parse(self._package, to_plain(request.args))
        return sdk.ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def get_schema(self, request: sdk.GetSchemaRequest) -> sdk.GetSchemaResponse:
        return sdk.GetSchemaResponse(json.dumps({"name": self._package, "version": sdk_version(self._package)}))

    async def cancel(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def invoke(self, request: sdk.InvokeRequest) -> sdk.InvokeResponse:
        result = await self._run(invokes.invoke, request.tok, to_plain(request.args), self._settings)
        return sdk.InvokeResponse(to_properties(result))

    # --- resources ----------------------------------------------------------------------------------------------------

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        self._learn(request.urn)
        self._handler(_token(request))
        old, new = to_plain(request.old_inputs), to_plain(request.new_inputs)
        inputs, failures = facts.with_defaults(_token(request), request.name, old, new, request.random_seed)
        failures += facts.check(_token(request), inputs)
        filled = to_properties({name: inputs[name] for name in inputs if name not in new or name == DEFAULTS})
        kept = {name: value for name, value in request.new_inputs.items() if name in new}
        return sdk.CheckResponse(
            inputs={**kept, **filled}, failures=[sdk.CheckFailure(f.property, f.reason) for f in failures]
        )

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        self._learn(request.urn)
        token, state = _token(request), to_plain(request.old_state)
        new = self._wanted(token, to_plain(request.new_inputs))
        found = facts.differences(token, state, await self._asked(token, request.resource_id), new)
        found = [
            d
            for d in found
            if not any(d.path == i or d.path.startswith((f"{i}.", f"{i}[")) for i in request.ignore_changes)
        ]
        known = {d.path for d in found}
        found += [
            facts.Difference(path, "update", False)
            for path in self._handler(token).needs_repair(state)
            if path not in known
        ]
        return sdk.DiffResponse(
            changes=bool(found),
            replaces=[d.path for d in found if d.replaces],
            delete_before_replace=any(d.replaces for d in found) and facts.delete_first(token, state, new),
            diffs=sorted({d.path.partition(".")[0].partition("[")[0] for d in found}),
            detailed_diff={d.path: sdk.PropertyDiff(_kind(d), input_diff=d.path in new) for d in found},
        )

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        self._learn(request.urn)
        token, secret = _token(request), self._secrets(_token(request), request.properties)
        inputs = self._wanted(token, to_plain(request.properties))
        inputs.pop(DEFAULTS, None)
        if request.preview:
            unknown = {name: UNKNOWN for name in facts.computed_outputs(token) if name not in inputs}
            return sdk.CreateResponse(properties=to_properties({**unknown, **inputs}, secret))
        id, outputs = await self._run(self._handler(token).create, self._stack, request.name, inputs)
        await self._run(self._record, token, id, inputs, outputs, request.urn)
        return sdk.CreateResponse(id, to_properties(outputs, secret))

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        self._learn(request.urn)
        token, id, secret = _token(request), request.resource_id, self._secrets(_token(request), request.news)
        old, new = to_plain(request.olds), self._wanted(token, to_plain(request.news))
        new.pop(DEFAULTS, None)
        if request.preview:
            asked = await self._asked(token, id) or {}
            renewed = facts.refreshed(token, facts.differences(token, old, asked, new))
            kept = {
                name: UNKNOWN if name in renewed else value
                for name, value in old.items()
                if name in new or name not in asked or name in facts.computed_outputs(token)
            }
            return sdk.UpdateResponse(to_properties({**kept, **new}, secret))
        outputs = await self._run(self._handler(token).update, self._stack, id, old, new)
        await self._run(self._record, token, id, new, outputs, request.urn)
        return sdk.UpdateResponse(to_properties(outputs, secret))

    async def read(self, request: sdk.ReadRequest) -> sdk.ReadResponse:
        self._learn(request.urn)
        token, id, state = _token(request), request.resource_id, to_plain(request.properties)
        found = await self._run(self._handler(token).read, self._stack, id, state)
        record = await self._run(self._stack.records.get, token, id)
        if found is None:
            if record:
                await self._run(self._stack.records.delete, token, id)
            return sdk.ReadResponse()
        asked = record.inputs if record else to_plain(request.inputs)
        await self._run(self._stack.records.put, token, id, asked, found, request.urn)
        if record is None:
            await self._run(self._stack.records.forget_others, token, id, request.urn)
        secret = self._secrets(token, {**request.properties, **request.inputs})
        return sdk.ReadResponse(id, to_properties(found, secret), request.inputs)

    async def delete(self, request: sdk.DeleteRequest) -> None:
        self._learn(request.urn)
        token, id, state = _token(request), request.resource_id, to_plain(request.properties)
        await self._run(self._handler(token).delete, self._stack, id, state)
        await self._run(self._forget, token, id, state)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _learn(self, urn: str) -> None:
        if self._stack_name is None:
            self._stack_name = urn.removeprefix("urn:pulumi:").partition("::")[0]

    @property
    def _stack(self) -> LocalStack:
        if self._opened is None:
            from local.stack import open_stack

            if self._stack_name is None:
                raise HandlerError("the engine has not named the stack yet")
            self._opened = open_stack(self._stack_name)
        return self._opened

    def _handler(self, token: str) -> Handler:
        if token.partition(":")[0] != self._package:
            raise registry.UnknownType(token)
        handler = registry.handler(token)
        if hasattr(handler, "settings"):
            handler.settings = self._settings
        return handler

    def _wanted(self, token: str, inputs: Plain) -> Plain:
        """The inputs with the provider's default tags, where the type has tags."""
        if TAGS_ALL not in facts.facts_of(token).get("computed", ()):
            return inputs
        tags = inputs.get("tags") or {}
        return {**inputs, TAGS_ALL: UNKNOWN if tags == UNKNOWN else {**self._settings.default_tags, **tags}}

    async def _asked(self, token: str, id: str) -> Plain | None:
        """What the program said when the resource was last made or changed: from the engine, else from the records."""
        sent = _old_inputs.get()
        if sent is not None:
            return self._wanted(token, sent)
        record = await self._run(self._stack.records.get, token, id)
        return record.inputs if record else None

    def _secrets(self, token: str, inputs: Mapping[str, PropertyValue]) -> set[str]:
        return {*secret_names(inputs), *facts.secret_outputs(token), *getattr(self._handler(token), "secrets", ())}

    def _record(self, token: str, id: str, inputs: Plain, outputs: Plain, urn: str) -> None:
        """Writes the record of something made or changed, and lets its handler tell whom that concerns."""
        self._stack.records.put(token, id, inputs, outputs, urn)
        self._handler(token).recorded(self._stack, outputs)

    def _forget(self, token: str, id: str, state: Plain) -> None:
        """Deletes the record, unless it is by now its successor's (a new revision under the same id)."""
        record = self._stack.records.get(token, id)
        if record and record.outputs.get("arn") == state.get("arn"):
            self._stack.records.delete(token, id)
        if self._package == "aws":
            from local.provider.api import server

            server(self._stack, self._settings.region).stop_if_empty()

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *arguments))


def _token(request: Any) -> str:
    """The resource's own type. The SDK's `request.type` has the types of its parents in front."""
    return str(request.urn).split("::")[2].rpartition("$")[2]


def sdk_version(package: str) -> str:
    """The version to report: that of the SDK package which the program imports."""
    from importlib.metadata import version

    return version(f"pulumi-{package}")


def _kind(difference: facts.Difference) -> sdk.PropertyDiffKind:
    name = difference.change.upper() + ("_REPLACE" if difference.replaces else "")
    return sdk.PropertyDiffKind[name]


class Servicer(sdk_server.ProviderServicer):
    """The SDK's plumbing, with what it drops: old inputs, the hashes of assets, and errors that are no tracebacks."""

    async def Configure(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            return await super().Configure(request, context)

    async def Invoke(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            return await super().Invoke(request, context)

    async def Check(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            _encode_assets(request.olds)
            given = _encode_assets(request.news)
            response = await super().Check(request, context)
            return _with_assets(response, "inputs", given)

    async def Diff(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            _encode_assets(request.olds)
            _encode_assets(request.news)
            self._hand_on_old_inputs(request)
            return await super().Diff(request, context)

    async def Create(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            given = _encode_assets(request.properties)
            response = await super().Create(request, context)
            return _with_assets(response, "properties", given)

    async def Update(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            given = _encode_assets(request.olds) | _encode_assets(request.news)
            self._hand_on_old_inputs(request)
            response = await super().Update(request, context)
            return _with_assets(response, "properties", given)

    async def Read(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            states, inputs = _encode_assets(request.properties), _encode_assets(request.inputs)
            response = await super().Read(request, context)
            return _with_assets(_with_assets(response, "properties", states), "inputs", inputs)

    async def Delete(self, request: Any, context: Any) -> Any:
        async with _plain_errors(context):
            _encode_assets(request.properties)
            return await super().Delete(request, context)

    @staticmethod
    def _hand_on_old_inputs(request: Any) -> None:
        _encode_assets(request.old_inputs)
        sent = PropertyValue.unmarshal_map(request.old_inputs)
        _old_inputs.set(to_plain(sent) if sent else None)


def _encode_assets(properties: Any) -> dict[str, Any]:
    """Replaces a message's top-level assets by text that `values` understands; returns them as they were.

    The SDK's own reader forgets their hashes, and fails on those that the engine sends as a hash alone.
    """
    from google.protobuf.struct_pb2 import Value
    from pulumi.runtime import rpc

    signatures = {rpc._special_asset_sig: False, rpc._special_archive_sig: True}
    taken = {}
    for key, value in properties.fields.items():
        parts = value.struct_value.fields
        signature = parts[rpc._special_sig_key].string_value if rpc._special_sig_key in parts else None
        if signature in signatures:
            known = {name: parts[name].string_value for name in ("path", "text", "hash") if name in parts}
            taken[key] = Value()
            taken[key].CopyFrom(value)
            encoded = Asset(known.get("path"), known.get("text"), signatures[signature], known.get("hash")).encode()
            value.string_value = encoded
    return taken


def _with_assets(response: Any, name: str, assets: dict[str, Any]) -> Any:
    """The response with the assets of the request back in their places."""
    fields = getattr(response, name).fields
    for key, value in assets.items():
        if key in fields:
            fields[key].CopyFrom(value)
    return response


@contextlib.asynccontextmanager
async def _plain_errors(context: Any) -> AsyncIterator[None]:
    """What a handler says reaches the user as it is; what nobody foresaw is in the plugin's standard error as well."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        if not isinstance(error, HandlerError | SettingsError):
            traceback.print_exc()
        await context.abort(grpc.StatusCode.UNKNOWN, _message(error))


def _message(error: Exception) -> str:
    if isinstance(error, HandlerError | SettingsError):
        return str(error)
    if hasattr(error, "response") and isinstance(error.response, dict):
        return str(error)
    return f"{type(error).__name__}: {error}"


def main(arguments: list[str]) -> None:
    """Serves `arguments[0]` (`aws` or `cloudflare`) to the engine at `arguments[1]` until it says stop."""
    package, engine = arguments[0], next((a for a in arguments[1:] if not a.startswith("-")), "")

    async def serve() -> None:
        server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
        servicer = Servicer(arguments[1:], sdk_version(package), LocalProvider(package), engine_address=engine)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await server.wait_for_termination()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
    os._exit(0)  # a handler may still be at work; its part is found again by the records


if __name__ == "__main__":
    main(sys.argv[1:])
