"""ARNs as AWS makes them, for resources that are only declared: a policy that names one can then be linted."""

from __future__ import annotations

ACCOUNT = "123456789012"
REGION = "ap-southeast-1"
_HERE = f"{REGION}:{ACCOUNT}"
_UUID = "0a1b2c3d-0000-4000-8000-000000000001-1"

FORMATS = {
    "aws:acm/certificate:Certificate": f"acm:{_HERE}:certificate/{{name}}",
    "aws:amp/workspace:Workspace": f"aps:{_HERE}:workspace/{{name}}",
    "aws:backup/plan:Plan": f"backup:{_HERE}:backup-plan:{{name}}",
    "aws:backup/vault:Vault": f"backup:{_HERE}:backup-vault:{{name}}",
    "aws:cloudtrail/trail:Trail": f"cloudtrail:{_HERE}:trail/{{name}}",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": f"cloudwatch:{_HERE}:alarm:{{name}}",
    "aws:cloudwatch/logGroup:LogGroup": f"logs:{_HERE}:log-group:{{name}}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": f"cloudwatch:{_HERE}:alarm:{{name}}",
    "aws:dms/endpoint:Endpoint": f"dms:{_HERE}:endpoint:{{name}}",
    "aws:dms/replicationConfig:ReplicationConfig": f"dms:{_HERE}:replication-config:{{name}}",
    "aws:dms/replicationInstance:ReplicationInstance": f"dms:{_HERE}:rep:{{name}}",
    "aws:dms/replicationTask:ReplicationTask": f"dms:{_HERE}:task:{{name}}",
    "aws:ecr/repository:Repository": f"ecr:{_HERE}:repository/{{name}}",
    "aws:ecs/cluster:Cluster": f"ecs:{_HERE}:cluster/{{name}}",
    "aws:ecs/service:Service": f"ecs:{_HERE}:service/{{name}}/{{name}}",
    "aws:ecs/taskDefinition:TaskDefinition": f"ecs:{_HERE}:task-definition/{{name}}:1",
    "aws:iam/instanceProfile:InstanceProfile": f"iam::{ACCOUNT}:instance-profile/{{name}}",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": f"iam::{ACCOUNT}:oidc-provider/{{name}}",
    "aws:iam/policy:Policy": f"iam::{ACCOUNT}:policy/{{name}}",
    "aws:iam/role:Role": f"iam::{ACCOUNT}:role/{{name}}",
    "aws:kinesis/stream:Stream": f"kinesis:{_HERE}:stream/{{name}}",
    "aws:kms/key:Key": f"kms:{_HERE}:key/{{name}}",
    "aws:lambda/function:Function": f"lambda:{_HERE}:function:{{name}}",
    "aws:lb/loadBalancer:LoadBalancer": f"elasticloadbalancing:{_HERE}:loadbalancer/app/{{name}}/0a1b",
    "aws:lb/targetGroup:TargetGroup": f"elasticloadbalancing:{_HERE}:targetgroup/{{name}}/0a1b",
    "aws:msk/cluster:Cluster": f"kafka:{_HERE}:cluster/{{name}}/{_UUID}",
    "aws:msk/configuration:Configuration": f"kafka:{_HERE}:configuration/{{name}}/{_UUID}",
    "aws:mskconnect/connector:Connector": f"kafkaconnect:{_HERE}:connector/{{name}}/{_UUID}",
    "aws:mskconnect/customPlugin:CustomPlugin": f"kafkaconnect:{_HERE}:custom-plugin/{{name}}/{_UUID}",
    "aws:rds/cluster:Cluster": f"rds:{_HERE}:cluster:{{name}}",
    "aws:rds/clusterInstance:ClusterInstance": f"rds:{_HERE}:db:{{name}}",
    "aws:rds/clusterParameterGroup:ClusterParameterGroup": f"rds:{_HERE}:cluster-pg:{{name}}",
    "aws:rds/instance:Instance": f"rds:{_HERE}:db:{{name}}",
    "aws:rds/proxy:Proxy": f"rds:{_HERE}:db-proxy:{{name}}",
    "aws:s3/bucket:Bucket": "s3:::{name}",
    "aws:secretsmanager/secret:Secret": f"secretsmanager:{_HERE}:secret:{{name}}-0a1b2c",
    "aws:sns/topic:Topic": f"sns:{_HERE}:{{name}}",
    "aws:wafv2/webAcl:WebAcl": f"wafv2:{_HERE}:regional/webacl/{{name}}/0a1b",
}


def arn_of(token: str, name: str) -> str:
    """The ARN of a resource of this type; of a type that no policy names, one that is well-formed at least."""
    made = FORMATS.get(token, f"{token.split(':')[1].split('/')[0]}:{_HERE}:thing/{{name}}")
    return f"arn:aws:{made.format(name=name)}"
