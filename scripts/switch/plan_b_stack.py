"""Roads out by the stack's own settings, so that a later `up` keeps to them.

Nothing here goes past the program: what takes long (a reader, DMS's instance) takes minutes in AWS anyway, an update of
the stack a fraction of that.
"""

from __future__ import annotations

from collections.abc import Mapping

from contract.flag import Side
from contract.tables import postgres_name
from scripts import stacks
from scripts.errors import UsageError
from scripts.switch.fence import Controller
from scripts.switch.plan_b_action import Action, Scene, Step, Values

MOST_READERS = 15
"""Aurora's own bound."""
READERS = "aurora.readers"
STATE, COPY, DMS, RUNNING = "cdc.state", "cdc.copy", "dms.enabled", "dms.running"


def _look_at_readers(scene: Scene) -> Values:
    return {READERS: scene.context.outputs.target.readers}


def _one_more(_: Scene, seen: Values) -> Values:
    if seen[READERS] >= MOST_READERS:
        raise UsageError(f"Aurora has {MOST_READERS} readers at most, and this one has them")
    return {READERS: seen[READERS] + 1}


def _reach_readers(scene: Scene, seen: Values, target: Values) -> list[Step]:
    return [_set(scene, target)] if seen != target else []


def _look_at_capture(scene: Scene) -> Values:
    pipeline, dms = scene.context.outputs.pipeline, scene.context.outputs.dms
    return {
        STATE: pipeline.state,
        COPY: pipeline.copy_,
        DMS: dms is not None,
        RUNNING: dms is not None and dms.running,
    }


def _by_dms(scene: Scene, _: Values) -> Values:
    """All rows are loaded again, so nobody may read them meanwhile."""
    with Controller(scene.context) as c:
        flag = max(c.mysql_flag(), c.postgres_flag(), key=lambda f: (f.epoch, f.v))
    if flag.mode is Side.AURORA:
        raise UsageError("Aurora is the writer: changes no longer travel from MySQL")
    if flag.weight:
        raise UsageError(
            f"{flag.weight:g} % of the readers are on Aurora, whose tables DMS loads anew: first "
            f"`./zdm plan-b {scene.stack} mysql-only`"
        )
    return {STATE: "stopped", COPY: "dms", DMS: True, RUNNING: True}


def _reach_capture(scene: Scene, seen: Values, target: Values) -> list[Step]:
    """What takes long is made first and taken away last; never do both ways write into Aurora at once."""
    if seen == target:
        return []
    if target[RUNNING]:
        tables = scene.context.outputs.pipeline.tables
        return [
            _set(scene, {DMS: True}),
            _set(scene, {STATE: target[STATE], COPY: target[COPY]}),
            Step(f"Aurora: empty {', '.join(tables) or 'no table'}", lambda: _empty(scene)),
            _set(scene, {RUNNING: True}),
        ]
    steps = [_set(scene, {RUNNING: False})] if seen[RUNNING] else []
    steps.append(_set(scene, {STATE: target[STATE], COPY: target[COPY]}))
    return steps if target[DMS] else [*steps, _set(scene, {DMS: False})]


def _empty(scene: Scene) -> None:
    """DMS stops at rows that are there; those that are, it loads again."""
    names = ", ".join(postgres_name("public", table) for table in scene.context.outputs.pipeline.tables)
    if names:
        with scene.context.postgres() as pg:
            pg.execute(f"TRUNCATE {names}".encode())  # as bytes: a % in a name is no placeholder


def _set(scene: Scene, values: Mapping[str, object]) -> Step:
    """Changes settings in the stack's file, and brings it up."""
    if not scene.deploys:
        raise UsageError("this changes the stack's settings: run it where its state is, without --outputs")
    config = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    text = ", ".join(f"{name} {value}" for name, value in config.items())
    return Step(
        f"up with {text}",
        lambda: stacks.up(scene.stack, local=scene.local, config=config, console=scene.console),
    )


ADD_READER = Action(
    "add-reader",
    "Aurora throttles, and reads are the most of its load",
    "adds a reader to the cluster, behind the reader endpoint",
    "takes it away again",
    _look_at_readers,
    _one_more,
    _reach_readers,
)
CDC_TO_DMS = Action(
    "cdc-to-dms",
    "the connectors cannot be mended, or Kafka costs too much",
    "stops the connectors, and lets AWS DMS load all rows anew and carry the changes since; the brokers stay, with "
    "what waits in them, until you set kafka.enabled to false",
    "stops DMS, and lets the connectors go on where they were; check all rows afterwards",
    _look_at_capture,
    _by_dms,
    _reach_capture,
)
