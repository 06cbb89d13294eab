"""A MySQL with a shop in it, an archive's bucket with a lock, and a context of both.

`archive_lab.py OUTPUTS HOME N` is a run of the archive in its own process that stands still before the note beside its
n-th object, until killed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.stack import LocalStack
from scripts.clients.archive_store import ArchiveStore
from scripts.console import Console
from scripts.context import Context, context_from, context_from_file
from scripts.environments import archive

REGION, PASSWORD, BUCKET = "eu-west-1", "a password of 22 chars", "zdm-test-archive"
TINY = archive.Limits(workers=3, range_bytes=1 << 15, piece_bytes=12_000, object_bytes=2_000)
QUIET = Console(quiet=True)

SCHEMA = (
    "CREATE TABLE orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, word VARCHAR(40) NOT NULL, "
    "total DECIMAL(12,2), twice DECIMAL(13,2) AS (total * 2) STORED, KEY (word))",
    "CREATE TABLE items (sku VARCHAR(30) COLLATE utf8mb4_0900_ai_ci, line SMALLINT, note TEXT, PRIMARY KEY (sku, line))"
    " PARTITION BY KEY (sku) PARTITIONS 3",
    "CREATE TABLE plain (a INT, b VARCHAR(10))",
    "CREATE TABLE odd (id VARBINARY(16) PRIMARY KEY, f FLOAT, d DOUBLE, bits BIT(13), raw BLOB, j JSON, "
    "e ENUM('a','b,c'), s SET('x','y'), t TEXT, l VARCHAR(50) CHARACTER SET latin1, day DATE, at TIMESTAMP(6) NULL, "
    "took TIME(3), p POINT SRID 4326, z INT(6) UNSIGNED ZEROFILL, y YEAR, secret INT INVISIBLE DEFAULT 7)",
    "CREATE TABLE accounts (id INT PRIMARY KEY, amount INT NOT NULL)",
    "CREATE VIEW dear AS SELECT * FROM orders WHERE total > 100",
    "CREATE TRIGGER on_items BEFORE INSERT ON items FOR EACH ROW SET NEW.note = COALESCE(NEW.note, '')",
    "CREATE PROCEDURE count_orders() SELECT COUNT(*) FROM orders",
)
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
ROWS = (
    f"INSERT INTO orders (word, total) {NUMBERS} SELECT CONCAT('w', i, '\\t', i MOD 5, '\\n\\\\'), i / 7 FROM n",
    f"INSERT INTO items {NUMBERS} SELECT CONCAT(IF(i MOD 2, 'Ä', 'z'), i DIV 7), i MOD 7, SHA2(i, 512) FROM n",
    "INSERT INTO plain VALUES (1, 'same'), (1, 'same'), (2, NULL), (NULL, '\\\\N')",
    "INSERT INTO odd VALUES (0x00FF09, 0.1, 0.1, 4099, 0x5C0A0900, '{\"a\": [1.5, \"\\\\n\", null]}', 'b,c', 'x,y', "
    "'back\\\\slash\\ttab\\nline\\0nul 🙂', 'é', '0000-00-00', '2024-05-06 07:08:09.123456', '-838:59:59', "
    "ST_GeomFromText('POINT(1 2)', 4326), 42, 2024)",
    "INSERT INTO odd (id, f, d) VALUES (0x01, 16777217, -1.7976931348623157e308), (0x02, -3.4e38, 5e-324)",
    f"INSERT INTO accounts {NUMBERS} SELECT i, 1000 FROM n WHERE i <= 20",
)


@dataclass
class Lab:
    """`data` are the stack's outputs as `pulumi stack output --json` gives them."""

    stack: LocalStack
    data: dict[str, Any]
    context: Context

    def mysql(self, *statements: str, **options: Any) -> list[tuple[Any, ...]]:
        """The rows of the last statement."""
        with self.context.mysql(**options) as my, my.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def fence(self, shut: bool) -> None:
        self.mysql(f"SET GLOBAL super_read_only = {'ON' if shut else 'OFF'}")
        if not shut:
            self.mysql("SET GLOBAL read_only = OFF")

    @cached_property
    def s3(self) -> Any:
        return self.context.aws("s3")

    @cached_property
    def store(self) -> ArchiveStore:
        return archive.store_of(self.context)

    def take(self, **options: Any) -> archive.TakeResult:
        return archive.take(self.context, console=QUIET, limits=TINY, **options)


@contextmanager
def laboratory(stack: LocalStack, patch: Any, home: Path) -> Iterator[Lab]:
    """Brings it up; the MySQL is the stack's, the AWS API a server within this process, so that a test can break what
    is stored."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        patch.setenv(name, value)
    MySQLInstance().create(stack, "source", {
        "engine": "mysql", "identifier": "source", "username": "admin", "password": PASSWORD, "dbName": "shop",
        "backupRetentionPeriod": 1,
    })  # fmt: skip
    try:
        client: Any = boto3.client  # its overloads want literals
        data = outputs_of(client, MySQLServer(stack, "source").address)
        lab = Lab(stack, data, context_from(data, "test", home))
        lab.mysql("SET sql_mode = ''", *SCHEMA, *ROWS, "ANALYZE TABLE orders, items, plain, odd, accounts")
        yield lab
    finally:
        server.stop()


def outputs_of(client: Callable[[str], Any], address: str, instance: str = "") -> dict[str, Any]:
    """Makes a bucket, a key, a role and a secret; `client` gives clients of the AWS API that is to have them. The
    outputs of a stack with them and the MySQL at this address."""
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    s3 = client("s3")
    where = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
    retention = {"Mode": "GOVERNANCE", "Days": 90}
    s3.put_object_lock_configuration(
        Bucket=BUCKET,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
    )
    role = client("iam").create_role(RoleName="export", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    secret = json.dumps({"username": "admin", "password": PASSWORD})
    name = client("secretsmanager").create_secret(Name="archive/admin", SecretString=secret)["ARN"]
    return {
        "version": 3, "project": "zdm", "stack": "test", "environment": "dev", "region": REGION, "database": "shop",
        "source": {
            "host": address, "port": 3306, "adminSecret": name, "cdcSecret": name, "appSecret": name,
            "instance": instance,
        },
        "target": {
            "host": "nowhere", "readerHost": "nowhere", "port": 5432, "engineVersion": "15", "adminSecret": name,
            "sinkSecret": name, "appSecret": name,
        },
        "kafka": None,
        "pipeline": {"state": "stopped", "sourceConnector": "source", "sinkConnector": "sink", "tables": []},
        "router": {
            "kind": "nginx", "url": "http://nowhere", "salt": "s", "holdMs": 30000, "mysqlOrigin": "m",
            "auroraOrigin": "a",
        },
        "kpis": {},
        "archive": {"bucket": BUCKET, "keyArn": key, "exportRoleArn": role},
    }  # fmt: skip


def main(outputs: str, home: str, objects: str) -> None:
    put, left = ArchiveStore.put, [int(objects)]

    def standing_still(self: ArchiveStore, key: str, *rest: Any) -> str:
        version = put(self, key, *rest)
        left[0] -= key.endswith(".tsv.gz")
        if left[0] <= 0:
            left[0] = 1 << 30
            sys.stdout.write("reached\n")
            sys.stdout.flush()
            sys.stdin.read()
        return version

    ArchiveStore.put = standing_still  # type: ignore[method-assign]
    context = context_from_file(Path(outputs), Path(home))
    archive.take(context, console=QUIET, limits=TINY)


if __name__ == "__main__":
    main(*sys.argv[1:])
