"""MySQL's expressions in PostgreSQL's SQL: for generated columns, CHECKs, defaults and indexes over expressions.

What is translated is a list of constructs that mean the same in both databases, given the types of what they work on.
Everything else is refused by name (`NoCounterpart`): an expression that is almost the same would be found late, or
never.
The rules that are not obvious:
- Numbers are computed exactly, as `numeric`: MySQL computes with 64 bits and more where PostgreSQL's integer overflows.
  Floating point may be compared, not computed with. `/` is refused: its result has other digits in MySQL.
- A division by zero is NULL, as in MySQL.
- Text is compared as its collation in MySQL does (`Operand.comparable`); for order only where that is by code points.
- A member of an ENUM is compared exactly, with literals that are members.
- `lower` and `upper` follow the target's locale beyond ASCII; data-check compares what both databases computed.
- In a truth value a number is compared with 0, and a comparison that is used as a number is 0 or 1.
- Dates are not made text, nor text dates: that depends on settings in PostgreSQL. Literals in ISO form are dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlglot
from sqlglot import exp

from contract.operands import (
    WHOLE,
    Kind,
    NoCounterpart,
    Operand,
    Result,
    alike,
    common,
    kind_of,
    moment,
    number,
    quoted,
    truth,
)
from contract.tables import Column, postgres_name

Node = Any
"""A node of sqlglot's tree."""


def stored(text: str) -> str:
    """An expression as information_schema has it (escaped once more) as SQL."""
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}.get(m[1], m[1]), text)


def columns_of(expression: str) -> set[str]:
    """The names of the columns that an expression uses, as far as it can be read."""
    return {name.replace("``", "`") for name in re.findall(r"`((?:[^`]|``)+)`", expression)}


def translate(expression: str, operands: Mapping[str, Operand]) -> Result:
    """The expression (in MySQL's SQL) on the target. Raises `NoCounterpart`."""
    return _Translator(operands).value(_parse(expression))


def condition(expression: str, operands: Mapping[str, Operand]) -> str:
    """The expression as a truth value, for a CHECK. Raises `NoCounterpart`."""
    return truth(translate(expression, operands)).sql


def generated(column: Column, postgres: str, operands: Mapping[str, Operand]) -> str:
    """What a generated column of the type `postgres` is computed from, on the target. Raises `NoCounterpart`."""
    return _assignable(column, postgres, translate(column.expression, operands))


def default(column: Column, postgres: str, expression: str) -> str:
    """An expression that is a column's default, on the target. Raises `NoCounterpart`."""
    translator = _Translator({}, defaults=True)
    tree = _parse(expression)
    if postgres == "bytea" and tree.sql("mysql").upper() == "UUID_TO_BIN(UUID())":
        return "uuid_send(gen_random_uuid())"
    result = translator.value(tree)
    if postgres.startswith("timestamptz") and result.kind == "datetime":
        return f"({result.sql} AT TIME ZONE 'UTC')"
    return _assignable(column, postgres, result)


def _parse(expression: str) -> Node:
    try:
        select = sqlglot.parse_one(f"SELECT {expression}", read="mysql")
    except sqlglot.errors.SqlglotError as e:
        raise NoCounterpart(f"it cannot be read ({str(e).splitlines()[0]})") from e
    if not isinstance(select, exp.Select) or len(select.expressions) != 1 or set(_arguments(select)) != {"expressions"}:
        raise NoCounterpart("it is more than one expression")
    return select.expressions[0]


def _arguments(node: Node) -> list[str]:
    """The arguments of a node that are set."""
    return [name for name, value in node.args.items() if value not in (None, False, [])]


def _assignable(column: Column, postgres: str, result: Result) -> str:
    """The result as a column of the type takes it, where that means the same in both databases."""
    kind = kind_of(postgres)
    if column.type in ("enum", "set", "float", "double") or kind == "other":
        raise NoCounterpart(f"a value of type {column.type} that is computed")
    if result.kind == "null":
        return "NULL"
    if kind == "number":
        return number(result).sql
    if kind != result.kind:
        raise NoCounterpart(f"{result.kind} that becomes {column.full_type}")
    return f"rtrim({result.sql}, ' ')" if column.type == "char" else result.sql


_LOGIC: Final[dict[type[Any], str]] = {exp.And: "AND", exp.Or: "OR"}
_ARITHMETIC: Final[dict[type[Any], str]] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}
_DIVISIONS: Final[dict[type[Any], str]] = {exp.Mod: "mod", exp.IntDiv: "div"}
_COMPARISONS: Final[dict[type[Any], str]] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
}  # fmt: skip
_EQUALITIES: Final = ("=", "<>", "IS NOT DISTINCT FROM")
_ROUNDING: Final[dict[type[Any], str]] = {exp.Abs: "abs", exp.Floor: "floor", exp.Ceil: "ceil"}
_PARTS_OF_DATES: Final[dict[type[Any], str]] = {
    exp.Year: "year", exp.Month: "month", exp.DayOfMonth: "day", exp.Day: "day",
}  # fmt: skip
_CHARSETS: Final = ("_utf8mb4", "_utf8mb3", "_utf8", "_ascii")
_UNITS: Final = ("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR")
_PATH = re.compile(r"\$((?:\.[A-Za-z_]\w*)+)")


class _Translator:
    """One method for each family of constructs. `defaults`: functions of the moment are allowed."""

    def __init__(self, operands: Mapping[str, Operand], defaults: bool = False) -> None:
        self.operands = operands
        self.defaults = defaults

    def value(self, node: Node) -> Result:
        kind = type(node)
        if kind in _LOGIC:
            left, right = (truth(self.value(side)).sql for side in (node.left, node.right))
            return Result(f"({left} {_LOGIC[kind]} {right})", "truth")
        if kind in _ARITHMETIC:
            if self.defaults and isinstance(node.right, exp.Interval):
                return self._moved(node, _ARITHMETIC[kind])
            left, right = (number(self.value(side)).sql for side in (node.left, node.right))
            return Result(f"({left} {_ARITHMETIC[kind]} {right})", "number", exact=True)
        if kind in _DIVISIONS:
            left, right = (number(self.value(side)).sql for side in (node.left, node.right))
            return Result(f"{_DIVISIONS[kind]}({left}, NULLIF({right}, 0))", "number", exact=True)
        if kind in _COMPARISONS:
            return self._comparison(self.value(node.left), _COMPARISONS[kind], self.value(node.right))
        if kind in _ROUNDING and set(_arguments(node)) == {"this"}:
            return Result(f"{_ROUNDING[kind]}({number(self.value(node.this)).sql})", "number", exact=True)
        if kind in _PARTS_OF_DATES:
            return self._part_of_date(_PARTS_OF_DATES[kind], node)
        method = _METHODS.get(kind)
        if method is None:
            raise self._refused(node)
        return method(self, node)

    def _refused(self, node: Node) -> NoCounterpart:
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else ""
        return NoCounterpart(f"no rule for {name.upper() + '()' if name else node.sql('mysql')}")

    # --- Columns and literals ---

    def _column(self, node: Node) -> Result:
        if node.name.lower() in ("current_date", "current_timestamp") and not node.this.quoted:
            raise self._refused(node)
        operand = self.operands.get(node.name)
        if operand is None:
            raise NoCounterpart(f"it uses the column {node.name}, which is not there")
        return Result(operand.sql or postgres_name(node.name), kind_of(operand.postgres), operand, plain=True)

    def _paren(self, node: Node) -> Result:
        return self.value(node.this)

    def _literal(self, node: Node) -> Result:
        text = node.name
        if node.is_string:
            return Result(quoted(text), "text", literal=text)
        return Result(text, "number" if re.fullmatch(r"\d+(\.\d+)?|\.\d+", text) else "float")

    def _introducer(self, node: Node) -> Result:
        text = node.expression.name
        if node.name.lower() not in _CHARSETS and not text.isascii():
            raise NoCounterpart(f"a literal in {node.name}")
        return self.value(node.expression)

    def _null(self, _: Node) -> Result:
        return Result("NULL", "null")

    def _boolean(self, node: Node) -> Result:
        return Result("true" if node.this else "false", "truth")

    # --- Truth and comparison ---

    def _not(self, node: Node) -> Result:
        return Result(f"(NOT {truth(self.value(node.this)).sql})", "truth")

    def _is(self, node: Node) -> Result:
        value = self.value(node.this)
        if isinstance(node.expression, exp.Boolean):
            return Result(f"({truth(value).sql} IS {'TRUE' if node.expression.this else 'FALSE'})", "truth")
        if not isinstance(node.expression, exp.Null):
            raise self._refused(node)
        return Result(f"({value.sql} IS NULL)", "truth")

    def _between(self, node: Node) -> Result:
        value, low, high = (self.value(node.args[name]) for name in ("this", "low", "high"))
        first, second = self._comparison(value, ">=", low), self._comparison(value, "<=", high)
        return Result(f"({first.sql} AND {second.sql})", "truth")

    def _in(self, node: Node) -> Result:
        if set(_arguments(node)) != {"this", "expressions"}:
            raise self._refused(node)
        value = self.value(node.this)
        found = [self._comparison(value, "=", self.value(item)).sql for item in node.expressions]
        return Result(f"({' OR '.join(found)})", "truth")

    def _comparison(self, left: Result, operator: str, right: Result) -> Result:
        if left.kind == "truth" and right.kind != "truth":
            left = number(left)
        if right.kind == "truth" and left.kind != "truth":
            right = number(right)
        kinds = {left.kind, right.kind} - {"null"}
        if kinds <= {"number", "float"} or kinds == {"truth"}:
            return Result(f"({left.sql} {operator} {right.sql})", "truth")
        if kinds == {"text"}:
            return self._text_comparison(left, operator, right)
        if kinds & {"date", "datetime"} and kinds <= {"date", "datetime", "text"}:
            kind: Kind = "datetime" if "datetime" in kinds else "date"
            return Result(f"({moment(left, kind)} {operator} {moment(right, kind)})", "truth")
        raise NoCounterpart(f"a comparison of {' with '.join(sorted(kinds))}")

    def _text_comparison(self, left: Result, operator: str, right: Result) -> Result:
        operands = [side.operand for side in (left, right) if side.operand is not None]
        if not operands or len({o.column.collation for o in operands}) > 1:
            raise NoCounterpart("a comparison of texts without one collation")
        column = operands[0].column
        if column.type == "set":
            raise NoCounterpart("a comparison of a SET")
        if column.type == "enum":
            literals = [side.literal for side in (left, right) if side.literal is not None]
            plain = (left.plain or left.literal is not None) and (right.plain or right.literal is not None)
            if operator not in _EQUALITIES or not plain or not set(literals) <= set(column.values):
                raise NoCounterpart("a comparison of an ENUM with what is no member, or by order")
            return Result(f"({left.sql} {operator} {right.sql})", "truth")
        if operator in _EQUALITIES:
            sides = (operands[0].comparable(side.sql) if side.kind == "text" else side.sql for side in (left, right))
            return Result("(" + f" {operator} ".join(sides) + ")", "truth")
        if column.case_insensitive or column.pads or not (column.collation or "").endswith("_bin"):
            raise NoCounterpart(f"the order of text under {column.collation}")
        return Result(f'({left.sql} COLLATE "C" {operator} {right.sql} COLLATE "C")', "truth")

    # --- Choices ---

    def _if(self, node: Node) -> Result:
        return self._cases([(truth(self.value(node.this)), self.value(node.args["true"]))], node.args.get("false"))

    def _case(self, node: Node) -> Result:
        if node.this is not None:
            subject = self.value(node.this)
            pairs = [(self._comparison(subject, "=", self.value(i.this)), self.value(i.args["true"]))
                     for i in node.args["ifs"]]  # fmt: skip
        else:
            pairs = [(truth(self.value(i.this)), self.value(i.args["true"])) for i in node.args["ifs"]]
        return self._cases(pairs, node.args.get("default"))

    def _cases(self, pairs: Sequence[tuple[Result, Result]], otherwise: Node | None) -> Result:
        last = self.value(otherwise) if otherwise is not None else Result("NULL", "null")
        results = alike([*(then for _, then in pairs), last])
        whens = " ".join(f"WHEN {when.sql} THEN {then.sql}" for (when, _), then in zip(pairs, results, strict=False))
        return replace(common(results), sql=f"(CASE {whens} ELSE {results[-1].sql} END)")

    def _coalesce(self, node: Node) -> Result:
        results = alike([self.value(item) for item in (node.this, *node.expressions)])
        return replace(common(results), sql=f"COALESCE({', '.join(r.sql for r in results)})")

    def _nullif(self, node: Node) -> Result:
        left, right = self.value(node.this), self.value(node.expression)
        same = self._comparison(left, "=", right)
        return replace(common([left]), sql=f"(CASE WHEN {same.sql} THEN NULL ELSE {left.sql} END)")

    # --- Numbers ---

    def _neg(self, node: Node) -> Result:
        return Result(f"(-{number(self.value(node.this)).sql})", "number", exact=True)

    def _round(self, node: Node) -> Result:
        return self._to_digits("round", node)

    def _trunc(self, node: Node) -> Result:
        return self._to_digits("trunc", node)

    def _to_digits(self, function: str, node: Node) -> Result:
        digits = node.args.get("decimals")
        if digits is not None and not re.fullmatch(r"\d+", digits.sql("mysql")):
            raise NoCounterpart(f"{function} to digits that are not a number")
        value = number(self.value(node.this)).sql
        return Result(f"{function}({value}, {digits.name if digits else 0})", "number", exact=True)

    # --- Text ---

    def _text(self, node: Node) -> Result:
        value = self.value(node)
        if value.kind not in ("text", "null"):
            raise NoCounterpart(f"{value.kind} as text")
        return value

    def _concat(self, node: Node) -> Result:
        parts = []
        for item in node.expressions:
            value = self.value(item)
            column = value.operand if value.plain else None
            if column is not None and column.postgres in WHOLE and not column.column.zerofill:
                value = Result(f"{value.sql}::text", "text")
            if value.kind not in ("text", "null"):
                raise NoCounterpart(f"CONCAT() of {value.kind}")
            parts.append(value)
        return replace(common(parts), sql=f"({' || '.join(p.sql for p in parts)})", kind="text")

    def _lower(self, node: Node) -> Result:
        return self._of_text("lower", node.this)

    def _upper(self, node: Node) -> Result:
        return self._of_text("upper", node.this)

    def _of_text(self, function: str, node: Node, *arguments: str) -> Result:
        value = self._text(node)
        return Result(f"{function}({', '.join((value.sql, *arguments))})", "text", value.operand)

    def _length(self, node: Node) -> Result:
        value = self._text(node.this)
        if not node.args.get("binary"):
            return Result(f"char_length({value.sql})", "number")
        collation = value.operand.column.collation if value.operand else None
        if collation is None or not collation.startswith("utf8"):
            raise NoCounterpart("LENGTH() of text that is not UTF-8")
        return Result(f"octet_length({value.sql})", "number")

    def _trim(self, node: Node) -> Result:
        if node.expression is not None and node.args.get("expression") is not None:
            raise NoCounterpart("TRIM() of other characters than spaces")
        functions = {"LEADING": "ltrim", "TRAILING": "rtrim"}
        return self._of_text(functions.get((node.args.get("position") or "").upper(), "btrim"), node.this, "' '")

    def _left(self, node: Node) -> Result:
        return self._of_text("left", node.this, self._count(node.expression))

    def _right(self, node: Node) -> Result:
        return self._of_text("right", node.this, self._count(node.expression))

    def _substring(self, node: Node) -> Result:
        start, length = node.args.get("start"), node.args.get("length")
        arguments = [self._count(start, least=1)] + ([self._count(length)] if length is not None else [])
        return self._of_text("substr", node.this, *arguments)

    def _count(self, node: Node | None, least: int = 0) -> str:
        """A number of characters that is written out."""
        text = node.sql("mysql") if node is not None else ""
        if not text.isdecimal() or int(text) < least:
            raise NoCounterpart(f"a part of a text from or for {text or 'nothing'}")
        return text

    def _replace(self, node: Node) -> Result:
        old, new = self._text(node.expression), self._text(node.args["replacement"])
        return self._of_text("replace", node.this, old.sql, new.sql)

    # --- Dates ---

    def _part_of_date(self, part: str, node: Node) -> Result:
        inner = node.this.this if isinstance(node.this, exp.TsOrDsToDate) else node.this
        value = self.value(inner)
        if value.kind not in ("date", "datetime"):
            raise NoCounterpart(f"{part.upper()}() of {value.kind}")
        return Result(f"extract({part} FROM {value.sql})", "number")

    def _date(self, node: Node) -> Result:
        value = self.value(node.this)
        if value.kind not in ("date", "datetime"):
            raise NoCounterpart(f"DATE() of {value.kind}")
        return Result(f"{value.sql}::date", "date")

    def _cast(self, node: Node) -> Result:
        if node.to.this == exp.DataType.Type.DATE:
            return self._date(node)
        raise NoCounterpart(f"CAST() AS {node.to.sql('mysql')}")

    def _current_date(self, node: Node) -> Result:
        if not self.defaults:
            raise self._refused(node)
        return Result("(CURRENT_TIMESTAMP AT TIME ZONE 'UTC')::date", "date")

    def _current_timestamp(self, node: Node) -> Result:
        if not self.defaults:
            raise self._refused(node)
        return self._moment(node.this.name if node.this is not None else "0")

    def _moment(self, digits: str) -> Result:
        return Result(f"(CURRENT_TIMESTAMP({digits}) AT TIME ZONE 'UTC')", "datetime")

    def _moved(self, node: Node, sign: str) -> Result:
        """A moment and an interval from it."""
        value, interval = self.value(node.left), node.right
        unit, amount = interval.args["unit"].name.upper(), interval.this.name
        if value.kind not in ("date", "datetime") or unit not in _UNITS or not amount.isdecimal():
            raise self._refused(node)
        moved = f"{value.sql} {sign} interval '{amount} {unit.lower()}'"
        if value.kind == "date" and unit in ("DAY", "WEEK", "MONTH", "YEAR"):
            return Result(f"({moved})::date", "date")
        return Result(f"({moved})", "datetime")

    # --- JSON ---

    def _anonymous(self, node: Node) -> Result:
        if node.name.lower() == "json_unquote" and len(node.expressions) == 1:
            return self._json_text(node.expressions[0])
        if node.name.lower() == "now" and self.defaults:
            return self._moment(node.expressions[0].name if node.expressions else "0")
        raise self._refused(node)

    def _json_extract(self, node: Node) -> Result:
        document, path = self._json_path(node)
        return Result(f"({document} #> {path})", "json")

    def _json_text(self, node: Node) -> Result:
        """A JSON null is the text `null`, as in MySQL."""
        document, path = self._json_path(node)
        return Result(
            f"(CASE jsonb_typeof({document} #> {path}) WHEN 'null' THEN 'null' ELSE {document} #>> {path} END)", "text"
        )

    def _json_path(self, node: Node) -> tuple[str, str]:
        if not isinstance(node, exp.JSONExtract | exp.JSONExtractScalar) or node.expressions:
            raise self._refused(node)
        document = self.value(node.this)
        path = node.expression
        text = path.expression.name if isinstance(path, exp.Introducer) else path.name
        if isinstance(path, exp.JSONPath):
            text = path.sql("mysql").strip("'")
        match = _PATH.fullmatch(text)
        if document.kind != "json" or match is None:
            raise NoCounterpart(f"the JSON path {text}, which is more than names")
        return document.sql, "'{" + ",".join(match[1][1:].split(".")) + "}'"


_METHODS: Final[dict[type[Any], Callable[[_Translator, Node], Result]]] = {
    exp.Anonymous: _Translator._anonymous,
    exp.Between: _Translator._between,
    exp.Boolean: _Translator._boolean,
    exp.Case: _Translator._case,
    exp.Cast: _Translator._cast,
    exp.Coalesce: _Translator._coalesce,
    exp.Column: _Translator._column,
    exp.Concat: _Translator._concat,
    exp.CurrentDate: _Translator._current_date,
    exp.CurrentTimestamp: _Translator._current_timestamp,
    exp.If: _Translator._if,
    exp.In: _Translator._in,
    exp.Introducer: _Translator._introducer,
    exp.Is: _Translator._is,
    exp.JSONExtract: _Translator._json_extract,
    exp.JSONExtractScalar: _Translator._json_text,
    exp.Left: _Translator._left,
    exp.Length: _Translator._length,
    exp.Literal: _Translator._literal,
    exp.Lower: _Translator._lower,
    exp.Neg: _Translator._neg,
    exp.Not: _Translator._not,
    exp.Null: _Translator._null,
    exp.Nullif: _Translator._nullif,
    exp.Paren: _Translator._paren,
    exp.Replace: _Translator._replace,
    exp.Right: _Translator._right,
    exp.Round: _Translator._round,
    exp.Substring: _Translator._substring,
    exp.Trim: _Translator._trim,
    exp.Trunc: _Translator._trunc,
    exp.TsOrDsToDate: _Translator._date,
    exp.Upper: _Translator._upper,
}
