"""Drift within the two databases: accounts and control tables, the copies of the flag, and who may write.

It needs their network, so it is for whoever is inside.
"""

from __future__ import annotations

from contract.flag import Flag, Side, Writes
from scripts.context import Context
from scripts.environments.drift import Item
from scripts.switch import bootstrap, traffic
from scripts.switch.fence import Controller

DATABASE = "database"


def items(context: Context) -> list[Item]:
    with context.mysql(database=None) as my, context.postgres() as pg:
        missing = bootstrap.plan(context, my, pg)
    found = [Item(DATABASE, change.side, f"lacks what bootstrap makes: {change.what}") for change in missing]
    if missing:  # without control tables there is no flag
        return found
    seen = traffic.get(context)
    found += copies(seen.flag, seen.mysql, seen.postgres, seen.router)
    with Controller(context) as c:
        [(read_only,)] = c.query("SELECT @@GLOBAL.read_only")
    return found + writer(seen.flag, bool(read_only))


def copies(newest: Flag, mysql: Flag, postgres: Flag, router: Flag | None) -> list[Item]:
    """Copies of the flag that are not the newest. A router's may be older where it says the same: origins put it right.
    MySQL's may be older once it is shut."""
    stale = {"postgres": postgres != newest, "mysql": newest.mode is Side.MYSQL and mysql != newest}
    stale["router"] = router is not None and _meaning(router) != _meaning(newest)
    known = {"postgres": postgres, "mysql": mysql, "router": router}
    return [
        Item(DATABASE, name, "has another flag", property="flag", expected=_told(newest), real=_told(known[name]))
        for name, is_stale in stale.items()
        if is_stale
    ]


def _meaning(flag: Flag) -> tuple[float, Writes, Side]:
    return flag.weight, flag.writes, flag.mode


def _told(flag: Flag | None) -> str:
    if flag is None:
        return "none"
    return f"{flag.weight:g} %, writes {flag.writes}, {flag.mode} writes, epoch {flag.epoch}, v {flag.v}"


def writer(flag: Flag, read_only: bool) -> list[Item]:
    """MySQL must be read only exactly where Aurora is the writer. While writes are held, it may be."""
    expected = flag.mode is Side.AURORA
    if read_only == expected or (not expected and flag.writes is not Writes.OPEN):
        return []
    return [Item(DATABASE, "mysql", "lets in the wrong writers", property="read_only", expected=expected,
                 real=read_only)]  # fmt: skip
