"""How a service logs in to Kafka: by IAM over TLS, or over another protocol where the brokers have no IAM."""

from __future__ import annotations

from typing import Any


def client_settings(bootstrap: str, protocol: str, region: str, name: str) -> dict[str, Any]:
    """What every client of `confluent_kafka` is told. `name` is what the brokers call it in their logs."""
    base = {"bootstrap.servers": bootstrap, "log_level": 2, "client.id": name, "security.protocol": protocol}
    if protocol != "SASL_SSL":
        return base

    def token(_: str) -> tuple[str, float]:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        text, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
        return text, expires_ms / 1000

    return {**base, "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": token}
