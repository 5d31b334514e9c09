"""Begins the runs of every registered trigger: new objects, new table versions, what did not happen in time.

As for schedules, one compare-and-set of a trigger's register decides, and runs are begun from what it says. Ends of
runs are told by ``ends``; looks at sources and tables are taken beside this, as they may take long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from lakeray.errors import RevisionConflict
from lakeray.failpoints import failpoint
from lakeray.runtime.durable.triggers.apart import apart
from lakeray.runtime.durable.triggers.begin import carry_out, ended_runs
from lakeray.runtime.durable.triggers.kept import FORMAT, KeptTrigger, saying, sentences
from lakeray.runtime.durable.triggers.looks import Looks
from lakeray.runtime.durable.triggers.news import News, Notice
from lakeray.runtime.durable.triggers.registered import Files, Registered
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.runtime.durable.triggers.telling import tell_absence
from lakeray.spec.model import Workflow
from lakeray.spec.triggers import Arrival, Missing, TableVersion, Trigger
from lakeray.state import EventStore
from lakeray.workflow import triggers as pure
from lakeray.workflow.overlap import Fire

_DURING = ("cancel_other", "terminate_other", "allow_all")
"""Policies for which news counts while a run goes on."""


def kept_triggers(store: EventStore) -> Registers[KeptTrigger]:
    """How the triggers of a store stand, by ``place``."""
    return Registers(store, "triggers/watch/", KeptTrigger, format_=FORMAT)


def place(file: Registered, name: str) -> str:
    """Where a trigger of a file is kept."""
    return f"{file.name}/{name}"


def watching(trigger: Trigger, since: datetime, kept: KeptTrigger | None) -> KeptTrigger:
    """How a trigger stands; one that is new, or says something else now, is armed from ``since`` on."""
    fresh = pure.armed(trigger, since)
    if kept is None:
        return KeptTrigger(state=fresh)
    if kept.state.sensor.armed_at < since:
        return msgspec.structs.replace(kept, state=msgspec.structs.replace(fresh, lane=kept.state.lane))
    return kept


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A trigger with all that is needed to look at it."""

    file: Registered
    workflow: Workflow
    name: str
    trigger: Trigger

    @property
    def key(self) -> str:
        """Where it is kept."""
        return place(self.file, self.name)


def watched(files: Files) -> list[Watched]:
    """Every trigger of every registered file."""
    return [
        Watched(file=file, workflow=workflow, name=name, trigger=trigger)
        for file, workflow in files.all()
        for name, trigger in workflow.triggers.items()
    ]


class Watches:
    """A duty. ``looks`` looks at sources and tables."""

    name = "triggers"
    every_s = 1.0

    def __init__(self, store: EventStore, clock: Callable[[], datetime], looks: Looks) -> None:
        self._store = store
        self._clock = clock
        self._looks = looks
        self._files = Files(store)
        self._kept = kept_triggers(store)

    def tick(self) -> None:
        """Look at every trigger once."""
        news = News(self._store)
        notices = news.waiting()
        told = True
        for each in watched(self._files):
            with apart(f"the trigger {each.key}"):  # one that cannot be read finds by looking what it was not told
                told &= self._look(each, notices)
        if told:  # a trigger that was not told would not hear of them again
            news.heard(notices)

    def close(self) -> None:
        """Begin no further looks."""
        self._looks.close()

    def _look(self, watch: Watched, notices: Sequence[Notice]) -> bool:
        """Whether the trigger was told: not where somebody else was faster."""
        now = self._clock()
        before, revision = self._kept.read(watch.key)
        kept = watching(watch.trigger, watch.file.since[watch.name], before)
        state = kept.state
        for end in ended_runs(self._store, watch.file, state.lane):
            state, _ = pure.finished(state, end.key)
        said = list(kept.said)
        if state.paused is None:
            sensor, fire = self._sensed(watch, state, notices, now)
            state = msgspec.structs.replace(state, sensor=sensor)
            if fire is not None:
                if watch.trigger.kind == "expect":
                    tell_absence(self._store, watch.file, fire, now)
                state, actions = pure.begin(watch.trigger, state, fire)
                said.extend(sentences(actions, now))
        after = KeptTrigger(state=state, said=saying((), said))
        if after != before:
            try:
                self._kept.put(watch.key, after, expected=revision)
            except RevisionConflict:
                return False
            failpoint("after_fire_kept")
        carry_out(self._store, watch.file, state.lane, trigger=watch.trigger.kind, now=now)
        return True

    def _sensed(
        self, watch: Watched, state: pure.TriggerState, notices: Sequence[Notice], now: datetime
    ) -> tuple[pure.Sensor, Fire | None]:
        said, sensor = watch.trigger.chosen, state.sensor
        if isinstance(said, Arrival) and isinstance(sensor, pure.ArrivalState):
            told = [notice.notice_id for notice in notices if notice.is_for(watch.workflow, said)]
            sensor = pure.notified(sensor, told, now)
            # A run that goes on makes objects go from look to look: what came meanwhile is seen behind its end.
            rests = not state.lane.running or watch.trigger.overlap in _DURING
            if rests and now >= pure.look_at(said, sensor):
                look = self._looks.source(watch.key, watch.workflow, said.source)
                sensor = pure.looked(sensor, look, now) if look is not None else sensor
            return pure.arrival_due(said, watch.name, sensor, now)
        if isinstance(said, TableVersion) and isinstance(sensor, pure.VersionState):
            return self._version(watch, said, sensor, now)
        if isinstance(said, Missing) and isinstance(sensor, pure.AbsenceState):
            sensor = self._happened(watch, said, sensor, now)
            return pure.absence_due(said, watch.name, sensor, now)
        return sensor, None

    def _version(
        self, watch: Watched, said: TableVersion, state: pure.VersionState, now: datetime
    ) -> tuple[pure.VersionState, Fire | None]:
        if now < pure.look_at(said, state):
            return state, None
        uri = said.uri or watch.workflow.tables[said.table or ""].uri
        seen = self._looks.table(watch.key, uri, after=state.version)
        if seen is None:
            return state, None
        if seen.version is None:  # there is no table yet
            return msgspec.structs.replace(state, looked_at=now, version=state.version if state.table_id else -1), None
        return pure.version_seen(
            said,
            watch.name,
            state,
            table_id=seen.table_id,
            version=seen.version,
            data_changed=seen.data_changed,
            at=now,
        )

    def _happened(self, watch: Watched, said: Missing, state: pure.AbsenceState, now: datetime) -> pure.AbsenceState:
        """Whether what is waited for happened, as far as a look can tell; ends of runs are told."""
        if said.arrival is not None:
            inner = state.inner if isinstance(state.inner, pure.ArrivalState) else pure.ArrivalState(armed_at=now)
            if now < pure.look_at(said.arrival, inner):
                return state
            newest = self._looks.newest(watch.key, watch.workflow, said.arrival.source)
            if newest is None:
                return state
            state = msgspec.structs.replace(state, inner=msgspec.structs.replace(inner, looked_at=now))
            return pure.happened(state, newest.at) if newest.at is not None else state
        if said.table_version is not None:
            known = state.inner if isinstance(state.inner, pure.VersionState) else pure.VersionState(armed_at=now)
            after, fire = self._version(watch, said.table_version, known, now)
            if after == known:
                return state
            state = msgspec.structs.replace(state, inner=after)
            return pure.happened(state, now) if fire is not None else state
        return state
