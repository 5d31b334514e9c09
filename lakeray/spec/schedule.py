"""The schedule of a workflow file: when runs begin, what happens when they are late or overlap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator

from lakeray.spec.strict import Spec
from lakeray.spec.texts import Zone
from lakeray.spec.units import Duration
from lakeray.spec.wrong import WrongValue, nearest, quoted, unknown

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, kw_only=True)
class _Field:
    label: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field(label="minute", low=0, high=59),
    _Field(label="hour", low=0, high=23),
    _Field(label="day of month", low=1, high=31),
    _Field(label="month", low=1, high=12, names=_MONTHS),
    _Field(label="day of week", low=0, high=7, names=_DAYS),
)
_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_ITEM = re.compile(r"(?:(\*)|([0-9]{1,2}|[a-z]{3,9})(?:-([0-9]{1,2}|[a-z]{3,9}))?)(?:/([0-9]{1,3}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cron:
    """What a cron expression allows, as crontab(5) reads it."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    """Days of month, from 1."""
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    both_days: bool
    """Whether day of month and day of week must both fit: so it is when one of them begins with ``*``. Else either."""
    by_clock: bool
    """Whether neither minute nor hour begins with ``*``, so that times of day are meant rather than a rhythm."""

    def on(self, day: date) -> bool:
        """Whether the expression allows something on ``day``."""
        if day.month not in self.months:
            return False
        fitting = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return all(fitting) if self.both_days else any(fitting)


def parse_cron(text: str) -> Cron:
    """What a cron expression of five fields allows.

    The syntax is that of crontab(5): numbers, names, ``a-b``, lists, ``/step``, and ``@hourly`` and its like. Raises
    WrongValue naming the field, also for a date that never comes, such as 30 February.
    """
    lowered = text.strip().lower()
    if lowered.startswith("@"):
        if lowered not in _SHORT:
            raise unknown(lowered, _SHORT)
        lowered = _SHORT[lowered]
    fields = lowered.split()
    if len(fields) != len(_FIELDS):
        raise WrongValue(
            'expected five fields: minute, hour, day of month, month, day of week, as in "*/15 * * * *"',
            found=f"{quoted(text)} with {len(fields)}",
        )
    minutes, hours, days, months, weekdays = (_values(text, field) for text, field in zip(fields, _FIELDS, strict=True))
    both_days = fields[2].startswith("*") or fields[4].startswith("*")
    if both_days and min(days) > max(_LONGEST.get(month, 31) for month in months):
        raise WrongValue("expected a day that its month has", found=quoted(text))
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        both_days=both_days,
        by_clock=not (fields[0].startswith("*") or fields[1].startswith("*")),
    )


def _values(text: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise WrongValue(
                f"expected {field.label} as *, a number, a-b, or one of these with /step", found=quoted(item)
            )
        star, start, end, step = match.groups()
        begin = field.low if star else _number(start, field)
        stop = _number(end, field) if end else (field.high if star or step else begin)
        if stop < begin:
            raise WrongValue(f"expected the {field.label} range's end behind its beginning", found=quoted(item))
        if step and not 1 <= int(step) <= field.high:
            raise WrongValue(f"expected a step from 1 to {field.high} for {field.label}", found=quoted(item))
        found.update(range(begin, stop + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if text.isdigit() and field.low <= int(text) <= field.high:
        return int(text)
    raise WrongValue(
        f"expected {field.label} from {field.low} to {field.high}",
        found=quoted(text),
        nearest=nearest(text, field.names),
    )


def _cron(text: str) -> str:
    parse_cron(text)
    return text


Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
"""What happens when a run is due while another goes on."""


class Schedule(Spec):
    """When runs begin by themselves. `lakeray up` keeps to it; `lakeray run` ignores it and says so."""

    cron: Annotated[str, AfterValidator(_cron)]
    """Five fields: minute, hour, day of month, month, day of week, as in `*/15 * * * *`; or @hourly, @daily, @weekly,
    @monthly, @yearly."""
    timezone: Zone = "UTC"
    """The IANA time zone in which `cron` is read. Default: UTC, which has no hour that is missing or comes twice.
    Elsewhere a time of day that the clocks skip begins right after the gap, one that comes twice begins once; where
    minute or hour begins with `*`, what is skipped does not come and what is repeated comes again."""
    overlap: Overlap = "skip"
    """What happens when a run is due while another goes on. `skip` (default): nothing. `buffer_one`: one waits.
    `buffer_all`: all wait. `cancel_other`: the other is cancelled, the new one begins once it has ended.
    `terminate_other`: likewise, at once. `allow_all`: both run."""
    catchup_window: Duration = 3600.0
    """How many seconds late a run that was missed still begins. Default: 1h."""
    jitter: Duration = 0.0
    """Seconds by at most which a run is put off at random, never beyond the next one. Default: 0. Spreads many
    schedules that fall on the full hour."""
    pause_on_failure: bool = False
    """Whether a failed run pauses the schedule until somebody resumes it. Default: false."""
