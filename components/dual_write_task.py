"""The containers of the dual-write service: what ECS is told to run, and what starting it takes. Pure documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.base import demand
from components.images import pull_images
from components.policies import document, read_secrets, write_logs
from contract.flag import Side

PORT = 8080
HEALTH_PATH = "/healthz"
STOP_SECONDS = 30
"""Between SIGTERM and SIGKILL: twice as long as the load balancer lets requests finish."""
MEMORY_PER_UNIT = (2, 8)
"""MiB of memory for each CPU unit that Fargate has, least and most."""


@dataclass(frozen=True)
class Task:
    """The container."""

    image: str
    """Reference of the image, best by its digest: what runs is then what was tested."""
    module: str = "services.orders"
    """Python module that the container runs."""
    cpu: int = 256
    """CPU units, 1024 is one vCPU. The least that Fargate has; production is sized by its load test."""
    memory: int = 512
    """MiB; 2 to 8 times the CPU units, as Fargate has them."""

    def __post_init__(self) -> None:
        least, most = MEMORY_PER_UNIT
        demand(
            self,
            image=(bool(self.image), "an image must be named"),
            cpu=(self.cpu in (256, 512, 1024, 2048, 4096), f"256, 512, 1024, 2048 or 4096, not {self.cpu}"),
            memory=(
                least <= self.memory / self.cpu <= most,
                f"{least} to {most} times the CPU units, not {self.memory}",
            ),
        )


@dataclass(frozen=True)
class Login:
    """Where a database is, and the secret of the account there."""

    host: str
    port: int
    secret_arn: str


@dataclass(frozen=True)
class Runtime:
    """What a container is told beside its image: where its databases are, and where its log goes."""

    side: Side
    db_name: str
    logins: Sequence[Login]
    """Its own database; and the one for second writes, if it can make them."""
    log_group: str
    region: str
    more: Mapping[str, str] = field(default_factory=dict)
    """Further variables."""


def container_definitions(name: str, task: Task, runtime: Runtime) -> str:
    """The one container of a task, as ECS wants it: no rights, no writable file system, secrets by reference."""
    environment = {
        "SIDE": runtime.side.value,
        "DB_NAME": runtime.db_name,
        "DB_TLS": "require",
        "PORT": str(PORT),
        **runtime.more,
    }
    secrets = []
    for prefix, login in zip(("DB", "SECOND"), runtime.logins, strict=False):
        environment |= {f"{prefix}_HOST": login.host, f"{prefix}_PORT": str(int(login.port))}
        secrets += [
            {"name": f"{prefix}_{name}", "valueFrom": f"{login.secret_arn}:{key}::"}
            for name, key in (("USER", "username"), ("PASSWORD", "password"))
        ]
    container: dict[str, Any] = {
        "name": name,
        "image": task.image,
        "essential": True,
        "command": ["python", "-m", task.module],
        "user": "65534:65534",
        "readonlyRootFilesystem": True,
        "stopTimeout": STOP_SECONDS,
        "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
        "portMappings": [{"containerPort": PORT, "protocol": "tcp"}],
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
        "secrets": secrets,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": runtime.log_group,
                "awslogs-region": runtime.region,
                "awslogs-stream-prefix": name,
            },
        },
    }
    return json.dumps([container])


def execution_policy(
    images: Iterable[str], secret_arns: Sequence[str], secrets_key_arn: str, log_group_arn: str
) -> str:
    """What ECS may do to start a task: pull its images, read its accounts, write the one log."""
    return document(
        *pull_images(images),
        *read_secrets(secret_arns, secrets_key_arn),
        write_logs(log_group_arn),
    )
