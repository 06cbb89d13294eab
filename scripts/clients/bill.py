"""Cost Explorer: what a month has cost by the bill, for the resources with some tags.

A tag must be known to the bill (a cost allocation tag, `components.cost`), and is from the day on which it became so.
Each question costs a cent. (AWS Cost Management User Guide, "Analyzing your costs".)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError


@dataclass(frozen=True)
class Bill:
    """A month's costs in US dollars by service; `problem` says why there are none."""

    start: date
    end: date
    services: Mapping[str, Decimal]
    estimated: bool = False
    """Whether AWS still changes them."""
    problem: str = ""

    @property
    def total(self) -> Decimal:
        return sum(self.services.values(), Decimal(0))


def last_month(today: date) -> tuple[date, date]:
    """The first day of the last whole month, and the first after it."""
    end = today.replace(day=1)
    return (end - timedelta(days=1)).replace(day=1), end


def bill(ce: Any, tags: Mapping[str, str], start: date, end: date) -> Bill:
    """What was billed from `start` until before `end`, without taxes, refunds and credits."""
    chosen: list[dict[str, Any]] = [{"Tags": {"Key": key, "Values": [value]}} for key, value in sorted(tags.items())]
    other = {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax", "Refund", "Credit"]}}}
    question: dict[str, Any] = {
        "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
        "Granularity": "MONTHLY",
        "Metrics": ["UnblendedCost"],
        "Filter": {"And": [*chosen, other]},
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
    }
    services: dict[str, Decimal] = {}
    estimated = False
    try:
        while True:
            answer = ce.get_cost_and_usage(**question)
            for period in answer["ResultsByTime"]:
                estimated = estimated or period.get("Estimated", False)
                for group in period["Groups"]:
                    [service], amount = group["Keys"], Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
                    services[service] = services.get(service, Decimal(0)) + amount
            if not (token := answer.get("NextPageToken")):
                break
            question["NextPageToken"] = token
    except (BotoCoreError, ClientError) as e:
        return Bill(start, end, {}, problem=f"Cost Explorer cannot be asked: {e}")
    if not services:
        named = ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))
        return Bill(start, end, {}, problem=f"the bill has nothing with the tags {named}")
    return Bill(start, end, services, estimated)
