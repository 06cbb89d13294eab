"""AWS' Price List: the list price of one thing in one region. (AWS Price List API Reference, GetProducts.)

The API answers in a few regions only, whatever region is priced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.errors import ZdmError

HOME: Final = "us-east-1"


class NoPrice(ZdmError):
    """The list has none, or several, where one was wanted."""


def price_of(pricing: Any, region: str, api: Mapping[str, str | int]) -> Decimal:
    """The on-demand price in US dollars of the product with these attributes, of its first tier. Raises `NoPrice`."""
    attributes = {"regionCode": region, **{k: str(v) for k, v in api.items() if k not in ("service", "times")}}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in attributes.items()]
    try:
        pages = pricing.get_paginator("get_products").paginate(
            ServiceCode=str(api["service"]), Filters=filters, FormatVersion="aws_v1"
        )
        products = [json.loads(text) for page in pages for text in page["PriceList"]]
    except (BotoCoreError, ClientError) as e:
        raise ZdmError(f"AWS' Price List cannot be asked: {e}. Your role needs pricing:GetProducts") from e
    found = {price for product in products for price in _first_tier(product)}
    if len(found) != 1:
        asked = ", ".join(f"{field} {value}" for field, value in attributes.items())
        raise NoPrice(f"{api['service']} with {asked}: {len(found)} prices in the Price List, where one was expected")
    return found.pop() * int(api.get("times", 1))


def _first_tier(product: Mapping[str, Any]) -> list[Decimal]:
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
    prices = [
        Decimal(dimension["pricePerUnit"]["USD"]) for dimension in dimensions if dimension.get("beginRange", "0") == "0"
    ]
    return [price for price in prices if price]  # a free tier is a tier of its own
