"""The provider functions that the program calls while it runs (`aws.getRegion`, ...).

They answer without a server, because a preview must not leave anything behind.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from typing import Any

from local.provider.handler import HandlerError
from local.provider.settings import ProviderSettings

Properties = dict[str, Any]

PUNCTUATION = string.punctuation  # what Secrets Manager draws from besides letters and digits


def invoke(token: str, arguments: Properties, settings: ProviderSettings) -> Properties:
    """Runs a function. Raises `HandlerError` for one that is not known."""
    if token not in FUNCTIONS:
        raise HandlerError(
            f"the local cloud does not know the function {token}. Add it to local/provider/invokes.py; known are "
            f"{', '.join(sorted(FUNCTIONS))}"
        )
    return FUNCTIONS[token](arguments, settings)


def _random_password(arguments: Properties, settings: ProviderSettings) -> Properties:
    classes = {
        "excludeLowercase": string.ascii_lowercase,
        "excludeUppercase": string.ascii_uppercase,
        "excludeNumbers": string.digits,
        "excludePunctuation": PUNCTUATION,
    }
    unwanted = set(arguments.get("excludeCharacters", ""))
    kinds = [
        "".join(c for c in chars if c not in unwanted) for flag, chars in classes.items() if not arguments.get(flag)
    ]
    if arguments.get("includeSpace"):
        kinds.append(" ")
    kinds = [chars for chars in kinds if chars]
    length = int(arguments.get("passwordLength", 32))
    if not kinds or length < len(kinds):
        raise HandlerError(f"getRandomPassword: {length} characters cannot hold one of each of {len(kinds)} kinds")
    first = [secrets.choice(chars) for chars in kinds] if arguments.get("requireEachIncludedType", True) else []
    drawn = first + [secrets.choice("".join(kinds)) for _ in range(length - len(first))]
    secrets.SystemRandom().shuffle(drawn)
    return {**arguments, "id": settings.region, "region": settings.region, "randomPassword": "".join(drawn)}


def _availability_zones(arguments: Properties, settings: ProviderSettings) -> Properties:
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    region = arguments.get("region") or settings.region
    zones = RegionsAndZonesBackend.zones.get(region)
    if zones is None:
        raise HandlerError(f"there is no AWS region {region!r}: set aws:region to one that exists")
    left_out = {*arguments.get("excludeNames", ()), *arguments.get("excludeZoneIds", ())}
    kept = [z for z in zones if z.name not in left_out and z.zone_id not in left_out]
    return {
        **arguments,
        "id": region,
        "region": region,
        "groupNames": [region],
        "names": [z.name for z in kept],
        "zoneIds": [z.zone_id for z in kept],
    }


def _caller_identity(arguments: Properties, settings: ProviderSettings) -> Properties:
    arn = f"arn:aws:sts::{settings.account}:assumed-role/local/zdm"
    return {"id": settings.account, "accountId": settings.account, "arn": arn, "userId": "AROALOCAL:zdm"}


def _region(arguments: Properties, settings: ProviderSettings) -> Properties:
    region = arguments.get("region") or arguments.get("name") or settings.region
    return {
        "id": region,
        "name": region,
        "region": region,
        "description": f"{region} (local)",
        "endpoint": f"ec2.{region}.amazonaws.com",
    }


def _partition(arguments: Properties, settings: ProviderSettings) -> Properties:
    return {"id": "aws", "partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}


FUNCTIONS: dict[str, Callable[[Properties, ProviderSettings], Properties]] = {
    "aws:secretsmanager/getRandomPassword:getRandomPassword": _random_password,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
}
