"""Partitioned tables come back value for value, whatever the values and whoever reads."""

# ruff: noqa: DTZ001 - times without a zone are values here

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.delta.commit import commit_once
from lakeray.delta.partitions import folder, partition_value, split
from lakeray.delta.table import create_table
from lakeray.delta.upkeep import live_files
from lakeray.delta.writer import StagedWriter, WriteOptions
from lakeray.errors import UnsupportedTable
from tests.unit.delta.readers import rows, with_delta_rs, with_polars, with_pyarrow

UTC = dt.UTC
NASTY: dict[str, tuple[pa.DataType, list[Any]]] = {
    "string": (
        pa.string(),
        [
            "a b",
            "a/b",
            "..",
            ".",
            "x=y",
            "%20",
            "é🎉",
            "#?&",
            "line\nbreak",
            "\\",
            "'\"",
            "true",
            "2020-01-01",
            "~",
            "+",
            None,
            "_x",
        ],
    ),
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [-128, 0, 127, None]),
    "int64": (pa.int64(), [-(2**63), 0, 2**63 - 1, None]),
    "date": (pa.date32(), [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31), None]),
    "instant": (
        pa.timestamp("us", tz="UTC"),
        [dt.datetime(1960, 1, 1, 0, 0, 0, 1, UTC), dt.datetime(2020, 1, 1, tzinfo=UTC), None],
    ),
    "local": (pa.timestamp("us"), [dt.datetime(1960, 1, 1, 0, 0, 0, 1), dt.datetime(2020, 1, 1), None]),
    "decimal": (pa.decimal128(10, 2), [decimal.Decimal("-12345678.90"), decimal.Decimal("3.00"), None]),
    "float64": (pa.float64(), [1.5, -1e300, 1e-7, float("inf"), float("-inf"), None]),
    "float32": (pa.float32(), [0.10000000149011612, 3.0, None]),
}


def write(uri: str, table: pa.Table, partition_by: list[str], **options: Any) -> list[Any]:
    handle = create_table(uri, table.schema, partition_by)
    writer = StagedWriter(
        uri, schema=handle.schema, partition_by=partition_by, prefix="part", options=WriteOptions(**options)
    )
    writer.write(table)
    files = writer.close()
    commit_once(uri, app_id="a", number=1, previous=None, files=files)
    return files


@pytest.mark.parametrize("kind", sorted(NASTY))
def test_nasty_values_round_trip_through_every_reader(kind: str, tmp_path: Path) -> None:
    arrow, values = NASTY[kind]
    table = pa.table({"n": range(len(values)), "p": pa.array(values, arrow)})
    files = write(str(tmp_path), table, ["p"])
    assert len(files) == len(values)
    expected = rows(table)
    assert rows(with_delta_rs(str(tmp_path))) == expected
    if kind != "decimal":  # deltalake's Arrow bridge spells a negative one "-12345678.-90"
        assert rows(with_pyarrow(str(tmp_path))) == expected
    assert rows(with_polars(str(tmp_path))) == expected


def test_an_empty_string_is_null_as_the_protocol_says(tmp_path: Path) -> None:
    files = write(str(tmp_path), pa.table({"n": [1, 2], "p": ["", None]}), ["p"])
    assert [file.partition_values for file in files] == [{"p": None}]
    for read in (with_delta_rs, with_pyarrow, with_polars):
        assert read(str(tmp_path))["p"].to_pylist() == [None, None]


def test_a_nan_partition_is_one_partition(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2, 3], "p": [float("nan"), 0.0, float("nan")]})
    files = write(str(tmp_path), table, ["p"])
    assert sorted((file.partition_values["p"], file.rows) for file in files) == [("0.0", 1), ("NaN", 2)]


def test_the_text_null_stays_apart_from_null(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2], "p": ["__HIVE_DEFAULT_PARTITION__", None]})
    write(str(tmp_path), table, ["p"])
    assert rows(with_delta_rs(str(tmp_path))) == rows(table)


def test_a_very_long_value_still_has_a_folder(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2], "p": ["é" * 500, "é" * 500 + "x"]})
    files = write(str(tmp_path), table, ["p"])
    assert len({file.path for file in files}) == 2
    assert all(len(part.encode()) < 255 for file in files for part in file.path.split("/"))
    assert rows(with_delta_rs(str(tmp_path))) == rows(table)


def test_several_partition_columns_keep_the_order_of_rows_within_a_partition(tmp_path: Path) -> None:
    size = 1000
    table = pa.table(
        {
            "n": range(size),
            "a": [place % 3 for place in range(size)],
            "b": [f"v{place % 5}" if place % 7 else None for place in range(size)],
        }
    )
    files = write(str(tmp_path), table, ["b", "a"], open_files=2)
    assert sum(file.rows for file in files) == size
    assert len(files) == 18
    assert rows(with_delta_rs(str(tmp_path))) == rows(table)
    for values, part in split(table, ["b", "a"]):
        assert part["n"].to_pylist() == sorted(part["n"].to_pylist()), values


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | st.text(max_size=4), st.none() | st.integers(0, 2)), min_size=1, max_size=30))
def test_splitting_loses_nothing(pairs: list[tuple[str | None, int | None]]) -> None:
    table = pa.table(
        {
            "n": range(len(pairs)),
            "s": pa.array([pair[0] for pair in pairs], pa.string()),
            "i": pa.array([pair[1] for pair in pairs], pa.int64()),
        }
    )
    chunked = pa.concat_tables([table.slice(0, len(pairs) // 2), table.slice(len(pairs) // 2)])
    found = {}
    for (text, number), part in split(chunked, ["s", "i"]):
        assert part.column_names == ["n"]
        for place in part["n"].to_pylist():
            found[place] = (text, number)
    assert found == {
        place: (text or None, None if number is None else str(number)) for place, (text, number) in enumerate(pairs)
    }


def test_strings_of_values() -> None:
    assert (
        partition_value(dt.datetime(2020, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=1))))
        == "2020-01-02T02:04:05.000006Z"
    )
    assert partition_value(dt.datetime(2020, 1, 2, 3, 4, 5)) == "2020-01-02 03:04:05.000000"
    assert partition_value(decimal.Decimal("1E+2")) == "100"
    assert partition_value(float("-inf")) == "-Infinity"


def test_folders_hold_safe_characters_only() -> None:
    made = folder(["a b", "c"], ("x/y é", None))
    assert made == "a%20b=x%2Fy%20%C3%A9/c=__HIVE_DEFAULT_PARTITION__/"


@pytest.mark.parametrize(
    ("schema", "by"),
    [
        (pa.schema([("a", pa.int64())]), ["b"]),
        (pa.schema([("a", pa.int64())]), ["a"]),
        (pa.schema([("a", pa.binary()), ("b", pa.int64())]), ["a"]),
        (pa.schema([("a", pa.list_(pa.int64())), ("b", pa.int64())]), ["a"]),
    ],
)
def test_impossible_partition_columns_are_refused(schema: pa.Schema, by: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTable):
        create_table(str(tmp_path / "t"), schema, by)
    assert not (tmp_path / "t").exists()


def test_partition_values_reach_the_log_as_written(tmp_path: Path) -> None:
    write(str(tmp_path), pa.table({"n": [1], "p": ["a b/%"]}), ["p"])
    (row,) = pa.table(DeltaTable(str(tmp_path)).get_add_actions(flatten=True)).to_pylist()
    assert row["partition.p"] == "a b/%"
    (file,) = live_files(str(tmp_path))
    assert file.partition_values == {"p": "a b/%"}
    assert (tmp_path / file.path).is_file()
