"""Totals add up, no resource is passed over, and a broken bound is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import boto3
import httpx
import pytest
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from contract.estimate import CENT, GROUPS, HOURS, Estimate, Line, estimate
from contract.outputs import Cost, Usage, load_outputs
from contract.prices import FILE, Price, Prices, PricesError, load_prices, replaced
from scripts.clients.bill import Bill, bill, last_month
from scripts.clients.price_list import NoPrice, price_of
from scripts.environments.cost import bounds
from tests.full_stack import STACKS, declared

SINGAPORE = load_prices(FILE.read_text(), "ap-southeast-1")


@dataclass(frozen=True)
class Declared:
    type: str
    name: str
    inputs: dict[str, Any]


def of_stack(name: str) -> list[Declared]:
    return [Declared(args.typ, args.name, args.inputs) for args in declared(name).resources.values()]


amounts = st.decimals(0, 100_000, allow_nan=False, allow_infinity=False, places=5)


@settings(max_examples=8, deadline=None)
@given(st.lists(amounts, min_size=40, max_size=40), st.sampled_from(["dev", "prod"]), st.floats(0, 40), amounts)
def test_totals_add_up_to_the_cent(prices: list[Decimal], stack: str, contingency: float, support: Decimal) -> None:
    named = zip(SINGAPORE.known, prices, strict=False)
    some = {name: Price(usd=usd, unit="u", date=date(2026, 1, 1), source="s") for name, usd in named}
    usage = Usage(contingency_percent=contingency, support_usd=float(support), average_acu=3.5, internet_gib=1 / 3)
    e = estimate(of_stack(stack), usage, Prices("r", some))
    assert sum(e.of(group) for group in GROUPS) == e.total == sum(line.usd for line in e.lines)
    assert sum(e.of(group, staying=True) for group in GROUPS) == e.staying
    assert e.total - e.staying == sum(line.usd for line in e.lines if line.passing)
    for line in e.lines:
        assert line.usd == line.usd.quantize(CENT) >= 0
        exact = line.price * line.quantity / (100 if line.group == "contingency" else 1)
        assert abs(line.usd - exact) <= CENT / 2
    assert e.aurora <= e.staying


@pytest.mark.parametrize("stack", STACKS)
def test_no_resource_is_passed_over(stack: str) -> None:
    outputs = load_outputs(declared(stack).outputs, "test")
    assert outputs.cost is not None
    e = estimate(of_stack(stack), outputs.cost.usage, SINGAPORE)
    assert [text for text in e.missing if "no rule" in text or "not known" in text] == []
    assert {"compute", "storage", "transfer", "MSK", "operations"} <= {line.group for line in e.lines}


def test_production_as_declared_is_told_to_be_too_dear() -> None:
    outputs = load_outputs(declared("prod").outputs, "test")
    assert outputs.cost is not None
    e = estimate(of_stack("prod"), outputs.cost.usage, SINGAPORE)
    acu = next(line for line in e.lines if line.what.startswith("Aurora Serverless"))
    assert (acu.quantity, acu.usd) == (4 * 8 * HOURS, Decimal("4672.00"))
    assert e.lower_bound and e.aurora > Decimal(4160)
    told = bounds(outputs.cost, e, Bill(date(2026, 1, 1), date(2026, 2, 1), {}, problem="none"))
    assert [bound.ok for bound in told] == [False, False, None]


def test_what_is_not_known_is_named() -> None:
    odd = [
        Declared("aws:lambda/function:Function", "f", {}),
        Declared("aws:msk/cluster:Cluster", "kafka", {"numberOfBrokerNodes": 3}),
        Declared("aws:rds/instance:Instance", "db", {"instanceClass": "db.x9.huge", "allocatedStorage": 20}),
    ]
    e = estimate(odd, Usage(), SINGAPORE)
    assert e.total == 0 and len(e.missing) == 4
    assert "no rule for its costs" in e.missing[0] and "kafka" in e.missing[1] and "db.x9.huge" in e.missing[2]


COST = Cost(
    mysql_monthly_usd=3200,
    overrun_percent=30,
    estimate_monthly_usd=4000,
    variance_percent=10,
    tags={"environment": "prod", "cost-centre": "shop"},
)


def made(usd: str, *missing: str) -> Estimate:
    amount = Decimal(usd)
    return Estimate((Line("compute", "x", Decimal(1), "u", amount, amount),), missing)


@pytest.mark.parametrize(
    ("estimated", "billed", "verdicts"),
    [
        (made("4000"), "4100", [True, True, True, True]),
        (made("4160"), "4400", [True, True, True, False]),
        (made("4160.01"), "3600", [False, True, True, True]),
        (made("4000"), "3599", [True, True, False, True]),
        (made("3000"), "4000", [True, False, True, True]),
        (made("3000", "a"), "4000", [None, None, True, True]),
        (made("5000", "a"), "4000", [False, False, True, True]),
    ],
)
def test_bounds(estimated: Estimate, billed: str, verdicts: list[bool | None]) -> None:
    paid = Bill(date(2026, 1, 1), date(2026, 2, 1), {"RDS": Decimal(billed)})
    assert [bound.ok for bound in bounds(COST, estimated, paid)] == verdicts


def test_every_price_has_a_day_and_a_source() -> None:
    assert all(price.source and price.date >= date(2024, 1, 1) for price in SINGAPORE.known.values())
    text = replaced(FILE.read_text(), SINGAPORE)
    assert load_prices(text, "ap-southeast-1") == SINGAPORE and text.startswith("# List prices")
    assert load_prices(text, "eu-west-1").known == {}
    with pytest.raises(PricesError, match=r"a\.b\.usd"):
        load_prices("a: {b: {usd: dear, unit: u, date: 2026-01-01, source: s}}", "a")


PRODUCT = (
    '{"product": {"attributes": {"usagetype": "X"}}, "terms": {"OnDemand": {"t": {"priceDimensions": {'
    '"a": {"beginRange": "0", "unit": "IOs", "pricePerUnit": {"USD": "0.0000002200"}}, '
    '"b": {"beginRange": "9", "unit": "IOs", "pricePerUnit": {"USD": "0.0000001000"}}}}}}}'
)


def test_a_price_is_read_from_the_price_list() -> None:
    """The service is not on this machine: the answers are checked against botocore's model of it."""
    client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    api: dict[str, str | int] = {"service": "AmazonRDS", "usagetype": "X", "times": 1_000_000}
    asked = {
        "ServiceCode": "AmazonRDS",
        "FormatVersion": "aws_v1",
        "Filters": [
            {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "r"},
            {"Type": "TERM_MATCH", "Field": "usagetype", "Value": "X"},
        ],
    }
    with Stubber(client) as stub:
        stub.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": [PRODUCT]}, asked)
        assert price_of(client, "r", api) == Decimal("0.22")
        stub.add_response("get_products", {"PriceList": [PRODUCT, PRODUCT.replace("22", "33")]}, asked)
        with pytest.raises(NoPrice, match="2 prices"):
            price_of(client, "r", api)


@pytest.fixture(scope="module")
def explorer() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    group = {"Keys": ["Amazon RDS"], "Metrics": {"UnblendedCost": {"Amount": "12.345", "Unit": "USD"}}}
    other = {"Keys": ["Amazon S3"], "Metrics": {"UnblendedCost": {"Amount": "0.005", "Unit": "USD"}}}
    period = {"TimePeriod": {"Start": "2026-10-01", "End": "2026-11-01"}, "Estimated": False, "Groups": [group, other]}
    answer = {"results": [{"ResultsByTime": [period], "DimensionValueAttributes": []}]}
    httpx.post(f"{url}/moto-api/static/ce/cost-and-usage-results", json=answer).raise_for_status()
    yield boto3.client(
        "ce", region_name="us-east-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b"
    )
    server.stop()


def test_the_bill_of_the_last_whole_month(explorer: Any) -> None:
    start, end = last_month(date(2026, 11, 28))
    assert (start, end) == (date(2026, 10, 1), date(2026, 11, 1))
    assert last_month(date(2026, 1, 1)) == (date(2025, 12, 1), date(2026, 1, 1))
    found = bill(explorer, COST.tags, start, end)
    assert found.total == Decimal("12.350") and found.problem == ""
    nothing = bill(explorer, {"environment": "else"}, start, end)
    assert nothing.total == 0 and "environment=else" in nothing.problem
