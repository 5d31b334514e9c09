"""What the events of a run add up to: an immutable value that any process can fold again from the history.

``encode_state`` and ``decode_state`` make snapshots of it. A snapshot is a cache: one that cannot be read is no loss.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from lakeray.workflow.definition import Definition, StepPlan
from lakeray.workflow.events import ApprovalGiven, Ending, Event, Failure, ForkedFrom, Need, Parent, Verdict

Status = Literal[
    "pending",
    "scheduled",
    "running",
    "verifying",
    "waiting",
    "mapping",
    "succeeded",
    "failed",
    "dead_lettered",
    "skipped",
    "cancelled",
    "compensated",
]
"""``scheduled``: an attempt may begin; ``verifying``: its output stands before the postcondition; ``waiting``: for a
gate's verdict, time or an event; ``mapping``: chunks are at work. The last six are ends."""
OVER: frozenset[str] = frozenset({"succeeded", "failed", "dead_lettered", "skipped", "cancelled", "compensated"})
UNDER_WAY: frozenset[str] = frozenset({"scheduled", "running", "verifying", "mapping"})
Phase = Literal["running", "waiting", "paused", "stopping", "compensating"] | Ending
"""Of a run as people see it."""
SNAPSHOT_FORMAT = 1
STOP_GRACE_S = 60.0
"""Seconds that work under way gets to stop when another step's failure ends the run."""


class Tries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attempts at one piece of work. ``attempt`` is the current one, or the last; numbers are never used twice.

    ``since`` is the first attempt that counts against the limits, more than 1 after a RetryRun; ``opened_at`` is when
    that one was due, ``due_at`` when the current one is. ``started_at`` is None while no worker is known to have begun.
    """

    attempt: int = 0
    since: int = 1
    opened_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    beat_at: datetime | None = None
    details: Any = None
    worker: str | None = None
    deaths: int = 0

    @property
    def used(self) -> int:
        """Attempts that count against the limits, the current one included."""
        return self.attempt - self.since + 1


class GateState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gate that was opened. ``looks`` counts the facts that may change its verdict, ``judged`` those looked at."""

    opened_at: datetime
    deadline: datetime | None = None
    looks: int = 1
    judged: int = 0
    verdict: Verdict = "unknown"
    reason: str = ""
    evidence: Any = None
    waits_for: tuple[Need, ...] = ()
    look_again_at: datetime | None = None
    approvals: tuple[ApprovalGiven, ...] = ()


class WaitState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wait for an instant, or for an event until a deadline."""

    until: datetime | None = None
    event: str | None = None
    deadline: datetime | None = None


class MapState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A map whose items are known. ``tries`` holds the chunks that were tried and are not over, ``children`` the runs
    that work for them. ``first`` is the number of the first attempt at a chunk, ``last`` the highest that was used.
    """

    total: int
    chunk_size: int
    opened_at: datetime
    first: int = 1
    last: int = 0
    items: list[Any] | None = None
    items_uri: str | None = None
    outputs: dict[int, Any] = {}
    failed: dict[int, Failure] = {}
    tries: dict[int, Tries] = {}
    children: dict[int, str] = {}

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.total // self.chunk_size)

    @property
    def over(self) -> bool:
        """Whether every chunk is done or failed for good."""
        return len(self.outputs) + len(self.failed) == self.chunks

    def tries_of(self, chunk: int) -> Tries:
        """The attempts at a chunk, or its first that is due since the map began."""
        known = self.tries.get(chunk)
        return known or Tries(attempt=self.first, since=self.first, opened_at=self.opened_at, due_at=self.opened_at)

    def window(self, concurrency: int) -> list[int]:
        """The chunks that may be at work now: the first so many that are not over."""
        found: list[int] = []
        for chunk in range(self.chunks):
            if chunk not in self.outputs and chunk not in self.failed:
                found.append(chunk)
                if len(found) == concurrency:
                    break
        return found

    def chunk_items(self, chunk: int) -> list[Any] | None:
        """The items of a chunk; None when they lie at ``items_uri``."""
        return None if self.items is None else self.items[chunk * self.chunk_size : (chunk + 1) * self.chunk_size]


class StepState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. ``ended`` is the sequence number of the event that ended it: the order of compensation.

    ``permitted``: the precondition held. ``strays`` are child runs that it needs no more. ``chunk_last`` is the highest
    number of an attempt at a chunk of earlier maps. ``undo`` are the attempts at its compensation, ``undo_last`` the
    highest number of one, ``undo_error`` why the last could not.
    """

    status: Status = "pending"
    tries: Tries = Tries()
    permitted: bool = False
    key: str = ""
    output: Any = None
    error: Failure | None = None
    ended: int = 0
    gate: GateState | None = None
    wait: WaitState | None = None
    map: MapState | None = None
    chunk_last: int = 0
    child: str | None = None
    strays: tuple[str, ...] = ()
    interrupted: bool = False
    undo: Tries | None = None
    undo_last: int = 0
    undo_error: Failure | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in OVER


class RunState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run after ``sequence`` events, the last of them at ``at``.

    ``also_started_by`` are those who set it going again. ``failing_since``: when a step failed for good that may not.
    ``received`` is the last of each event that was sent to the run, there for every wait.
    """

    run_id: str
    definition: Definition
    definition_hash: str
    accepted_at: datetime
    at: datetime
    sequence: int
    steps: dict[str, StepState]
    principal: str = ""
    trigger: str = "manual"
    parent: Parent | None = None
    labels: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    seed: int = 0
    forked_from: ForkedFrom | None = None
    also_started_by: tuple[str, ...] = ()
    received: dict[str, Any] = {}
    paused_at: datetime | None = None
    failing_since: datetime | None = None
    stop_deadline: datetime | None = None
    cancelled_by: str | None = None
    ended: Ending | None = None
    ended_at: datetime | None = None
    tolerated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()

    def plan(self, step: str) -> StepPlan:
        """The plan of a step."""
        return self.definition.steps[step]

    def after(self, event: Event, **changes: Any) -> RunState:
        """The state one event later, with what it changed."""
        return replace(self, sequence=self.sequence + 1, at=event.at, **changes)

    def with_step(self, event: Event, name: str, step: StepState, **changes: Any) -> RunState:
        """The state one event later, with another state of one step."""
        return replace(self, sequence=self.sequence + 1, at=event.at, steps={**self.steps, name: step}, **changes)

    @property
    def stopping(self) -> bool:
        """Whether nothing new begins any more: the run is failing, or was cancelled."""
        return self.failing_since is not None or self.cancelled_by is not None

    @property
    def children(self) -> list[str]:
        """Child runs that are not known to be over. After RunTerminated they are to be terminated too: nothing else
        will end them, as a run that is over has nothing to do.
        """
        found: list[str] = []
        for step in self.steps.values():
            found.extend(filter(None, (step.child, *step.strays)))
            found.extend(step.map.children.values() if step.map is not None else ())
        return found

    @property
    def phase(self) -> Phase:
        """What people are told: waiting when nothing is at work and the run is not over."""
        if self.ended is not None:
            return self.ended
        if self.paused_at is not None:
            return "paused"
        if any(step.undo is not None for step in self.steps.values()):
            return "compensating"
        if self.stopping:
            return "stopping"
        if any(step.status in UNDER_WAY and step.child is None for step in self.steps.values()):
            return "running"
        return "waiting" if any(step.status == "waiting" or step.child for step in self.steps.values()) else "running"

    @property
    def outputs(self) -> dict[str, Any]:
        """The output of every step that has one, for steps after it; a map's are one list in the order of its items."""
        return {name: output_of(step) for name, step in self.steps.items() if step.status == "succeeded"}


def child_id(run_id: str, step: str, attempt: int, chunk: int | None = None) -> str:
    """The id of the run that an attempt at a step, or at a chunk of its map, starts: the same however often it does."""
    return f"{run_id}.{step}.{attempt}" if chunk is None else f"{run_id}.{step}.{attempt}.{chunk}"


def output_of(step: StepState) -> Any:
    """A step's output; a map's chunks one behind the other when they are lists."""
    if step.map is None:
        return step.output
    parts = [step.map.outputs[chunk] for chunk in sorted(step.map.outputs)]
    if all(isinstance(part, list) for part in parts):
        return [item for part in parts for item in part]
    return parts


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    state: RunState


_DECODE = msgspec.json.Decoder(_Snapshot).decode


def encode_state(state: RunState) -> bytes:
    """A snapshot of the state."""
    return msgspec.json.encode(_Snapshot(format=SNAPSHOT_FORMAT, state=state))


def decode_state(data: bytes) -> RunState | None:
    """The state in a snapshot, or None when another version wrote it, or something else: fold the history then."""
    try:
        snapshot = _DECODE(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return snapshot.state if snapshot.format == SNAPSHOT_FORMAT else None
