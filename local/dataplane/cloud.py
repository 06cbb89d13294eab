"""What data-plane parts need of the cloud around them: ARNs, the stack's AWS API, managed secrets, certificates."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import secrets
import socket
import uuid
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.environment import aws_environment
from local.provider.api import server
from local.provider.handler import HandlerError
from local.provider.settings import ACCOUNT
from local.stack import LocalStack

Properties = dict[str, Any]


def region(stack: LocalStack, inputs: Properties) -> str:
    """The region of a resource: its own, else that of the stack's provider."""
    return str(inputs.get("region") or aws_environment(stack)["AWS_REGION"])


def arn(service: str, region_name: str, resource: str) -> str:
    return f"arn:aws:{service}:{region_name}:{ACCOUNT}:{resource}"


def now() -> str:
    """The time, as it is kept of servers and copies."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def moment(at: datetime.datetime) -> str:
    """A time of a request (UTC, without saying so) as the program writes it."""
    return at.replace(tzinfo=datetime.UTC).isoformat().replace("+00:00", "Z")


def resource_id(prefix: str) -> str:
    """An id as RDS makes them: `db-ABCDEFGHIJKLMNOPQRSTUVWXYZ`."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return f"{prefix}-" + "".join(secrets.choice(alphabet) for _ in range(26))


def aws(stack: LocalStack, service: str, region_name: str) -> Any:
    """A boto3 client of the stack's own AWS API, which is started if need be."""
    return server(stack, region_name).client(service)


def generated_password() -> str:
    return secrets.token_urlsafe(24)


def managed_secret(stack: LocalStack, kind: str, inputs: Properties, username: str, password: str) -> list[Properties]:
    """Makes the secret that RDS keeps of a master user. `kind` is `db` or `cluster`. Returns `masterUserSecrets`."""
    key = inputs.get("masterUserSecretKmsKeyId")
    made = aws(stack, "secretsmanager", region(stack, inputs)).create_secret(
        Name=f"rds!{kind}-{uuid.uuid4()}",
        Description="The master account, managed by RDS",
        SecretString=json.dumps({"username": username, "password": password}),
        **({"KmsKeyId": key} if key else {}),
    )
    return [{"secretArn": made["ARN"], "secretStatus": "active", "kmsKeyId": key or "alias/aws/secretsmanager"}]


def forget_secret(stack: LocalStack, state: Properties) -> None:
    """Deletes the secrets that RDS made for a server. One that is gone is no error."""
    for secret in state.get("masterUserSecrets") or ():
        with contextlib.suppress(ClientError, HandlerError):
            aws(stack, "secretsmanager", region(stack, state)).delete_secret(
                SecretId=secret["secretArn"], ForceDeleteWithoutRecovery=True
            )


def secret_text(stack: LocalStack, name_or_arn: str, region_name: str) -> str:
    """The current value of a secret."""
    try:
        return str(aws(stack, "secretsmanager", region_name).get_secret_value(SecretId=name_or_arn)["SecretString"])
    except ClientError as e:
        raise HandlerError(f"the secret {name_or_arn} cannot be read: {e}") from e


def refuse_without_snapshot(what: str, state: Properties) -> None:
    """What RDS checks before it deletes a server or a cluster."""
    if state.get("deletionProtection"):
        raise HandlerError(f"{what} is protected: bring the stack up with deletionProtection false before it can go")
    if not state.get("skipFinalSnapshot") and not state.get("finalSnapshotIdentifier"):
        raise HandlerError(f"{what} cannot be deleted: set finalSnapshotIdentifier, or skipFinalSnapshot to true")


def accepts(address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((address, port), timeout=timeout):
            return True
    except OSError:
        return False


def certificate(folder: Path, *addresses: str) -> tuple[Path, Path]:
    """A self-signed certificate for these addresses and its key (`server.crt`, `server.key`), made once per folder."""
    certificate_file, key_file = folder / "server.crt", folder / "server.key"
    if not certificate_file.exists() or not key_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, addresses[0])])
        now = datetime.datetime.now(datetime.UTC)
        alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(a)) for a in addresses])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate_file, key_file
