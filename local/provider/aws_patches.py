"""What the API server does differently from moto, because parts of this machine stand behind it.

Bucket policies and rotation are kept but not enforced: nothing here signs requests, and no Lambda runs here. An
ECS service is a process of this machine, so moto, which does not know it, must not ask for it. Resetting parameters of
a group and updating a backup plan are what moto lacks, and GuardDuty's features are switched one by one.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from local.provider import ec2_patches


def apply() -> None:
    """Changes moto's classes; once per process is enough."""
    _bucket_policies_are_kept_only()
    _rotation_is_kept_only()
    _services_are_elsewhere()
    _parameters_can_be_reset()
    _backup_plans_can_be_updated()
    _locks_come_later()
    _log_policies_are_read()
    _features_are_switched_one_by_one()
    ec2_patches.apply()


def _bucket_policies_are_kept_only() -> None:
    """moto would enforce them, but cannot read conditions: the usual "deny without TLS" would deny everything."""
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL  # type: ignore[method-assign]


def _rotation_is_kept_only() -> None:
    """moto would invoke the Lambda, or, where RDS itself rotates, put an empty value in the secret's place."""
    from moto.secretsmanager.exceptions import InvalidRequestException, SecretNotFoundException
    from moto.secretsmanager.models import FakeSecret, SecretsManagerBackend

    def rotate_secret(
        self: SecretsManagerBackend,
        secret_id: str,
        client_request_token: str | None = None,
        rotation_lambda_arn: str | None = None,
        rotation_rules: dict[str, Any] | None = None,
        rotate_immediately: bool = True,
    ) -> str:
        if not self._is_valid_identifier(secret_id):
            raise SecretNotFoundException()
        secret = self.secrets[secret_id]
        assert isinstance(secret, FakeSecret)
        if not rotation_lambda_arn and not secret.name.startswith("rds!"):
            raise InvalidRequestException("No Lambda rotation function ARN is associated with this secret.")
        secret.rotation_requested = secret.rotation_enabled = True
        secret.rotation_lambda_arn = rotation_lambda_arn or ""
        secret.auto_rotate_after_days = (rotation_rules or {}).get("AutomaticallyAfterDays", 0)
        return secret.to_short_dict()

    SecretsManagerBackend.rotate_secret = rotate_secret  # type: ignore[method-assign]


def _services_are_elsewhere() -> None:
    from moto.applicationautoscaling.models import ApplicationAutoscalingBackend

    ApplicationAutoscalingBackend._ecs_service_exists_for_target = lambda self, r_id: True  # type: ignore[method-assign]


def _parameters_can_be_reset() -> None:
    from moto.core.responses import ActionResult
    from moto.rds.exceptions import DBParameterGroupNotFoundError
    from moto.rds.responses import RDSResponse

    def reset(name: str, groups: str) -> Any:
        def operation(self: RDSResponse) -> ActionResult:
            wanted = self.params.get(name)
            group = getattr(self.backend, groups).get(wanted)
            if group is None:
                raise DBParameterGroupNotFoundError(wanted)
            if self.params.get("ResetAllParameters"):
                group.parameters.clear()
            for parameter in self.params.get("Parameters") or ():
                group.parameters.pop(parameter.original_dict()["ParameterName"], None)
            return ActionResult({name: wanted})

        return operation

    methods: Any = RDSResponse
    methods.reset_db_parameter_group = reset("DBParameterGroupName", "db_parameter_groups")
    methods.reset_db_cluster_parameter_group = reset("DBClusterParameterGroupName", "db_cluster_parameter_groups")


def _backup_plans_can_be_updated() -> None:
    from moto.backup.models import Plan
    from moto.backup.responses import BackupResponse

    def update_backup_plan(self: BackupResponse) -> str:
        plans = self.backup_backend
        known = plans.get_backup_plan(self.path.rstrip("/").rpartition("/")[2], None)
        new = Plan(json.loads(self.body)["BackupPlan"], known.creator_request_id, plans)
        known.backup_plan, known.version_id = new.backup_plan, new.version_id
        return json.dumps(known.to_dict())

    BackupResponse.update_backup_plan = update_backup_plan  # type: ignore[attr-defined]


def _locks_come_later() -> None:
    """S3 lets a bucket with objects take another default retention; moto still wants it empty."""
    from moto.s3.exceptions import InvalidBucketState
    from moto.s3.models import S3Backend

    def put(
        self: S3Backend,
        bucket_name: str,
        lock_enabled: bool,
        mode: str | None = None,
        days: int | None = None,
        years: int | None = None,
    ) -> None:
        bucket = self.get_bucket(bucket_name)
        if not bucket.is_versioned:
            raise InvalidBucketState("Versioning must be enabled on the bucket before it can be locked")
        bucket.object_lock_enabled = bucket.object_lock_enabled or lock_enabled
        bucket.default_lock_mode, bucket.default_lock_days, bucket.default_lock_years = mode, days, years

    S3Backend.put_object_lock_configuration = put  # type: ignore[method-assign]


def _features_are_switched_one_by_one() -> None:
    """moto would forget GuardDuty's other features when one is switched."""
    from moto.guardduty import models

    detector: Any = models.Detector
    replace = detector.update

    def update(self: Any, enable: Any, frequency: Any, sources: Any, features: list[dict[str, Any]] | None) -> None:
        kept = {f["name"]: f for f in (*self.features, *(features or ()))}
        replace(self, enable, frequency, sources, list(kept.values()))

    detector.update = update


def _log_policies_are_read() -> None:
    """moto looks for the right to write access logs only in statements with one resource and a principal by name."""
    from moto.s3.models import FakeBucket

    def listed(value: Any) -> list[str]:
        return value if isinstance(value, list) else [value]

    def allowed(target_bucket: FakeBucket, target_prefix: str | None) -> bool:
        key = f"{target_bucket.arn}/{target_prefix or ''}log"
        return any(
            statement["Effect"] == "Allow"
            and isinstance(statement.get("Principal"), dict)
            and statement["Principal"].get("Service") == "logging.s3.amazonaws.com"
            and any(fnmatchcase("s3:PutObject", action) for action in listed(statement["Action"]))
            and any(fnmatchcase(key, resource) for resource in listed(statement["Resource"]))
            for statement in json.loads(target_bucket.policy or b"{}").get("Statement", [])
        )

    FakeBucket._log_permissions_enabled_policy = staticmethod(allowed)  # type: ignore[method-assign]
