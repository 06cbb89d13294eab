"""The traffic commands change the flag everywhere, never the writer, and never in a cutover's way."""

from __future__ import annotations

import pytest

from contract.flag import Side, Writes
from scripts.errors import UsageError
from scripts.switch import traffic
from scripts.switch.fence import Controller, Moved
from tests.switch.conftest import Lab

pytestmark = pytest.mark.real


def test_weight(lab: Lab) -> None:
    before = traffic.get(lab.context).flag
    planned = traffic.set_weight(lab.context, 5, dry_run=True)
    assert planned.flag.weight == 5 and traffic.get(lab.context).flag == before
    after = traffic.set_weight(lab.context, 5.25)
    assert after.changed and after.agree and after.router == after.mysql == after.postgres
    assert (after.flag.weight, after.flag.epoch, after.flag.v) == (5.25, before.epoch, before.v + 1)
    assert after.flag.mode is Side.MYSQL
    again = traffic.set_weight(lab.context, 5.25)
    assert not again.changed and again.flag == after.flag
    for wrong in (-1, 100.5, 3.333):
        with pytest.raises(UsageError, match="weight"):
            traffic.set_weight(lab.context, wrong)


def test_hold_and_release(lab: Lab) -> None:
    held = traffic.hold(lab.context)
    assert held.agree and held.flag.writes is Writes.HOLD and not held.flag.may_write(Side.MYSQL)
    released = traffic.release(lab.context)
    assert released.agree and released.flag.may_write(Side.MYSQL) and released.flag.v == held.flag.v + 1


def test_interrupted_change_is_finished_by_running_it_again(lab: Lab) -> None:
    with Controller(lab.context) as c:
        flag = c.mysql_flag()
        c.set_mysql(flag.changed(weight=10), flag)  # and then the command died
    assert not traffic.get(lab.context).agree
    done = traffic.set_weight(lab.context, 10)
    assert done.agree and done.flag.weight == 10 and not done.changed


def test_compare_and_set(lab: Lab) -> None:
    with Controller(lab.context) as c:
        flag = c.mysql_flag()
        stale = flag.changed(weight=1)
        traffic.set_weight(lab.context, 2)
        for change in (c.set_mysql, c.set_postgres):
            with pytest.raises(Moved):
                change(stale, flag)
        c.set_mysql(stale, None)  # adopting what is older changes nothing
        assert c.mysql_flag().weight == 2


def test_one_operator_at_a_time(lab: Lab) -> None:
    with Controller(lab.context) as other:
        other.lock()
        with pytest.raises(UsageError, match="another operator"):
            traffic.set_weight(lab.context, 50)
    assert traffic.set_weight(lab.context, 50).agree
