"""Events into Kafka, in order, and each acknowledged by all replicas that must have it.

A record's key is its aggregate, so that the events of one aggregate stay in order; its value is the event as JSON. Its
`id` is the event's name: whoever consumes must take one that comes again for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from confluent_kafka import KafkaException, Producer

from services.kafka_client import client_settings
from services.relay.relay import Event, NotDelivered
from services.relay.settings import Settings

DELIVERY_SECONDS = 10
"""After that an event counts as not delivered."""


class Publisher:
    """A producer that is made anew after a failure: what it still had in hand must not come behind later events."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic
        self._settings = client_settings(settings.bootstrap, settings.protocol, settings.region, "zdm-relay") | {
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,  # never an event whose predecessor in the partition is missing
            "acks": "all",
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.timeout.ms": DELIVERY_SECONDS * 1000,
            "allow.auto.create.topics": False,
        }
        self._producer: Producer | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        """Returns when all of them are delivered. Raises `NotDelivered`; some may have been, then."""
        await asyncio.to_thread(self._publish, events)

    def _publish(self, events: Sequence[Event]) -> None:
        producer = self._producer or Producer(self._settings)
        self._producer = None
        failures: list[str] = []

        def answered(error: Any, _: Any) -> None:
            if error is not None:
                failures.append(str(error))

        try:
            for event in events:
                producer.produce(self._topic, record_of(event), event.aggregate_key.encode(), on_delivery=answered)
            left = producer.flush(DELIVERY_SECONDS + 2)
        except (KafkaException, BufferError) as e:
            producer.purge()
            raise NotDelivered(str(e)) from e
        if left or failures:
            producer.purge()
            raise NotDelivered(failures[0] if failures else "the brokers did not answer in time")
        self._producer = producer


def record_of(event: Event) -> bytes:
    """The event as JSON."""
    return orjson.dumps(
        {
            "id": event.id,
            "aggregate": event.aggregate,
            "aggregate_id": event.aggregate_id,
            "event": event.event,
            "payload": orjson.loads(event.payload),
            "client_ref": event.client_ref,
            "created_at": event.created_at,
        },
        option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC,
    )
