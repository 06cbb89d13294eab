"""What the API server does differently from moto, because parts of this machine stand behind it.

Bucket policies and rotation are kept but not enforced: nothing here signs requests, and no Lambda runs here. An
ECS service is a process of this machine, so moto, which does not know it, must not ask for it. Resetting parameters of
a group is what moto lacks.
"""

from __future__ import annotations

from typing import Any


def apply() -> None:
    """Changes moto's classes; once per process is enough."""
    _bucket_policies_are_kept_only()
    _rotation_is_kept_only()
    _services_are_elsewhere()
    _parameters_can_be_reset()


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
