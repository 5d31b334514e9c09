"""Runs of a state as people ask for them: looked at by anybody, steered through whoever owns them.

Where no process owns the state, this one takes it, has the run decide, and goes on with the run. Where another does,
the command goes through the store's inbox, and that one goes on.
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from lakeray.config import Settings
from lakeray.errors import LeaseHeld, StateUnavailable
from lakeray.importer.recording.summary import Summary
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.chronicle import Chronicle
from lakeray.runtime.durable.embedded import read_state
from lakeray.runtime.durable.inbox import check_answer
from lakeray.runtime.durable.permits import spoken_for
from lakeray.runtime.durable.queues import slots_waited_for
from lakeray.runtime.durable.retention import Archived, archive_runs, archived_history, archived_runs
from lakeray.runtime.durable.run import DurableRun, definition_of
from lakeray.runtime.durable.standing import summary_of
from lakeray.runtime.protection import protections
from lakeray.runtime.summary import RunSummary
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.state import Command as Sent
from lakeray.state import EventStore, RunFilter, RunHead
from lakeray.workflow import commands as c
from lakeray.workflow.evolve import fold
from lakeray.workflow.fork import fork
from lakeray.workflow.refusal import Refused
from lakeray.workflow.replay import Difference, replay_check
from lakeray.workflow.state import RunState

Started = TypeVar("Started")
ANSWER_WITHIN_S = 30.0
_LOOK_S = 0.1


class RunLine(Summary):
    """One run of the index. ``state``: running, waiting, paused, stopping, compensating, or how it ended."""

    run_id: str
    workflow: str
    tenant: str
    state: str
    started_at: datetime
    ended_at: datetime | None = None
    wake_at: datetime | None = None
    parent: str | None = None


class EventLine(Summary):
    """One event of a run; ``said`` holds what it says beside its instant, as JSON values."""

    sequence: int
    at: datetime
    event: str
    said: dict[str, Any]


RunLines = list[RunLine]
EventLines = list[EventLine]
Differences = list[Difference]


@dataclass(frozen=True, kw_only=True)
class RunsOf(Generic[Started]):
    """``start`` begins what drives a run; ``new`` makes it from what is to be done first."""

    settings: Settings
    principal: str
    now: Callable[[], datetime]
    new: Callable[..., DurableRun]
    start: Callable[[DurableRun], Started]

    # Looking --------------------------------------------------------------------------------------------------------

    def list(
        self,
        *,
        state: str | None = None,
        workflow: str | None = None,
        tenant: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[RunLine]:
        """The newest runs that are all of this, the newest first."""
        wanted = RunFilter(tenant=tenant, workflow=workflow, state=state, since=since, until=until)
        with self._store() as store:
            return [_line(head) for head in store.runs(wanted, limit=limit).runs]

    def show(self, run_id: str, *, archive: str | None = None) -> RunSummary:
        """How a run stands, from its history alone, which may be in an ``archive``. Raises Refused without one."""
        if archive is not None:
            events = archived_history(archive, run_id)
            state, notes = fold(events), list[str]()
        else:
            with self._store() as store:
                state, events = _known(store, run_id), journal.history(store, run_id)
                notes = [f"step {step} {said}" for step, said in slots_waited_for(store, state)]
        if state is None:
            raise Refused(f"there is no run {run_id} in {archive}", hint="`lakeray runs list --archive URI` shows them")
        chronicle = Chronicle()
        for event in events:
            chronicle.hear(event)
        workflow = Workflow.model_validate(state.definition.document, context={FROM_FILE: True})
        audit = list(protections(workflow, list(workflow.steps)))
        return summary_of(state, chronicle, now=self.now(), imports={}, notes=notes, security=audit)

    def archived(
        self, archive: str, *, since: datetime | None = None, limit: int = 100, **said: str | None
    ) -> RunLines:
        """The newest runs of an archive that are all that is ``said``: state, workflow, tenant."""
        lines = (RunLine(**row) for row in archived_runs(archive))
        wanted = (line for line in lines if all(word in (None, getattr(line, name)) for name, word in said.items()))
        return [line for line in wanted if since is None or line.started_at >= since][:limit]

    def archive(self, *, older_than_s: float | None = None, into: str | None = None) -> Archived:
        """Write runs that ended longer ago than that to Parquet files below the uri ``into``, then forget them.

        Defaults: `LAKERAY_RETENTION`, `LAKERAY_ARCHIVE`. Raises Refused where neither says how long runs are kept.
        """
        kept_s = self.settings.retention_s if older_than_s is None else older_than_s
        if kept_s is None:
            raise Refused("nothing says how long runs are kept", hint="give --older-than, or set LAKERAY_RETENTION")
        with self._store() as store:
            return archive_runs(store, into or self.settings.archive, older_than_s=kept_s, now=self.now())

    def events(self, run_id: str, *, after: int = 0) -> EventLines:
        """The run's history behind the ``after``-th event."""
        with self._store() as store:
            _known(store, run_id)
            every = journal.history(store, run_id)
        found = []
        for sequence, event in enumerate(every, 1):
            said = msgspec.to_builtins(event)
            at = event.at
            said.pop("at", None)
            found.append(EventLine(sequence=sequence, at=at, event=type(event).__name__, said=said))
        return found[after:]

    def replay_check(self, run_id: str) -> Differences:
        """What this version of lakeray would decide otherwise than the run's history has it; empty when nothing."""
        with self._store() as store:
            _known(store, run_id)
            return replay_check(journal.history(store, run_id))

    # Steering -------------------------------------------------------------------------------------------------------

    def approve(self, run_id: str, **said: Any) -> Started | RunSummary:
        """Say yes at a gate (``gate``: which, needed where several wait; ``comment``; ``by`` and ``roles``: who says
        so) and go on. Raises Refused where the word would not count.
        """
        return self._steer(run_id, self._vote(run_id, approve=True, **said))

    def reject(self, run_id: str, **said: Any) -> Started | RunSummary:
        """Say no at a gate, likewise."""
        return self._steer(run_id, self._vote(run_id, approve=False, **said))

    def resume(self, run_id: str) -> Started | RunSummary:
        """Go on with a run that was paused, or that nobody drives any more."""
        with self._store() as store:
            state = _known(store, run_id)
        if state.ended is not None:
            hint = "`lakeray runs retry` goes on with a run that did not succeed"
            raise Refused(f"run {run_id} is over: it {state.ended}", hint=hint)
        paused = [c.ResumeRun(at=self.now(), principal=self.principal)] if state.paused_at is not None else []
        return self._steer(run_id, *paused)

    def retry(self, run_id: str, *, from_step: str | None = None) -> Started | RunSummary:
        """Go on with a run that did not succeed: from what failed, or was undone, or from a step."""
        return self._steer(run_id, c.RetryRun(at=self.now(), principal=self.principal, from_step=from_step))

    def pause(self, run_id: str, *, reason: str | None = None) -> Started | RunSummary:
        """Begin nothing new in the run."""
        return self._steer(run_id, c.PauseRun(at=self.now(), principal=self.principal, reason=reason))

    def cancel(self, run_id: str, *, reason: str | None = None, grace_s: float = 60.0) -> Started | RunSummary:
        """Stop what is at work and undo what was done, as the steps' `compensate` say."""
        command = c.CancelRun(at=self.now(), principal=self.principal, reason=reason, grace_s=grace_s)
        return self._steer(run_id, command)

    def terminate(self, run_id: str, *, reason: str | None = None) -> Started | RunSummary:
        """End the run at once and undo nothing."""
        return self._steer(run_id, c.TerminateRun(at=self.now(), principal=self.principal, reason=reason))

    def tell(self, run_id: str, event: str, data: Any = None) -> Started | RunSummary:
        """Send the run an event that a wait may wait for."""
        return self._steer(run_id, c.SendEvent(at=self.now(), name=event, data=data, principal=self.principal))

    def fork(self, run_id: str, *, from_step: str, workflow: Workflow | None = None) -> Started | RunSummary:
        """A new run that keeps what the run did before ``from_step``; under the workflow as it is now, when given."""
        with self._store() as store:
            before = _known(store, run_id)
        definition = definition_of(workflow) if workflow is not None else before.definition
        forked = f"run-{uuid.uuid4().hex[:12]}"
        accept = c.AcceptRun(
            at=self.now(),
            run_id=forked,
            definition=definition,
            principal=self.principal,
            trigger="fork",
            labels=before.labels,
            arguments=before.arguments,
            seed=zlib.crc32(forked.encode()),
            forked_from=fork(before, from_step, definition if workflow is not None else None),
        )
        return self._steer(forked, accept)

    def _vote(
        self,
        run_id: str,
        *,
        approve: bool,
        gate: str | None = None,
        comment: str | None = None,
        by: str | None = None,
        roles: Sequence[str] | None = None,
    ) -> c.GiveApproval:
        with self._store() as store:
            state = _known(store, run_id)
        waiting = [name for name, step in state.steps.items() if step.status == "waiting" and step.gate is not None]
        if gate is None and len(waiting) != 1:
            listed = f"open gates: {', '.join(waiting)}" if waiting else "`lakeray runs show` says how it stands"
            raise Refused(f"run {run_id} stands at {len(waiting)} gates", hint=listed)
        name, speaker = gate or waiting[0], by or self.principal
        step = state.steps.get(name)
        asked = {role for need in (step.gate.waits_for if step and step.gate else ()) for role in need.roles}
        return c.GiveApproval(
            at=self.now(),
            step=name,
            principal=speaker,
            roles=spoken_for(speaker, state.definition.tenant, self.settings.policy, asked=asked, said=roles),
            approve=approve,
            comment=comment,
        )

    def _steer(self, run_id: str, *commands: c.Command) -> Started | RunSummary:
        """Go on with the run here, or have its owner hear; then how it stands there."""
        if not any(isinstance(command, c.AcceptRun) for command in commands):
            with self._store() as store:
                _known(store, run_id)
        if not commands or not self._owned_elsewhere():
            return self.start(self.new(resumed=run_id, first=commands))
        with self._store() as store:
            for command in commands:
                send(store, run_id, command)
        return self.show(run_id)

    def _owned_elsewhere(self) -> bool:
        with self._store() as store:
            return owned_elsewhere(store)

    @contextmanager
    def _store(self) -> Iterator[EventStore]:
        with read_state(self.settings.state) as store:
            yield store


def owned_elsewhere(store: EventStore) -> bool:
    """Whether another process owns the store's runs: asked by taking a lease, which is given back at once."""
    try:
        lease = store.lease(0, f"look-{uuid.uuid4().hex}", 1.0)
    except LeaseHeld:
        return True
    store.release(lease)
    return False


def send(store: EventStore, run_id: str, command: c.Command, *, within_s: float = ANSWER_WITHIN_S) -> None:
    """Have the run's owner hear a command. Raises Refused what the run refuses, StateUnavailable without an answer."""
    sent = Sent(command_id=uuid.uuid4().hex, run_id=run_id, data=c.encode_command(command))
    store.send(sent)
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        answer = store.answered(sent)
        if answer is not None:
            check_answer(answer)
            return
        time.sleep(_LOOK_S)
    raise StateUnavailable(
        f"the owner of run {run_id} has not answered within {within_s:g} s",
        hint="the command stays in the inbox and is heard when an owner looks: see `lakeray runs show`",
    )


def _known(store: EventStore, run_id: str) -> RunState:
    state = journal.load(store, run_id)
    if state is None:
        raise Refused(f"there is no run {run_id}", hint="`lakeray runs list` shows those there are")
    return state


def _line(head: RunHead) -> RunLine:
    return RunLine(**{name: getattr(head, name) for name in RunLine.model_fields})
