"""Bins keep files from being rewritten again; the Z-order curve keeps rows together that are alike in every column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.delta.arrange.bins import bins, shares
from lakeray.delta.arrange.zorder import check_columns, column_cuts, in_order, places, range_cuts, ranges_of
from lakeray.delta.files import DataFile
from lakeray.errors import TableError


def file(name: str, size: int, part: str | None = None) -> DataFile:
    return DataFile(
        path=name, logged=name, size_bytes=size, rows=1, partition_values={"p": part}, partition={"p": part}
    )


@given(
    st.lists(st.tuples(st.integers(1, 99), st.sampled_from(["a", "b", None])), max_size=60),
    st.integers(2, 120),
)
def test_bins_hold_small_files_of_one_partition_once(sizes: list[tuple[int, str | None]], target: int) -> None:
    files = [file(f"{place:03d}", size, part) for place, (size, part) in enumerate(sizes)]
    found = bins(files, target)
    binned = [one.path for group in found for one in group.files]
    assert len(binned) == len(set(binned))
    for group in found:
        assert len(group.files) > 1
        assert len({one.partition["p"] for one in group.files}) == 1
        assert group.size_bytes <= target
        assert all(2 * one.size_bytes < target for one in group.files)
    small = {one.path for one in files if 2 * one.size_bytes < target} - set(binned)
    for part in ("a", "b", None):
        assert sum(one.partition["p"] == part and one.path in small for one in files) <= 1


def test_bins_that_are_put_together_are_done_for_good() -> None:
    files = [file(f"{place:03d}", size) for place, size in enumerate([10, 20, 30, 40, 25] * 8)]
    rounds = 0
    while found := bins(files, 100):
        rounds += 1
        taken = {one.path for group in found for one in group.files}
        files = [one for one in files if one.path not in taken]
        files += [file(f"new-{rounds}-{place}", group.size_bytes) for place, group in enumerate(found)]
    assert rounds <= 2
    assert sum(one.size_bytes for one in files) == 1000


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 8), st.integers(1, 2000))
def test_shares_keep_every_place_in_order(sizes: list[int], slots: int, at_most: int) -> None:
    runs = shares(sizes, slots, at_most=at_most)
    assert [place for run in runs for place in run] == list(range(len(sizes)))
    assert all(len(run) == 1 or sum(sizes[place] for place in run) <= at_most for run in runs)


COLUMNS = {
    "int": pa.array([5, None, 1, 9, 3, -7], pa.int64()),
    "float": pa.array([0.5, float("nan"), None, float("-inf"), 2.0, -1.0]),
    "text": pa.array(["b", "a", None, "user_1", "user_10", ""]),
    "bytes": pa.array([b"b", b"", None, b"a", b"\xff", b"c"]),
    "flag": pa.array([True, False, None, True, False, True]),
    "day": pa.array([3, 1, None, 2, 5, 4], pa.int32()).cast(pa.date32()),
    "money": pa.array(["1.10", "0.20", None, "3.00", "-1.00", "2.00"]).cast(pa.decimal128(10, 2)),
    "at": pa.array([3, 1, None, 2, 5, 4], pa.timestamp("us", tz="UTC")),
}


@pytest.mark.parametrize("name", list(COLUMNS))
def test_one_column_is_plain_order_with_nulls_last(name: str) -> None:
    table = pa.table({name: COLUMNS[name]})
    ordered = table.take(in_order(table, column_cuts(table, [name])))
    assert str(ordered[name].to_pylist()) == str(table.sort_by(name)[name].to_pylist())


def test_two_columns_give_narrow_bounds_in_both() -> None:
    random = np.random.default_rng(1)
    table = pa.table({"a": random.exponential(size=40_000), "b": random.integers(0, 10**9, 40_000)})
    ordered = table.take(in_order(table, column_cuts(table, ["a", "b"])))
    for name in ("a", "b"):
        ranks = np.argsort(np.argsort(ordered[name].to_numpy()))
        widths = [np.ptp(ranks[start : start + 2_500]) for start in range(0, 40_000, 2_500)]
        assert np.mean(widths) < 0.4 * 40_000, f"16 files, so a square of 4 by 4: a quarter of {name} each"


def test_a_frequent_value_makes_no_large_range() -> None:
    random = np.random.default_rng(1)
    table = pa.table({"a": np.where(random.random(50_000) < 0.7, 3, random.integers(0, 10**6, 50_000))})
    cuts = column_cuts(table.slice(0, 5_000), ["a"])
    ends = range_cuts(places(table.slice(0, 5_000), cuts), 20)
    counts = np.bincount(ranges_of(places(table, cuts), ends, random), minlength=20)
    assert counts.sum() == 50_000
    assert counts.max() < 2 * 50_000 / 20


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=200), st.integers(2, 9))
def test_ranges_follow_the_curve(values: list[int | None], count: int) -> None:
    table = pa.table({"a": pa.array(values, pa.int64())})
    cuts = column_cuts(table, ["a"])
    place = places(table, cuts)
    ranges = ranges_of(place, range_cuts(place, count), np.random.default_rng(0))
    assert ranges.min() >= 0
    assert ranges.max() < count
    order = np.argsort(place, kind="stable")
    lows, highs = place[order][:-1], place[order][1:]
    later = ranges[order][1:][lows < highs] >= ranges[order][:-1][lows < highs]
    assert later.all()


def test_a_column_that_orders_nothing_is_refused_by_name() -> None:
    schema = pa.schema([("a", pa.int64()), ("p", pa.string()), ("tags", pa.list_(pa.string()))])
    for columns, said in (
        (["b"], "no column 'b'"),
        (["p"], "one value"),
        (["tags"], "no order"),
        (["a", "a"], "twice"),
    ):
        with pytest.raises(TableError, match=said):
            check_columns("t", schema, ["p"], columns)
