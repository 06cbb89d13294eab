"""Application Auto Scaling: what may grow, between which bounds, by what it follows. Nothing here scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.api import Api, Call, Recorded, Update, Values
from local.provider.control_plane.words import pascal

_WHAT = {
    "ServiceNamespace": "serviceNamespace",
    "ResourceId": "resourceId",
    "ScalableDimension": "scalableDimension",
}
_REGISTER = Call(
    "register_scalable_target",
    {**_WHAT, "MinCapacity": "minCapacity", "MaxCapacity": "maxCapacity", "RoleARN": "roleArn"},
)


def _numbers(value: Any) -> Any:
    """Step bounds are text in the program and numbers in the API."""
    if isinstance(value, Mapping):
        return {k: float(v) if k.endswith("Bound") else _numbers(v) for k, v in value.items() if v not in (None, "")}
    return [_numbers(v) for v in value] if isinstance(value, list) else value


def _block(name: str) -> Any:
    def given(values: Values) -> Any:
        return pascal(_numbers(values[name])) if values.get(name) else None

    return given


_PUT = Call(
    "put_scaling_policy",
    {
        **_WHAT,
        "PolicyName": "name",
        "PolicyType": lambda v: v.get("policyType") or "StepScaling",
        "StepScalingPolicyConfiguration": _block("stepScalingPolicyConfiguration"),
        "TargetTrackingScalingPolicyConfiguration": _block("targetTrackingScalingPolicyConfiguration"),
    },
)

TABLE: dict[str, Api | Recorded] = {
    "aws:appautoscaling/target:Target": Api(
        "application-autoscaling",
        _REGISTER,
        "{resourceId}",
        Call(
            "describe_scalable_targets",
            {
                "ServiceNamespace": "serviceNamespace",
                "ResourceIds": lambda v: [v["resourceId"]],
                "ScalableDimension": "scalableDimension",
            },
        ),
        "ScalableTargets[0]",
        {"arn": "ScalableTargetARN", "roleArn": "RoleARN", "minCapacity": "MinCapacity", "maxCapacity": "MaxCapacity"},
        updates=(Update(("minCapacity", "maxCapacity", "roleArn"), (_REGISTER,)),),
        delete_calls=(Call("deregister_scalable_target", _WHAT),),
    ),
    "aws:appautoscaling/policy:Policy": Api(
        "application-autoscaling",
        _PUT,
        "{name}",
        Call("describe_scaling_policies", _WHAT),
        "ScalingPolicies[?PolicyName=='<name>'] | [0]",
        {"arn": "PolicyARN", "alarmArns": "Alarms[].AlarmARN"},
        updates=(
            Update(
                ("policyType", "stepScalingPolicyConfiguration", "targetTrackingScalingPolicyConfiguration"), (_PUT,)
            ),
        ),
        delete_calls=(Call("delete_scaling_policy", {**_WHAT, "PolicyName": "name"}),),
    ),
}
