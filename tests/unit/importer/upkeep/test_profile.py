"""A profile is right about every column, however the rows are spread over files and tasks, and shows no secret."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.importer.profile.columns import column_profile
from lakeray.importer.profile.model import ColumnProfile, TableProfile
from lakeray.importer.profile.sketch import Sketch, Watcher
from lakeray.importer.profile.table import profile
from lakeray.reports.profile import ProfileReport, profile_fragment
from tests.unit.importer.small_lake import ManySlots


def column(values: pa.ChunkedArray, parts: int, *, hidden: bool = False) -> ColumnProfile:
    """As if ``parts`` workers had looked at it, each in two stretches."""
    total, size = Sketch(), -(-len(values) // parts) or 1
    for start in range(0, len(values), size):
        watcher = Watcher(values.type, hidden=hidden, random=np.random.default_rng(start))
        watcher.watch(values.slice(start, size // 2))
        watcher.watch(values.slice(start + size // 2, size - size // 2))
        total += watcher.told()
    return column_profile("c", values.type, total, "hidden" if hidden else None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.5, 1.5])), max_size=200), st.integers(1, 5)
)
def test_floats_are_counted_exactly(values: list[float | None], parts: int) -> None:
    found = column(pa.chunked_array([pa.array(values, pa.float64())]), parts)
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    finite = [value for value in numbers if math.isfinite(value)]
    assert (found.rows, found.nulls) == (len(values), values.count(None))
    assert found.nans == sum(value is not None and math.isnan(value) for value in values)
    assert (found.low, found.high) == ((min(numbers), max(numbers)) if numbers else (None, None))
    if finite:
        assert found.mean == pytest.approx(np.mean(finite), rel=1e-9, abs=1e-9)
        assert found.stddev == pytest.approx(np.std(finite), rel=1e-6, abs=1e-6 * max(map(abs, finite)))
        assert sum(one.share for one in found.histogram) == pytest.approx(1.0)


@pytest.mark.parametrize("parts", [1, 7])
def test_estimates_keep_their_promise(parts: int) -> None:
    random = np.random.default_rng(11)
    numbers = random.permutation(np.concatenate([np.arange(90_000), np.full(10_000, 5)]))
    found = column(pa.chunked_array([pa.array(numbers)]), parts)
    assert found.distinct == pytest.approx(90_000, rel=0.05)
    assert found.distinct_low is not None
    assert found.distinct_low <= 90_000 * 1.02
    assert isinstance(found.quantiles["p50"], int)
    ordered = np.sort(numbers)
    for name, share in (("p05", 0.05), ("p25", 0.25), ("p50", 0.5), ("p95", 0.95)):
        rank = np.searchsorted(ordered, found.quantiles[name]) / len(ordered)
        assert abs(rank - share) < 0.03 or ordered[int(share * len(ordered))] == found.quantiles[name]
    assert [(one.value, one.rows) for one in found.top] == [("5", pytest.approx(10_000, rel=0.02))]


KINDS = {
    "text": pa.array(["a", "bb", None, "bb", ""]),
    "binary": pa.array([b"\x00", b"\xff\x01", None, b"", b""]),
    "flag": pa.array([True, False, None, True, True]),
    "day": pa.array([dt.date(2024, 1, 1), None, dt.date(9999, 12, 31), dt.date(1, 1, 1), dt.date(2024, 1, 1)]),
    "at": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None, None, None, None], pa.timestamp("us", tz="UTC")),
    "money": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-99999999.99"), None, None]),
    "items": pa.array([[1, 2], None, [], [3], [4]]),
    "thing": pa.array([{"x": 1}, None, {"x": None}, {"x": 2}, {"x": 3}]),
    "none": pa.array([None] * 5, pa.string()),
    "small": pa.array([1, 2, None, 2, 2], pa.int8()),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_type_has_a_profile_and_a_picture(name: str, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    table = pa.table({name: KINDS[name], "n": pa.array(range(5))})
    write_deltalake(uri, table)
    write_deltalake(uri, table, mode="append")
    found = profile(uri, executor=ManySlots(2))
    (one, _) = found.columns
    assert (one.rows, one.nulls) == (10, 2 * KINDS[name].null_count)
    assert TableProfile.model_validate_json(found.model_dump_json()) == found
    page = ProfileReport.model_validate(found.model_dump()).to_html()
    assert name in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    if name in ("text", "binary", "items"):
        assert one.lengths
        assert one.lengths.low == 0
        assert one.lengths.high == 2
    if name == "money":
        assert (one.low, one.high) == ("-99999999.99", "1.10")


def test_an_empty_table_and_one_with_partitions(tmp_path: Path) -> None:
    empty, parts = str(tmp_path / "e"), str(tmp_path / "p")
    DeltaTable.create(empty, pa.schema([("a", pa.int64())]))
    found = profile(empty)
    assert (found.rows, found.layout.files, found.columns[0].distinct) == (0, 0, None)
    profile_fragment(found)
    numbers = [*range(12), *[99] * 8]
    for number in numbers:
        write_deltalake(
            parts, pa.table({"n": [number], "p": [f"p{min(number, 12)}"]}), mode="append", partition_by=["p"]
        )
    found = profile(parts)
    assert found.rows == 20
    assert found.layout.partitions == 13
    assert found.layout.largest_partition == "p=p12"
    assert next(one for one in found.columns if one.name == "p").distinct == 13
    assert [note for note in found.layout.notes if "times as large" in note]


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    secrets = pa.table({name: ["SECRET-1", "SECRET-1", "SECRET-2"] for name in ("Masked", "tagged", "_rescued_data")})
    write_deltalake(uri, secrets.append_column("open", pa.array(["a", "b", "b"])))
    DeltaTable(uri).alter.set_column_metadata("tagged", {"lakeray.tags": "contact,PII"})
    found = profile(uri, hidden={"masked"})
    assert {one.name: bool(one.hidden) for one in found.columns} == {
        "Masked": True,
        "tagged": True,
        "_rescued_data": True,
        "open": False,
    }
    assert all(one.distinct == 2 for one in found.columns)
    for text in (found.model_dump_json(), ProfileReport.model_validate(found.model_dump()).to_html(), repr(found)):
        assert "SECRET" not in text
    assert "SECRET" in profile(str(tmp_path / "t")).model_dump_json(), "the masked one is only hidden when named"


def test_a_value_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write_deltalake(uri, pa.table({"<b>x": ["</svg><script>alert(1)</script>"] * 3}))
    assert "<script>" not in ProfileReport.model_validate(profile(uri).model_dump()).to_html()
