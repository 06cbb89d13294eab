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
    flags = traffic.get(context)
    copies = {"mysql": flags.mysql, "postgres": flags.postgres, "router": flags.router}
    if not flags.agree:
        for name, copy in copies.items():
            if copy != flags.flag:
                found.append(Item(DATABASE, name, "has another flag", property="flag", expected=str(flags.flag),
                                  real=str(copy)))  # fmt: skip
    with Controller(context) as c:
        [(read_only,)] = c.query("SELECT @@GLOBAL.read_only")
    return found + writer(flags.flag, bool(read_only))


def writer(flag: Flag, read_only: bool) -> list[Item]:
    """MySQL must be read only exactly where Aurora is the writer. While writes are held, it may be."""
    expected = flag.mode is Side.AURORA
    if read_only == expected or (not expected and flag.writes is not Writes.OPEN):
        return []
    return [Item(DATABASE, "mysql", "lets in the wrong writers", property="read_only", expected=expected,
                 real=read_only)]  # fmt: skip
