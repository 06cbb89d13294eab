"""What an origin answers: JSON whose values mean the same on both databases, and errors of one shape."""

from __future__ import annotations

from datetime import time as time_of_day
from datetime import timedelta
from decimal import Decimal

import orjson
from starlette.responses import Response


class Problem(Exception):
    """A request that is answered with an error of the caller: 400, 404, 409, 413 or 422."""

    def __init__(self, status: int, code: str, *detail: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail

    @property
    def content(self) -> bytes:
        """The answer's body."""
        return encoded({"error": {"code": self.code, "detail": self.detail}})


class Busy(Problem):
    """Nothing was executed; the same request may succeed `after` seconds later."""

    def __init__(self, status: int, code: str, *detail: str, after: int = 1) -> None:
        super().__init__(status, code, *detail)
        self.after = after


def encoded(body: object) -> bytes:
    """JSON. Whole decimals are numbers (an unsigned key is one on the target), others text; bytes are hexadecimal."""
    return orjson.dumps(body, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def json_response(status: int, body: object) -> Response:
    """An answer of `encoded` JSON."""
    return response(status, encoded(body))


def response(status: int, content: bytes) -> Response:
    """An answer of JSON that is encoded already."""
    return Response(content, status, media_type="application/json")


def problem_response(problem: Problem) -> Response:
    """The answer to a request that came to nothing."""
    answer = response(problem.status, problem.content)
    if isinstance(problem, Busy):
        answer.headers["retry-after"] = str(problem.after)
    return answer


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        whole = value.as_tuple().exponent == 0 and abs(value) < 1 << 63
        return int(value) if whole else f"{value:f}"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, timedelta):
        micros = round(value.total_seconds() * 1_000_000)
        seconds, fraction = divmod(abs(micros), 1_000_000)
        text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return ("-" if micros < 0 else "") + text + (f".{fraction:06}" if fraction else "")
    if isinstance(value, time_of_day):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
