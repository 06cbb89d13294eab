"""The relay's own settings, beside an origin's, all from the environment; every mistake is reported at once.

KAFKA_BOOTSTRAP   brokers, comma separated; IAM over TLS, unless ZDM_KAFKA_SECURITY_PROTOCOL names another protocol
AWS_REGION        of the brokers
EVENTS_TOPIC      where the events go
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.origin.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module's text for the variables."""

    bootstrap: str
    protocol: str
    region: str
    topic: str


def settings_from(env: Mapping[str, str]) -> Settings:
    """Reads the settings. Raises `SettingsError` that names every variable that is missing."""
    protocol = env.get("ZDM_KAFKA_SECURITY_PROTOCOL") or "SASL_SSL"
    needed = ["KAFKA_BOOTSTRAP", "EVENTS_TOPIC", *(["AWS_REGION"] if protocol == "SASL_SSL" else [])]
    if missing := [name for name in needed if not env.get(name)]:
        lines = "\n".join(f"  {name} is missing" for name in missing)
        raise SettingsError(f"the relay's settings do not fit:\n{lines}")
    return Settings(env["KAFKA_BOOTSTRAP"], protocol, env.get("AWS_REGION", ""), env["EVENTS_TOPIC"])
