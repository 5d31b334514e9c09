"""A chunk is made to fit the table, and every value that does not is kept, refused or named."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.transform.coerce import Coerced, Coercer, SchemaDrift

TARGET = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("us", tz="UTC"))])


def run(target: pa.Schema, evolution: str, columns: dict[str, Any], extras: list[str | None] | None = None) -> Coerced:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    texts = None if extras is None else pa.array(extras, pa.string())
    return Coercer(target, evolution=evolution).run(table, texts)


def rescued(done: Coerced) -> list[Any]:
    if done.rescued is None:
        return [None] * len(done.table)
    return [None if text is None else json.loads(text) for text in done.rescued.to_pylist()]


def test_a_chunk_that_fits_is_returned_as_it_is() -> None:
    table = TARGET.empty_table()
    for extras in (None, pa.nulls(0, pa.string())):
        done = Coercer(TARGET, evolution="fail").run(table, extras)
        assert done.table.equals(table)
        assert (done.rescued, done.new_fields, done.refused) == (None, [], [])
    same = pa.table({"id": [1]})
    assert Coercer(same.schema, evolution="rescue").run(same).table is same


def test_columns_come_in_the_targets_order_then_the_new_ones() -> None:
    done = run(TARGET, "add_columns", {"zip": ["x"], "name": ["n"], "age": pa.array([3], pa.uint8()), "id": ["7"]})
    assert done.table.column_names == ["id", "name", "at", "zip", "age"]
    assert done.new_fields == [pa.field("zip", pa.string()), pa.field("age", pa.int16())]
    assert done.table.to_pylist() == [{"id": 7, "name": "n", "at": None, "zip": "x", "age": 3}]
    assert (done.rescued, done.rescued_rows) == (None, 0)


def test_what_does_not_fit_is_null_and_rescued() -> None:
    for evolution in ("add_columns", "rescue"):
        done = run(TARGET, evolution, {"id": ["1", "x", None], "name": ["a", "b", "c"], "at": ["2020-01-01", "y", "z"]})
        assert done.table["id"].to_pylist() == [1, None, None]
        assert rescued(done) == [None, {"id": "x", "at": "y"}, {"at": "z"}]
        assert done.rescued_rows == 2


def test_rescue_keeps_unknown_columns_by_name() -> None:
    done = run(TARGET, "rescue", {"id": [1, 2], "zip": [b"\x00", None], "n": [{"a": dt.date(2020, 1, 1)}, None]})
    assert done.table.column_names == TARGET.names
    assert rescued(done) == [{"zip": "AA==", "n": {"a": "2020-01-01"}}, None]
    assert done.new_fields == []


def test_ignore_refuses_rows_that_do_not_fit_and_names_unknown_columns() -> None:
    columns = {"id": ["1", "x", "y"], "zip": [1, 2, 3], "empty": pa.nulls(3)}
    done = run(TARGET, "ignore", columns)
    assert [(row, column) for row, column, _ in done.refused] == [(1, "id"), (2, "id")]
    assert "int64" in done.refused[0][2]
    assert done.ignored_columns == {"zip"}
    assert done.rescued is None
    assert len(done.table) == 3


def test_ignore_leaves_out_unknown_nested_fields_without_refusing() -> None:
    target = pa.schema([("s", pa.struct([("a", pa.int64())]))])
    done = run(target, "ignore", {"s": [{"a": "1", "z": 1}, {"a": "x", "z": 2}]})
    assert done.table.to_pylist() == [{"s": {"a": 1}}, {"s": {"a": None}}]
    assert done.ignored_columns == {"s.z"}
    assert [row for row, _, _ in done.refused] == [1]


def test_fail_names_the_column_and_the_first_row() -> None:
    with pytest.raises(SchemaDrift, match=r"'id'.*does not fit int64.*row 3") as caught:
        run(TARGET, "fail", {"id": ["1", "2", "secret-value"]})
    assert (caught.value.column, caught.value.row_index) == ("id", 2)
    assert "secret-value" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.column, again.row_index) == (str(caught.value), "id", 2)
    with pytest.raises(SchemaDrift, match=r"'zip'.*no such column"):
        run(TARGET, "fail", {"id": [1, 2], "zip": [None, 5]})
    assert run(TARGET, "fail", {"id": [1], "zip": pa.nulls(1)}).table.column_names == TARGET.names


def test_a_new_column_without_a_type_waits() -> None:
    done = run(TARGET, "add_columns", {"id": [1, 2], "later": pa.nulls(2), "text": pa.array([None, None], pa.string())})
    assert done.new_fields == []
    assert done.table.column_names == TARGET.names
    assert done.rescued is None


def test_empty_lists_say_nothing_of_a_type_yet_and_are_rescued() -> None:
    done = run(TARGET, "add_columns", {"id": [1, 2], "tags": [[], None]})
    assert done.new_fields == []
    assert rescued(done) == [{"tags": []}, None]


def test_a_column_that_differs_by_case_alone_is_rescued() -> None:
    done = run(TARGET, "add_columns", {"id": [1], "NAME": ["x"]})
    assert done.new_fields == []
    assert rescued(done) == [{"NAME": "x"}]


def test_two_new_columns_that_differ_by_case_alone_become_one() -> None:
    done = run(TARGET, "add_columns", {"id": [1], "Zip": ["x"], "zip": ["y"]})
    assert [field.name for field in done.new_fields] == ["Zip"]
    assert rescued(done) == [{"zip": "y"}]


def test_a_new_column_in_a_type_delta_lacks_keeps_what_does_not_fit() -> None:
    done = run(TARGET, "add_columns", {"id": [1, 2], "big": pa.array([1, 2**63], pa.uint64())})
    assert done.table["big"].to_pylist() == [1, None]
    assert rescued(done) == [None, {"big": 2**63}]


def test_what_the_reader_set_aside_goes_in_where_it_fits() -> None:
    columns = {"id": [1, None, None, None], "name": ["a", None, None, "d"]}
    extras = [None, '{"id": "2", "name": 5}', '{"id": "x", "zip": [1]}', '{"name": "other"}']
    done = run(TARGET, "rescue", columns, extras)
    assert done.table["id"].to_pylist() == [1, 2, None, None]
    assert done.table["name"].to_pylist() == ["a", "5", None, "d"]
    assert rescued(done) == [None, None, {"id": "x", "zip": [1]}, {"name": "other"}]
    with pytest.raises(SchemaDrift, match="'id'"):
        run(TARGET, "fail", columns, extras)
    done = run(TARGET, "ignore", columns, extras)
    assert [(row, column) for row, column, _ in done.refused] == [(2, "id"), (3, "name")]
    assert done.ignored_columns == {"zip"}


def test_set_aside_and_misfit_of_one_row_are_kept_together() -> None:
    done = run(TARGET, "rescue", {"id": ["x"], "at": ["y"]}, ['{"name": {"a": 1}, "zip": 1}'])
    assert rescued(done) == [{"id": "x", "at": "y", "zip": 1}]
    assert done.table["name"].to_pylist() == ['{"a":1}']


def test_cut_nanoseconds_are_counted_by_column() -> None:
    done = run(TARGET, "fail", {"id": [1, 2], "at": pa.array([1, 1000], pa.int64()).cast(pa.timestamp("ns"))})
    assert done.cut == {"at": 1}


def test_a_chunk_in_several_pieces_is_one_chunk() -> None:
    pieces = pa.chunked_array([pa.array(["1", "x"]), pa.array(["y", "4"])])
    done = run(TARGET, "rescue", pa.table({"id": pieces}))
    assert done.table["id"].to_pylist() == [1, None, None, 4]
    assert rescued(done) == [None, {"id": "x"}, {"id": "y"}, None]


def test_a_target_without_columns_rescues_all() -> None:
    done = run(pa.schema([]), "rescue", {"a": [1, None]})
    assert len(done.table) == 2
    assert rescued(done) == [{"a": 1}, None]


WORDS = st.one_of(
    st.sampled_from(
        ["1", "-7", "x", "", " 3", "1.5", "true", "2020-01-01", "2020-02-30", "2020-01-01T10:00:00Z", "nan", "1e5"]
    ),
    st.integers().map(str),
    st.floats().map(repr),
    st.dates().map(str),
    st.text(max_size=5),
)
SCALARS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): WORDS,
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.one_of(st.floats(), st.integers(-(2**54), 2**54).map(float)),
    pa.bool_(): st.booleans(),
    pa.decimal128(20, 4): st.decimals(-(10**15), 10**15, places=4),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ms", tz="UTC"): st.datetimes(timezones=st.just(dt.UTC)).map(lambda at: at.replace(microsecond=0)),
    pa.binary(): st.binary(max_size=4),
}
TARGETS = [
    pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.bool_(), pa.date32(),
    pa.timestamp("us", tz="UTC"), pa.string(), pa.binary(),
]  # fmt: skip


@st.composite
def wires(draw: st.DrawFn) -> tuple[pa.Array, pa.DataType]:
    kind = draw(st.sampled_from(list(SCALARS)))
    values = draw(st.lists(st.none() | SCALARS[kind], min_size=1, max_size=6))
    target = draw(st.sampled_from(TARGETS))
    shape = draw(st.sampled_from(["plain", "struct", "list"]))
    if shape == "struct":
        wire = pa.array([None if v is None else {"v": v} for v in values], pa.struct([("v", kind)]))
        return wire, pa.struct([("v", target), ("w", pa.string())])
    if shape == "list":
        wire = pa.array([None if v is None else [v, v] for v in values], pa.list_(kind))
        return wire, pa.list_(target)
    return pa.array(values, kind), target


@settings(max_examples=300, deadline=None)
@given(wires(), st.sampled_from(["add_columns", "rescue", "ignore"]))
def test_no_value_is_ever_lost(wire: tuple[pa.Array, pa.DataType], evolution: str) -> None:
    """Every value is, whole, in the column or in the rescued data, or its row is refused; nothing is invented."""
    array, target = wire
    done = run(pa.schema([("c", target)]), evolution, {"c": array})
    refused = {row for row, _, _ in done.refused}
    kept = rescued(done)
    for row, (before, after) in enumerate(zip(array, done.table["c"].combine_chunks(), strict=True)):
        if not before.is_valid:
            assert not after.is_valid
            assert kept[row] is None
            assert row not in refused
        elif row in refused:
            assert evolution == "ignore"
        elif kept[row] is not None:
            assert list(kept[row]) == ["c"]
            assert kept[row]["c"] is not None
        else:
            assert_same(before.as_py(), after.as_py())


def assert_same(before: Any, after: Any) -> None:  # noqa: PLR0911, C901  a table of types
    """The values say the same, in Python's own reading of them."""
    if isinstance(before, dict):
        return assert_same(before["v"], after["v"])
    if isinstance(before, list):
        assert len(before) == len(after)
        for pair in zip(before, after, strict=True):
            assert_same(*pair)
        return None
    assert after is not None
    if isinstance(before, dt.datetime) and before.tzinfo is None:
        before = before.replace(tzinfo=dt.UTC)
    if type(before) is type(after) or before == after:
        assert before == after or (before != before and after != after)  # noqa: PLR0124
        return None
    if isinstance(before, str):
        return assert_parsed(before.strip(), after)
    if isinstance(after, str):
        return None  # texts hold anything
    if isinstance(after, bytes):
        raise AssertionError("only texts become bytes")  # noqa: TRY004
    if isinstance(after, dt.date | dt.datetime):
        assert str(after)[:10] == str(before)[:10]
        return None
    if isinstance(before, Decimal) and isinstance(after, float):
        assert before in (Decimal(repr(after)), Decimal(str(np.float32(after))))
        return None
    assert float(before) == float(after)
    return None


def assert_parsed(text: str, after: Any) -> None:
    if isinstance(after, bytes):
        assert after.decode().strip() == text
    elif isinstance(after, bool):
        assert text.lower() == str(after).lower() or int(text) == int(after)
    elif isinstance(after, dt.datetime):
        read = dt.datetime.fromisoformat(text)
        assert (read if read.tzinfo else read.replace(tzinfo=dt.UTC)) == after
    elif isinstance(after, dt.date):
        assert dt.date.fromisoformat(text) == after
    elif isinstance(after, float):
        read = float(text)
        near = pa.array([read], pa.float32())[0].as_py()
        assert after in (read, near) or (read != read and after != after)  # noqa: PLR0124
    else:
        assert type(after)(text) == after


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_what_a_text_becomes_does_not_depend_on_its_company(target: pa.DataType, share: float) -> None:
    good = {"int8": "7", "date32[day]": "2020-01-01", "bool": "true"}.get(str(target), "2020-01-01T00:00:00Z")
    good = "1.25" if pa.types.is_floating(target) or pa.types.is_decimal(target) else good
    texts = [f"bad {n}" if n < 300 * share else good for n in range(300)]
    done = run(pa.schema([("c", target)]), "rescue", {"c": texts})
    alone = [run(pa.schema([("c", target)]), "rescue", {"c": [text]}).table["c"][0] for text in (texts[0], texts[-1])]
    assert [done.table["c"][0], done.table["c"][299]] == alone
