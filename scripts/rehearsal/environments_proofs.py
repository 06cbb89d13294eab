"""The proofs of a revision in staging: each is made by really doing it, and kept as evidence.

The tests of faults and of security are the rehearsal's own, small ones: sessions that break under load, ways in that
must be shut, and the rules of the policy pack. They are kept as the results of any other program are: in a file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import pymysql

from scripts import stacks
from scripts.context import Context
from scripts.data import proven_check
from scripts.environments import evidence, evidence_page
from scripts.errors import ZdmError
from scripts.rehearsal import api_tests, ledger, load_test
from scripts.rehearsal.api_tests import Tested
from scripts.rehearsal.environments_stage import PLAN, SECOND_WRITE, Stage
from scripts.rehearsal.workload import load_plan

LOAD_RATE, LOAD_SECONDS = 30.0, 5.0
"""Requests a second of the load test, and for how long. More than the stack's KPIs promise."""
FAULT_WRITES, FAULT_READS = 10.0, 10.0
UNDER_FAULT: Final = 2.0
"""Seconds of load before and after sessions break."""


@dataclass(frozen=True)
class Proof:
    """What came of it, as a row of the report."""

    kind: str
    ok: bool
    told: str

    @property
    def row(self) -> tuple[str, str, str]:
        return (self.kind, self.told, "✓ good" if self.ok else "✗ not good")


def all_of(stage: Stage, round_: str) -> list[Proof]:
    """Every proof that a promotion asks for, of what is up in staging now."""
    staging = stage.at("staging")
    makers: tuple[Callable[[Stage, Context, str], Proof], ...] = (check, functional, load, faults, security)
    return [make(stage, staging, round_) for make in makers]


def check(stage: Stage, staging: Context, _: str) -> Proof:
    """Every row in both databases. A second write that was late in production is missing in Aurora: it is repaired."""
    options = proven_check.Options(connections=1, repair=True, patience=SECOND_WRITE)
    title = "Compare every row of MySQL and Aurora"
    result = proven_check.run(staging, console=stage.console, title=title, options=options)
    evidence.keep(staging, evidence.DATA_CHECK, result)
    stage.result.none_of("different", result.mismatches if result.ok else None, f"of {result.rows:,} rows")
    first = f"; the first: {result.differences[0]}" if result.differences else ""
    return Proof(evidence.DATA_CHECK, result.ok, f"{result.summary}{first}")


def functional(stage: Stage, staging: Context, round_: str) -> Proof:
    """The tests of the API."""
    with stage.console.step("Test the API") as step:
        began = time.time()
        results = api_tests.run(staging)
        file = api_tests.junit("functional", results, stage.report(f"functional-{round_}.xml"), began)
        evidence_page.add(staging, evidence.FUNCTIONAL, file)
        failed = [one for one in results if one.wrong]
        told = f"{len(results) - len(failed)} of {len(results)} tests passed"
        step.done(told)
    return Proof(evidence.FUNCTIONAL, not failed, "; ".join([told, *(f"{one.name}: {one.wrong}" for one in failed)]))


def load(stage: Stage, staging: Context, _: str) -> Proof:
    """The shop's mix of requests at a constant rate. Once more if a bound does not hold: a machine that plays three
    stacks has its moments."""
    result = load_test.run(staging, rate=LOAD_RATE, seconds=LOAD_SECONDS, console=stage.console)
    if not result.ok:
        result = load_test.run(staging, rate=LOAD_RATE, seconds=LOAD_SECONDS, console=stage.console)
    evidence.keep(staging, evidence.LOAD_TEST, result)
    p95 = result.seen.p95
    bound = staging.outputs.kpis.latency_p95_ms
    text = "not measured" if p95 is None else f"{p95:.0f} ms"
    stage.result.measure("load", p95, text, result.ok and p95 is not None and p95 <= bound, f"{LOAD_RATE:g} requests/s")
    told = ", ".join(f"{m.name} {'–' if m.value is None else f'{m.value:,.4g}'} {m.unit}" for m in result.measures)
    return Proof(evidence.LOAD_TEST, result.ok, told)


# --- faults -----------------------------------------------------------------------------------------------------------


def faults(stage: Stage, staging: Context, round_: str) -> Proof:
    """Sessions break: under load all of the API's with MySQL, and then those with Aurora."""
    with stage.console.step("Break the API's sessions with its databases") as step:
        began = time.time()
        results = [_timed(name, test, stage, staging, round_) for name, test in FAULTS.items()]
        file = api_tests.junit("faults", results, stage.report(f"faults-{round_}.xml"), began)
        evidence_page.add(staging, evidence.FAULTS, file)
        good = sum(not one.wrong for one in results)
        step.done(f"{good} of {len(results)} survived")
    stage.result.count("faults", good, len(results), "; ".join(FAULTS))
    told = "; ".join(f"{one.name}: {one.wrong or 'survived'}" for one in results)
    return Proof(evidence.FAULTS, good == len(results), told)


def _timed(
    name: str, test: Callable[[Stage, Context, str], str], stage: Stage, staging: Context, round_: str
) -> Tested:
    began = time.perf_counter()
    wrong = test(stage, staging, round_)
    return Tested(name, time.perf_counter() - began, wrong)


def _mysql_sessions(stage: Stage, staging: Context, round_: str) -> str:
    """What is wrong after all sessions with MySQL were cut under load: no write may be lost, or done twice."""
    folder = stage.report(f"fault-{round_}")
    under = stage.start_load(staging, folder, writes=FAULT_WRITES, reads=FAULT_READS)
    try:
        time.sleep(UNDER_FAULT)  # how long the load is
        cut = _cut_mysql(staging)
        time.sleep(UNDER_FAULT)
    finally:
        under.stop()
    with contextlib.closing(staging.mysql()) as my:
        verdict = ledger.verify(ledger.read_ledger(folder), load_plan(folder / PLAN), my, None)
    if not cut:
        return "there was no session to cut"
    if not verdict.ok or not verdict.acknowledged:
        return f"{len(verdict.lost)} writes lost, {len(verdict.doubled)} done twice, of {verdict.acknowledged}"
    return ""


def _cut_mysql(staging: Context) -> int:
    user = staging.account(staging.outputs.source.app_secret).username
    with contextlib.closing(staging.mysql(database=None)) as my, my.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (user,))
        ids = [int(row[0]) for row in cursor.fetchall()]
        for number in ids:
            with contextlib.suppress(pymysql.err.OperationalError):  # it has ended by itself
                cursor.execute(f"KILL {number}")
    return len(ids)


def _aurora_sessions(stage: Stage, staging: Context, round_: str) -> str:
    """What is wrong after all sessions with Aurora were cut: its origin must answer again by itself."""
    user = staging.account(staging.outputs.target.app_secret).username
    with staging.postgres() as pg:
        cut = pg.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s", (user,)
        ).fetchone()
    if cut is None or not cut[0]:
        return "there was no session to cut"
    with staging.http(staging.outputs.router.aurora_origin) as client:
        answers = [client.get("/products/1").status_code for _ in range(5)]
    return "" if answers[-1] == 200 else f"Aurora's origin answers {answers}"


FAULTS: Final[dict[str, Callable[[Stage, Context, str], str]]] = {
    "Sessions with MySQL break under load": _mysql_sessions,
    "Sessions with Aurora break": _aurora_sessions,
}


# --- security ---------------------------------------------------------------------------------------------------------


def security(stage: Stage, staging: Context, round_: str) -> Proof:
    """The rules of the policy pack on all of staging, and ways into its databases that must be shut."""
    from policies.pack import ALL

    outcome = stacks.preview("staging", local=True, console=stage.console).outcome
    broken = {violation.rule for violation in outcome.violations if violation.mandatory}
    checks: list[dict[str, Any]] = [{"name": rule.name, "ok": rule.name not in broken} for rule in ALL]
    with stage.console.step("Knock at doors that must be shut") as step:
        doors = {
            "mysql-without-tls": _mysql_without_tls,
            "aurora-without-tls": _aurora_without_tls,
            "api-account-changes-schema": _api_changes_schema,
        }
        checks += [{"name": name, "ok": refused(staging)} for name, refused in doors.items()]
        step.done(f"{len(doors)} tried")
    made = {"tool": "policies and doors", "at": datetime.now(UTC).isoformat(), "checks": checks}
    file = stage.report(f"security-{round_}.json")
    file.write_text(json.dumps(made, indent=1))
    evidence_page.add(staging, evidence.SECURITY, file)
    failed = [one["name"] for one in checks if not one["ok"]]
    told = f"{len(checks) - len(failed)} of {len(checks)} rules and doors hold"
    return Proof(evidence.SECURITY, not failed, told + (f"; broken: {', '.join(failed)}" if failed else ""))


def _mysql_without_tls(staging: Context) -> bool:
    source = staging.outputs.source
    account = staging.account(source.app_secret)
    try:
        pymysql.connect(
            host=source.host, port=source.port, user=account.username, password=account.password, ssl_disabled=True
        ).close()
    except (pymysql.err.MySQLError, RuntimeError):
        return True
    return False


def _aurora_without_tls(staging: Context) -> bool:
    target = staging.outputs.target
    account = staging.account(target.app_secret)
    try:
        psycopg.connect(
            host=target.host, port=target.port, user=account.username, password=account.password,
            dbname=staging.outputs.database, sslmode="disable",
        ).close()  # fmt: skip
    except psycopg.OperationalError:
        return True
    return False


def _api_changes_schema(staging: Context) -> bool:
    try:
        with contextlib.closing(staging.mysql("app")) as my, my.cursor() as cursor:
            cursor.execute("CREATE TABLE planted_by_rehearsal (id INT)")
    except (ZdmError, pymysql.err.MySQLError):
        return True
    return False
