"""What can be asked of a run, or reported to it, each as a frozen value with its instant.

Reports come from workers, timers and children; one that is late or comes twice changes nothing. Requests come from
people; ``decide`` refuses one that does not fit, with a reason. All of them travel as bytes through the store's inbox.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from lakeray.workflow.definition import Definition
from lakeray.workflow.events import Cause, Ending, Failure, ForkedFrom, Need, Outcome, Parent, Side, Verdict


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="command"):
    """One wish or report; ``at`` is now, in UTC."""

    at: datetime


class AcceptRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Begin a run. Accepted again under the same id, nothing happens.

    ``seed`` is any number drawn once by whoever asks.
    """

    run_id: str
    definition: Definition
    principal: str = ""
    trigger: str = "manual"
    parent: Parent | None = None
    labels: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    seed: int = 0
    forked_from: ForkedFrom | None = None


class TimePassed(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """It is ``at``: what was due happens. Harmless at any time, needed at ``wake_at``."""


class Report(Command, frozen=True, kw_only=True, omit_defaults=True):
    """About one attempt: at a step, at a ``chunk`` of its map, or at its ``compensation``."""

    step: str
    attempt: int
    chunk: int | None = None
    compensation: bool = False


class ReportStarted(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """A worker wants to begin: it may once StepStarted (or its like) was added, and must not when nothing was.

    Needed where a timeout of the attempt counts or its worker may die; short work does without and saves an append.
    """

    worker: str | None = None


class ReportHeartbeat(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The attempt is alive. Recorded when ``details`` are new or a third of the heartbeat timeout is over."""

    details: Any = None


class ReportSuccess(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The attempt did its work. ``output`` is JSON of at most 32 KiB, larger ones by reference."""

    output: Any = None


class ReportFailure(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The attempt came to nothing. ``worker_died`` when nobody knows how far it came."""

    error: Failure
    cause: Cause = "error"


class ReportStopped(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The attempt stopped because it was asked to (``StopAttempt``); not ``begun``: no worker ever had it."""

    begun: bool = True


class DeferAttempt(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The attempt was not begun and shall wait until ``until``, as a circuit breaker is open, say. Costs no attempt."""

    until: datetime
    reason: str | None = None


class ReportCondition(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The verdict on a step's precondition, or on its postcondition after ``attempt``."""

    step: str
    side: Side
    attempt: int
    verdict: Verdict
    evidence: Any = None


class ReportVerdict(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The verdict on a gate, over ``looks`` facts as ``JudgeGate`` says it."""

    step: str
    looks: int
    verdict: Verdict
    outcome: Outcome
    reason: str = ""
    evidence: Any = None
    waits_for: tuple[Need, ...] = ()
    look_again_at: datetime | None = None


class GiveApproval(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """A person says yes or no at a gate. ``roles`` are theirs in the tenant, as access control says.

    ``condition`` is the path of the approval that is meant, all for which they may speak when None.
    """

    step: str
    principal: str
    roles: tuple[str, ...] = ()
    approve: bool = True
    comment: str | None = None
    condition: str | None = None


class SendEvent(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Something happened that a wait may wait for."""

    name: str
    data: Any = None
    principal: str | None = None


class ReportItems(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The items of a map: ``items`` themselves, or where ``total`` of them lie."""

    step: str
    items: list[Any] | None = None
    items_uri: str | None = None
    total: int | None = None


class ReportChildStarted(Report, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The child run ``child`` was accepted."""

    child: str


class ReportChildEnded(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The child run ``child`` is over."""

    step: str
    child: str
    state: Ending
    output: Any = None
    error: Failure | None = None


class PauseRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Begin nothing new."""

    principal: str = ""
    reason: str | None = None


class ResumeRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Go on after a pause."""

    principal: str = ""


class CancelRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Stop what is under way, undo what was done. Work that has not stopped after ``grace_s`` is given up."""

    principal: str = ""
    reason: str | None = None
    grace_s: float = 60.0


class TerminateRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """End at once, undo nothing."""

    principal: str = ""
    reason: str | None = None


class RetryRun(Command, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Go on with an ended run from the steps that did not succeed, or were undone.

    ``from_step``: that step and all after it are repeated too.
    """

    principal: str = ""
    from_step: str | None = None


AnyCommand = (
    AcceptRun
    | TimePassed
    | ReportStarted
    | ReportHeartbeat
    | ReportSuccess
    | ReportFailure
    | ReportStopped
    | DeferAttempt
    | ReportCondition
    | ReportVerdict
    | GiveApproval
    | SendEvent
    | ReportItems
    | ReportChildStarted
    | ReportChildEnded
    | PauseRun
    | ResumeRun
    | CancelRun
    | TerminateRun
    | RetryRun
)
_DECODER: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)
_ENCODE = msgspec.json.Encoder().encode


def encode_command(command: Command) -> bytes:
    """The command as JSON that names its type."""
    return _ENCODE(command)


def decode_command(data: bytes) -> AnyCommand:
    """What ``encode_command`` wrote. Raises ValueError for anything else."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"these bytes are no command: {error}") from error
