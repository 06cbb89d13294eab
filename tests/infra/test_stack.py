"""What a stack is made of: the outputs keep the contract, and the rules of security hold for every resource."""

from __future__ import annotations

import json
from collections.abc import Callable

from contract.outputs import load_outputs
from tests.infra.conftest import Declared

Declare = Callable[..., Declared]
RUNNING = {"cdc": "running", "tables": '["orders", "customers"]', "booleans": '["orders.paid"]'}


def test_outputs_are_the_contracts(declare: Declare) -> None:
    outputs = load_outputs(declare(**RUNNING).outputs, "test")
    assert outputs.pipeline.tables == ["orders", "customers"]
