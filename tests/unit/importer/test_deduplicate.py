"""Of rows with one key one stays, the others are counted for their object; the table never shows the marks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lakeray.errors import TransformError
from tests.unit.importer.small_lake import NOW, SmallLake, balance, lines


def a_lake(folder, rule, **more):
    return SmallLake(folder, step={"deduplicate": rule}, **more)


def row(key, value, **more):
    return {"id": key, "v": value, **more}


@pytest.mark.parametrize(("keep", "stays"), [("first", 1), ("last", 4), ({"latest": "rank"}, 2)])
@pytest.mark.parametrize("slots", [1, 3])
def test_one_row_of_a_key_stays(tmp_path, keep, stays, slots):
    """The same row stays, however the objects are spread over tasks."""
    lake = a_lake(tmp_path, {"key": ["id"], "keep": keep}, slots=slots)
    lake.put("a.json", lines(row(1, 1, rank=2), row(2, 9, rank=1)))
    lake.put("b.json", lines(row(1, 2, rank=5)))
    lake.put("c.json", lines(row(1, 3, rank=None), row(1, 4, rank=5 if keep == "last" else 4)))
    summary = lake.run()
    assert sorted(lake.rows("id", "v"), key=lambda found: found["id"]) == [row(1, stays), row(2, 9)]
    assert balance(summary) == {"read": 5, "written": 2, "deduplicated": 3}
    assert sum(lake.entry(f"{name}.json")["rows_deduplicated"] for name in "abc") == 3
    assert set(lake.schema()) == {"id", "v", "rank"}
    assert not lake.stray_files()


def test_a_row_without_a_whole_key_stays(tmp_path):
    lake = a_lake(tmp_path, {"key": ["id", "v"]})
    lake.put("a.json", lines(row(None, 1), row(None, 1), row(1, None), row(1, None), row(1, 1), row(1, 1)))
    assert balance(lake.run()) == {"read": 6, "written": 5, "deduplicated": 1}


def test_the_tables_rows_stay(tmp_path):
    lake = a_lake(tmp_path, {"key": ["id"], "within": "table"})
    lake.put("a.json", lines(row(1, "old"), row(2, "old")))
    lake.run()
    lake.put("b.json", lines(row(2, "new"), row(3, "new"), row(3, "newer")))
    assert balance(lake.run()) == {"read": 3, "written": 1, "deduplicated": 2}
    assert sorted(lake.rows("id", "v"), key=str) == sorted([row(1, "old"), row(2, "old"), row(3, "new")], key=str)


def test_two_columns_make_a_key_in_the_table_too(tmp_path):
    lake = a_lake(tmp_path, {"key": ["id", "v"], "within": "table"})
    lake.put("a.json", lines(row(1, "x"), row(2, "x")))
    lake.run()
    lake.put("b.json", lines(row(1, "y"), row(2, "x")))
    assert balance(lake.run()) == {"read": 2, "written": 1, "deduplicated": 1}


def test_only_rows_that_close_in_time_are_duplicates(tmp_path):
    lake = a_lake(
        tmp_path,
        {"key": ["id"], "within": {"window": "7d", "column": "at"}},
        source={"schema_hints": {"at": "timestamp"}},
    )
    day = NOW

    def at(key, days):
        return {"id": key, "at": (day + timedelta(days=days)).isoformat() if days is not None else None}

    lake.put("a.json", lines(at(1, 0), at(1, 6), at(1, 8), at(2, 0), at(2, None), at(2, None)))
    assert balance(lake.run()) == {"read": 6, "written": 5, "deduplicated": 1}
    lake.put("b.json", lines(at(1, 9), at(1, 16), at(2, -7), at(2, -8)))
    assert balance(lake.run()) == {"read": 4, "written": 2, "deduplicated": 2}


def test_a_partitioned_table_keeps_its_partitions(tmp_path):
    lake = a_lake(tmp_path, {"key": ["day", "id"]}, table={"partition_by": ["day"]})
    lake.put("a.json", lines(*({"day": f"2024-01-0{n % 2 + 1}", "id": n % 3} for n in range(12))))
    assert balance(lake.run()) == {"read": 12, "written": 6, "deduplicated": 6}
    assert len({(found["day"], found["id"]) for found in lake.rows()}) == 6
    assert not lake.stray_files()


def test_a_batch_that_no_task_can_hold_is_divided_by_key(tmp_path):
    """``memory`` holds few keys: several shares, each a task of its own, agree with a set."""
    lake = a_lake(tmp_path, {"key": ["id"]}, memory=2**17)
    for name in range(4):
        lake.put(f"{name}.json", lines(*(row(f"k{n % 1500}", name) for n in range(1000 * name, 1000 * name + 1000))))
    assert balance(lake.run()) == {"read": 4000, "written": 1500, "deduplicated": 2500}
    assert len(set(lake.rows("id"))) == 1500


def test_rescued_rows_that_go_are_not_counted_as_written(tmp_path):
    lake = a_lake(tmp_path, {"key": ["id"]}, source={"evolution": "rescue", "schema_hints": {"id": "int64"}})
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "more": 1}, {"id": 2, "more": 2}))
    assert lake.run().rows.rescued == 1


def test_a_missing_key_column_is_named(tmp_path):
    lake = a_lake(tmp_path, {"key": ["idd"]})
    lake.put("a.json", lines(row(1, 1)))
    with pytest.raises(TransformError, match="'idd'"):
        lake.run()
    assert not lake.stray_files()


def test_overwrite_looks_at_the_batch_alone(tmp_path):
    lake = a_lake(tmp_path, {"key": ["id"], "within": "table"}, plan={"mode": "overwrite"})
    lake.put("a.json", lines(row(1, 1), row(1, 2)))
    lake.run()
    lake.put("b.json", lines(row(1, 3), row(2, 3)))
    lake.run()
    assert sorted(lake.rows("id")) == [1, 2]
