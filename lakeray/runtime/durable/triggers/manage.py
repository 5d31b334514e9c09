"""Schedules and triggers as people ask for them: handed in, looked at, paused, begun by hand.

Nothing here begins a run but `trigger`; `lakeray up` does, wherever it stands.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from lakeray.importer.recording.summary import Summary
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.run import definition_of
from lakeray.runtime.durable.triggers.begin import carry_out, run_of
from lakeray.runtime.durable.triggers.kept import KeptSchedule, KeptTrigger, saying, sentences
from lakeray.runtime.durable.triggers.registered import SCHEDULE, Files, Registered
from lakeray.runtime.durable.triggers.schedules import kept_schedules, standing
from lakeray.runtime.durable.triggers.watches import kept_triggers, place, watching
from lakeray.spec.model import Workflow
from lakeray.spec.schedule import Schedule
from lakeray.state import EventStore
from lakeray.workflow import schedules as pure
from lakeray.workflow import triggers as pure_triggers
from lakeray.workflow.overlap import Action, Fire, Lane, fired
from lakeray.workflow.refusal import Refused
from lakeray.workflow.schedules import next_fire


class Waiting(Summary):
    """A schedule or a trigger of a registered file.

    ``what`` says it in short; ``next_at`` is when it is due next, where time alone says that; ``running`` are its runs
    that go on, ``waiting`` counts those that wait for their end; ``said`` are the newest sentences about what did not
    begin.
    """

    workflow: str
    tenant: str
    name: str
    kind: str
    what: str
    next_at: datetime | None = None
    running: tuple[str, ...] = ()
    waiting: int = 0
    paused: str | None = None
    said: tuple[str, ...] = ()


WaitingParts = list[Waiting]
Times = list[datetime]


class Begun(Summary):
    """What became of a run that was begun by hand: ``begun``, ``waits`` for another to end, or ``skipped``."""

    run_id: str
    state: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class SchedulesOf:
    """The schedules and triggers of a state; each is found by its workflow's name (and ``tenant``, where several have
    one).
    """

    state: str
    principal: str
    now: Callable[[], datetime]
    runnable: Callable[[Any, Sequence[str] | None], Workflow]

    def add(self, file: Any) -> WaitingParts:
        """Register a workflow file, or what it says now. Raises Refused for one without schedule and triggers."""
        workflow = self.runnable(file, None)
        if workflow.schedule is None and not workflow.triggers:
            raise Refused(
                f"workflow {workflow.workflow} has neither a schedule nor triggers",
                hint='as in schedule: {cron: "0 6 * * *"}',
            )
        with self._files() as (store, files):
            added = files.add(definition_of(workflow), principal=self.principal, at=self.now())
            return _parts(store, files, added, self.now())

    def list(self) -> WaitingParts:
        """Everything that is registered."""
        with self._files() as (store, files):
            return [line for file, _ in files.all() for line in _parts(store, files, file, self.now())]

    def show(self, workflow: str, *, tenant: str | None = None) -> WaitingParts:
        """The schedule and triggers of one workflow. Raises Refused when it is not registered."""
        with self._files() as (store, files):
            return _parts(store, files, files.find(workflow, tenant), self.now())

    def remove(self, workflow: str, *, tenant: str | None = None) -> None:
        """Begin no further runs of it; those that go on go on. Raises Refused when it is not registered."""
        with self._files() as (store, files):
            file = files.find(workflow, tenant)
            files.remove(file)
            kept_schedules(store).change(file.name, lambda _: None)
            for name in file.since:
                kept_triggers(store).change(place(file, name), lambda _: None)

    def pause(
        self, workflow: str, name: str | None = None, *, reason: str = "by hand", tenant: str | None = None
    ) -> WaitingParts:
        """Begin nothing (of the schedule or trigger ``name``, or of all) until it is resumed."""
        return self._each(
            workflow,
            name,
            tenant,
            schedule=lambda _, state: (pure.pause(state, reason), ()),
            trigger=lambda state: (pure_triggers.pause(state, reason), ()),
        )

    def resume(self, workflow: str, name: str | None = None, *, tenant: str | None = None) -> WaitingParts:
        """Go on from now; what was due meanwhile is not made up for."""
        now = self.now()
        return self._each(
            workflow,
            name,
            tenant,
            schedule=lambda _, state: pure.resume(state, now),
            trigger=lambda state: pure_triggers.resume(state, now),
        )

    def next(self, workflow: str, *, count: int = 5, tenant: str | None = None) -> Times:
        """The next times, in UTC, at which the schedule is due. Raises Refused where the file has none."""
        with self._files() as (_, files):
            schedule = _schedule(files, files.find(workflow, tenant))
        return list(islice(_times(schedule, self.now()), count))

    def trigger(self, workflow: str, *, tenant: str | None = None) -> Begun:
        """Begin a run now, as if the schedule had been due: its overlap policy decides. Without a schedule it begins
        whatever goes on. Whoever owns the state drives it.
        """
        now = self.now()
        with self._files() as (store, files):
            file = files.find(workflow, tenant)
            schedule = files.parsed(file).schedule
            fire = Fire(key=f"manual/{uuid.uuid4().hex}", name="manual", at=now)
            run_id = run_of(file, fire.key)
            if schedule is None:
                carry_out(store, file, Lane(running=(fire,)), trigger="manual", now=now)
                return Begun(run_id=run_id, state="begun")
            told: list[tuple[Action, ...]] = []

            def change(before: KeptSchedule | None) -> KeptSchedule:
                kept = standing(file, before)
                lane, actions = fired(kept.state.lane, schedule.overlap, fire)
                told[:] = [actions]
                state = msgspec.structs.replace(kept.state, lane=lane)
                return msgspec.structs.replace(kept, state=state, said=saying(kept.said, sentences(actions, now)))

            after = kept_schedules(store).change(file.name, change)
            assert after is not None
            carry_out(store, file, after.state.lane, trigger=SCHEDULE, now=now)
            reason = next((action.reason for action in told[0] if hasattr(action, "reason")), None)
            if after.state.lane.runs(fire.key):
                return Begun(run_id=run_id, state="begun")
            return Begun(run_id=run_id, state="skipped" if reason else "waits", reason=reason)

    def _each(
        self,
        workflow: str,
        name: str | None,
        tenant: str | None,
        *,
        schedule: Callable[[Schedule, pure.ScheduleState], tuple[pure.ScheduleState, Any]],
        trigger: Callable[[pure_triggers.TriggerState], tuple[pure_triggers.TriggerState, Any]],
    ) -> WaitingParts:
        with self._files() as (store, files):
            file = files.find(workflow, tenant)
            said, now = files.parsed(file), self.now()
            known = [*([SCHEDULE] if said.schedule else []), *said.triggers]
            if name is not None and name not in known:
                raise Refused(f"workflow {workflow} has no trigger {name!r}", hint=f"it has: {', '.join(known)}")
            for each in known if name is None else [name]:
                if each == SCHEDULE and said.schedule is not None:
                    of_file = said.schedule

                    def changed(before: KeptSchedule | None, of_file: Schedule = of_file) -> KeptSchedule:
                        kept = standing(file, before)
                        return msgspec.structs.replace(kept, state=schedule(of_file, kept.state)[0])

                    kept_schedules(store).change(file.name, changed)
                else:
                    part = said.triggers[each]

                    def watched(before: KeptTrigger | None, part: Any = part, each: str = each) -> KeptTrigger:
                        kept = watching(part, file.since[each], before)
                        return msgspec.structs.replace(kept, state=trigger(kept.state)[0])

                    kept_triggers(store).change(place(file, each), watched)
            return _parts(store, files, file, now)

    @contextmanager
    def _files(self) -> Iterator[tuple[EventStore, Files]]:
        with open_state(self.state) as store:
            yield store, Files(store)


def _parts(store: EventStore, files: Files, file: Registered, now: datetime) -> WaitingParts:
    said = files.parsed(file)
    found = []
    if said.schedule is not None:
        kept = standing(file, kept_schedules(store).get(file.name))
        after = max(kept.state.cursor, now)
        due = None if kept.state.paused is not None else next_fire(said.schedule, after)
        what = f"{said.schedule.cron} {said.schedule.timezone}, {said.schedule.overlap}"
        found.append(_line(file, SCHEDULE, kept, kind="cron", what=what, next_at=due))
    for name, trigger in said.triggers.items():
        watched = watching(trigger, file.since[name], kept_triggers(store).get(place(file, name)))
        told = trigger.chosen.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        what = ", ".join(f"{key} {value}" for key, value in told.items())
        found.append(_line(file, name, watched, kind=trigger.kind, what=what))
    return found


def _line(
    file: Registered,
    name: str,
    kept: KeptSchedule | KeptTrigger,
    *,
    kind: str,
    what: str,
    next_at: datetime | None = None,
) -> Waiting:
    lane = kept.state.lane
    return Waiting(
        workflow=file.definition.workflow,
        tenant=file.definition.tenant,
        name=name,
        kind=kind,
        what=what,
        next_at=next_at,
        running=tuple(run_of(file, fire.key) for fire in lane.running),
        waiting=len(lane.waiting),
        paused=kept.state.paused,
        said=tuple(f"{each.at.isoformat(timespec='seconds')} {each.text}" for each in kept.said),
    )


def _schedule(files: Files, file: Registered) -> Schedule:
    schedule = files.parsed(file).schedule
    if schedule is None:
        raise Refused(f"workflow {file.definition.workflow} has no schedule", hint="it begins by its triggers alone")
    return schedule


def _times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    at = next_fire(schedule, after)
    while at is not None:
        yield at
        at = next_fire(schedule, at)
