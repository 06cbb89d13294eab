"""The retention solver: what must be kept, and for how long, so that a migration survives its own copy.

Sizes and speeds go in; hours of the source's binary log, hours of the topics, storage of a broker and the log that
Aurora holds for the way back come out, each with its sum in words and numbers. `shortfalls` holds a stack's settings
against them, before anything is made. Pure, and exact: sums are made of fractions and rounded up once, at the end.

How it is counted:
- *Copy*: the first copy reads the source at one position of its binary log and goes on from there when it is through.
  That position must still be there: the copy's time, longer by the safety factor, and the time in which a stop is
  noticed and mended. 8 TiB at 100 MiB/s take a day; 240 h and more are kept for it in practice.
- *Captured first*: where changes are read into the topics from before the copy on, the binary log must only outlast a
  stop of that reading; the topics hold what the copy's time changes.
- *Way back*: while it is in use the way there stands still, at a position that must be there if it is to go on.
- *Topics*: what the source wrote on the first day of the copy may wait for the sink until the copy is through.
- *Brokers*: a topic is kept by time, so all that is copied within its retention lies there at once, once a replica.
- *Slot*: Aurora holds all log from the slot's position on; a way back that is prepared but never started holds it for
  the whole window.

Where the binary log's hours are set: RDS for MySQL has no parameter for them. They are set in the server, by
`CALL mysql.rds_set_configuration('binlog retention hours', n)`, NULL (as soon as possible) at first and 168 at most
(RDS user guide, "Configuring, viewing binary log configuration"). A server of one's own, as on EC2, has
`binlog_expire_logs_seconds`, 2592000 (30 days) unless changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Final

RDS_BINLOG_HOURS: Final = 168
"""The most that RDS for MySQL keeps of its binary log (its user guide)."""
MAX_VOLUME_GIB: Final = 16384
"""The largest volume of a broker (MSK's quotas)."""
FULL: Final = Fraction(85, 100)
"""How full a broker's volume may get: MSK's guide wants an alarm at 85 %, and a full one stops the broker."""
GROWTH_HOURS: Final = 6
"""MSK's storage autoscaling grows a volume at most once in so many hours ..."""
GROWTH_GIB: Final = 10
"""... by so many GiB or a tenth of it, whichever is more (MSK's guide, "Automatic scaling")."""


def mib_per_s(gib_per_day: float) -> float:
    """A rate in GiB a day as MiB/s."""
    return float(_exact(gib_per_day) * 1024 / 86400)


@dataclass(frozen=True)
class Load:
    """What is to be moved, how fast, and with what reserve."""

    data_gib: float
    """Size of the captured tables with their indexes left out, in GiB."""
    change_mib_per_s: float
    """How fast the source's binary log grows, in MiB/s."""
    copy_mib_per_s: float
    """Speed of the first copy from end to end, in MiB/s: the slowest of source, Kafka and sink."""
    rollback_hours: float
    """How long after the cutover the way back stays open."""
    brokers: int
    replication: int = 3
    """Copies of each record."""
    safety: float = 1.5
    """How much longer than computed the copy may take."""
    mend_hours: float = 24.0
    """How long a stop goes unnoticed and unmended, at most."""
    through_kafka: bool = True
    """Whether the first copy goes through the topics (Debezium's snapshot) or past them."""
    captured_first: bool = False
    """Whether changes go into the topics from before the copy on: then it is not the binary log that outlasts it."""
    record_share: float = 1.4
    """Bytes on a broker for each byte of a table that is copied through the topics. Measured as 1.35 with JSON, its
    schemas and lz4, for rows of 260 bytes of which half was random text; changes took 0.87 of their binary log."""

    def __post_init__(self) -> None:
        rules = {
            "data_gib": (self.data_gib > 0, "more than 0"),
            "change_mib_per_s": (self.change_mib_per_s >= 0, "at least 0"),
            "copy_mib_per_s": (self.copy_mib_per_s > 0, "more than 0"),
            "rollback_hours": (self.rollback_hours >= 0, "at least 0"),
            "brokers": (self.brokers >= self.replication, f"at least the {self.replication} replicas"),
            "replication": (self.replication >= 1, "at least 1"),
            "safety": (self.safety >= 1, "at least 1"),
            "mend_hours": (self.mend_hours >= 0, "at least 0"),
            "record_share": (self.record_share > 0, "more than 0"),
        }
        wrong = [f"Load.{name}: {why}, not {getattr(self, name)}" for name, (holds, why) in rules.items() if not holds]
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True)
class Need:
    """One result: the least whole number that does, and how it comes about."""

    value: int
    unit: str
    sum: str

    def __str__(self) -> str:
        return self.sum


@dataclass(frozen=True)
class Needs:
    """All results for one load."""

    copy_hours: float
    """How long the first copy takes if all goes well."""
    binlog_hours: Need
    """Hours that the source must keep its binary log."""
    binlog_gib: Need
    """Disk that this log takes on the source."""
    topic_hours: Need
    """Hours that the topics of tables must keep their records."""
    broker_gib: Need
    """Volume of each broker, with topics that are kept just so long."""
    slot_wal_gib: Need
    """Log that Aurora holds for a way back that stands still for its whole window. Aurora's storage grows for it."""


@dataclass(frozen=True)
class Kept:
    """What a stack's settings keep."""

    binlog_hours: int
    topic_hours: int
    broker_gib: int
    grow_to_gib: int | None = None
    """The limit of storage autoscaling; None where it is off."""
    grow_at_percent: int = 60
    rds: bool = False
    """Whether the source is RDS for MySQL, which keeps 168 h at most."""


@dataclass(frozen=True)
class Shortfall:
    """A setting that cannot survive. `setting` is a field of `Kept`, or of `Load` for the copy's speed."""

    setting: str
    kept: float
    needed: float
    unit: str
    sum: str
    way_out: str = field(default="")

    def __str__(self) -> str:
        out = f"; {self.way_out}" if self.way_out else ""
        return f"{_number(self.kept)} {self.unit}, but {_number(self.needed)} {self.unit} are needed: {self.sum}{out}"


def needs(load: Load) -> Needs:
    """What this load needs."""
    copying, through = _copy(load), _through(load)
    back = _exact(load.rollback_hours) + _exact(load.mend_hours)
    by_copy = Fraction(0) if load.captured_first else through
    hours = ceil(max(by_copy, back))
    if by_copy >= back:
        why = f"{_through_text(load)} = {hours} h binlog"
    else:
        why = f"way back: {_h(load.rollback_hours)} open + {_h(load.mend_hours)} to notice and mend = {hours} h binlog"
    rate, topic_hours = _exact(load.change_mib_per_s), ceil(through)
    log = ceil(_gib(rate, hours))
    held = ceil(_gib(rate, _exact(load.rollback_hours)) * _exact(load.safety))
    grows = f"{_number(load.change_mib_per_s)} MiB/s"
    return Needs(
        float(copying),
        Need(hours, "h", why),
        Need(log, "GiB", f"binlog: {grows} x {hours} h = {log} GiB"),
        Need(topic_hours, "h", f"{_through_text(load)} = {topic_hours} h in the topics"),
        broker_need(load, topic_hours),
        Need(
            held,
            "GiB",
            f"slot: {grows} x {_h(load.rollback_hours)} x {_number(load.safety)} = {held} GiB of log held by Aurora",
        ),
    )


def broker_need(load: Load, topic_hours: int) -> Need:
    """The volume of a broker when the topics of tables are kept for so many hours."""
    copied = _exact(load.data_gib) * _exact(load.record_share) if load.through_kafka else Fraction(0)
    changed = _gib(_exact(load.change_mib_per_s), topic_hours)
    each = (copied + changed) * load.replication / load.brokers / FULL
    volume = max(1, ceil(each))
    parts = [f"{_number(load.change_mib_per_s)} MiB/s x {topic_hours} h = {_number(float(changed))} GiB changed"]
    if load.through_kafka:
        share = "" if load.record_share == 1 else f" x {_number(load.record_share)}"
        parts.insert(0, f"{_number(load.data_gib)} GiB{share} copied")
    spread = f"x {load.replication} replicas / {load.brokers} brokers / {_number(float(FULL * 100))} % full"
    return Need(volume, "GiB", f"broker: ({' + '.join(parts)}) {spread} = {volume} GiB")


def shortfalls(load: Load, kept: Kept) -> list[Shortfall]:
    """The settings that cannot survive this load, each with the sum and the value that would do. None: all is well."""
    need = needs(load)
    found: list[Shortfall] = []
    if load.change_mib_per_s >= load.copy_mib_per_s:
        sum_ = "what is written while the copy runs comes faster than it can be caught up with"
        found.append(Shortfall("copy_mib_per_s", load.copy_mib_per_s, int(load.change_mib_per_s) + 1, "MiB/s", sum_))
    if kept.binlog_hours < need.binlog_hours.value:
        way_out = _rds_way_out(load, need) if kept.rds and need.binlog_hours.value > RDS_BINLOG_HOURS else ""
        found.append(_short("binlog_hours", kept.binlog_hours, need.binlog_hours, way_out))
    if kept.topic_hours < need.topic_hours.value:
        found.append(_short("topic_hours", kept.topic_hours, need.topic_hours))
    volume = broker_need(load, max(kept.topic_hours, need.topic_hours.value))
    most = kept.grow_to_gib or kept.broker_gib
    if most < volume.value:
        found.append(_short("grow_to_gib" if kept.grow_to_gib else "broker_gib", most, volume, _more_brokers(volume)))
    if kept.grow_to_gib and (first := _first_volume(load, kept, volume.value)) and kept.broker_gib < first.value:
        found.append(_short("broker_gib", kept.broker_gib, first))
    return found


# --- the sums ---------------------------------------------------------------------------------------------------------


def _exact(value: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth."""
    return Fraction(repr(value))


def _gib(rate: Fraction, hours: Fraction | int) -> Fraction:
    """MiB/s over hours, in GiB."""
    return rate * 3600 * hours / 1024


def _copy(load: Load) -> Fraction:
    return _exact(load.data_gib) * 1024 / _exact(load.copy_mib_per_s) / 3600


def _through(load: Load) -> Fraction:
    return _copy(load) * _exact(load.safety) + _exact(load.mend_hours)


def _through_text(load: Load) -> str:
    copying = f"{_number(load.data_gib)} GiB / {_number(load.copy_mib_per_s)} MiB/s = {_h(float(_copy(load)))}"
    return f"copy: {copying}; x {_number(load.safety)} + {_h(load.mend_hours)} to notice and mend"


def _first_volume(load: Load, kept: Kept, enough: int) -> Need:
    """The volume to begin with when it may grow: growing must keep up with the copy, which fills it fastest.

    A volume that is `enough` from the start need not grow.
    """
    speed = _exact(load.change_mib_per_s)
    if load.through_kafka:
        speed += _exact(load.copy_mib_per_s) * _exact(load.record_share)
    filled = _gib(speed, GROWTH_HOURS) * load.replication / load.brokers
    room = filled / (1 - Fraction(kept.grow_at_percent, 100))
    least = max(room, filled * 10 if filled > GROWTH_GIB else Fraction(0))
    volume = max(1, min(ceil(least), enough))
    text = (
        f"first volume: {_number(float(filled))} GiB of records in {GROWTH_HOURS} h, and MSK grows a volume once in "
        f"{GROWTH_HOURS} h by {GROWTH_GIB} GiB or a tenth: {volume} GiB to begin with"
    )
    return Need(volume, "GiB", text)


def _rds_way_out(load: Load, need: Needs) -> str:
    left = RDS_BINLOG_HOURS - _exact(load.mend_hours)
    limit = f"RDS for MySQL keeps {RDS_BINLOG_HOURS} h at most"
    if _exact(load.rollback_hours) > left:
        return f"{limit}: keep the way back open for {_number(float(left))} h or less"
    speed = ceil(_exact(load.data_gib) * 1024 * _exact(load.safety) / left / 3600) if left else 0
    return f"{limit}: copy at {speed} MiB/s or more, or move less" if speed else f"{limit}: mend faster"


def _more_brokers(volume: Need) -> str:
    over = volume.value > MAX_VOLUME_GIB
    return f"no broker has more than {MAX_VOLUME_GIB} GiB: use more brokers, or copy past Kafka" if over else ""


def _short(setting: str, kept: float, need: Need, way_out: str = "") -> Shortfall:
    return Shortfall(setting, kept, need.value, need.unit, need.sum, way_out)


def _number(value: float) -> str:
    """At most two digits behind the point, none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _h(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") + " h"
