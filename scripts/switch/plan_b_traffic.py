"""Roads out by the fence's rows: where readers go, whether anyone writes, and whether the service writes twice.

What belongs to the flag goes the way of `traffic`. Whether there are second writes is a column of MySQL's row alone.
"""

from __future__ import annotations

import math

import pymysql

from contract import dual
from contract.flag import Flag, Side, Writes
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch import journal, traffic
from scripts.switch.fence import Controller
from scripts.switch.plan_b_action import Action, Scene, Step, Values

WRITES = {Writes.OPEN: traffic.release, Writes.HOLD: traffic.hold, Writes.REJECT: traffic.reject}


def _look_at_writes(scene: Scene) -> Values:
    with Controller(scene.context) as c:
        flag = _newest(c)
        if flag.mode is Side.AURORA:  # MySQL is shut for good
            return {"writes": flag.writes.value}
        [(read_only,)] = c.query("SELECT @@GLOBAL.read_only")
        return {"writes": flag.writes.value, "mysqlReadOnly": bool(read_only)}


def _no_writes(scene: Scene, seen: Values) -> Values:
    if "mysqlReadOnly" not in seen:
        return {"writes": Writes.REJECT.value}
    with Controller(scene.context) as c:
        [(roles,)] = c.query("SELECT CURRENT_ROLE()")
        using = "" if roles == "NONE" else f" USING {roles}"
        grants = " ".join(row[0] for row in c.query(f"SHOW GRANTS FOR CURRENT_USER(){using}"))
    able = "SYSTEM_VARIABLES_ADMIN" in grants or " SUPER" in grants
    return {"writes": Writes.REJECT.value, "mysqlReadOnly": able or seen["mysqlReadOnly"]}


def _reach_writes(scene: Scene, seen: Values, target: Values) -> list[Step]:
    """Closing begins with the flag, which waits for writes under way; opening ends with it."""
    steps: list[Step] = []
    if seen["writes"] != target["writes"]:
        change = WRITES[Writes(target["writes"])]
        steps.append(Step(f"the flag: writes {target['writes']}", lambda: change(scene.context)))
    shut = target.get("mysqlReadOnly", False)
    if "mysqlReadOnly" in seen and seen["mysqlReadOnly"] != shut:
        setting = f"MySQL: read_only {'ON' if shut else 'OFF'}"
        steps.insert(len(steps) if shut else 0, Step(setting, lambda: _set_read_only(scene.context, shut)))
    return steps


def _set_read_only(context: Context, shut: bool) -> None:
    """For those who do not ask the flag; those who may write a read only MySQL go on."""
    with Controller(context) as c:
        c.lock()
        if journal.unfinished(c.postgres, c.cursor) is not None or _newest(c).mode is not Side.MYSQL:
            raise UsageError("a cutover has changed who writes meanwhile: MySQL was left as it is")
        try:
            c.cursor.execute(f"SET GLOBAL read_only = {'ON' if shut else 'OFF'}")
        except pymysql.err.MySQLError as e:
            raise ZdmError(
                f"MySQL's read_only cannot be set: {e}. End what holds it up (SHOW PROCESSLIST), and run this again"
            ) from e


def _look_at_weight(scene: Scene) -> Values:
    with Controller(scene.context) as c:
        return {"weight": _newest(c).weight}


def _none(scene: Scene, _: Values) -> Values:
    _demand_mysql(scene)
    return {"weight": 0.0}


def _half(scene: Scene, seen: Values) -> Values:
    _demand_mysql(scene)
    return {"weight": math.floor(seen["weight"] * 100 / 2 + 1e-6) / 100}


def _demand_mysql(scene: Scene) -> None:
    with Controller(scene.context) as c:
        if _newest(c).mode is Side.AURORA:
            raise UsageError(
                "Aurora is the writer, so MySQL is stale and no read may go to it: the way back is `./zdm rollback`"
            )


def _reach_weight(scene: Scene, seen: Values, target: Values) -> list[Step]:
    if seen == target:
        return []
    weight = float(target["weight"])
    return [Step(f"the flag: {weight:g} % of the readers on Aurora", lambda: traffic.set_weight(scene.context, weight))]


def _look_at_dual(scene: Scene) -> Values:
    with Controller(scene.context) as c:
        if _newest(c).mode is Side.AURORA:  # nobody writes twice any more
            return {}
        return {"dualWrites": bool(c.query(dual.READ_DUAL)[0][0])}


def _once(_: Scene, seen: Values) -> Values:
    if not seen:
        raise UsageError("Aurora is the writer: there are no second writes that could be paused")
    return {"dualWrites": False}


def _reach_dual(scene: Scene, seen: Values, target: Values) -> list[Step]:
    """The guard against older rows stays on Aurora: what was written twice before is still to come by CDC."""
    if seen == target:
        return []
    on = bool(target["dualWrites"])
    return [Step(f"MySQL's fence: second writes {'on' if on else 'off'}", lambda: _set_dual(scene.context, on))]


def _set_dual(context: Context, on: bool) -> None:
    with Controller(context) as c:
        c.lock()
        if journal.unfinished(c.postgres, c.cursor) is not None or _newest(c).mode is not Side.MYSQL:
            raise UsageError("a cutover has changed who writes meanwhile: second writes were left as they are")
        try:
            c.cursor.execute(dual.SET_DUAL, (int(on),))
        except pymysql.err.MySQLError as e:
            raise ZdmError(f"MySQL's fence row cannot be changed: {e}. Run this again") from e


def _newest(c: Controller) -> Flag:
    return max(c.mysql_flag(), c.postgres_flag(), key=lambda f: (f.epoch, f.v))


READ_ONLY = Action(
    "read-only",
    "changes arrive late, or something is wrong that no write should meet",
    "refuses writes at once, in routers, origins and (where the account may) MySQL itself; reads go on",
    "lets writes go on",
    _look_at_writes,
    _no_writes,
    _reach_writes,
)
MYSQL_ONLY = Action(
    "mysql-only",
    "the second database, or the service in front of it, is down or too slow",
    "sends all readers to MySQL",
    "sends as many readers to Aurora as before",
    _look_at_weight,
    _none,
    _reach_weight,
)
HALF_TRAFFIC = Action(
    "half-traffic",
    "Aurora or the replication is near what it can carry",
    "halves the share of the readers on Aurora",
    "sends as many readers to Aurora as before",
    _look_at_weight,
    _half,
    _reach_weight,
)
PAUSE_DUAL_WRITE = Action(
    "pause-dual-write",
    "second writes slow customers down, or load Aurora while changes arrive late",
    "the service writes to MySQL only, from its next transaction on; changes go on travelling by CDC",
    "the service writes to both again",
    _look_at_dual,
    _once,
    _reach_dual,
)
