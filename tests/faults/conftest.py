"""Which faults are tried, and the stack that they are tried on: one for all.

`ZDM_FAULTS=all` tries every fault of the table, a number chooses a few by that seed (1 without it).
`ZDM_FAULTS_RESULTS` names a file that keeps what was seen (`docs/faults.json`; the page is made of it).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from scripts.switch import preflight
from tests.faults.lab import FaultLab
from tests.faults.table import FAULTS, Fault
from tests.faults.wire import Wire
from tests.switch import conftest as pipeline

FEW = 5


@pytest.fixture(scope="module")
def lab_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pipeline.Lab]:
    yield from pipeline.lab_of_its_own(tmp_path_factory)


def _choice() -> str:
    return os.environ.get("ZDM_FAULTS") or "1"


def pytest_report_header() -> str:
    return f"faults: ZDM_FAULTS={_choice()}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        names = list(FAULTS)
        if _choice() != "all":
            names = sorted(random.Random(_choice()).sample(names, FEW), key=names.index)
        metafunc.parametrize("fault", [_case(FAULTS[name]) for name in names])


def _case(fault: Fault) -> object:
    marks = [pytest.mark.xfail(strict=True, reason=fault.known)] if fault.known else []
    return pytest.param(fault, marks=marks, id=fault.name.replace(" ", "-"))


@pytest.fixture(scope="module")
def faults(lab_session: pipeline.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    stack = lab_session.stack
    wire = Wire(stack.address("wire"), 5432, (lab_session.context.outputs.target.host, 5432))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preflight, "LAG_PATIENCE", 5.0)  # what is expected to be refused is so sooner
            lab = FaultLab(lab_session, wire, tmp_path_factory.mktemp("faults"))
            lab.bring_up()
            yield lab
    finally:
        for name in ("worker-router", "worker-stale-router", "origin-mysql-api", "origin-aurora-api"):
            stack.process(name).stop(5)
        wire.close()
