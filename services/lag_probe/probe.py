"""One sample after the other. What fails is counted and left out; the rest goes on."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable

import psycopg
import pymysql

from contract.lag import Markers, behind, table_lags
from services.lag_probe.databases import Source, Target, Verdict
from services.lag_probe.kafka import Kafka, KafkaFails
from services.lag_probe.metrics import Metrics
from services.lag_probe.settings import Settings

log = logging.getLogger("lag_probe")


class Probe:
    """Takes samples until it is told to stop."""

    def __init__(self, settings: Settings, metrics: Metrics, say: Callable[[str], None] = print) -> None:
        self._settings, self._metrics, self._say = settings, metrics, say
        self._source = Source(settings.mysql)
        self._target = Target(settings.aurora, settings.database)
        self._kafka: Kafka | None = None
        self._markers = Markers()
        self._heartbeat: float | None = None
        self.last = 0.0
        """When the last sample ended, by the monotonic clock."""

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            begin = time.monotonic()
            self.sample()
            stopped.wait(max(0.0, self._settings.interval - (time.monotonic() - begin)))
        self.close()

    def sample(self) -> None:
        """One look at everything; one line for the log, whose figures become metrics of CloudWatch."""
        lag, verdict = self._lag(), self._look()
        line: dict[str, float] = {"at": round(time.time(), 3)}
        if lag is not None:
            line["lagSeconds"] = round(lag, 3)
        if verdict is not None and verdict.mismatches is not None:
            line["mismatches"] = verdict.mismatches
        self._say(json.dumps(line))
        self.last = time.monotonic()

    def close(self) -> None:
        self._source.close()
        self._target.close()
        if self._kafka is not None:
            self._kafka.close()
            self._kafka = None

    def _lag(self) -> float | None:
        """The worst table's, or None."""
        try:
            marker = self._source.mark()
        except (pymysql.err.MySQLError, OSError) as e:
            self._failed("mysql", e)
            self._metrics.no_lags()
            return None
        try:
            if self._kafka is None:
                self._kafka = Kafka(self._settings)
            kafka = self._kafka
            if marker is None:
                self._markers.fenced()
            else:
                self._markers.written(marker, time.time())
            for seen, at in kafka.signs():
                if seen is None:
                    self._heartbeat = max(self._heartbeat or 0.0, at)
                else:
                    self._markers.seen(seen, at)
            position = kafka.position()
            waits = behind(position.committed, position.begins, position.ends)
            first = kafka.first_records(waits)
        except KafkaFails as e:
            self._failed("kafka", e)
            self._metrics.no_lags()
            self._metrics.heartbeat(self._age())
            if self._kafka is not None:
                self._kafka.close()
                self._kafka = None
            return None
        now = time.time()
        source = self._markers.delay(now)
        lags = table_lags(self._settings.topics, waits, position.ends, first, now, source)
        self._metrics.lags(lags, position, waits, source)
        self._metrics.heartbeat(self._age())
        return max((one.seconds for one in lags.values()), default=source)

    def _age(self) -> float | None:
        return None if self._heartbeat is None else max(0.0, time.time() - self._heartbeat)

    def _look(self) -> Verdict | None:
        try:
            verdict, slots = self._target.look()
        except (psycopg.Error, OSError) as e:
            self._failed("aurora", e)
            self._metrics.no_target()
            return None
        self._metrics.target(verdict, slots)
        return verdict

    def _failed(self, what: str, error: Exception) -> None:
        self._metrics.failed(what)
        log.warning("%s: %s", what, error)
