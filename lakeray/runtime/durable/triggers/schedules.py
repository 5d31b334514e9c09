"""Begins the runs of every registered schedule, one for each time that is due.

What is due is decided in one compare-and-set of the schedule's register, whoever looks; runs are begun from what the
register says, by ids that follow from the due time. A process that dies in between leaves a register that the next look
carries out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from lakeray.errors import RevisionConflict
from lakeray.failpoints import failpoint
from lakeray.runtime.durable.triggers.apart import apart
from lakeray.runtime.durable.triggers.begin import carry_out, ended_runs
from lakeray.runtime.durable.triggers.kept import FORMAT, KeptSchedule, Said, saying, sentences
from lakeray.runtime.durable.triggers.registered import SCHEDULE, Files, Registered
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.runtime.durable.triggers.telling import tell
from lakeray.spec.schedule import Schedule
from lakeray.state import EventStore
from lakeray.workflow.schedules import Missed, ScheduleState, advance, run_ended


def kept_schedules(store: EventStore) -> Registers[KeptSchedule]:
    """How the schedules of a store stand, by the names of their files."""
    return Registers(store, "triggers/schedule/", KeptSchedule, format_=FORMAT)


def standing(file: Registered, kept: KeptSchedule | None) -> KeptSchedule:
    """How the schedule stands: one that nobody has looked at yet begins with what is due after it was added."""
    since = file.since[SCHEDULE]
    if kept is None:
        return KeptSchedule(state=ScheduleState(cursor=since))
    if kept.state.cursor < since:
        return msgspec.structs.replace(kept, state=msgspec.structs.replace(kept.state, cursor=since))
    return kept


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """A duty; ``every_s`` is how late a run may begin."""

    store: EventStore
    clock: Callable[[], datetime]
    name: str = "schedules"
    every_s: float = 1.0
    _files: list[Files] = field(default_factory=list)

    def tick(self) -> None:
        """Look at every schedule once."""
        if not self._files:
            self._files.append(Files(self.store))
        for file, workflow in self._files[0].all():
            if workflow.schedule is not None:
                with apart(f"the schedule of {file.name}"):
                    self._look(file, workflow.schedule)

    def _look(self, file: Registered, schedule: Schedule) -> None:
        registers, now = kept_schedules(self.store), self.clock()
        before, revision = registers.read(file.name)
        kept = standing(file, before)
        state, said = kept.state, list[Said]()
        for end in ended_runs(self.store, file, state.lane):
            was_paused = state.paused
            state, _ = run_ended(schedule, state, end.key, failed=end.state == "failed")
            if state.paused is not None and was_paused is None:
                said.append(Said(at=now, text=f"paused: run {end.run_id} failed"))
                tell(self.store, file, "schedule.paused", cause=end.run_id, now=now, data={"run_id": end.run_id})
        state, actions = advance(schedule, state, now, seed=file.name)
        said.extend(sentences(actions, now))
        for action in actions:
            if isinstance(action, Missed):
                cause = action.first.isoformat()
                data = {"until": action.until.isoformat()}
                tell(self.store, file, "schedule.missed", cause=cause, now=now, data=data)
        after = KeptSchedule(state=state, said=saying(kept.said, said))
        if after != before and _worth_keeping(before, after):
            try:
                registers.put(file.name, after, expected=revision)
            except RevisionConflict:  # whoever was faster has decided; the next look sees it
                return
            failpoint("after_fire_kept")
        carry_out(self.store, file, state.lane, trigger=SCHEDULE, now=now)


def _worth_keeping(before: KeptSchedule | None, after: KeptSchedule) -> bool:
    """A paused schedule passes over its fires: that alone is not written down at every look."""
    if before is None or after.state.paused is None:
        return True
    return msgspec.structs.replace(after.state, cursor=before.state.cursor) != before.state
