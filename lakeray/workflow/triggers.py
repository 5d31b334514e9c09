"""What makes a run begin beside a schedule: new objects, a new table version, another run's end, an absence.

Each kind is a small value that is told what was seen and answers with the fire that is due, if one is. Whoever looks
may look twice, be told twice, be killed in between: a fire's key comes from what was seen, so that a run begins once
for it. Notifications may get lost, come twice and come late; looks find what they did not tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from lakeray.spec.triggers import Arrival, Missing, RunEnd, TableVersion, Trigger
from lakeray.workflow.overlap import Action, Fire, Lane, Skip, ended, fired, released

FORMAT = 1
"""Of a kept ``TriggerState``. It grows by fields with defaults alone."""
REMEMBERED = 1_000
"""Notifications whose ids are remembered, so that a repeated one is known."""
LONGEST_CHAIN = 16
"""Runs that may have begun one another; more is taken for a circle."""


class ArrivalState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="arrival"):
    """What is known of a source.

    ``done`` is the mark of what the last run was begun for. ``since`` is when something new was first seen that no run
    was begun for, under the mark ``seen``. ``notices`` are ids of the newest notifications, oldest first.
    """

    armed_at: datetime
    looked_at: datetime | None = None
    done: str = ""
    since: datetime | None = None
    seen: str = ""
    objects: int = 0
    notices: tuple[str, ...] = ()


class VersionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="table_version"):
    """The version of a table that was last seen; ``table_id`` tells a table that was made anew from the old one."""

    armed_at: datetime
    looked_at: datetime | None = None
    table_id: str = ""
    version: int | None = None


class EndState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="run_end"):
    """Nothing: a run ends once, and its id is the key."""

    armed_at: datetime


class AbsenceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="expect"):
    """Since when something is waited for, and whether its absence was told. ``inner`` is what is known of a source or
    table that is looked at for it.
    """

    armed_at: datetime
    since: datetime
    told: bool = False
    inner: ArrivalState | VersionState | None = None


Sensor = ArrivalState | VersionState | EndState | AbsenceState


class TriggerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a trigger: what it has seen, its runs, why it is paused (None: it is not)."""

    sensor: Sensor
    lane: Lane = Lane()
    paused: str | None = None
    format: int = FORMAT


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a source found: how many objects are not imported, under a mark.

    ``mark`` is a digest over their uris, versions and tries so far: equal as long as nothing came, went or was tried.
    """

    objects: int
    mark: str


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended. ``chain`` names the workflows whose ends led to it, the first one first, without itself."""

    run_id: str
    workflow: str
    tenant: str
    state: str
    at: datetime
    chain: tuple[str, ...] = ()


def armed(trigger: Trigger, now: datetime) -> TriggerState:
    """A trigger that is switched on at ``now``: what happened before is nothing to it."""
    sensors: dict[str, Sensor] = {
        "arrival": ArrivalState(armed_at=now),
        "table_version": VersionState(armed_at=now),
        "run_end": EndState(armed_at=now),
        "expect": AbsenceState(armed_at=now, since=now),
    }
    paused = "switched off in the file" if trigger.paused else None
    return TriggerState(sensor=sensors[trigger.kind], paused=paused)


def notified(state: ArrivalState, notice_ids: Iterable[str], at: datetime) -> ArrivalState:
    """Notifications came, each of an object of the source (``notifications.told_by``); one that is known is none."""
    fresh = [notice_id for notice_id in dict.fromkeys(notice_ids) if notice_id not in state.notices]
    if not fresh:
        return state
    return msgspec.structs.replace(
        state,
        notices=(*state.notices, *fresh)[-REMEMBERED:],
        since=state.since or at,
        objects=state.objects + len(fresh),
    )


def looked(state: ArrivalState, look: Look, at: datetime) -> ArrivalState:
    """The whole source was looked at: that is what is new, whatever notifications told.

    What a run was begun for and is still not imported (it fails, or goes on) is no news again.
    """
    news = look.objects > 0 and look.mark != state.done
    return msgspec.structs.replace(
        state,
        looked_at=at,
        since=(state.since or at) if news else None,
        seen=look.mark if news else "",
        objects=look.objects if news else 0,
    )


def look_at(said: Arrival | TableVersion, state: ArrivalState | VersionState) -> datetime:
    """When to look next. The first look is due at once."""
    if state.looked_at is None:
        return state.armed_at
    pushed = isinstance(said, Arrival) and (said.queue is not None or said.posted)
    every_s = said.reconcile if isinstance(said, Arrival) and pushed else said.every
    return state.looked_at + timedelta(seconds=every_s)


def arrival_due(said: Arrival, name: str, state: ArrivalState, now: datetime) -> tuple[ArrivalState, Fire | None]:
    """The fire for what is new, once it has settled.

    It waits ``settle`` from the first news on, however much comes meanwhile: a source that never rests is imported too.
    """
    if state.since is None or now < state.since + timedelta(seconds=said.settle):
        return state, None
    fire = Fire(
        key=f"{name}/{state.since.isoformat()}/{state.seen}",
        name=name,
        at=state.since,
        detail={"source": said.source, "objects": str(state.objects)},
    )
    return msgspec.structs.replace(state, since=None, objects=0, seen="", done=state.seen or state.done), fire


def version_seen(
    said: TableVersion,
    name: str,
    state: VersionState,
    *,
    table_id: str,
    version: int,
    data_changed: bool,
    at: datetime,
) -> tuple[VersionState, Fire | None]:
    """The fire for a table's new version, once for however many came since the last look.

    ``data_changed`` says whether one of them changed rows. The first look only remembers where the table stands; a
    table that was made anew is new.
    """
    known = msgspec.structs.replace(state, looked_at=at, table_id=table_id, version=version)
    anew = table_id != state.table_id or (state.version is not None and version < state.version)
    if state.version is None or not (anew or version > state.version):
        return known, None
    if not (anew or data_changed or said.changes == "any"):
        return known, None
    detail = {"table": said.table or said.uri or "", "version": str(version), "before": str(state.version)}
    return known, Fire(key=f"{name}/{table_id}/{version}", name=name, at=at, detail=detail)


def fire_for_end(said: RunEnd, name: str, *, workflow: str, tenant: str, run: RunEnded) -> Fire | Skip | None:
    """The fire for another run's end; a Skip when the chain that led to it comes round again; None when it is another.

    ``workflow`` and ``tenant`` are the trigger's own.
    """
    if (run.workflow, run.tenant) != (said.workflow, tenant) or run.state not in said.states:
        return None
    chain = (*run.chain, run.workflow)
    detail = {"run": run.run_id, "state": run.state, "chain": ",".join(chain)}
    fire = Fire(key=f"{name}/{run.run_id}", name=name, at=run.at, detail=detail)
    if workflow in chain:
        return Skip(fire=fire, reason=f"a circle: {' -> '.join((*chain, workflow))}")
    if len(chain) >= LONGEST_CHAIN:
        return Skip(fire=fire, reason=f"{len(chain)} runs have begun one another, which is taken for a circle")
    return fire


def happened(state: AbsenceState, at: datetime) -> AbsenceState:
    """What was waited for happened at ``at``; an older time than is known changes nothing."""
    return state if at <= state.since else msgspec.structs.replace(state, since=at, told=False)


def absence_due(said: Missing, name: str, state: AbsenceState, now: datetime) -> tuple[AbsenceState, Fire | None]:
    """The fire for what did not happen in time: one for each absence."""
    due = absence_at(said, state)
    if due is None or now < due:
        return state, None
    detail = {"expected": said.kind, "since": state.since.isoformat(), "within_s": f"{said.within:.15g}"}
    fire = Fire(key=f"{name}/{state.since.isoformat()}", name=name, at=due, detail=detail)
    return msgspec.structs.replace(state, told=True), fire


def absence_at(said: Missing, state: AbsenceState) -> datetime | None:
    """When the absence will have lasted too long; None once it was told."""
    return None if state.told else state.since + timedelta(seconds=said.within)


def begin(trigger: Trigger, state: TriggerState, fire: Fire) -> tuple[TriggerState, tuple[Action, ...]]:
    """What a fire does, by the trigger's overlap policy; while it is paused, nothing but a word about it."""
    if state.paused is not None:
        return state, (Skip(fire=fire, reason=f"paused: {state.paused}"),)
    lane, actions = fired(state.lane, trigger.overlap, fire)
    return msgspec.structs.replace(state, lane=lane), actions


def finished(state: TriggerState, key: str) -> tuple[TriggerState, tuple[Action, ...]]:
    """The run of ``key`` has ended; one that waits begins."""
    lane, actions = ended(state.lane, key, hold=state.paused is not None)
    return msgspec.structs.replace(state, lane=lane), actions


def pause(state: TriggerState, reason: str) -> TriggerState:
    """Begin nothing until it is resumed."""
    return msgspec.structs.replace(state, paused=state.paused or reason)


def resume(state: TriggerState, now: datetime) -> tuple[TriggerState, tuple[Action, ...]]:
    """Go on; an absence is counted from ``now``, what waited begins, what fired meanwhile is not made up for."""
    if state.paused is None:
        return state, ()
    lane, actions = released(state.lane)
    sensor = state.sensor
    if isinstance(sensor, AbsenceState):
        sensor = msgspec.structs.replace(sensor, since=max(now, sensor.since), told=False)
    return msgspec.structs.replace(state, paused=None, lane=lane, sensor=sensor), actions
