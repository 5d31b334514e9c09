"""Statistics may be loose but never wrong: no reader that skips files by them loses a row."""

# ruff: noqa: DTZ001 - times without a zone are values here

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import tempfile
from typing import Any

import datafusion
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeray.delta.commit import commit_once
from lakeray.delta.statistics import Indexed, file_statistics
from lakeray.delta.table import create_table
from lakeray.delta.writer import StagedWriter, WriteOptions
from tests.unit.delta.readers import with_delta_rs

UTC = dt.UTC
MICROS = st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(2200, 1, 1))
TEXT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", "a" * 32, "a" * 33, "é" * 40, "a" * 31 + "\U0010ffff" * 5, "\U0010ffff" * 40, "~" * 33, "z" * 5000]
    ),
)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float64": (pa.float64(), st.floats()),
    "float32": (pa.float32(), st.floats(width=32)),
    "string": (pa.string(), TEXT),
    "binary": (pa.binary(), st.binary(max_size=5)),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "instant": (pa.timestamp("us", tz="UTC"), MICROS.map(lambda moment: moment.replace(tzinfo=UTC))),
    "local": (pa.timestamp("us"), MICROS),
    "decimal": (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3)),
    "wide": (pa.decimal128(38, 10), st.decimals(-(10**27), 10**27, places=10)),
    "struct": (
        pa.struct([("i", pa.int32()), ("deep", pa.struct([("s", pa.string())]))]),
        st.fixed_dictionaries(
            {
                "i": st.none() | st.integers(-(2**31), 2**31 - 1),
                "deep": st.none() | st.fixed_dictionaries({"s": st.none() | TEXT}),
            }
        ),
    ),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(0, 5), max_size=3)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True))
    size = draw(st.integers(1, 12))
    columns = {}
    for name in names:
        kind, values = KINDS[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=size, max_size=size)), kind)
    return pa.table(columns)


def staged(table: pa.Table, uri: str, *, row_group_rows: int = 3, **options: Any) -> Any:
    writer = StagedWriter(
        uri,
        schema=table.schema,
        partition_by=[],
        prefix="part-x",
        options=WriteOptions(row_group_rows=row_group_rows, **options),
    )
    writer.write(table)
    return writer.close()


def leaf_values(values: list[Any], path: tuple[str, ...]) -> list[Any]:
    for name in path:
        values = [None if value is None else value[name] for value in values]
    return values


def bound(text: Any, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        moment = dt.datetime.fromisoformat(text)
        return moment if kind.tz else moment.replace(tzinfo=None)
    if pa.types.is_date(kind):
        return dt.date.fromisoformat(text)
    return text


def flat(stats: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {}
    for name, value in stats.items():
        found.update(flat(value, (*prefix, name)) if isinstance(value, dict) else {(*prefix, name): value})
    return found


def leaf_type(schema: pa.Schema, path: tuple[str, ...]) -> pa.DataType:
    kind = schema.field(path[0]).type
    for name in path[1:]:
        kind = kind.field(name).type
    return kind


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_every_value_lies_within_the_bounds(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as uri:
        (file,) = staged(table, uri)
        assert pq.read_table(f"{uri}/{file.path}").num_rows == table.num_rows == file.rows
    stats = json.loads(file.stats, parse_float=decimal.Decimal)
    assert stats["numRecords"] == table.num_rows
    for path, count in flat(stats["nullCount"]).items():
        assert count == sum(value is None for value in leaf_values(table.column(path[0]).to_pylist(), path[1:]))
    for bounds, fits in (
        ("minValues", lambda low, value: low <= value),
        ("maxValues", lambda high, value: value <= high),
    ):
        for path, text in flat(stats[bounds]).items():
            limit = bound(text, leaf_type(table.schema, path))
            for value in leaf_values(table.column(path[0]).to_pylist(), path[1:]):
                if isinstance(value, float):
                    assert fits(float(limit), value), path
                elif isinstance(value, str):
                    assert fits(limit.encode(), value.encode()), path
                elif value is not None:
                    assert fits(limit, value), path


def literal(value: Any, kind: pa.DataType) -> str:
    """The value in DataFusion's SQL, exactly."""
    if pa.types.is_timestamp(kind):
        zone = 'Some("UTC")' if kind.tz else "None"
        epoch = dt.datetime(1970, 1, 1, tzinfo=value.tzinfo)
        return f"arrow_cast({(value - epoch) // dt.timedelta(microseconds=1)}, 'Timestamp(Microsecond, {zone})')"
    if pa.types.is_date(kind):
        return f"arrow_cast(arrow_cast({(value - dt.date(1970, 1, 1)).days}, 'Int32'), 'Date32')"
    if pa.types.is_decimal(kind):
        return f"arrow_cast('{value:f}', 'Decimal128({kind.precision}, {kind.scale})')"
    if pa.types.is_floating(kind):
        return f"arrow_cast('{value!r}', '{'Float32' if kind == pa.float32() else 'Float64'}')"
    if pa.types.is_string(kind):
        return "'" + value.replace("'", "''") + "'"
    return f"arrow_cast('{value}', 'Int64')"


SKIPPABLE = ["int8", "int64", "float64", "float32", "string", "date", "instant", "local", "decimal", "wide"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_skipping_readers_lose_no_row(data: st.DataObject) -> None:
    """What a filter finds in the table is what the same engine finds in memory, for delta-rs and Polars alike."""
    kind, values = KINDS[data.draw(st.sampled_from(SKIPPABLE))]
    parts = data.draw(st.lists(st.lists(st.none() | values, min_size=1, max_size=4), min_size=1, max_size=3))
    known = [v for part in parts for v in part if v is not None and not (isinstance(v, float) and not math.isfinite(v))]
    table = pa.table({"v": pa.array([value for part in parts for value in part], kind)})
    with tempfile.TemporaryDirectory() as uri:
        create_table(uri, table.schema)
        files = []
        for place, part in enumerate(parts):
            writer = StagedWriter(uri, schema=table.schema, partition_by=[], prefix=f"p{place}")
            writer.write(pa.table({"v": pa.array(part, kind)}))
            files += writer.close()
        commit_once(uri, app_id="a", number=1, previous=None, files=files)
        memory = datafusion.SessionContext()
        memory.from_arrow(table, "t")
        where = ["v IS NULL", "v IS NOT NULL"]
        if known:
            value = literal(data.draw(st.sampled_from(known)), kind)
            where += [f"v {sign} {value}" for sign in ("=", "<", "<=", ">", ">=", "<>")]
        if any(isinstance(v, float) and math.isnan(v) for part in parts for v in part):
            where = where[
                :2
            ]  # DataFusion skips row groups by Parquet's own bounds, which leave NaN out, whoever wrote them
        for condition in where:
            sql = f"SELECT count(*) AS n FROM t WHERE {condition}"
            expected = memory.sql(sql).collect()[0].column(0)[0].as_py()
            assert with_delta_rs(uri, sql)["n"][0].as_py() == expected, condition
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        conditions = [pl.col("v").is_null(), pl.col("v").is_not_null()]
        if known:
            typed = pl.lit(pl.from_arrow(pa.array([data.draw(st.sampled_from(known))], kind)))
            conditions += [pl.col("v") == typed, pl.col("v") <= typed, pl.col("v") >= typed, pl.col("v") > typed]
        for expression in conditions:
            assert pl.scan_delta(uri).filter(expression).collect().height == frame.filter(expression).height


def stats_of(values: list[Any], kind: pa.DataType, tmp_path: Any, **kw: Any) -> dict[str, Any]:
    (file,) = staged(pa.table({"v": pa.array(values, kind)}), str(tmp_path), **kw)
    return json.loads(file.stats)


def test_a_timestamps_lower_bound_goes_down_and_its_upper_bound_up(tmp_path: Any) -> None:
    values = [dt.datetime(1960, 1, 1, 0, 0, 0, 123456), dt.datetime(2020, 1, 1, 0, 0, 0, 999999)]
    stats = stats_of(values, pa.timestamp("us"), tmp_path)
    assert stats["minValues"]["v"] == "1960-01-01T00:00:00.123"
    assert stats["maxValues"]["v"] == "2020-01-01T00:00:01.000"
    zoned = stats_of([value.replace(tzinfo=UTC) for value in values], pa.timestamp("us", tz="UTC"), tmp_path)
    assert zoned["maxValues"]["v"] == "2020-01-01T00:00:01.000Z"


@pytest.mark.parametrize(
    ("kind", "ticks"),
    [
        (pa.timestamp("us"), [-(2**62), 2**62]),
        (pa.timestamp("us", tz="UTC"), [253402300799999999, 253402300799999999]),
        (pa.date32(), [-800_000, 3_000_000]),
    ],
)
def test_a_bound_outside_the_years_1_to_9999_is_left_out(kind: pa.DataType, ticks: list[int], tmp_path: Any) -> None:
    narrow = pa.int32() if kind == pa.date32() else pa.int64()
    (file,) = staged(pa.table({"v": pa.array(ticks, narrow).cast(kind)}), str(tmp_path))
    assert json.loads(file.stats)["maxValues"] == {}


def test_floats_with_nan_have_no_bounds_and_infinities_leave_theirs_out(tmp_path: Any) -> None:
    assert stats_of([1.0, float("nan")], pa.float64(), tmp_path)["maxValues"] == {}
    assert stats_of([1.0, 2.0, 3.0, float("nan")], pa.float64(), tmp_path, row_group_rows=2)["minValues"] == {}
    infinite = stats_of([float("-inf"), 1.0], pa.float64(), tmp_path)
    assert (infinite["minValues"], infinite["maxValues"]) == ({}, {"v": 1.0})
    zero = stats_of([0.0], pa.float64(), tmp_path)
    assert math.copysign(1, zero["minValues"]["v"]) == -1
    assert math.copysign(1, stats_of([-0.0], pa.float64(), tmp_path)["maxValues"]["v"]) == 1


def test_a_nan_within_a_struct_is_seen(tmp_path: Any) -> None:
    kind = pa.struct([("f", pa.float64()), ("i", pa.int64())])
    stats = stats_of([{"f": 1.0, "i": 1}, {"f": float("nan"), "i": 2}, None], kind, tmp_path)
    assert stats["maxValues"] == {"v": {"i": 2}}
    assert stats["nullCount"] == {"v": {"f": 1, "i": 1}}


def test_decimals_are_exact(tmp_path: Any) -> None:
    value = decimal.Decimal("12345678901234567.891")
    (file,) = staged(pa.table({"v": pa.array([value], pa.decimal128(20, 3))}), str(tmp_path))
    assert '"v":12345678901234567.891' in file.stats


def test_long_strings_are_cut_with_a_correct_upper_bound(tmp_path: Any) -> None:
    stats = stats_of(["b" * 40], pa.string(), tmp_path)
    assert stats["minValues"]["v"] == "b" * 32
    assert stats["maxValues"]["v"] == "b" * 32 + "\U0010ffff"
    last = "b" * 32 + "\U0010ffff" * 3 + "x"
    assert stats_of([last], pa.string(), tmp_path)["maxValues"]["v"] == "b" * 32 + "\U0010ffff" * 4


def test_only_the_first_32_leaves_are_indexed_unless_the_table_says_otherwise(tmp_path: Any) -> None:
    names = [f"c{place:02d}" for place in range(40)]
    table = pa.table({name: [1] for name in names})

    def indexed(properties: dict[str, str]) -> list[str]:
        (file,) = staged(table, str(tmp_path), indexed=Indexed.of_properties(properties))
        return sorted(json.loads(file.stats)["nullCount"])

    assert indexed({}) == names[:32]
    assert indexed({"delta.dataSkippingNumIndexedCols": "2"}) == names[:2]
    assert indexed({"delta.dataSkippingNumIndexedCols": "0"}) == []
    assert indexed({"delta.dataSkippingNumIndexedCols": "-1"}) == names
    named = {"delta.dataSkippingStatsColumns": "c39, c00", "delta.dataSkippingNumIndexedCols": "1"}
    assert indexed(named) == ["c00", "c39"]


def test_delta_rs_reads_the_statistics_back(tmp_path: Any) -> None:
    uri = str(tmp_path)
    table = pa.table({"i": [3, None, 5], "s": ["x", "y", None], "st": [{"a": 1}, None, {"a": 4}]})
    create_table(uri, table.schema)
    commit_once(uri, app_id="a", number=1, previous=None, files=staged(table, uri))
    adds = pa.table(DeltaTable(uri).get_add_actions(flatten=True)).to_pylist()[0]
    assert (adds["num_records"], adds["min.i"], adds["max.i"], adds["null_count.i"]) == (3, 3, 5, 1)
    assert (adds["min.s"], adds["max.s"], adds["min.st.a"], adds["max.st.a"]) == ("x", "y", 1, 4)


def test_a_footer_without_statistics_gives_only_the_count(tmp_path: Any) -> None:
    table = pa.table({"v": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet", write_statistics=False)
    stats = json.loads(file_statistics(pq.read_metadata(tmp_path / "x.parquet"), table.schema))
    assert stats == {"numRecords": 2, "minValues": {}, "maxValues": {}, "nullCount": {}}
