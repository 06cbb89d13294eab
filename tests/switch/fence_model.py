"""The protocol of the fence as a small model, so that every interleaving can be looked at (`explore`).

What it has of the real parts: two fence rows (`zdm.fence`) that transactions hold while they write; what stops those
who never ask (MySQL's read_only, checked at COMMIT too; PostgreSQL's privileges, checked at the statement only); one
controller with the steps of `hands.py` and `cutover.py`, which may die before and after each of them or fail and undo
itself, and is resumed by what PostgreSQL's journal says; two writes through two routers whose flags may be old; CDC
from the source to the target, at least once; a sink that was thought dead. `Protocol` names what the real protocol
does and can leave each of it out.

Invariants (`violation`, in every state):
- At most one side accepts a write, or still has one under way that will be committed.
- Every acknowledged write is in the writer's database exactly once, every unknown one at most once, a failed one never.
- Once the target accepts writes, the source serves no reads.
- When the switch has come to rest, nobody is refused twice.
And from every state the controller, resumed as often as needed, comes to rest with one side that accepts writes.

Sides are roles: SOURCE is the writer before, TARGET the one after. Forward the source is MySQL; on the way back it is
PostgreSQL, and with it the journal that decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

SOURCE, TARGET = 0, 1

T = TypeVar("T")


class Flag(NamedTuple):
    """What of `contract.flag.Flag` decides about writes; it orders by (epoch, v), as adopting does."""

    epoch: int
    v: int
    hold: bool
    mode: int


NOTHING = Flag(-1, -1, True, -1)
ANCIENT = Flag(1, 1, False, TARGET)
"""What a router may still have from the time before the last way back."""
FIRST = Flag(2, 2, False, SOURCE)


@dataclass(frozen=True)
class Protocol:
    """What the protocol does; the defaults are the real one. A field that is changed is a mutation."""

    back: bool = False
    """The way back: PostgreSQL is the source."""
    asks: tuple[bool, bool] = (True, True)
    """Whether each of the two writers asks the fence, or goes past it to the source."""
    runs: int = 2
    """Switches that are begun."""
    writers: int = 2
    sides_shut: bool = True
    """Those who do not ask are stopped as well: read_only, privileges. Without, only the rows protect."""
    reads_inside: bool = True
    """A write reads the row in its own transaction."""
    waits: bool = True
    """Changing a row waits for the writes that hold it."""
    closes_first: bool = True
    """The source is closed before the target opens."""
    routers_compare: bool = True
    """A router adopts a newer flag only."""
    rows_compare: bool = True
    """A row adopts a newer flag only."""
    resends_refused_only: bool = True
    """A router sends a write again only when it was not executed."""
    ends_sessions: bool = True
    """PostgreSQL as the source: transactions that passed their privilege check are ended, not only refused anew."""
    sink_revoked: Literal["after-drain", "at-commit", "never"] = "at-commit"
    """When the sink loses its right to write, and its statements under way are ended."""
    commit_checks: bool = True
    """A commit finds the row as it held it, or does not happen."""
    undo_tells_target_first: bool = True
    ends_last: bool = True
    """The row that says that a run has ended is written after both sides know."""
    late_rows: bool = False
    """A dead controller's last change of a row may still happen, at any time."""
    late_commit: bool = False
    """So may its commit. The operator's locks rule that out: they last as long as the sessions."""
    second_sink: bool = False
    """A sink that was thought dead may write an old row again as long as it has the right."""


class Write(NamedTuple):
    """`phase`: router, wait (for news), sent, open (its transaction), done (COMMIT, no answer yet), acked, failed,
    unknown. `knows` is its router's flag; `refused` counts refusals since the switch came to rest.
    """

    phase: str
    side: int
    knows: Flag
    refused: int


class State(NamedTuple):
    step: str
    """What the controller does next; `rest`: nobody is at work; `dead`: someone must resume."""
    runs: int
    journal: str
    """Of the last run, in PostgreSQL: begun, committed, open, undone; empty before the first."""
    epoch: int
    """Which the last run's fence was given, as the journal has it."""
    plan: Flag
    """The controller's own memory: the flag before the fence, then the one to bring out."""
    certain: bool
    """The controller that undoes is the one that failed: it knows that nobody commits."""
    rows: tuple[Flag, Flag]
    open: tuple[bool, bool]
    """Whether the side lets those write who do not ask."""
    images: tuple[tuple[int, int], tuple[int, int]]
    """How often each write is in each side's row: one row, as CDC carries rows and not changes."""
    events: tuple[tuple[int, int], ...]
    applied: int
    committed: int
    late: int
    """An old event in a statement under way of the second sink; -1: none."""
    sink: bool
    """The sink may write."""
    ghost: tuple[str, Flag]
    """A statement of a dead controller that may still happen."""
    writes: tuple[Write, Write]


NO_GHOST = ("", NOTHING)
Move = tuple[bool, str, State]
"""Whether it happens in the end if it can (fair), its name, and what then is."""


def held(before: Flag) -> Flag:
    return Flag(before.epoch + 1, before.v + 1, True, before.mode)


def opened(before: Flag) -> Flag:
    return Flag(before.epoch + 1, before.v + 1, False, TARGET)


def newer(a: Flag, b: Flag) -> bool:
    return (a.epoch, a.v) > (b.epoch, b.v)


def put(pair: tuple[T, T], at: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if at == 0 else (pair[0], value)


def initial(p: Protocol) -> Iterator[State]:
    """The source writes; the routers have what they have."""
    for a in (FIRST, ANCIENT):
        for b in (FIRST, ANCIENT):
            other = Write("router", SOURCE, b, 0) if p.writers == 2 else Write("failed", SOURCE, NOTHING, 0)
            writes = (Write("router", SOURCE, a, 0), other)
            yield State(
                "rest", 0, "", 0, NOTHING, False, (FIRST, FIRST), (True, False), ((0, 0), (0, 0)), (), 0, 0, -1, True,
                NO_GHOST, writes,
            )  # fmt: skip


def moves(p: Protocol, s: State) -> Iterator[Move]:
    """All that can happen next."""
    for i in (0, 1):
        yield from _write_moves(p, s, i)
    yield from _sink_moves(p, s)
    yield from _controller_moves(p, s)


# --- writers, routers, origins ----------------------------------------------------------------------------------------


def at_rest(s: State) -> bool:
    return s.step == "rest" and s.rows[0] == s.rows[1]


def may_write(p: Protocol, s: State, side: int) -> bool:
    row = s.rows[side]
    return not row.hold and row.mode == side and (s.open[side] or not p.sides_shut)


def checks_at_commit(p: Protocol, side: int) -> bool:
    """MySQL finds at COMMIT that it is read only; PostgreSQL asks for privileges at the statement only."""
    return p.sides_shut and (side == SOURCE) != p.back


def _write_moves(p: Protocol, s: State, i: int) -> Iterator[Move]:
    w = s.writes[i]

    def now(label: str, fair: bool, write: Write, **more: object) -> Move:
        if write.phase in ("acked", "failed", "unknown"):
            write = Write(write.phase, write.side, NOTHING, 0)
        return fair, f"write {i}: {label}", s._replace(writes=put(s.writes, i, write), **more)  # type: ignore[arg-type]

    def learned(flag: Flag) -> Flag:
        return flag if newer(flag, w.knows) or not p.routers_compare else w.knows

    if w.phase == "router":
        if not p.asks[i]:
            if s.open[SOURCE]:
                yield now("begins without asking", True, Write("open", SOURCE, NOTHING, 0))
            yield now("gives up", True, w._replace(phase="failed"))
            return
        if not w.knows.hold:
            yield now(f"is sent to {w.knows.mode}", True, w._replace(phase="sent", side=w.knows.mode))
        for flag in {*s.rows, FIRST}:  # from an origin, or from a store that may be old
            if learned(flag) != w.knows:
                yield now(f"hears {flag}", w.knows.hold, w._replace(knows=learned(flag)))
        if w.knows.hold:
            yield now("is held for too long", False, w._replace(phase="failed"))
    elif w.phase == "wait":
        for side in (SOURCE, TARGET):
            yield now(f"asks {side}", True, w._replace(phase="router", knows=learned(s.rows[side])))
    elif w.phase == "sent":
        if may_write(p, s, w.side):
            yield now("begins", True, w._replace(phase="open", knows=NOTHING))  # which its end does not ask for
        else:
            yield now("is refused", True, _refused(p, s, w))
        yield now("is not reached", False, w._replace(phase="failed"))
    elif w.phase == "open":
        if checks_at_commit(p, w.side) and not s.open[w.side]:
            end = _refused(p, s, w) if p.asks[i] else w._replace(phase="failed")
            yield now("is refused at COMMIT", True, end)
        else:
            image = put(s.images[w.side], i, s.images[w.side][i] + 1)
            events = (*s.events, image) if w.side == SOURCE else s.events
            done = w._replace(phase="done")
            yield now("commits", True, done, images=put(s.images, w.side, image), events=events)
        yield now("loses its session", False, w._replace(phase="failed"))
    elif w.phase == "done":
        yield now("is acknowledged", True, w._replace(phase="acked"))
        if p.resends_refused_only:
            yield now("loses its answer", False, w._replace(phase="unknown"))
        elif s.images[w.side][i] < 2:
            yield now("is sent again", False, w._replace(phase="router"))


def _refused(p: Protocol, s: State, w: Write) -> Write:
    """421 with the side's flag: the router takes it and sends the write anew, or waits for news."""
    flag, refused = s.rows[w.side], w.refused + at_rest(s)
    if newer(flag, w.knows):
        return Write("router", SOURCE, flag, refused)
    return Write("wait", SOURCE, flag if not p.routers_compare else w.knows, refused)


# --- CDC --------------------------------------------------------------------------------------------------------------


def _sink_moves(p: Protocol, s: State) -> Iterator[Move]:
    if s.sink and s.applied < len(s.events):
        images = put(s.images, TARGET, s.events[s.applied])
        yield True, "sink applies", s._replace(images=images, applied=s.applied + 1)
    if s.committed < s.applied:
        yield True, "sink commits its offset", s._replace(committed=s.applied)
        yield False, "sink starts anew", s._replace(applied=s.committed)
    if p.second_sink:
        if s.late < 0 and s.sink:
            for old in range(s.applied):
                yield False, f"second sink begins to write event {old}", s._replace(late=old)
        if s.late >= 0:
            images = put(s.images, TARGET, s.events[s.late])
            yield False, f"second sink's event {s.late} lands", s._replace(images=images, late=-1)


# --- the controller ---------------------------------------------------------------------------------------------------


def _free(p: Protocol, s: State, side: int) -> bool:
    """Nobody's transaction holds the side's row."""
    return not any(
        w.phase == "open" and w.side == side and p.waits and p.reads_inside and p.asks[i]
        for i, w in enumerate(s.writes)
    )


def _adopt(p: Protocol, s: State, side: int, flag: Flag) -> tuple[Flag, Flag]:
    return put(s.rows, side, flag) if newer(flag, s.rows[side]) or not p.rows_compare else s.rows


def _without_sessions(p: Protocol, s: State, side: int) -> tuple[Write, Write]:
    """Ended: those that passed their privilege check before it was revoked, where COMMIT asks no more."""
    if not p.sides_shut or checks_at_commit(p, side) or not p.ends_sessions:
        return s.writes
    a, b = (Write("failed", w.side, NOTHING, 0) if w.phase == "open" and w.side == side else w for w in s.writes)
    return a, b


def _controller_moves(p: Protocol, s: State) -> Iterator[Move]:
    if s.step == "rest":
        row = s.rows[SOURCE]
        if s.runs < p.runs and at_rest(s) and row.mode == SOURCE and not row.hold and s.journal in ("", "undone"):
            fresh = tuple(w._replace(refused=0) for w in s.writes)
            begun = s._replace(runs=s.runs + 1, journal="begun", epoch=row.epoch + 1, plan=row, writes=fresh)  # type: ignore[arg-type]
            yield False, "a switch begins", begun._replace(step="hold_source" if p.closes_first else "open_target")
    elif s.step == "dead":
        resumed = {"begun": "undo", "committed": "finish"}.get(s.journal, "rest")
        yield True, "resumed", s._replace(step=resumed, certain=False, plan=NOTHING)
    else:
        yield from _act(p, s)
        ghost = _ghost(p, s)
        dead = s._replace(step="dead", plan=NOTHING, certain=False)
        yield False, "the controller dies", dead
        if ghost != NO_GHOST:
            yield False, f"the controller dies with {ghost[0]} under way", dead._replace(ghost=ghost)
        if s.journal == "begun" and not s.step.startswith("undo") and s.step != "finish":
            yield False, "the controller fails", s._replace(step="undo", certain=True, plan=NOTHING)
    if s.ghost != NO_GHOST:
        yield from _ghost_moves(p, s)


def _act(p: Protocol, s: State) -> Iterator[Move]:
    """The step itself. A step that changes a row is not possible while someone's transaction holds it."""

    def done(step: str, **change: object) -> Move:
        return True, s.step, s._replace(step=step, **change)  # type: ignore[arg-type]

    failed = (True, f"{s.step} finds another row", s._replace(step="undo", certain=True, plan=NOTHING))
    match s.step:
        case "hold_source" if _free(p, s, SOURCE):
            yield done("close", rows=put(s.rows, SOURCE, held(s.plan))) if s.rows[SOURCE] == s.plan else failed
        case "close":
            yield done("hold_target", open=put(s.open, SOURCE, False), writes=_without_sessions(p, s, SOURCE))
        case "hold_target":
            yield done("drain", rows=put(s.rows, TARGET, held(s.plan))) if s.rows[TARGET] == s.plan else failed
        case "drain" if s.committed == len(s.events):
            yield done("verify", **({"sink": False, "late": -1} if p.sink_revoked == "after-drain" else {}))
        case "verify":
            yield done("commit") if s.images[0] == s.images[1] else failed
        case "commit":
            yield _committed(p, s, held(s.plan)) or failed
        case "open_source" if _free(p, s, SOURCE):
            ends = {} if p.ends_last or not p.back else {"journal": "open"}
            late = {} if p.sink_revoked == "never" else {"late": -1, "sink": False}
            open_ = put(s.open, TARGET, True)
            yield done("open_target", rows=_adopt(p, s, SOURCE, s.plan), open=open_, **ends, **late)
        case "open_target":
            if not p.closes_first and s.journal == "begun":  # the mutation
                flag = opened(held(s.plan))
                yield done("hold_source", rows=put(s.rows, TARGET, flag), open=(True, True))
            elif _free(p, s, TARGET):
                rows = _adopt(p, s, TARGET, s.plan)
                yield done("note_open", rows=rows) if p.back else done("rest", rows=rows, journal="open", plan=NOTHING)
        case "note_open":
            yield done("rest", journal="open", plan=NOTHING)
        case "finish":
            newest = max(s.rows)
            flag = newest if newest.mode == TARGET else opened(newest)
            yield done("open_source", plan=flag)
        case "undo":
            newest = max(s.rows)
            over = newest.epoch > s.epoch and not newest.hold
            flag = newest if over else Flag(s.epoch + 1, newest.v + 2, False, SOURCE)
            yield done("undo_target" if p.undo_tells_target_first else "undo_source", plan=flag)
        case "undo_target":
            after = "undo_source" if p.undo_tells_target_first else "undo_note"
            if _free(p, s, TARGET):
                yield done(after, rows=_adopt(p, s, TARGET, s.plan))
            if s.certain:
                yield False, "undo does not reach the target", s._replace(step=after)
        case "undo_source" if _free(p, s, SOURCE):
            yield done("undo_open", rows=_adopt(p, s, SOURCE, s.plan))
        case "undo_open":
            after = "undo_note" if p.undo_tells_target_first else "undo_target"
            yield done(after, open=put(s.open, SOURCE, True), sink=True)
        case "undo_note":
            reached = s.rows[0] == s.rows[1]
            yield done("rest", journal="undone", plan=NOTHING) if reached else done("dead", plan=NOTHING)


def _committed(p: Protocol, s: State, flag: Flag) -> Move | None:
    """The point of no return: one transaction in PostgreSQL, which is the target, or the source on the way back."""
    if p.commit_checks and s.rows[SOURCE if p.back else TARGET] != flag:
        return None
    change: dict[str, object] = {"open": put(s.open, TARGET, True)} if not p.back else {}
    if p.sink_revoked != "never" and not p.back:
        change["sink"] = False
    return True, "commit", s._replace(step="open_source", journal="committed", plan=opened(flag), **change)  # type: ignore[arg-type]


def _ghost(p: Protocol, s: State) -> tuple[str, Flag]:
    """The statement that may outlive the controller."""
    rows = ("hold_source", "hold_target", "open_source", "open_target", "undo_target", "undo_source")
    if (p.late_rows and s.step in rows) or (p.late_commit and s.step == "commit"):
        return s.step, s.plan
    return NO_GHOST


def _ghost_moves(p: Protocol, s: State) -> Iterator[Move]:
    name, flag = s.ghost
    gone = s._replace(ghost=NO_GHOST)
    side = TARGET if name.endswith("target") else SOURCE
    if name == "commit":
        made = _committed(p, gone, held(flag))
        if made is not None:
            yield False, "the dead one's commit happens", made[2]._replace(step=s.step, plan=s.plan)
    elif name.startswith("hold"):
        if s.rows[side] == flag and _free(p, s, side):
            yield False, f"the dead one's {name} happens", gone._replace(rows=put(s.rows, side, held(flag)))
    elif _free(p, s, side):
        yield False, f"the dead one's {name} happens", gone._replace(rows=_adopt(p, s, side, flag))


# --- what must hold ---------------------------------------------------------------------------------------------------


def violation(p: Protocol, s: State) -> str | None:
    """What is wrong in this state."""
    active = [may_write(p, s, side) or _under_way(p, s, side) for side in (SOURCE, TARGET)]
    if all(active):
        return "both sides accept a write"
    if p.sides_shut and all(s.open):
        return "both sides are open for those who do not ask"
    target = s.rows[TARGET]
    if not target.hold and target.mode == TARGET and s.rows[SOURCE].mode == SOURCE:
        return "the target accepts writes while the source serves reads"
    image = s.images[TARGET if (target.mode == TARGET and not target.hold) else SOURCE]
    for i, w in enumerate(s.writes):
        if image[i] > 1:
            return f"write {i} is doubled"
        if w.phase in ("done", "acked") and image[i] == 0:
            return f"write {i} is lost"
        if w.phase == "failed" and image[i]:
            return f"write {i} was executed although it failed"
        if w.refused > 1:
            return f"write {i} is refused twice although the switch is at rest"
    return None


def _under_way(p: Protocol, s: State, side: int) -> bool:
    """A transaction that will be committed if nothing stops it."""
    may = s.open[side] or not checks_at_commit(p, side)
    return may and any(w.phase == "open" and w.side == side for w in s.writes)


def good(p: Protocol, s: State) -> bool:
    """At rest, one side accepts writes, and every write has its answer."""
    return (
        s.step == "rest"
        and s.journal != "begun"
        and sum(may_write(p, s, side) for side in (SOURCE, TARGET)) == 1
        and all(w.phase in ("acked", "failed", "unknown") for w in s.writes)
    )


@dataclass(frozen=True)
class Verdict:
    """What `explore` found: how many states there are, and the first that is wrong, with the shortest way to it."""

    states: int
    wrong: str | None = None
    way: tuple[str, ...] = ()
    ends: frozenset[str] = frozenset()
    """How the switch can end: what the journal says in the good states."""


def explore(p: Protocol) -> Verdict:
    """Looks at every state that can be reached, nearest first."""
    number: dict[State, int] = {}
    states: list[State] = []
    came: list[tuple[int, str]] = []
    before: list[list[int]] = []

    def known(state: State, parent: int, label: str) -> int:
        state = _canonical(p, state)
        found = number.get(state)
        if found is None:
            found = number[state] = len(states)
            states.append(state)
            came.append((parent, label))
            before.append([])
        return found

    def way(n: int) -> tuple[str, ...]:
        labels: list[str] = []
        while n >= 0:
            n, label = came[n]
            labels.append(label)
        return tuple(reversed(labels))

    for state in initial(p):
        known(state, -1, "start")
    n = 0
    while n < len(states):
        wrong = violation(p, states[n])
        if wrong is not None:
            return Verdict(len(states), wrong, way(n))
        for fair, label, after in moves(p, states[n]):
            to = known(after, n, label)
            if fair:
                before[to].append(n)
        n += 1
    reach = [i for i, state in enumerate(states) if good(p, state)]
    ends = frozenset(states[i].journal for i in reach)
    live = set(reach)
    while reach:
        for i in before[reach.pop()]:
            if i not in live:
                live.add(i)
                reach.append(i)
    for i in range(len(states)):
        if i not in live:
            return Verdict(len(states), "nothing that happens by itself leads to a side that accepts writes", way(i))
    return Verdict(len(states), ends=ends)


def _canonical(p: Protocol, s: State) -> State:
    """One state for two that differ only in which of two equal writers is which."""
    if p.asks[0] != p.asks[1] or s.writes[0] <= s.writes[1]:
        if s.writes[0] != s.writes[1] or s.images[0] == s.images[0][::-1]:
            return s
        if s.images <= _turned(s).images:
            return s
    return _turned(s)


def _turned(s: State) -> State:
    a, b = s.images
    return s._replace(writes=s.writes[::-1], images=(a[::-1], b[::-1]), events=tuple(event[::-1] for event in s.events))  # type: ignore[arg-type]
