"""Which events a command adds to the history of its run: the one place where a run is decided upon, pure.

``decide`` is what to append; ``decided`` gives the state behind it as well, for whoever holds runs in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lakeray.workflow import attempts, chunks, control, saga, timeouts, verdicts
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.advance import advance
from lakeray.workflow.definition import definition_hash
from lakeray.workflow.evolve import evolve
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState
from lakeray.workflow.turn import Turn


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The events to append, in one go, and the state of the run behind them; None when there is no run."""

    events: list[e.Event]
    state: RunState


def decide(state: RunState | None, command: c.Command) -> list[e.Event]:
    """The events that the command adds, none when it changes nothing. Raises Refused where a person asked in vain.

    Times never go back: a command with an earlier ``at`` than the run's last event is taken as of then.
    """
    return decided(state, command).events


def decided(state: RunState | None, command: c.Command) -> Decided:
    """As ``decide``, with the state that the events lead to."""
    if isinstance(command, c.AcceptRun):
        return _accept(state, command)
    if state is None:
        raise Refused("there is no such run", hint="`lakeray runs list` shows those there are")
    turn = Turn(state, max(command.at, state.at))
    if isinstance(command, c.Report | c.ReportCondition | c.ReportVerdict | c.ReportItems | c.ReportChildEnded):
        known = command.step in state.steps
    else:
        known = True
    if known:
        _HANDLERS[type(command)](turn, command)
    if turn.events or isinstance(command, c.TimePassed):
        advance(turn)
    return Decided(events=turn.events, state=turn.state)


def _accept(state: RunState | None, command: c.AcceptRun) -> Decided:
    if state is not None:
        return Decided(events=[], state=state)
    accepted = e.RunAccepted(
        at=command.at,
        run_id=command.run_id,
        definition=command.definition,
        definition_hash=definition_hash(command.definition),
        principal=command.principal,
        trigger=command.trigger,
        parent=command.parent,
        labels=command.labels,
        arguments=command.arguments,
        seed=command.seed,
        forked_from=command.forked_from,
    )
    turn = Turn(evolve(None, accepted), command.at)
    turn.events.append(accepted)
    advance(turn)
    return Decided(events=turn.events, state=turn.state)


def _report(turn: Turn, command: Any) -> None:
    """A report about a step, a chunk of its map, or its compensation."""
    if command.compensation:
        saga.report(turn, command)
    elif command.chunk is not None:
        chunks.report(turn, command)
    else:
        attempts.report(turn, command)


_HANDLERS: dict[type[c.Command], Callable[[Turn, Any], None]] = {
    c.TimePassed: lambda turn, _: timeouts.pass_time(turn),
    c.ReportStarted: _report,
    c.ReportHeartbeat: _report,
    c.ReportSuccess: _report,
    c.ReportFailure: _report,
    c.ReportStopped: _report,
    c.DeferAttempt: _report,
    c.ReportChildStarted: chunks.child_started,
    c.ReportChildEnded: chunks.child_ended,
    c.ReportItems: chunks.items,
    c.ReportCondition: attempts.condition,
    c.ReportVerdict: verdicts.judged,
    c.GiveApproval: verdicts.approval,
    c.SendEvent: control.event,
    c.PauseRun: control.pause,
    c.ResumeRun: control.resume,
    c.CancelRun: control.cancel,
    c.TerminateRun: control.terminate,
    c.RetryRun: control.retry,
}
