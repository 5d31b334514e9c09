"""The partitions of a backfill: time ranges that lie side by side without a gap, or the values of a list."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from lakeray.errors import SpecError
from lakeray.spec.wrong import quoted
from lakeray.workflow.schedules import instant

MOST: Final = 100_000
"""Partitions of one backfill."""
_EVERY = re.compile(
    r"(?:(\d{1,5})\s*)?(minute|hour|day|week|month|quarter|year|min|h|d|w|m)s?", re.IGNORECASE | re.ASCII
)
_UNITS = {"min": "minute", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_ELAPSED = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


class BackfillRefused(SpecError):
    """The partitions of a backfill cannot be made from what was asked for; nothing was started."""

    code = "backfill_refused"


class Partition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a backfill, by its ``key``: a time range ``start`` (in) to ``end`` (out) in UTC, or a ``value``.

    The key sorts and is the same whenever the partition is made again: it is part of the transaction id of what is
    imported for it.
    """

    key: str
    start: datetime | None = None
    end: datetime | None = None
    value: str | int | float | None = None


def time_ranges(*, start: str, end: str, every: str, timezone: str = "UTC") -> tuple[Partition, ...]:
    """Ranges of ``every`` (``1 day``, ``6 hours``, ``1 month``) from ``start`` to ``end``, the last one cut to fit.

    ISO 8601 dates or times, in ``timezone`` where they have no offset. A date as ``end`` is a whole day that belongs to
    the backfill: 2024-01-01 to 2024-12-31 is a year. Days, weeks, months, quarters and years are those of the calendar
    in ``timezone``, 23 or 25 hours long where clocks are moved; months are counted from ``start``, so that one that
    begins on a 31st ends with shorter months. Hours and minutes are elapsed time. Raises BackfillRefused.
    """
    amount, unit = _interval(every)
    try:
        bounds = _cut(start, end, amount, unit, ZoneInfo(timezone))
    except (OverflowError, ZoneInfoNotFoundError) as error:
        raise BackfillRefused(f"no partitions from {start} to {end} in {timezone}: {error}") from None
    if bounds is None:
        hint = f"take something longer than {every}"
        raise BackfillRefused(f"the backfill has more than {MOST} partitions", hint=hint)
    return tuple(Partition(key=_key(low), start=low, end=high) for low, high in pairwise(bounds))


def _cut(start: str, end: str, amount: int, unit: str, zone: ZoneInfo) -> list[datetime] | None:
    """Where ranges begin and end; None when there are too many."""
    begin, stop = _moment(start, "start", zone), _moment(end, "end", zone, whole_day=True)
    if begin >= stop:
        raise BackfillRefused(f"the backfill's end {end} does not lie behind its start {start}")
    bounds = [begin]
    for bound in _bounds(begin, amount, unit, zone):
        if bound > bounds[-1]:
            bounds.append(min(bound, stop))
        if bounds[-1] == stop:
            break
        if len(bounds) > MOST:
            return None
    return bounds


def listed(values: list[str | int | float]) -> tuple[Partition, ...]:
    """A partition for each value, in their order. Raises BackfillRefused for none, too many, or one named twice."""
    if not 0 < len(values) <= MOST:
        raise BackfillRefused(f"a backfill has from 1 to {MOST} partitions; found {len(values)}")
    keys = [str(value) for value in values]
    twice = (
        next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if len(set(keys)) < len(keys)
        else None
    )
    if twice is not None:
        raise BackfillRefused(f"the partition {quoted(twice)} is named twice")
    return tuple(Partition(key=key, value=value) for key, value in zip(keys, values, strict=True))


def _interval(every: str) -> tuple[int, str]:
    match = _EVERY.fullmatch(every.strip())
    amount = int(match[1] or 1) if match else 0
    if match is None or amount == 0:
        raise BackfillRefused(
            f"found every {quoted(every)}", hint="expected something such as 1 day, 6 hours, 15 minutes or 1 month"
        )
    unit = match[2].lower()
    return amount, _UNITS.get(unit, unit)


def _moment(text: str, name: str, zone: ZoneInfo, *, whole_day: bool = False) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise BackfillRefused(
                f"found {name} {quoted(text)}", hint="expected a date or a time, as in 2024-01-31 or 2024-01-31T06:00Z"
            ) from None
        return at.astimezone(UTC) if at.tzinfo is not None else instant(at, zone)
    return instant(datetime.combine(day + timedelta(days=1 if whole_day else 0), time()), zone)


def _bounds(begin: datetime, amount: int, unit: str, zone: ZoneInfo) -> Iterator[datetime]:
    """The ends of the first, second, ... range, without end."""
    local = begin.astimezone(zone).replace(tzinfo=None)
    count = 0
    while True:
        count += amount
        if unit in _ELAPSED:
            yield begin + count * _ELAPSED[unit]
        elif unit in _DAYS:
            yield instant(local + timedelta(days=count * _DAYS[unit]), zone)
        else:
            yield instant(_months_later(local, count * _MONTHS[unit]), zone)


def _months_later(at: datetime, months: int) -> datetime:
    year, index = divmod(at.year * 12 + at.month - 1 + months, 12)
    return at.replace(year=year, month=index + 1, day=min(at.day, monthrange(year, index + 1)[1]))


def _key(start: datetime) -> str:
    return start.isoformat().replace("+00:00", "Z")
