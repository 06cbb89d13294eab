"""`./zdm cost`: what a stack costs in a month, by its resources and by the bill, against what it may cost.

- The estimate is of the resources that the program declares now (the engine's preview), of the usage that the stack
  states (`cost.usage`), and of list prices (`contract/prices.yaml`).
- The actual costs are Cost Explorer's, of the last whole month, by the stack's tags. Without them nothing is compared
  with them, and that is said.
- The bounds: what stays after the migration costs at most today's MySQL and `cost.overrunPercent`; the stated estimate
  and the bill are each within `cost.variancePercent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

from contract.estimate import GROUPS, Estimate, estimate
from contract.outputs import Cost
from contract.prices import FILE, Price, Prices, PricesError, load_prices, replaced
from scripts import stacks
from scripts.clients import aws
from scripts.clients.bill import Bill, bill, last_month
from scripts.clients.price_list import HOME, NoPrice, price_of
from scripts.console import Console
from scripts.errors import UsageError


@dataclass(frozen=True)
class Bound:
    """One thing that must hold. `ok` is None where it cannot be told."""

    what: str
    ok: bool | None
    said: str


@dataclass(frozen=True)
class CostResult:
    stack: str
    cost: Cost
    estimate: Estimate
    prices: Prices
    bill: Bill
    bounds: tuple[Bound, ...]
    refreshed: tuple[str, ...] = ()
    """Prices that were not what the file said."""

    @property
    def ok(self) -> bool:
        return all(bound.ok is not False for bound in self.bounds)

    def to_json(self) -> dict[str, Any]:
        e = self.estimate
        return {
            "stack": self.stack,
            "ok": self.ok,
            "mysqlMonthlyUsd": self.cost.mysql_monthly_usd,
            "limitUsd": str(limit_of(self.cost)),
            "groups": {
                group: {"usd": str(e.of(group)), "staysUsd": str(e.of(group, staying=True))} for group in GROUPS
            },
            "totalUsd": str(e.total),
            "staysUsd": str(e.staying),
            "auroraUsd": str(e.aurora),
            "lowerBound": e.lower_bound,
            "notEstimated": list(e.missing),
            "lines": [
                {
                    "group": line.group, "what": line.what, "quantity": str(line.quantity), "unit": line.unit,
                    "priceUsd": str(line.price), "usd": str(line.usd), "onlyForMigration": line.passing,
                }
                for line in e.lines
            ],
            "usage": self.cost.usage.model_dump(by_alias=True),
            "prices": {"region": self.prices.region, "oldest": str(self.prices.oldest)},
            "actual": {
                "from": self.bill.start.isoformat(), "until": self.bill.end.isoformat(),
                "usd": None if self.bill.problem else str(round(self.bill.total, 2)),
                "services": {name: str(round(usd, 2)) for name, usd in self.bill.services.items()},
                "estimated": self.bill.estimated, "problem": self.bill.problem,
            },
            "bounds": [{"what": b.what, "ok": b.ok, "said": b.said} for b in self.bounds],
            "refreshed": list(self.refreshed),
        }  # fmt: skip

    def render(self, out: RichConsole) -> None:
        e = self.estimate
        table = Table("USD a month", "now", "after the migration", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for group in GROUPS:
            table.add_row(f"[bold]{group}[/bold]", f"{e.of(group):,}", f"{e.of(group, staying=True):,}")
            for line in e.lines:
                if line.group == group:
                    amount = f"{line.usd:,}"
                    table.add_row(
                        f"  [dim]{line.what}[/dim]",
                        f"[dim]{amount}[/dim]",
                        "" if line.passing else f"[dim]{amount}[/dim]",
                    )
        sign = "at least " if e.lower_bound else ""
        table.add_row("[bold]total[/bold]", f"[bold]{sign}{e.total:,}[/bold]", f"[bold]{sign}{e.staying:,}[/bold]")
        table.add_row("today's MySQL", "", f"{Decimal(str(self.cost.mysql_monthly_usd)):,.2f}")
        out.print(table)
        if e.missing:
            out.print("not estimated, so the totals are lower bounds:")
            for missing in e.missing:
                out.print(f"  {missing}", markup=False)
        if self.bill.problem:
            out.print(f"actual costs: no data: {self.bill.problem}", markup=False)
        else:
            out.print(f"actual costs of {self.bill.start:%Y-%m}: {self.bill.total:,.2f}")
        for name in self.refreshed:
            out.print(f"price changed: {name}", markup=False)
        for bound in self.bounds:
            mark = {True: "[green]ok[/green]", False: "[red]broken[/red]", None: "[yellow]unknown[/yellow]"}[bound.ok]
            out.print(f"{mark} {bound.what}: {bound.said}")
        out.print(f"[dim]prices of {self.prices.region}, the oldest of {self.prices.oldest}; docs/cost.md[/dim]")


def run(
    stack: str,
    *,
    local: bool,
    console: Console,
    prices: Path | None = None,
    refresh_prices: bool = False,
    today: date | None = None,
) -> CostResult:
    """Estimates and compares. Raises `UsageError` for a file of prices that is none."""
    outcome = stacks.look(stack, local=local, console=console, refresh=False, create=local)
    try:
        cost = Cost.model_validate(outcome.outputs["cost"])
        region = str(outcome.outputs["region"])
    except (KeyError, ValueError) as e:
        raise UsageError(f"the program of {stack} says nothing about costs: is it this project's?") from e
    path = prices or FILE
    known = _prices(path, region)
    refreshed: tuple[str, ...] = ()
    if refresh_prices:
        with console.step("Read AWS' Price List") as step:
            known, refreshed = _refreshed(aws.client("pricing", HOME), known, step.progress)
            path.write_text(replaced(path.read_text(), known))
            step.done(f"{len(refreshed)} prices changed, in {path}")
    estimated = estimate(outcome.resources, cost.usage, known)
    with console.step("Ask Cost Explorer"):
        start, end = last_month(today or datetime.now(UTC).date())
        billed = bill(_cloud(stack, local, region), cost.tags, start, end)
    return CostResult(stack, cost, estimated, known, billed, tuple(bounds(cost, estimated, billed)), refreshed)


def _prices(path: Path, region: str) -> Prices:
    try:
        return load_prices(path.read_text(), region, str(path))
    except (OSError, PricesError) as e:
        raise UsageError(f"--prices: {e}") from e


def _cloud(stack: str, local: bool, region: str) -> Any:
    """Cost Explorer of the stack's account; of a local stack that is not up, that of whoever calls."""
    from local.environment import environment

    return aws.client("ce", region, environment(stack) if local else None)


def _refreshed(pricing: Any, known: Prices, progress: Any) -> tuple[Prices, tuple[str, ...]]:
    """The prices as AWS' list has them today. One that cannot be told stays as it is, with its own day."""
    fresh: dict[str, Price] = {}
    changed = []
    for done, (name, price) in enumerate(known.known.items()):
        progress(done, len(known.known), "prices")
        fresh[name] = price
        if not price.api:
            continue
        try:
            usd = price_of(pricing, known.region, price.api)
        except NoPrice as e:
            changed.append(f"{name} stays as of {price.date}: {e}")
            continue
        if usd != price.usd:
            changed.append(f"{name}: {usd:f} (was {price.usd:f})")
        today = datetime.now(UTC).date()
        fresh[name] = price.model_copy(update={"usd": usd, "date": today, "source": "AWS Price List"})
    return Prices(known.region, fresh), tuple(changed)


# --- bounds -----------------------------------------------------------------------------------------------------------


def limit_of(cost: Cost) -> Decimal:
    """What a month may cost at most."""
    share = 1 + Decimal(str(cost.overrun_percent)) / 100
    return round(Decimal(str(cost.mysql_monthly_usd)) * share, 2)


def bounds(cost: Cost, estimated: Estimate, billed: Bill) -> list[Bound]:
    """A lower bound above a limit breaks it; one below it says nothing for certain."""
    limit, stated = limit_of(cost), Decimal(str(cost.estimate_monthly_usd))
    sign = "at least " if estimated.lower_bound else ""
    within: bool | None = estimated.staying <= limit
    if within and estimated.lower_bound:
        within = None
    found = [
        Bound(
            f"what stays costs at most today's MySQL and {cost.overrun_percent:g} %",
            within,
            f"{sign}{estimated.staying:,} of {limit:,} (Aurora alone {estimated.aurora:,})",
        ),
        _near("the stated estimate (cost.estimateMonthlyUsd) is that of the resources", stated, estimated, cost),
    ]
    if billed.problem:
        return [*found, Bound("the bill is within its bounds", None, f"no data: {billed.problem}")]
    off = percent_off(billed.total, stated)
    return [
        *found,
        Bound(
            f"the bill is at most {cost.variance_percent:g} % off the stated estimate",
            abs(off) <= Decimal(str(cost.variance_percent)),
            f"{billed.total:,.2f} is {off:+.1f} % off {stated:,.2f}",
        ),
        Bound("the bill is within the limit", billed.total <= limit, f"{billed.total:,.2f} of {limit:,}"),
    ]


def _near(what: str, stated: Decimal, estimated: Estimate, cost: Cost) -> Bound:
    """A stated estimate above a lower bound may be right."""
    off = percent_off(stated, estimated.staying)
    ok: bool | None = abs(off) <= Decimal(str(cost.variance_percent))
    if estimated.lower_bound and off > 0:
        ok = None
    sign = "at least " if estimated.lower_bound else ""
    return Bound(what, ok, f"{stated:,.2f} is {off:+.1f} % off {sign}{estimated.staying:,}")


def percent_off(value: Decimal, base: Decimal) -> Decimal:
    return (value - base) * 100 / base if base else Decimal(0) if not value else Decimal("Infinity")
