"""The table of coercions, cell by cell: what fits, and what is marked instead of guessed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lakeray.transform.coercions import convert

UTC = pa.timestamp("us", tz="UTC")
DEC = pa.decimal128(10, 2)
NO = object()  # does not fit
BIG = 2**63


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


def cells(kind: pa.DataType | None, target: pa.DataType, pairs: list[tuple[Any, Any]]) -> list[Any]:
    return [
        pytest.param(kind, target, given, wanted, id=f"{kind or 'text'}->{target}:{given!r}") for given, wanted in pairs
    ]


TABLE = [
    *cells(pa.string(), pa.int64(), [
        ("1", 1), ("-1", -1), ("+3", 3), (" 2\t", 2), ("0012", 12), ("-0", 0), ("9223372036854775807", BIG - 1),
        ("-9223372036854775808", -BIG), ("9223372036854775808", NO), ("99999999999999999999999999", NO), ("1e3", NO),
        ("1.0", NO), ("", NO), (" ", NO), ("0x10", NO), ("1_000", NO), ("१", NO), ("n/a", NO), ("1 2", NO), ("--1", NO),
        ("0" * 30 + "7", 7), ("9" * 5000, NO),
    ]),
    *cells(pa.string(), pa.int8(), [("127", 127), ("128", NO), ("-128", -128), ("-129", NO)]),
    *cells(pa.string(), pa.int32(), [("2147483647", 2147483647), ("2147483648", NO)]),
    *cells(pa.string(), pa.float64(), [
        ("1.5", 1.5), ("-1.5e3", -1500.0), ("+2", 2.0), (".5", 0.5), ("5.", 5.0), (" 7 ", 7.0), ("inf", float("inf")),
        ("-Infinity", float("-inf")), ("1e400", NO), ("-1e400", NO), ("1,5", NO), ("", NO), ("0x1p3", NO), ("1e", NO),
        ("infinite", NO), ("1e-400", 0.0), ("0.1", 0.1),
    ]),
    *cells(pa.string(), pa.float32(), [("0.5", 0.5), ("1e39", NO)]),
    *cells(pa.string(), DEC, [
        ("1.5", Decimal("1.50")), ("1", Decimal("1.00")), ("1e2", Decimal("100.00")), ("1E-2", Decimal("0.01")),
        ("1.20000", Decimal("1.20")), ("+1.2", Decimal("1.20")), (" 1.2", Decimal("1.20")), (".5", Decimal("0.50")),
        ("1.239", NO), ("12345678901", NO), ("99999999.99", Decimal("99999999.99")), ("", NO), ("abc", NO), ("nan", NO),
        ("1e99999999", NO),
    ]),
    *cells(pa.string(), pa.decimal128(38, 0), [("9" * 38, Decimal("9" * 38)), ("9" * 39, NO)]),
    *cells(pa.string(), pa.decimal128(38, 30), [("77539802667908", NO), ("1e30", NO), ("1.5e0", Decimal("1.5"))]),
    *cells(pa.string(), pa.decimal128(2, 2), [("0.25", Decimal("0.25")), (".25", Decimal("0.25")), ("1.25", NO)]),
    *cells(pa.string(), pa.bool_(), [
        ("true", True), ("FALSE", False), (" True ", True), ("1", True), ("0", False), ("yes", NO), ("t", NO), ("", NO),
        ("2", NO),
    ]),
    *cells(pa.string(), pa.date32(), [
        ("2020-01-31", dt.date(2020, 1, 31)), ("2020-02-29", dt.date(2020, 2, 29)), ("2021-02-29", NO),
        ("2020-02-30", NO), ("2020-1-1", NO), ("20200101", NO), ("0000-01-01", NO),
        (" 2020-01-01", dt.date(2020, 1, 1)),
        ("2020-01-01T00:00:00", NO), ("9999-12-31", dt.date(9999, 12, 31)), ("", NO),
    ]),
    *cells(pa.string(), UTC, [
        ("2020-01-01", utc(2020, 1, 1)), ("2020-01-01T10", utc(2020, 1, 1, 10)),
        ("2020-01-01 10:11", utc(2020, 1, 1, 10, 11)), ("2020-01-01T10:11:12", utc(2020, 1, 1, 10, 11, 12)),
        ("2020-01-01T10:11:12.5", utc(2020, 1, 1, 10, 11, 12, 500_000)),
        ("2020-01-01T10:11:12Z", utc(2020, 1, 1, 10, 11, 12)),
        ("2020-01-01T10:11:12+02:00", utc(2020, 1, 1, 8, 11, 12)),
        ("2020-01-01T10:11:12-0230", utc(2020, 1, 1, 12, 41, 12)),
        ("2020-01-01T10:11:12+02", utc(2020, 1, 1, 8, 11, 12)),
        ("2020-02-29T10:11:12Z", utc(2020, 2, 29, 10, 11, 12)), ("2021-02-29T10:11:12Z", NO),
        ("2020-01-01T25:00:00", NO),
        ("2020-01-01T10:60:00", NO), ("2020-01-01T10:11:60Z", NO), ("2020-01-01Z", NO), ("0000-01-01T00:00:00Z", NO),
        ("9999-12-31T23:59:59Z", utc(9999, 12, 31, 23, 59, 59)), ("9999-12-31T23:59:59-02:00", NO),
        ("0001-01-01T00:00:00+02:00", NO), ("2020-01-01T10:11:12 Europe/Berlin", NO), ("1577836800", NO), ("", NO),
        (" 2020-01-01T10:11:12Z ", utc(2020, 1, 1, 10, 11, 12)), ("2020-01-01t10:11:12z", NO),
    ]),

       *cells(pa.string(), pa.timestamp("us"), [("2020-01-01T10:00:00+02:00", dt.datetime(2020, 1, 1, 8))]),  # noqa: DTZ001
    *cells(pa.string(), pa.binary(), [("ä", "ä".encode()), ("", b"")]),
    *cells(pa.int64(), pa.int8(), [(127, 127), (128, NO), (-129, NO)]),
    *cells(pa.int8(), pa.int64(), [(-7, -7)]),
    *cells(pa.uint64(), pa.int64(), [(1, 1), (BIG - 1, BIG - 1), (BIG, NO), (2**64 - 1, NO)]),
    *cells(pa.uint64(), pa.float64(), [(2**64 - 1, NO), (BIG, float(BIG)), (5, 5.0)]),
    *cells(pa.int64(), pa.float64(), [
        (2**53, 2.0**53), (2**53 + 1, NO), (2**60, 2.0**60), (BIG - 1, NO), (-BIG, -float(BIG))
    ]),
    *cells(pa.int64(), pa.float32(), [(2**24, 2.0**24), (2**24 + 1, NO)]),
    *cells(pa.int64(), DEC, [(7, Decimal("7.00")), (10**8, NO), (-(10**8) + 1, Decimal("-99999999.00"))]),
    *cells(pa.int64(), pa.bool_(), [(0, False), (1, True), (2, NO), (-1, NO)]),
    *cells(pa.int64(), pa.string(), [(-5, "-5")]),
    *cells(pa.int64(), UTC, [(0, NO)]),
    *cells(pa.int64(), pa.date32(), [(0, NO)]),
    *cells(pa.float64(), pa.int64(), [
        (1.0, 1), (1.5, NO), (float("nan"), NO), (float("inf"), NO), (2.0**63, NO), (-(2.0**63), -BIG),
        (1e300, NO), (-0.0, 0),
    ]),
    *cells(pa.float64(), pa.int8(), [(127.0, 127), (128.0, NO)]),
    *cells(pa.float64(), pa.float32(), [(0.5, 0.5), (0.1, NO), (1e300, NO), (float("inf"), float("inf"))]),
    *cells(pa.float32(), pa.float64(), [(0.5, 0.5)]),
    *cells(pa.float64(), DEC, [
        (12.34, Decimal("12.34")), (0.1, Decimal("0.10")), (0.125, NO), (1e20, NO), (float("nan"), NO)
    ]),
    *cells(pa.float64(), pa.bool_(), [(1.0, True), (0.0, False), (0.5, NO), (float("nan"), NO)]),
    *cells(pa.float64(), pa.string(), [(1.5, "1.5"), (float("nan"), "NaN"), (1e300, "1e+300")]),
    *cells(pa.decimal128(5, 2), pa.int64(), [(Decimal("3.00"), 3), (Decimal("3.10"), NO)]),
    *cells(pa.decimal128(38, 0), pa.int64(), [(Decimal(BIG), NO), (Decimal(BIG - 1), BIG - 1)]),
    *cells(pa.decimal128(20, 4), DEC, [
        (Decimal("1.2300"), Decimal("1.23")), (Decimal("1.2345"), NO), (Decimal("1e9"), NO)
    ]),
    *cells(pa.decimal256(50, 2), DEC, [(Decimal("1.23"), Decimal("1.23")), (Decimal("1e40"), NO)]),
    *cells(pa.decimal128(5, 2), pa.float64(), [(Decimal("0.10"), 0.1)]),
    *cells(pa.decimal128(38, 10), pa.float64(), [(Decimal("1234567890123456789.1234567891"), NO)]),
    *cells(pa.decimal128(5, 2), pa.string(), [(Decimal("0.10"), "0.10")]),
    *cells(pa.bool_(), pa.int64(), [(True, NO)]),
    *cells(pa.bool_(), pa.string(), [(True, "true"), (False, "false")]),
    *cells(pa.date32(), UTC, [(dt.date(2020, 1, 2), utc(2020, 1, 2))]),
    *cells(pa.date64(), pa.date32(), [(dt.date(2020, 1, 2), dt.date(2020, 1, 2))]),
    *cells(pa.date32(), pa.string(), [(dt.date(2020, 1, 2), "2020-01-02")]),
    *cells(UTC, pa.date32(), [(utc(2020, 1, 2), dt.date(2020, 1, 2)), (utc(2020, 1, 2, 1), NO)]),
    *cells(pa.timestamp("ns"), pa.date32(), [(86_400_000_000_000, dt.date(1970, 1, 2)), (1, NO)]),
    *cells(pa.timestamp("s"), UTC, [(0, utc(1970, 1, 1)), (10**15, NO)]),
    *cells(pa.timestamp("ms", tz="Europe/Berlin"), UTC, [(1, utc(1970, 1, 1, 0, 0, 0, 1000))]),
    *cells(UTC, pa.string(), [(utc(2020, 1, 2, 3), "2020-01-02T03:00:00Z")]),
    *cells(UTC, pa.int64(), [(utc(2020, 1, 2), NO)]),
    *cells(pa.time64("us"), pa.string(), [(dt.time(1, 2, 3, 40), "01:02:03.00004")]),
    *cells(pa.time32("s"), pa.string(), [(dt.time(1, 2, 3), "01:02:03")]),
    *cells(pa.duration("s"), pa.int64(), [(dt.timedelta(seconds=2), 2_000_000)]),
    *cells(pa.duration("ns"), pa.int64(), [(2_000, 2), (2_001, NO)]),
    *cells(pa.duration("s"), pa.string(), [(dt.timedelta(seconds=2), "PT2S")]),
    *cells(pa.binary(), pa.string(), [("ä".encode(), "ä"), (b"\xff", NO)]),
    *cells(pa.binary(3), pa.binary(), [(b"abc", b"abc")]),
    *cells(pa.large_string(), pa.string(), [("x", "x")]),
    *cells(pa.string_view(), pa.int64(), [("1", 1), ("x", NO)]),
    *cells(pa.string(), pa.list_(pa.int64()), [("[1]", NO)]),
    *cells(pa.list_(pa.int64()), pa.string(), [([1, None], "[1,null]")]),
    *cells(pa.list_(pa.string()), pa.list_(pa.int64()), [(["1", None], [1, None]), ([], [])]),
    *cells(pa.large_list(pa.int32()), pa.list_(pa.int64()), [([1], [1])]),
    *cells(pa.list_(pa.int32(), 2), pa.list_(pa.int64()), [([1, 2], [1, 2])]),
    *cells(pa.struct([("a", pa.int64())]), pa.string(), [({"a": 1}, '{"a":1}')]),
    *cells(pa.struct([("a", pa.string())]), pa.struct([("a", pa.int64()), ("b", pa.string())]), [
        ({"a": "1"}, {"a": 1, "b": None}),
    ]),
    *cells(pa.map_(pa.string(), pa.int32()), pa.map_(pa.string(), pa.int64()), [([("k", 1)], [("k", 1)])]),
    *cells(pa.map_(pa.string(), pa.int64()), pa.string(), [([("k", 1)], '{"k":1}')]),
    *cells(pa.map_(pa.int64(), pa.int64()), pa.string(), [([(1, 2)], "[[1,2]]")]),
    *cells(pa.struct([("a", pa.int64())]), pa.int64(), [({"a": 1}, NO)]),
    *cells(pa.int64(), pa.struct([("a", pa.int64())]), [(1, NO)]),
]  # fmt: skip


def source(kind: pa.DataType, given: Any) -> pa.Array:
    temporal = pa.types.is_timestamp(kind) or pa.types.is_duration(kind)
    if temporal and isinstance(given, int):
        return pa.array([given], pa.int64()).cast(kind)
    return pa.array([given], kind)


@pytest.mark.parametrize(("kind", "target", "given", "wanted"), TABLE)
@pytest.mark.parametrize("company", ["alone", "beside good and bad", "sliced"])
def test_a_cell(kind: pa.DataType, target: pa.DataType, given: Any, wanted: Any, company: str) -> None:
    """What a value becomes does not depend on the values around it."""
    array, place = source(kind, given), 0
    if company != "alone":
        others = [cell.values[2] for cell in TABLE if cell.values[0] == kind and cell.values[1] == target]
        parts = [source(kind, value) for value in others]
        array = pa.concat_arrays([*parts, pa.nulls(1, kind), array])
        place = len(array) - 1
    if company == "sliced":
        array, place = array.slice(1), place - 1
    done = convert(array, target)
    assert done.values.type == target
    assert len(done.values) == len(array)
    done.values.validate(full=True)
    if wanted is NO:
        assert done.misfits is not None
        assert done.misfits[place].as_py() is True
        assert not done.values[place].is_valid
    else:
        assert done.misfits is None or done.misfits[place].as_py() is False
        found = done.values[place].as_py()
        assert found == wanted
        assert type(found) is type(wanted)
    for index in range(len(array)):
        if not array[index].is_valid:
            assert not done.values[index].is_valid
            assert done.misfits is None or done.misfits[index].as_py() is False


def test_nan_stays_nan() -> None:
    for text in ("nan", "NaN", "-nan"):
        assert str(convert(pa.array([text]), pa.float64()).values[0]) in ("nan", "-nan")
    assert convert(pa.array([float("nan")]), pa.float32()).misfits is None


def test_time_below_a_microsecond_is_cut_towards_the_past_and_counted() -> None:
    instants = pa.array([1001, -1, 2000, None], pa.int64()).cast(pa.timestamp("ns"))
    done = convert(instants, UTC)
    assert done.values.cast(pa.int64()).to_pylist() == [1, -1, 2, None]
    assert (done.misfits, done.cut) == (None, 2)
    texts = pa.array(["2020-01-01T00:00:00.1234567Z", "2020-01-01T00:00:00.123456000", "2020-01-01"])
    done = convert(texts, UTC)
    assert [value.microsecond for value in done.values.to_pylist()] == [123456, 123456, 0]
    assert (done.misfits, done.cut) == (None, 1)


def test_dictionaries_runs_and_nulls_are_decoded() -> None:
    assert convert(pa.array(["1", "x", "1"]).dictionary_encode(), pa.int64()).values.to_pylist() == [1, None, 1]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["1", "2"]))
    assert convert(runs, pa.int64()).values.to_pylist() == [1, 1, 2]
    assert convert(pa.nulls(2), pa.list_(pa.int64())).values.to_pylist() == [None, None]
    assert convert(pa.nulls(2), pa.list_(pa.int64())).misfits is None


def test_a_misfit_deep_inside_marks_the_row_and_keeps_what_fits() -> None:
    wire = pa.array([{"a": {"b": ["1", "x"]}, "c": 1}, {"a": {"b": ["2"]}, "c": 2}, None])
    target = pa.struct([("a", pa.struct([("b", pa.list_(pa.int64()))])), ("c", pa.int64())])
    done = convert(wire, target)
    assert done.values.to_pylist() == [{"a": {"b": [1, None]}, "c": 1}, {"a": {"b": [2]}, "c": 2}, None]
    assert done.misfits.to_pylist() == [True, False, False]


def test_nested_fields_that_the_column_lacks_mark_only_rows_that_have_them() -> None:
    wire = pa.array([{"a": 1, "z": 5}, {"a": 2, "z": None}, None])
    done = convert(wire, pa.struct([("a", pa.int64())]))
    assert done.misfits.to_pylist() == [True, False, False]
    assert done.unknown == {"z"}
    lenient = convert(wire, pa.struct([("a", pa.int64())]), keep_unknown=False)
    assert (lenient.misfits, lenient.unknown) == (None, {"z"})


def test_a_map_whose_key_does_not_fit_is_null_as_a_whole() -> None:
    wire = pa.array([[("1", "2")], [("x", "3"), ("4", "5")], None, [("4", "y")], []], pa.map_(pa.string(), pa.string()))
    done = convert(wire.slice(1), pa.map_(pa.int64(), pa.int64()))
    assert done.values.to_pylist() == [None, None, [(4, None)], []]
    assert done.misfits.to_pylist() == [True, False, True, False]


def test_lists_in_slices_with_nulls_keep_their_places() -> None:
    wire = pa.array([["9"], None, ["1", "x"], [], ["2"]]).slice(1)
    done = convert(wire, pa.list_(pa.int64()))
    assert done.values.to_pylist() == [None, [1, None], [], [2]]
    assert done.misfits.to_pylist() == [False, True, False, False]


def test_on_demand_a_list_that_does_not_fit_is_null_at_every_depth():
    rows = [[{"parts": [1]}], [{"parts": [2, 2.5]}, {"parts": [3]}], None]
    target = pa.list_(pa.struct([("parts", pa.list_(pa.int64()))]))
    done = convert(pa.array(rows, pa.list_(pa.struct([("parts", pa.list_(pa.float64()))]))), target, whole_lists=True)
    assert done.values.to_pylist() == [[{"parts": [1]}], None, None]
    assert done.misfits.to_pylist() == [False, True, False]
