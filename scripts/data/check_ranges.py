"""Where a table is cut into ranges for parallel work, without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import pymysql.cursors

from contract.tables import mysql_name
from scripts.data.keyset import Bounds, mysql_literal, split
from scripts.data.rules import SCHEMA, MySQL, Postgres, Rules

_TEXTS: Final = frozenset({"char", "varchar", "varbinary"})


def cut(my: MySQL, pg: Postgres, rules: Rules, parts: int) -> list[Bounds]:
    """About `parts` ranges of similar size, in the source's order of the key. The first and the last are open.

    Numbers, dates and fixed binaries are cut by arithmetic, other keys at values that the target's statistics have: any
    values will do that both sides have, as a bound that is not quite in the middle costs a little time only.
    """
    if parts <= 1:
        return [Bounds()]
    found = split(my, rules, parts)
    if len(found) > 1:
        return found
    ends = [None, *((text,) for text in _on_source(my, rules, _spread(_known(pg, rules), parts - 1))), None]
    return [Bounds(after, upto) for after, upto in pairwise(ends)]


def _known(pg: Postgres, rules: Rules) -> list[str]:
    """Values of the key's first column, evenly spread by the target's order; none before the table was analysed, and
    none for a column of few values."""
    column, rule = rules.key[0]
    if column.type not in _TEXTS:
        return []
    kind = rule.postgres.partition("(")[0]
    rows = pg.execute(
        f"SELECT {rule.postgres_text.format('v')} "
        f"FROM pg_stats, unnest(histogram_bounds::text::{kind}[]) WITH ORDINALITY AS u(v, n) "
        "WHERE schemaname = %s AND tablename = %s AND attname = %s ORDER BY n",
        (SCHEMA, rules.table.name, column.name),
    )
    return [str(value) for (value,) in rows]


def _spread(values: Sequence[str], count: int) -> list[str]:
    if len(values) <= count:
        return list(values)
    return [values[(i + 1) * len(values) // (count + 1)] for i in range(count)]


def _on_source(my: MySQL, rules: Rules, texts: Sequence[str]) -> list[str]:
    """Those that the source has, too, in its order."""
    if not texts:
        return []
    column, rule = rules.key[0]
    name, relation = mysql_name(column.name), mysql_name(rules.table.name)
    each = (
        f"(SELECT {name} AS v FROM {relation} WHERE {name} = {mysql_literal(column, rule, text)} LIMIT 1)"
        for text in texts
    )
    text = rule.mysql_text.format("v")
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(f"SELECT {text} FROM ({' UNION ALL '.join(each)}) u GROUP BY v ORDER BY v")
        return [text.decode() if isinstance(text, bytes) else str(text) for (text,) in cursor.fetchall()]
