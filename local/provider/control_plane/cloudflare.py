"""What of Cloudflare is only kept in the records: no part of this machine can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.provider.api import Api, Recorded, Values
from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.stack import LocalStack

RULESET = "cloudflare:index/ruleset:Ruleset"


def _only_entry_point(stack: LocalStack, values: Values) -> None:
    """A zone has one ruleset a phase; Cloudflare refuses a second one."""
    place = {name: values.get(name) for name in ("zoneId", "accountId", "phase")}
    if values["kind"] in ("zone", "root") and stack.records.find(RULESET, kind=values["kind"], **place):
        raise HandlerError(
            f"Cloudflare API: a similar configuration with rules already exists for the phase {values['phase']} and "
            "overwriting will have unintended consequences [20217]: one stack a zone can have its rules"
        )


TABLE: dict[str, Api | Recorded] = {
    RULESET: Recorded("{zoneId}-{phase}", outputs={"version": "1"}, on_create=_only_entry_point),
}
