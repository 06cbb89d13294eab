"""The page of the cutover says what the machine does, and the command line finds its commands."""

from __future__ import annotations

from typer.testing import CliRunner

from local.stack import PROJECT
from scripts.cli import app
from scripts.errors import UsageError
from scripts.switch.journal import State
from scripts.switch.machine import Machine
from scripts.switch.states import PAGE, STATES, page


def test_every_state_is_explained_and_the_page_is_current() -> None:
    assert set(STATES) == set(State)
    text = (PROJECT / PAGE).read_text()
    assert page(text) == text, "make it anew: python -m scripts.switch.states"


def test_the_machine_goes_through_the_states_in_their_order() -> None:
    machine = object.__new__(Machine)
    states = [state for state, _ in machine.table]
    assert states == [state for state in State if state in states]
    assert states[0] is State.FENCED and states[-1] is State.OPEN


def test_cutover_without_a_subcommand_starts_one() -> None:
    for words in (["start", "nowhere"], ["nowhere"], ["--dry-run", "nowhere"]):
        seen = CliRunner().invoke(app, ["cutover", *words, "--outputs", "no.json"])
        assert isinstance(seen.exception, UsageError) and "no.json" in str(seen.exception), seen.output
    listed = CliRunner().invoke(app, ["cutover", "--help"]).output
    assert all(name in listed for name in ("start", "status", "resume", "abort", "probation", "final"))
