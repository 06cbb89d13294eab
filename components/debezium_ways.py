"""The connectors of the way there and of the way back, as plans: what each is called, may do, is told and waits for.

Both ways have a source and a sink, and they take the same two places in the stack: turning the stream round replaces
what is in them, and a connector is deleted before it is replaced. So the engine itself takes the old sink away before
it makes the new one, whatever else an update does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pulumi
from pulumi import Output

from components.connectors import sink_config, source_config
from components.databases import Account
from components.debezium_args import Autoscaled, DebeziumArgs, Fixed, WayBack
from components.debezium_policy import Rights, back_sink_rights, back_source_rights, sink_rights, source_rights
from components.debezium_way_back import reverse_sink_config, reverse_source_config


class Planned(NamedTuple):
    """One of the connectors, before it is declared."""

    role: str
    place: Literal["source", "sink"]
    name: str
    account: Account
    rights: Rights
    configuration: Output[dict[str, str]]
    capacity: Fixed | Autoscaled
    running: bool
    needs: Sequence[pulumi.Resource]
    offsets_topic: str | None = None
    after: Sequence[str] = ()
    """Places whose connector must be there first."""


def way_there(args: DebeziumArgs) -> list[Planned]:
    """MySQL to Aurora. The two may start at once: what the source writes waits for the sink."""
    capture, source, target = args.capture, args.source, args.target
    hosts = Output.all(source=source.endpoint.host, target=target.endpoint.host, bootstrap=args.kafka.bootstrap)

    def reads(known: Mapping[str, str]) -> dict[str, str]:
        return source_config(
            capture,
            host=known["source"],
            port=source.endpoint.port,
            account=source.account.secret_name,
            bootstrap=known["bootstrap"],
            server_id=args.server_id,
        )

    def writes(known: Mapping[str, str]) -> dict[str, str]:
        port, account = target.endpoint.port, target.account.secret_name
        return sink_config(capture, host=known["target"], port=port, account=account, tasks=args.sink_tasks)

    needs = [*source.ready, *target.ready]
    return [
        Planned(
            role="source",
            place="source",
            name=capture.source_connector,
            account=source.account,
            rights=source_rights(capture),
            configuration=hosts.apply(reads),
            capacity=args.source_capacity,
            running=args.state != "stopped",
            needs=needs,
            offsets_topic=capture.offsets_topic,
        ),
        Planned(
            role="sink",
            place="sink",
            name=capture.sink_connector,
            account=target.account,
            rights=sink_rights(capture),
            configuration=hosts.apply(writes),
            capacity=args.sink_capacity,
            running=args.state == "running",
            needs=needs,
        ),
    ]


def way_back(args: DebeziumArgs, back: WayBack) -> list[Planned]:
    """Aurora to MySQL. Its source starts when its sink is there, and so when the sink of the way there is gone."""
    names, source, target = back.names, back.source, back.target
    hosts = Output.all(source=source.endpoint.host, target=target.endpoint.host)

    def reads(known: Mapping[str, str]) -> dict[str, str]:
        port, account = source.endpoint.port, source.account.secret_name
        return reverse_source_config(names, host=known["source"], port=port, account=account)

    def writes(known: Mapping[str, str]) -> dict[str, str]:
        port, account = target.endpoint.port, target.account.secret_name
        return reverse_sink_config(names, host=known["target"], port=port, account=account)

    needs = [*source.ready, *target.ready]
    return [
        Planned(
            role="back-sink",
            place="sink",
            name=names.sink_connector,
            account=target.account,
            rights=back_sink_rights(names),
            configuration=hosts.apply(writes),
            capacity=args.source_capacity,
            running=back.running,
            needs=needs,
        ),
        Planned(
            role="back-source",
            place="source",
            name=names.source_connector,
            account=source.account,
            rights=back_source_rights(names),
            configuration=hosts.apply(reads),
            capacity=args.source_capacity,
            running=back.running,
            needs=needs,
            offsets_topic=names.offsets_topic,
            after=["sink"],
        ),
    ]
