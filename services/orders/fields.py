"""What a body may hold: each kind of value is read, and described to clients, by the same object.

Invariants:
- Every mistake of a body is named at once, each with its path and the rule.
- A schema (JSON Schema 2020-12) allows what `read` takes; what it cannot say is in its description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from services.origin.answers import Problem

CENT = Decimal("0.01")
MAX_AMOUNT = Decimal("999999999999.99")

REQUIRED = object()
"""In place of a default: the value must be there."""
ABSENT = object()
"""In place of a default: the value may stay away."""

Schema = dict[str, Any]
Mistakes = list[str]


class Field(Protocol):
    """One kind of value."""

    @property
    def default(self) -> Any:
        """What stands for a value that is not there: itself, `REQUIRED`, or `ABSENT`."""

    @property
    def schema(self) -> Schema: ...

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        """The value as `store` wants it. What does not fit goes to `wrong`, and then the result means nothing."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    low: int
    high: int
    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        default = {"default": self.default} if isinstance(self.default, int) else {}
        return {"type": "integer", "minimum": self.low, "maximum": self.high, **default}

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            wrong.append(f"{where}: a whole number from {self.low} to {self.high}")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Text without NUL."""

    shortest: int
    longest: int
    null: bool = False
    """Whether it may be null."""
    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        kind: Any = ["string", "null"] if self.null else "string"
        return {"type": kind, "minLength": self.shortest, "maxLength": self.longest, "pattern": "^[^\\u0000]*$"}

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        if value is None and self.null:
            return None
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest or "\0" in value:
            wrong.append(f"{where}: text of {self.shortest} to {self.longest} characters, without NUL")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    among: Sequence[str]
    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.among)}

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        if value not in self.among:
            wrong.append(f"{where}: one of {', '.join(self.among)}")
        return value


@dataclass(frozen=True, slots=True)
class Truth:
    """True or false."""

    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        return {"type": "boolean"}

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        if not isinstance(value, bool):
            wrong.append(f"{where}: true or false")
        return value


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money, text or a number."""

    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        return {
            "description": "an amount from 0 with at most two decimals",
            "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0, "maximum": float(MAX_AMOUNT)}],
        }

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise InvalidOperation
            amount = Decimal(str(value))
            if amount.is_finite() and 0 <= amount <= MAX_AMOUNT and amount == round(amount, 2):
                return amount.quantize(CENT)
        except InvalidOperation:
            pass
        wrong.append(f"{where}: an amount from 0 with at most two decimals")
        return value


@dataclass(frozen=True, slots=True)
class Object:
    """An object of known names."""

    fields: Mapping[str, Field]
    least: int = 0
    """How many of them must be there."""
    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {name: field.schema for name, field in self.fields.items()},
            "required": [name for name, field in self.fields.items() if field.default is REQUIRED],
            "additionalProperties": False,
            **({"minProperties": self.least} if self.least else {}),
        }

    def read(self, value: object, where: str, wrong: Mistakes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if not isinstance(value, dict):
            wrong.append(f"{where}: an object with {', '.join(self.fields)}")
            return found
        path = f"{where}." if where else ""
        for name, field in self.fields.items():
            if name in value or field.default is REQUIRED:
                found[name] = field.read(value.get(name), path + name, wrong)
            elif field.default is not ABSENT:
                found[name] = field.default
        wrong += [f"{path}{name}: unknown" for name in value if name not in self.fields]
        if len(found) < self.least:
            wrong.append(f"{where or 'the body'}: at least {self.least} of {', '.join(self.fields)}")
        return found

    def body(self, data: dict[str, Any]) -> dict[str, Any]:
        """The values of a whole body. Raises `Problem` 422 with all mistakes."""
        wrong: Mistakes = []
        found = self.read(data, "", wrong)
        if wrong:
            raise Problem(422, "invalid", *wrong)
        return found


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    of: Field
    most: int
    default: Any = REQUIRED

    @property
    def schema(self) -> Schema:
        return {"type": "array", "items": self.of.schema, "minItems": 1, "maxItems": self.most}

    def read(self, value: object, where: str, wrong: Mistakes) -> Any:
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            wrong.append(f"{where}: a list of 1 to {self.most} items")
            return []
        return [self.of.read(entry, f"{where}[{i}]", wrong) for i, entry in enumerate(value)]
