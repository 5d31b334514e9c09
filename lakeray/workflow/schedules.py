"""When a schedule begins runs: cron in a time zone, jitter, what is caught up, what is too late.

How clocks that are moved are read, as cron(8) of Debian has it:

- An expression that names times of day (neither minute nor hour begins with ``*``): a time that the clocks skip fires
  at the first minute after the gap, together with others of the gap once; a time that comes twice fires the first time.
- Any other follows the clock minute by minute: what is skipped does not come, what is repeated comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from lakeray.spec.schedule import Cron, Schedule, parse_cron
from lakeray.workflow.overlap import Action, Fire, Lane, ended, fired, released, share

FORMAT = 1
"""Of a kept ``ScheduleState``. It grows by fields with defaults alone."""

_MOST_DAYS = 41 * 366
"""29 February falls on a given day of the week at least once in 40 years, also around 2100."""
_MINUTE = timedelta(minutes=1)
_NAME = "schedule"


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag="missed"):
    """Fires from ``first`` up to ``until`` were due longer ago than the catch-up window: no run begins for them."""

    first: datetime
    until: datetime


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a schedule between two looks.

    All fires up to ``cursor`` are dealt with. ``paused`` says why it is; None means that it is not.
    """

    cursor: datetime
    lane: Lane = Lane()
    paused: str | None = None
    format: int = FORMAT


@lru_cache(maxsize=4096)
def _read(cron: str) -> Cron:
    return parse_cron(cron)


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """The first time, in UTC, at which the schedule fires strictly after ``after``; None when the calendar ends."""
    cron, zone = _read(schedule.cron), ZoneInfo(schedule.timezone)
    try:
        return _by_clock(cron, zone, after) if cron.by_clock else _by_rhythm(cron, zone, after)
    except OverflowError:
        return None


def fires(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """All times after ``after``, up to and including ``until``."""
    at = next_fire(schedule, after)
    while at is not None and at <= until:
        yield at
        at = next_fire(schedule, at)


def _by_clock(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    # Days that the clocks skip whole count too: Samoa had no 30 December in 2011, and its fires came on the 31st.
    day = after.astimezone(zone).date()
    hours, minutes = sorted(cron.hours), sorted(cron.minutes)
    for _ in range(_MOST_DAYS):
        if cron.on(day):
            for hour in hours:
                for minute in minutes:
                    at = instant(datetime.combine(day, time(hour, minute)), zone)
                    if at > after:
                        return at
        day += timedelta(days=1)
    return None


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """When a clock in ``zone`` first shows ``local`` (without a zone), or has just skipped it; in UTC."""
    early = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == local:
        return early
    # In a gap, fold 0 counts with the offset before it and so lies behind it, fold 1 the other way round (PEP 495).
    before, behind = local.replace(tzinfo=zone, fold=1).astimezone(UTC), early
    while behind - before > _MINUTE:
        middle = before + (behind - before) // _MINUTE // 2 * _MINUTE
        if middle.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
            before = middle
        else:
            behind = middle
    return behind


def _by_rhythm(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    at = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
    last = at + timedelta(days=_MOST_DAYS)
    while at < last:
        local = at.astimezone(zone)
        if not cron.on(local.date()):
            at = _leap(at, local, timedelta(hours=24 - local.hour, minutes=-local.minute), zone)
        elif local.hour not in cron.hours:
            at = _leap(at, local, timedelta(minutes=60 - local.minute), zone)
        elif local.minute not in cron.minutes:
            at += _MINUTE
        else:
            return at
    return None


def _leap(at: datetime, local: datetime, distance: timedelta, zone: ZoneInfo) -> datetime:
    """``at`` and ``distance`` later, or a minute later when the clocks are moved in between."""
    there = at + distance
    return there if there.astimezone(zone).utcoffset() == local.utcoffset() else at + _MINUTE


def start_of(schedule: Schedule, fire: datetime, seed: str) -> datetime:
    """When the run of ``fire`` begins: up to ``jitter`` later, never after the next fire, equal for equal ``seed``."""
    if not schedule.jitter:
        return fire
    following = next_fire(schedule, fire)
    room_s = schedule.jitter if following is None else min(schedule.jitter, (following - fire).total_seconds())
    return fire + timedelta(seconds=room_s * share(f"{seed}/{fire.isoformat()}"))


def wake_at(schedule: Schedule, state: ScheduleState, seed: str) -> datetime | None:
    """When ``advance`` next does something by time alone; None while it is paused."""
    fire = None if state.paused is not None else next_fire(schedule, state.cursor)
    return None if fire is None else start_of(schedule, fire, seed)


def advance(
    schedule: Schedule, state: ScheduleState, now: datetime, *, seed: str, limit: int = 100
) -> tuple[ScheduleState, tuple[Action | Missed, ...]]:
    """Deal with what has become due by ``now``: fires in their order, each with the overlap policy.

    What was due longer ago than the catch-up window is missed; while the schedule is paused, fires are passed over.
    At most ``limit`` fires at once: while ``wake_at`` is not after ``now``, there is more.
    """
    if state.paused is not None:
        return msgspec.structs.replace(state, cursor=max(now, state.cursor)), ()
    window = timedelta(seconds=schedule.catchup_window)
    told: list[Action | Missed] = []
    cursor, lane = state.cursor, state.lane
    floor = now - window - timedelta(seconds=schedule.jitter)
    fire = next_fire(schedule, cursor)
    if fire is not None and fire < floor:
        cursor = floor - timedelta(microseconds=1)
        told.append(Missed(first=fire, until=cursor))
        fire = next_fire(schedule, cursor)
    for _ in range(limit):
        if fire is None or start_of(schedule, fire, seed) > now:
            break
        cursor = fire
        if now - start_of(schedule, fire, seed) > window:
            told.append(Missed(first=fire, until=fire))
        else:
            lane, actions = fired(lane, schedule.overlap, scheduled(fire))
            told.extend(actions)
        fire = next_fire(schedule, fire)
    return msgspec.structs.replace(state, cursor=cursor, lane=lane), tuple(told)


def scheduled(fire: datetime) -> Fire:
    """The fire of a schedule at its nominal time, whose key is the same on every machine."""
    return Fire(key=f"{_NAME}/{fire.astimezone(UTC).isoformat()}", name=_NAME, at=fire)


def run_ended(
    schedule: Schedule, state: ScheduleState, key: str, *, failed: bool
) -> tuple[ScheduleState, tuple[Action, ...]]:
    """The run that was begun for ``key`` has ended; one that waits begins, unless this failure pauses the schedule."""
    paused = state.paused
    if failed and schedule.pause_on_failure and state.lane.runs(key):
        paused = f"the run of {key} failed"
    lane, actions = ended(state.lane, key, hold=paused is not None)
    return msgspec.structs.replace(state, lane=lane, paused=paused), actions


def pause(state: ScheduleState, reason: str) -> ScheduleState:
    """Begin nothing until it is resumed; runs that go on go on."""
    return msgspec.structs.replace(state, paused=state.paused or reason)


def resume(state: ScheduleState, now: datetime) -> tuple[ScheduleState, tuple[Action, ...]]:
    """Go on from ``now``: fires of the pause are not made up for, what waited before it begins."""
    if state.paused is None:
        return state, ()
    lane, actions = released(state.lane)
    return msgspec.structs.replace(state, paused=None, cursor=max(now, state.cursor), lane=lane), actions
