"""Types from a sample: as narrow as the values allow, never narrower."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.transform.coerce import Coercer
from lakeray.transform.delta_types import delta_type
from lakeray.transform.infer import infer_schema, merge_types

UTC = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", None], pa.int64()),
        (["0"], pa.int64()),
        (["00123"], pa.string()),
        (["+1"], pa.string()),
        (["-"], pa.string()),
        (["9223372036854775807"], pa.int64()),
        (["9223372036854775808"], pa.string()),
        (["1", "2.5"], pa.float64()),
        (["1e5", "-2.5E-3"], pa.float64()),
        (["1e999"], pa.string()),
        (["1234567890123456.5"], pa.string()),
        ([".5"], pa.string()),
        (["00.5"], pa.string()),
        (["nan"], pa.string()),
        (["1,5"], pa.string()),
        ([" 1"], pa.string()),
        (["1", ""], pa.string()),
        (["true", "False"], pa.bool_()),
        (["true", "1"], pa.string()),
        (["yes"], pa.string()),
        (["2020-01-31"], pa.date32()),
        (["2020-01-31", "2020-02-30"], pa.string()),
        (["20200131"], pa.int64()),
        (["2020-01-31T10:00:00Z", "2020-01-31"], UTC),
        (["2020-01-31 10:00:00.123+02:00"], UTC),
        (["2020-01-31T25:00:00"], pa.string()),
        (["2020-01-31T10:00:00.123456789Z"], pa.string()),
        (["12:30"], pa.string()),
        ([None], pa.string()),
        ([], pa.string()),
    ],
)
def test_texts(values: list[str | None], kind: pa.DataType) -> None:
    chunks = [pa.table({"c": pa.array(values[:1], pa.string())}), pa.table({"c": pa.array(values[1:], pa.string())})]
    assert infer_schema(chunks, {}, text=True).field("c").type == kind


def test_hints_decide_and_add() -> None:
    chunk = pa.table({"a": ["1"], "b": ["x"]})
    found = infer_schema([chunk], {"a": pa.string(), "z": pa.int32()}, text=True)
    assert found == pa.schema([("a", pa.string()), ("b", pa.string()), ("z", pa.int32())])


def test_json_keeps_its_types_and_finds_moments() -> None:
    chunks = [
        pa.table({"n": [1], "at": ["2020-01-01T00:00:00Z"], "day": ["2020-01-01"], "zip": ["00123"], "s": [{"a": 1}]}),
        pa.table({"n": [1.5], "at": ["2020-01-02T00:00:00"], "zip": ["9"], "s": [{"b": "x"}], "later": pa.nulls(1)}),
        pa.table({"at": pa.array([None], pa.string()), "second": pa.array([1], pa.timestamp("s"))}),
    ]
    found = infer_schema(chunks, {}, text=False)
    assert found == pa.schema(
        [
            ("n", pa.float64()),
            ("at", UTC),
            ("day", pa.date32()),
            ("zip", pa.string()),
            ("s", pa.struct([("a", pa.int64()), ("b", pa.string())])),
            ("second", UTC),
        ]
    )


def test_where_json_disagrees_the_first_type_stays() -> None:
    chunks = [pa.table({"c": [1]}), pa.table({"c": ["x"]}), pa.table({"c": [{"a": 1}]})]
    assert infer_schema(chunks, {}, text=False).field("c").type == pa.int64()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.none()
        | st.one_of(
            st.integers().map(str),
            st.floats().map(repr),
            st.dates().map(str),
            st.datetimes().map(lambda at: at.isoformat()),
            st.booleans().map(str),
            st.from_regex(r"\A-?0?[0-9]{1,20}(\.[0-9]{0,20})?\Z"),
            st.text(max_size=6),
        ),
        max_size=6,
    )
)
def test_every_value_of_the_sample_fits_the_type_found_in_it(values: list[str | None]) -> None:
    chunk = pa.table({"c": pa.array(values, pa.string())})
    done = Coercer(infer_schema([chunk], {}, text=True), evolution="fail").run(chunk)
    assert done.table["c"].null_count == values.count(None)
    assert done.cut == {}


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        (pa.null(), pa.int8(), pa.int8()),
        (pa.null(), pa.null(), pa.null()),
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int8(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float32(), pa.float32()),
        (pa.decimal128(5, 2), pa.decimal128(6, 4), pa.decimal128(7, 4)),
        (pa.decimal128(5, 2), pa.int64(), pa.decimal128(21, 2)),
        (pa.decimal128(38, 2), pa.decimal128(38, 30), None),
        (pa.date32(), pa.timestamp("s"), UTC),
        (pa.timestamp("ns"), pa.timestamp("ms", tz="Asia/Tokyo"), UTC),
        (pa.bool_(), pa.int8(), None),
        (pa.string(), pa.int8(), None),
        (pa.large_string(), pa.string(), pa.string()),
        (pa.string(), pa.binary(), None),
        (pa.list_(pa.null()), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.list_(pa.null()), pa.int64(), None),
        (pa.struct([]), pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int8())])),
        (pa.list_(pa.int8()), pa.large_list(pa.int64()), pa.list_(pa.int64())),
        (pa.list_(pa.int8()), pa.int8(), None),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())]), None),
        (
            pa.struct([("a", pa.int8()), ("s", pa.struct([("x", pa.null())]))]),
            pa.struct([("b", pa.bool_()), ("a", pa.int64()), ("s", pa.struct([("x", pa.bool_())]))]),
            pa.struct([("a", pa.int64()), ("s", pa.struct([("x", pa.bool_())])), ("b", pa.bool_())]),
        ),
        (
            pa.map_(pa.string(), pa.int8()),
            pa.map_(pa.string(), pa.int64()),
            pa.map_(pa.string(), pa.int64()),
        ),
    ],
)
def test_merged_types(a: pa.DataType, b: pa.DataType, both: pa.DataType | None) -> None:
    found, turned = merge_types(a, b), merge_types(b, a)
    if found is not None and pa.types.is_struct(found):
        assert {f.name: f.type for f in turned} == {f.name: f.type for f in found}
        assert found == both
    else:
        assert found == turned == both


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (pa.null(), None),
        (pa.uint8(), pa.int16()),
        (pa.uint64(), pa.int64()),
        (pa.float16(), pa.float32()),
        (pa.decimal256(50, 2), pa.decimal128(38, 2)),
        (pa.decimal256(70, 50), pa.string()),
        (pa.decimal128(5, -2), pa.decimal128(7, 0)),
        (pa.date64(), pa.date32()),
        (pa.timestamp("ns", tz="Asia/Tokyo"), UTC),
        (pa.time64("ns"), pa.string()),
        (pa.duration("s"), pa.int64()),
        (pa.month_day_nano_interval(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary(4), pa.binary()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.run_end_encoded(pa.int32(), pa.uint8()), pa.int16()),
        (pa.list_(pa.uint8(), 3), pa.list_(pa.int16())),
        (pa.list_(pa.null()), None),
        (pa.map_(pa.string(), pa.null()), None),
        (pa.struct([]), None),
        (pa.struct([("a", pa.null())]), None),
        (pa.struct([("a", pa.null()), ("b", pa.uint8())]), pa.struct([("b", pa.int16())])),
        (pa.map_(pa.large_string(), pa.float16()), pa.map_(pa.string(), pa.float32())),
        (pa.uuid(), pa.binary()),
        (pa.int64(), pa.int64()),
        (pa.struct([("a", pa.int8()), ("A", pa.int64())]), pa.struct([("a", pa.int8())])),
    ],
)
def test_delta_types(kind: pa.DataType, held: pa.DataType | None) -> None:
    assert delta_type(kind) == held
    if held is not None:
        assert delta_type(held) == held


def test_what_delta_types_say_can_be_written(tmp_path: Any) -> None:
    """The claim of the table, by writing one value of each."""
    from deltalake import DeltaTable, write_deltalake

    columns = {
        "u": pa.array([2**63 - 1], pa.uint64()), "f": pa.array([1.5], pa.float16()),
        "t": pa.array([1], pa.time64("ns")),
        "d": pa.array([1000], pa.duration("ns")), "ts": pa.array([1000], pa.timestamp("ns")),
        "v": pa.array(["x"], pa.string_view()),
        "dec": pa.array([Decimal("1.5")], pa.decimal256(50, 2)), "day": pa.array([dt.date(2020, 1, 1)], pa.date64()),
        "l": pa.array([[1]], pa.large_list(pa.uint8())), "e": pa.array([{"x": [], "y": 1}]),
        "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.uint32())), "k": pa.array(["a"]).dictionary_encode(),
        "fixed": pa.array([b"abc"], pa.binary(3)),
    }  # fmt: skip
    done = Coercer(pa.schema([]), evolution="add_columns").run(pa.table(columns))
    assert done.rescued.to_pylist() == ['{"e":{"x":[],"y":1}}']
    assert done.table.column_names == list(columns)
    write_deltalake(str(tmp_path / "t"), done.table)
    back = pa.table(DeltaTable(str(tmp_path / "t")).to_pyarrow_table())
    assert back.to_pylist() == done.table.to_pylist()
