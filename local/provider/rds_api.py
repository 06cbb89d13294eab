"""RDS in the AWS API server: what is about databases and their copies is done by the data plane, all else by moto.

A request is read and an answer written by botocore's model of RDS, with moto's reader and writer of the query protocol,
so that shapes and errors are RDS' own. Nothing of it is in the journal: the state is that of the servers, on disk. No
request waits for a database: what takes time is done behind it, see `local.dataplane.rds.progress`.
"""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.dataplane.rds.operations import Operations
    from local.stack import LocalStack

_SCOPE = re.compile(r"Credential=[^/]+/\d+/([a-z0-9-]+)/rds/aws4_request")
_FAULT = re.compile(r"([A-Za-z]+): (.*)", re.DOTALL)

BACKUP_SECONDS = 60

Answer = tuple[int, Mapping[str, str], bytes]


class RdsApi:
    """The operations of the data plane, in RDS' protocol."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @cached_property
    def _operations(self) -> Operations:
        from local.dataplane.rds.operations import Operations

        return Operations(self._stack)

    def keep_backups(self) -> None:
        """Looks after the automated backups for as long as the process lives."""

        def look() -> None:
            while not threading.Event().wait(BACKUP_SECONDS):
                self._operations.keep_backups()

        threading.Thread(target=look, daemon=True, name="backups").start()

    def answer(self, environ: Mapping[str, Any], body: bytes) -> Answer | None:
        """The answer to a request; None if it is moto's to answer."""
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if scope is None or environ["REQUEST_METHOD"] != "POST":
            return None
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        operation = self._operations.find(fields.get("Action", ""), scope[1])
        return _answer(fields, operation) if operation else None


def _answer(fields: dict[str, str], operation: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Answer | None:
    from moto.core.parse import QueryParser
    from moto.core.serialize import QuerySerializer
    from moto.core.utils import get_service_model
    from moto.rds.exceptions import RDSClientError

    model = get_service_model("rds").operation_model(fields["Action"])
    result: Any
    try:
        parser: Any = QueryParser(model)
        result = operation(parser.parse({"values": fields}))
        if result is None:
            return None
    except HandlerError as error:
        fault = _FAULT.fullmatch(str(error))
        code, message = fault.groups() if fault else ("InvalidParameterValue", str(error))
        result = RDSClientError(code, message)
    except Exception as error:
        traceback.print_exc()
        result = RDSClientError("InternalFailure", f"{type(error).__name__}: {error}")
    made: Any = QuerySerializer(model).serialize(result)
    return made["status_code"], made["headers"], made["body"].encode()
