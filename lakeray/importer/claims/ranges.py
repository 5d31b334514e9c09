"""Which objects of a source belong to a part of it: by when they were changed, or by what their path says."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.discovery.source import path_columns
from lakeray.objects import SourcePattern
from lakeray.spec.sources import Source

_MOMENT = re.compile(
    r"(\d{4})(?:[-_/]?(\d{1,2}))?(?:[-_/]?(\d{1,2}))?(?:[-_/T ]?(\d{1,2}))?(?::?(\d{2}))?(?::?\d{2})?Z?"
)
_SEPARATOR = "/"


@dataclass(frozen=True, kw_only=True)
class Range:
    """From ``start`` up to, and without, ``end``; or a ``value``.

    ``by`` names columns of the objects' paths, whose values together are compared: a date or time (``year``, ``month``
    and ``day``, say; read in ``timezone``), or the value. Empty: the objects' time of change counts.
    """

    start: datetime | None = None
    end: datetime | None = None
    value: str | None = None
    by: tuple[str, ...] = ()
    timezone: str = "UTC"

    def mask(self, objects: pa.Table, source: Source) -> pa.Array:
        """True for each of the objects (columns: at least ``uri``, ``modified_at``) that belongs to it."""
        if not self.by:
            return self._changed(objects["modified_at"].combine_chunks())
        told: dict[str, bool] = {}
        found = []
        for text in texts_of(objects, self.by, source):
            if text not in told:
                told[text] = self._holds(text)
            found.append(told[text])
        return pa.array(found, pa.bool_())

    def _changed(self, modified: pa.Array) -> pa.Array:
        low = pc.greater_equal(modified, pa.scalar(self.start, modified.type))
        return pc.and_(low, pc.less(modified, pa.scalar(self.end, modified.type)))

    def _holds(self, text: str) -> bool:
        if self.value is not None:
            return text == self.value
        at = moment(text, ZoneInfo(self.timezone))
        return at is not None and self.start is not None and self.end is not None and self.start <= at < self.end

    def may_meet(self, other: Range) -> bool:
        """Whether an object may belong to both; where that cannot be told, it may."""
        if self.by != other.by or (self.value is None) != (other.value is None):
            return True
        if self.value is not None:
            return self.value == other.value
        if self.start is None or self.end is None or other.start is None or other.end is None:
            return True
        return self.start < other.end and other.start < self.end

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        said: dict[str, Any] = {"by": list(self.by), "timezone": self.timezone}
        if self.value is not None:
            said["value"] = self.value
        if self.start is not None and self.end is not None:
            said |= {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Range:
        """The inverse of ``to_json``."""
        return cls(
            start=_instant(said.get("start")),
            end=_instant(said.get("end")),
            value=said.get("value"),
            by=tuple(said.get("by", ())),
            timezone=said.get("timezone", "UTC"),
        )

    def __str__(self) -> str:
        """For a person."""
        by = f" by {', '.join(self.by)}" if self.by else ""
        if self.value is not None:
            return f"{self.value}{by}"
        assert self.start is not None
        assert self.end is not None
        return f"{self.start.isoformat(timespec='seconds')} to {self.end.isoformat(timespec='seconds')}{by}"


def texts_of(objects: pa.Table, by: Sequence[str], source: Source) -> list[str]:
    """What the paths of objects say in these columns, together."""
    pattern = SourcePattern.parse(source.uri)
    columns = (path_columns(source, pattern, uri) for uri in objects["uri"].to_pylist())
    return [_SEPARATOR.join(each.get(name) or "" for name in by) for each in columns]


def spread(ranges: Sequence[Range], objects: pa.Table, source: Source) -> list[int]:
    """How many of the objects belong to each of the ranges, which follow one another and are cut by the same ``by``."""
    first = ranges[0]
    counts = [0] * len(ranges)
    if first.value is not None:
        places = {each.value: place for place, each in enumerate(ranges)}
        for text in texts_of(objects, first.by, source):
            if text in places:
                counts[places[text]] += 1
        return counts
    zone = ZoneInfo(first.timezone)
    moments = (
        [moment(text, zone) for text in texts_of(objects, first.by, source)]
        if first.by
        else objects["modified_at"].to_pylist()
    )
    starts = [each.start or datetime.min.replace(tzinfo=UTC) for each in ranges]
    for at in moments:
        place = bisect_right(starts, at) - 1 if at is not None else -1
        end = ranges[place].end
        if at is not None and place >= 0 and end is not None and at < end:
            counts[place] += 1
    return counts


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def moment(text: str, zone: ZoneInfo) -> datetime | None:
    """When what a path names begins: a year, month, day, hour or minute in ``zone``; None for any other text."""
    match = _MOMENT.fullmatch(text.rstrip(_SEPARATOR))
    if match is None:
        return None
    year, month, day, hour, minute = (int(group) if group else None for group in match.groups())
    try:
        local = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, tzinfo=zone)
    except ValueError:
        return None
    return local.astimezone(UTC)
