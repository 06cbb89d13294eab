"""An origin's settings, all from the environment; every mistake is reported at once.

SIDE            mysql | aurora: which database this origin stands in front of
DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD
DB_TLS          require (encrypted, default) | verify (also checks certificate and name) | off
DB_CA           file of certificate authorities for DB_TLS=verify (default: the system's)
DB_POOL         most connections to the database, default 16
SECOND_HOST, SECOND_PORT, SECOND_USER, SECOND_PASSWORD
                Aurora, for the origin of MySQL, which writes to both in dual mode (see `contract.dual`); default: never
ZDM_BIND        host:port to listen on, default 0.0.0.0:8080; processes may share it
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from contract.flag import Side


class SettingsError(ValueError):
    """Settings are missing or wrong; the message lists all of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module's text for the variables."""

    side: Side
    host: str
    port: int
    database: str
    user: str
    password: str
    tls: ssl.SSLContext | None
    pool: int
    bind_host: str
    bind_port: int
    second: Settings | None = None
    """The database that is written to as well."""


def settings_from(env: Mapping[str, str]) -> Settings:
    """Reads the settings. Raises `SettingsError` that names every variable that is missing or wrong."""
    wrong: list[str] = []

    def text(name: str, default: str | None = None) -> str:
        value = env.get(name) or default
        if value is None:
            wrong.append(f"{name} is missing")
        return value or ""

    def number(name: str, value: str, low: int, high: int) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            if value:
                wrong.append(f"{name} must be a number from {low} to {high}, not {value!r}")
            return low
        return int(value)

    side = text("SIDE")
    if side and side not in list(Side):
        wrong.append(f"SIDE must be mysql or aurora, not {side!r}")
    host, name, user, password = text("DB_HOST"), text("DB_NAME"), text("DB_USER"), text("DB_PASSWORD")
    port = number("DB_PORT", text("DB_PORT"), 1, 65535)
    pool = number("DB_POOL", text("DB_POOL", "16"), 1, 1000)
    bind_host, _, bind_port = text("ZDM_BIND", "0.0.0.0:8080").rpartition(":")
    if not bind_host:
        wrong.append("ZDM_BIND must be host:port")
    bound = number("ZDM_BIND (its port)", bind_port, 0, 65535)
    tls: ssl.SSLContext | None = None
    try:
        tls = _tls(text("DB_TLS", "require"), env.get("DB_CA") or None)
    except (ValueError, OSError) as e:
        wrong.append(str(e))
    second: Settings | None = None
    if env.get("SECOND_HOST"):
        if side != Side.MYSQL:
            wrong.append("SECOND_HOST is for SIDE=mysql only: Aurora is never the first of two")
        second = Settings(
            Side.AURORA, text("SECOND_HOST"), number("SECOND_PORT", text("SECOND_PORT"), 1, 65535), name,
            text("SECOND_USER"), text("SECOND_PASSWORD"), tls, pool, "", 0,
        )  # fmt: skip
    if wrong:
        raise SettingsError("the origin's settings do not fit:\n" + "\n".join(f"  {line}" for line in wrong))
    return Settings(Side(side), host, port, name, user, password, tls, pool, bind_host.strip("[]"), bound, second)


def _tls(mode: str, authorities: str | None) -> ssl.SSLContext | None:
    if mode == "off":
        return None
    if mode not in ("require", "verify"):
        raise ValueError(f"DB_TLS must be require, verify or off, not {mode!r}")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as e:
        raise OSError(f"DB_CA={authorities} cannot be read: {e}") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
