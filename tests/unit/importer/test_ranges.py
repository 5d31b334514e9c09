"""Every object belongs to one partition at most, whichever way it is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.importer.claims.ranges import Range, moment, spread
from lakeray.objects import LISTING
from lakeray.spec.sources import Source
from lakeray.workflow.partitions import time_ranges

SOURCE = Source(uri="/lake/raw/", format="json")
NAIVE = (datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2024-12-31T23:00"))
TEMPLATE = Source(uri="/lake/raw/{region}/{year}/{month}/{day}/*.json", format="json")


def objects(*rows: tuple[str, datetime]) -> pa.Table:
    columns = {"uri": [uri for uri, _ in rows], "modified_at": [at for _, at in rows]}
    count = len(rows)
    filled = [
        pa.array(columns[item.name], item.type) if item.name in columns else pa.nulls(count, item.type)
        for item in LISTING
    ]
    return pa.table(filled, schema=LISTING)


def ranges(start: str, end: str, every: str, *by: str, timezone: str = "UTC") -> list[Range]:
    partitions = time_ranges(start=start, end=end, every=every, timezone=timezone)
    return [Range(start=each.start, end=each.end, by=by, timezone=timezone) for each in partitions]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024", "2024-01-01T00:00"),
        ("2024-03", "2024-03-01T00:00"),
        ("2024/3/9", "2024-03-09T00:00"),
        ("20240309", "2024-03-09T00:00"),
        ("2024-03-09-17", "2024-03-09T17:00"),
        ("2024-03-09T17:30:00Z", "2024-03-09T17:30"),
        ("2024/03/09/", "2024-03-09T00:00"),
        ("2024-13", None),
        ("2024-02-30", None),
        ("eu", None),
        ("", None),
        ("0000", None),
    ],
)
def test_what_a_path_says_of_time(text, at):
    expected = datetime.fromisoformat(at).replace(tzinfo=UTC) if at else None
    assert moment(text, ZoneInfo("UTC")) == expected


def test_times_in_paths_are_read_in_the_zone_of_the_backfill():
    days = ranges("2024-05-01", "2024-05-02", "1 day", "day", timezone="Europe/Berlin")
    found = spread(days, objects(("/lake/raw/day=2024-05-02/a.json", datetime(2000, 1, 1, tzinfo=UTC))), SOURCE)
    assert found == [0, 1]


def test_columns_of_a_template_and_values():
    found = objects(
        ("/lake/raw/eu/2024/5/1/a.json", datetime(2000, 1, 1, tzinfo=UTC)),
        ("/lake/raw/us/2024/05/02/b.json", datetime(2000, 1, 1, tzinfo=UTC)),
    )
    assert spread(ranges("2024-05-01", "2024-05-03", "1 day", "year", "month", "day"), found, TEMPLATE) == [1, 1, 0]
    regions = [Range(value=name, by=("region",)) for name in ("eu", "us", "asia")]
    assert spread(regions, found, TEMPLATE) == [1, 1, 0]
    assert [each.mask(found, TEMPLATE).to_pylist() for each in regions] == [[True, False], [False, True], [False] * 2]


@given(
    st.lists(st.datetimes(*NAIVE), min_size=1, max_size=20),
    st.sampled_from(["1 month", "1 week", "7 days", "11 hours", "1 quarter"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_object_has_one_partition(times, every, zone, by_path):
    by = ("at",) if by_path else ()
    parts = ranges("2023-12-30", "2025-01-02", every, *by, timezone=zone)
    rows = [(f"/lake/raw/at={at:%Y-%m-%d-%H}/{n}.json", at.replace(tzinfo=UTC)) for n, at in enumerate(times)]
    listed = objects(*rows)
    masks = [part.mask(listed, SOURCE).to_pylist() for part in parts]
    assert [sum(column) for column in zip(*masks, strict=True)] == [1] * len(times)
    assert spread(parts, listed, SOURCE) == [sum(mask) for mask in masks]


@given(st.integers(0, 20), st.integers(1, 10), st.integers(0, 20), st.integers(1, 10))
def test_ranges_meet_when_an_object_may_belong_to_both(a, long, b, wide):
    zero = datetime(2024, 1, 1, tzinfo=UTC)
    days = [zero + timedelta(days=number) for number in (a, a + long, b, b + wide)]
    one, other = Range(start=days[0], end=days[1]), Range(start=days[2], end=days[3])
    shared = set(range(a, a + long)) & set(range(b, b + wide))
    assert one.may_meet(other) == other.may_meet(one) == bool(shared)
    assert Range.from_json(one.to_json()) == one
