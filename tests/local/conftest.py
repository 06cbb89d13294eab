"""A local stack of one's own for each test module; whatever it started is stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local.stack import LocalStack, default_root, open_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(tmp_path_factory.mktemp("home")))
        made = open_stack("dev", default_root())
        yield made
        for process in made.processes():
            process.stop(10)


class Groups:
    """Parameter groups of a stack, as its control plane would record them."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    def put(self, token: str, name: str, **values: str) -> list[dict[str, Any]]:
        """Records a group. A value that begins with `reboot:` has applyMethod pending-reboot; `__` stands for a dot."""
        parameters = [
            {
                "name": key.replace("__", "."),
                "value": value.removeprefix("reboot:"),
                "applyMethod": "pending-reboot" if value.startswith("reboot:") else "immediate",
            }
            for key, value in values.items()
        ]
        self._stack.records.put(token, name, {}, {"name": name, "parameters": parameters})
        return parameters


@pytest.fixture(scope="module")
def groups(stack: LocalStack) -> Groups:
    return Groups(stack)
