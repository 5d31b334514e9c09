"""A schedule fires when a clock on the wall, watched minute by minute, says so: also while clocks are moved.

The oracle knows nothing of gaps or folds as such. It walks through UTC minute by minute and looks at what a clock in
the zone shows, has shown, and has just left out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakeray.spec.schedule import Schedule, parse_cron
from lakeray.spec.wrong import WrongValue
from lakeray.workflow.schedules import fires, next_fire

MINUTE = timedelta(minutes=1)
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Antarctica/Troll"),
    *("Pacific/Apia", "Asia/Pyongyang", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Chatham", "America/Caracas"),
)
FIRST, LAST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2037, 12, 1, tzinfo=UTC)


@lru_cache
def moves(zone):
    """Every hour in which the zone's clocks are moved, between FIRST and LAST."""
    found, at, info = [], FIRST, ZoneInfo(zone)
    while at < LAST:
        later = at + timedelta(hours=12)
        if at.astimezone(info).utcoffset() != later.astimezone(info).utcoffset():
            found.append(at)
        at = later
    return found


def watched(schedule, after, until):
    """All fires by watching: a clock's minutes are looked at when they are first shown, or when they were left out."""
    cron, zone = parse_cron(schedule.cron), ZoneInfo(schedule.timezone)

    def fits(shown):
        return cron.on(shown.date()) and shown.hour in cron.hours and shown.minute in cron.minutes

    at = after.replace(second=0, microsecond=0) - timedelta(days=1)
    before, seen, found = at.astimezone(zone).replace(tzinfo=None), set(), []
    while at + MINUTE <= until:
        at += MINUTE
        shown = at.astimezone(zone).replace(tzinfo=None)
        hit = fits(shown)
        if cron.by_clock:
            hit = hit and shown not in seen
            left_out = before + MINUTE
            while left_out < shown:
                hit = hit or (fits(left_out) and left_out not in seen)
                seen.add(left_out)
                left_out += MINUTE
            seen.add(shown)
        if hit and at > after:
            found.append(at)
        before = shown
    return found


FIELD = {
    "minute": st.sampled_from(["*", "0", "30", "*/15", "0,30", "5-20/5", "59", "17"]),
    "hour": st.sampled_from(["*", "0", "1", "2", "3", "1-3", "*/2", "2,3", "0-4", "23", "12"]),
    "day": st.sampled_from(["*", "*", "*", "1-7", "*/2", "25-31", "30"]),
    "month": st.sampled_from(["*", "*", "*", "3,10", "4,11", "12"]),
    "weekday": st.sampled_from(["*", "*", "*", "sun", "7", "mon-fri", "*/3"]),
}


@st.composite
def moments(draw):
    """A zone and a second near a move of its clocks, or anywhere."""
    zone = draw(st.sampled_from(ZONES))
    near = moves(zone)
    if near and draw(st.integers(0, 4)):
        at = draw(st.sampled_from(near)) + timedelta(seconds=draw(st.integers(-40 * 3600, 30 * 3600)))
    else:
        at = draw(st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None))).replace(tzinfo=UTC)
    return zone, at


@given(moments(), st.tuples(*FIELD.values()))
@example(("Europe/Berlin", datetime(2025, 10, 26, 1, 30, tzinfo=UTC)), ("45", "1,2", "*", "*", "*"))
@example(("Europe/Berlin", datetime(2025, 3, 30, 0, 0, tzinfo=UTC)), ("0,30", "2,3", "*", "*", "*"))
@example(("Australia/Lord_Howe", datetime(2025, 10, 4, 13, 0, tzinfo=UTC)), ("*/15", "3", "*", "*", "*"))
@example(("Australia/Lord_Howe", datetime(2025, 4, 5, 13, 0, tzinfo=UTC)), ("*/15", "1-2", "*", "*", "*"))
@example(("America/St_Johns", datetime(2006, 4, 2, 3, 0, tzinfo=UTC)), ("*/30", "1", "*", "*", "*"))
@example(("Pacific/Apia", datetime(2011, 12, 29, 12, 0, tzinfo=UTC)), ("0", "12", "30", "12", "*"))
@settings(max_examples=300, deadline=None)
def test_fires_are_those_of_a_watched_clock(moment, fields):
    zone, after = moment
    try:
        schedule = Schedule(cron=" ".join(fields), timezone=zone)
    except (ValueError, WrongValue):
        return  # a day that its month does not have
    until = after + timedelta(days=2)
    assert list(fires(schedule, after, until)) == watched(schedule, after, until)


@given(moments(), st.tuples(*FIELD.values()))
@settings(max_examples=200, deadline=None)
def test_the_next_fire_does_not_depend_on_where_one_begins_to_wait(moment, fields):
    """From any moment before a fire and not before the one before it, it is the next one."""
    zone, after = moment
    try:
        schedule = Schedule(cron=" ".join(fields), timezone=zone)
    except (ValueError, WrongValue):
        return
    first = next_fire(schedule, after)
    assert first is not None
    assert first > after
    assert first.tzinfo is UTC
    assert (first.second, first.microsecond) == (0, 0)
    for share in (0.25, 0.5, 0.999999):
        between = min(after + (first - after) * share, first - timedelta(microseconds=1))  # a product is rounded
        assert next_fire(schedule, between) == first
    second = next_fire(schedule, first)
    assert second is None or second > first
