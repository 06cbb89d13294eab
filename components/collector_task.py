"""The collector's task: what Prometheus scrapes and keeps, what its containers are told, what its roles may. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from components.images import pull_images
from components.metrics import writer_policy
from components.policies import document, read_secrets, statement, write_logs

PROBE_PORT, AGENT_PORT = 9464, 9090
STOP_SECONDS = 30
SCRAPE_SECONDS = 15
"""As often as the rules are evaluated."""
KAFKA_SCRAPE_SECONDS = 60
"""A broker's exporter needs seconds to answer and its figures move slowly: AWS advises a minute."""
KEPT = {
    "services": r"zdm_.*|process_(resident_memory_bytes|cpu_seconds_total)",
    "probe": r"zdm_.*|process_(resident_memory_bytes|cpu_seconds_total)",
    "kafka-jmx": (
        "kafka_controller_KafkaController_Value|kafka_server_ReplicaManager_Value"
        "|kafka_server_BrokerTopicMetrics_OneMinuteRate"
    ),
    "kafka-node": r"node_filesystem_(avail|size)_bytes|node_cpu_seconds_total|node_memory_MemAvailable_bytes",
}
"""By job, the series that rules and dashboards read: the workspace is paid by the sample."""

START = (
    'cd "${ZDM_TASK_DIR:-/prometheus}" && printf "%s" "$CONFIG" > prometheus.yml && '
    "exec prometheus --enable-feature=agent --config.file=prometheus.yml --storage.agent.path=wal "
    f'--web.listen-address="${{ZDM_BIND:-0.0.0.0:{AGENT_PORT}}}"'
)
"""The configuration comes in the environment: neither an image of our own nor a volume to fill is needed."""


@dataclass(frozen=True)
class Runtime:
    """What the two containers are told."""

    agent_image: str
    probe_image: str
    environment: Mapping[str, str]
    """Of the probe."""
    mysql_secret_arn: str
    aurora_secret_arn: str
    config: str
    log_group: str
    region: str


def agent_config(stack: str, endpoint: str, region: str, jmx: Sequence[str] = (), nodes: Sequence[str] = ()) -> str:
    """Prometheus' configuration as an agent: whom to scrape, and the workspace to write to. `endpoint` ends with /."""

    def job(name: str, source: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        keep = {"source_labels": ["__name__"], "regex": KEPT[name], "action": "keep"}
        return {"job_name": name, **more, **source, "metric_relabel_configs": [keep]}

    def static(targets: Sequence[str]) -> dict[str, Any]:
        return {"static_configs": [{"targets": list(targets)}]}

    probe = f"localhost:{PROBE_PORT}"
    slow = {"scrape_interval": f"{KAFKA_SCRAPE_SECONDS}s", "scrape_timeout": f"{KAFKA_SCRAPE_SECONDS // 2}s"}
    jobs = [
        job("services", {"http_sd_configs": [{"url": f"http://{probe}/targets", "refresh_interval": "15s"}]}),
        job("probe", static([probe])),
        *([job("kafka-jmx", static(jmx), **slow)] if jmx else []),
        *([job("kafka-node", static(nodes), **slow)] if nodes else []),
    ]
    return str(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "external_labels": {"stack": stack}},
                "scrape_configs": jobs,
                "remote_write": [
                    {
                        "url": f"{endpoint}api/v1/remote_write",
                        "sigv4": {"region": region},
                        "queue_config": {"max_shards": 4, "max_samples_per_send": 1000, "batch_send_deadline": "5s"},
                    }
                ],
            },
            sort_keys=False,
        )
    )


def container_definitions(name: str, runtime: Runtime) -> str:
    """Prometheus and the probe in one task, where they are each other's `localhost`."""

    def container(role: str, image: str, port: int, check: Sequence[str], **more: Any) -> dict[str, Any]:
        return {
            "name": role,
            "image": image,
            "essential": True,
            "user": "65534:65534",
            "readonlyRootFilesystem": True,
            "stopTimeout": STOP_SECONDS,
            "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
            "portMappings": [{"containerPort": port, "protocol": "tcp"}],
            "healthCheck": {"command": list(check), "interval": 30, "timeout": 10, "retries": 3, "startPeriod": 60},
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": runtime.log_group,
                    "awslogs-region": runtime.region,
                    "awslogs-stream-prefix": name,
                },
            },
            **more,
        }

    ask = f"import urllib.request as r; r.urlopen('http://localhost:{PROBE_PORT}/healthz', timeout=5)"
    secrets = [
        {"name": f"{kind}_{key}", "valueFrom": f"{arn}:{field}::"}
        for kind, arn in (("MYSQL", runtime.mysql_secret_arn), ("AURORA", runtime.aurora_secret_arn))
        for key, field in (("USER", "username"), ("PASSWORD", "password"))
    ]
    return json.dumps(
        [
            container(
                "probe",
                runtime.probe_image,
                PROBE_PORT,
                ["CMD", "python", "-c", ask],
                command=["python", "-m", "services.lag_probe"],
                environment=[{"name": key, "value": value} for key, value in sorted(runtime.environment.items())],
                secrets=secrets,
            ),
            container(
                "agent",
                runtime.agent_image,
                AGENT_PORT,
                ["CMD-SHELL", f"wget -q -O /dev/null http://localhost:{AGENT_PORT}/-/healthy"],
                entryPoint=["/bin/sh", "-c"],
                command=[START],
                environment=[{"name": "CONFIG", "value": runtime.config}],
                mountPoints=[{"sourceVolume": "wal", "containerPath": "/prometheus"}],
                dependsOn=[{"containerName": "probe", "condition": "START"}],
            ),
        ]
    )


def execution_policy(
    images: Iterable[str], secret_arns: Sequence[str], secrets_key_arn: str, log_group_arn: str
) -> str:
    """What ECS may do to start a task: pull its images, read the two accounts, write the one log."""
    return document(*pull_images(images), *read_secrets(secret_arns, secrets_key_arn), write_logs(log_group_arn))


def task_policy(workspace_arn: str, cluster_arn: str, kafka_arn: str, topics: Sequence[str], group: str) -> str:
    """What the containers may do: write samples, list the services' tasks, read the topics and the sink's position."""
    head, _, kafka = kafka_arn.partition(":cluster/")
    tasks = f"{cluster_arn.replace(':cluster/', ':task/')}/*"
    write = json.loads(writer_policy(workspace_arn))["Statement"]
    return document(
        *write,
        statement("ListTasks", ["ecs:ListTasks"], ["*"], condition={"ArnEquals": {"ecs:cluster": cluster_arn}}),
        statement("DescribeTasks", ["ecs:DescribeTasks"], [tasks]),
        statement("Connect", ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"], [kafka_arn]),
        statement(
            "ReadTopics",
            ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
            [f"{head}:topic/{kafka}/{topic}" for topic in topics],
        ),
        statement("SinksPosition", ["kafka-cluster:DescribeGroup"], [f"{head}:group/{kafka}/{group}"]),
    )
