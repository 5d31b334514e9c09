"""What can be a fact in the history of a run, each as a frozen value that is written once.

A history never changes: fields only come, with defaults; another meaning is another version of the type, which
``codec.UPGRADES`` brings up to date when it is read. ``tests/golden/events`` holds bytes of each type and version.
Every event says ``at``, the instant of the command that caused it, in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from lakeray.workflow.definition import Definition

Cause = Literal["error", "timeout", "worker_died"]
Ending = Literal["succeeded", "failed", "cancelled", "terminated"]
Verdict = Literal["true", "false", "unknown"]
Outcome = Literal["passed", "refused", "waiting"]
Side = Literal["requires", "ensures"]


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, as a report shows it; ``retryable`` is the error's own word on whether trying again can help."""

    code: str
    message: str
    hint: str | None = None
    uri: str | None = None
    retryable: bool = True


class Need(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """People whose word a gate waits for, at the approval that stands at ``path`` of its condition.

    ``roles`` may speak now; ``given`` are who said yes, ``missing`` how many more must, ``excluded`` who may not;
    ``until`` is when silence alone changes something. ``escalated``: more roles are asked, as others kept silent.
    """

    path: str
    roles: tuple[str, ...]
    quorum: int = 1
    given: tuple[str, ...] = ()
    missing: int = 1
    four_eyes: bool = False
    excluded: tuple[str, ...] = ()
    escalated: bool = False
    comment_required: bool = False
    until: datetime | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork takes over of a step: its output."""

    output: Any = None


class ForkedFrom(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run and step from which a fork begins anew; ``kept`` are the steps that it does not repeat."""

    run_id: str
    step: str
    kept: dict[str, Kept] = {}


class Parent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The step of another run that started this one; ``chunk`` is the item of a map."""

    run_id: str
    step: str
    attempt: int = 1
    chunk: int | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact."""

    at: datetime


class RunAccepted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run exists and will end. ``seed`` is what all its randomness comes from."""

    run_id: str
    definition: Definition
    definition_hash: str
    principal: str = ""
    trigger: str = "manual"
    parent: Parent | None = None
    labels: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    seed: int = 0
    forked_from: ForkedFrom | None = None


class StepScheduled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt may begin from ``not_before`` on. ``key`` is the step's idempotency key, the same in all attempts.

    Said again of the same attempt it was put off, for ``reason``.
    """

    step: str
    attempt: int
    not_before: datetime
    key: str
    reason: str | None = None


class StepStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A worker has begun. Short work may end without it."""

    step: str
    attempt: int
    worker: str | None = None


class StepHeartbeat(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt is alive; the next one gets the last ``details``, to go on from there."""

    step: str
    attempt: int
    details: Any = None
    chunk: int | None = None


class ConditionJudged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A step's precondition or postcondition was looked at; unknown is as good as false."""

    step: str
    side: Side
    verdict: Verdict
    evidence: Any = None


class StepReturned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt has an output, which the postcondition has to pass."""

    step: str
    attempt: int
    output: Any = None


class StepSucceeded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step is over, once and for all. After StepReturned the output is that one's."""

    step: str
    attempt: int
    output: Any = None


class AttemptFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One try came to nothing; StepScheduled, StepFailed or StepDeadLettered follows."""

    step: str
    attempt: int
    error: Failure
    cause: Cause = "error"


class StepFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step failed for good."""

    step: str
    error: Failure


class StepDeadLettered(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The work is poison (or, of a compensation, could not be done) and is kept for a person to look at."""

    step: str
    error: Failure
    deaths: int = 0
    chunk: int | None = None
    compensation: bool = False


class StepSkipped(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step will not run: a step before it failed or was skipped, or the run is failing."""

    step: str
    because: str


class StepCancelled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step was stopped, or never begun, as the run was cancelled or is failing."""

    step: str
    attempt: int = 0


class GateOpened(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run stands before a gate, until ``deadline``."""

    step: str
    deadline: datetime | None = None


class GateDue(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Time changed what the gate's condition may say: it has to be judged again."""

    step: str


class GateJudged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The gate's condition was judged over ``looks`` facts; ``evidence`` is kept as it was and never judged anew.

    ``outcome`` is what the run does about ``verdict``. ``look_again_at``: when time alone may change an unknown.
    """

    step: str
    verdict: Verdict
    outcome: Outcome
    looks: int
    reason: str = ""
    evidence: Any = None
    waits_for: tuple[Need, ...] = ()
    look_again_at: datetime | None = None


class ApprovalGiven(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A person said yes or no, to one approval of the gate's condition (by its path) or to all."""

    step: str
    principal: str
    roles: tuple[str, ...] = ()
    approve: bool = True
    comment: str | None = None
    condition: str | None = None


class GateEscalated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody answered in time at the approval with this path: now all these roles are asked."""

    step: str
    path: str
    roles: tuple[str, ...]


class WaitStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run waits until ``until``, or for ``event`` until ``deadline``."""

    step: str
    until: datetime | None = None
    event: str | None = None
    deadline: datetime | None = None


class EventReceived(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody sent the run an event; every wait for it, now or later, is over."""

    name: str
    data: Any = None
    principal: str | None = None


class ChildStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The child run was accepted; the step waits for its end. ``chunk`` is the item of a map."""

    step: str
    attempt: int
    child: str
    chunk: int | None = None


class ChildEnded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A child run that this run no longer needed is over."""

    step: str
    child: str


class MapPlanned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A map's items are known: ``total`` in chunks of ``chunk_size``; ``items_uri`` is where many of them lie."""

    step: str
    total: int
    chunk_size: int
    items: list[Any] | None = None
    items_uri: str | None = None


class MapChunkStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A worker has begun with a chunk. Short work may end without it."""

    step: str
    chunk: int
    attempt: int
    worker: str | None = None


class MapChunkPutOff(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The chunk's attempt was not begun and waits until ``not_before``."""

    step: str
    chunk: int
    attempt: int
    not_before: datetime
    reason: str | None = None


class MapChunkDone(Event, frozen=True, kw_only=True, omit_defaults=True):
    """All items of a chunk are done; ``output`` is the list of their outputs, or where it lies."""

    step: str
    chunk: int
    attempt: int
    output: Any = None


class MapChunkFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One try at a chunk came to nothing; the next begins at ``retry_at``, or there is none."""

    step: str
    chunk: int
    attempt: int
    error: Failure
    cause: Cause = "error"
    retry_at: datetime | None = None


class RunPaused(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing new begins; what is under way goes on."""

    principal: str = ""
    reason: str | None = None


class RunResumed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run goes on. Time that scheduled steps spent paused does not count against them."""

    principal: str = ""


class CancelRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing new begins, work under way is asked to stop until ``deadline``, then what was done is compensated."""

    deadline: datetime
    principal: str = ""
    reason: str | None = None


class RunTerminated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run is over at once, without compensation."""

    principal: str = ""
    reason: str | None = None


class RetryRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run goes on from its end: ``steps`` begin anew, with attempts of their own."""

    steps: tuple[str, ...]
    principal: str = ""


class CompensationScheduled(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step's effects are to be undone from ``not_before`` on."""

    step: str
    attempt: int
    not_before: datetime


class CompensationStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A worker has begun to undo."""

    step: str
    attempt: int
    worker: str | None = None


class CompensationSucceeded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The step's effects are undone."""

    step: str
    attempt: int
    output: Any = None


class CompensationFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One try to undo came to nothing; CompensationScheduled or StepDeadLettered follows."""

    step: str
    attempt: int
    error: Failure
    cause: Cause = "error"


class RunEnded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run is over. ``tolerated`` are steps that failed and were allowed to, ``uncompensated`` those whose effects
    should have been undone and are not.
    """

    state: Ending
    tolerated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()
