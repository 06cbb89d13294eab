"""Parameter groups of RDS: their values, and what the formulas in them mean on one machine.

A server of the local cloud has `MEMORY` bytes and `PROCESSORS` processors, whatever the instance class of the program.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.provider.handler import HandlerError
from local.stack import LocalStack

MEMORY = 1 << 30
PROCESSORS = 2
INSTANCE_GROUP = "aws:rds/parameterGroup:ParameterGroup"
CLUSTER_GROUP = "aws:rds/clusterParameterGroup:ClusterParameterGroup"

_FUNCTIONS: dict[str, Callable[..., float]] = {
    "LEAST": min,
    "GREATEST": max,
    "SUM": lambda *terms: sum(terms),
    "LOG": lambda value: math.log2(value),
}
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
_VARIABLES: dict[str, float] = {
    "DBInstanceClassMemory": MEMORY,
    "AllocatedStorage": 20 << 30,
    "DBInstanceVCPU": PROCESSORS,
}


@dataclass(frozen=True)
class Parameter:
    """One value of a group. `pending_reboot`: it is taken over when the server restarts, and not before."""

    name: str
    value: str
    pending_reboot: bool = False


def of_group(stack: LocalStack, token: str, name: str | None) -> list[Parameter]:
    """The parameters of the group with this name. A name of RDS' own (`default.mysql8.4`) and None have none."""
    if not name or name.startswith("default."):
        return []
    found = stack.records.find(token, name=name)
    if not found:
        raise HandlerError(f"DBParameterGroupNotFound: this stack has no parameter group {name!r}")
    return of_inputs(found[0].outputs.get("parameters"))


def of_inputs(given: Iterable[Mapping[str, Any]] | None) -> list[Parameter]:
    """The parameters as the program gives them: `[{"name", "value", "applyMethod"}]`."""
    return [
        Parameter(p["name"], str(p["value"]), str(p.get("applyMethod") or "immediate").lower() == "pending-reboot")
        for p in given or ()
    ]


def resolve(parameter: Parameter, variables: Mapping[str, float] | None = None) -> str:
    """The value with its formulas worked out, for example `{DBInstanceClassMemory*3/4}`."""
    if "{" not in parameter.value and not re.match(r"\s*(LEAST|GREATEST|SUM|LOG)\s*\(", parameter.value, re.IGNORECASE):
        return parameter.value
    known = {**_VARIABLES, **(variables or {})}
    text = re.sub(r"\b(least|greatest|sum|log)\b", lambda m: m[0].upper(), parameter.value, flags=re.IGNORECASE)
    try:
        tree = ast.parse(text.replace("{", "(").replace("}", ")").strip(), mode="eval")
        return str(int(_value(tree.body, known)))
    except (SyntaxError, KeyError, ValueError, TypeError, ZeroDivisionError) as e:
        raise HandlerError(
            f"the parameter {parameter.name} has a formula that RDS would not take: {parameter.value!r} "
            f"(known are {', '.join(known)}, + - * / and {', '.join(_FUNCTIONS)})"
        ) from e


def _value(node: ast.expr, variables: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return variables[name]
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, variables)
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, variables), _value(node.right, variables))
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name](*(_value(a, variables) for a in node.args))
    raise ValueError(ast.dump(node))
