"""List prices by region and name, each with its unit, its day and its source (pure). The file is `prices.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

FILE: Final = Path(__file__).with_name("prices.yaml")


class PricesError(ValueError):
    """The file is none of prices."""


class Price(BaseModel):
    """`api` finds it in AWS' Price List: `service`, attributes of the product, and `times` for another unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: Annotated[Decimal, Field(ge=0)]
    unit: str
    date: date
    source: str
    api: dict[str, str | int] = {}


_REGIONS: Final = TypeAdapter(dict[str, dict[str, Price]])


@dataclass(frozen=True)
class Prices:
    """The prices of one region."""

    region: str
    known: Mapping[str, Price]

    def get(self, name: str) -> Price | None:
        return self.known.get(name)

    @property
    def oldest(self) -> date | None:
        return min((price.date for price in self.known.values()), default=None)


def load_prices(text: str, region: str, origin: str = str(FILE)) -> Prices:
    """Raises `PricesError`. A region without prices has none: then nothing is estimated."""
    try:
        regions = _REGIONS.validate_python(yaml.safe_load(text) or {})
    except (yaml.YAMLError, ValidationError) as e:
        said = e.errors()[0] if isinstance(e, ValidationError) else None
        where = f"{'.'.join(map(str, said['loc']))}: {said['msg']}" if said else str(e)
        raise PricesError(f"{origin} is no file of prices: {where}") from e
    return Prices(region, regions.get(region, {}))


def replaced(text: str, prices: Prices) -> str:
    """The file with the prices of one region replaced; its comment stays."""
    comment = [line for line in text.splitlines() if line.startswith("#")]
    regions: dict[str, Any] = yaml.safe_load(text) or {}
    regions[prices.region] = {
        name: {**price.model_dump(exclude_defaults=True), "usd": str(price.usd)} for name, price in prices.known.items()
    }
    return "\n".join(comment) + "\n" + str(yaml.safe_dump(regions, sort_keys=False, width=120))
