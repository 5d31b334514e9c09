"""Of rows with one key one stays, the others are counted for their object; the table never shows the marks.

Rows that a batch takes out of the table are no longer there for it, whichever way the keys are compared.
"""

from __future__ import annotations

import gzip
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


MIRROR = {"changed_objects": "replace", "deleted_objects": "delete", "deletion_guard": 1.0}
LOOKS = {
    "table": {"deduplicate": {"key": ["id"], "within": "table"}},
    "window": {"deduplicate": {"key": ["id"], "within": {"window": "7d", "column": "at"}}},
    "unique": {"expect_set": {"one": {"unique": ["id"], "against": "table", "on_violation": "fail"}}},
}


@pytest.mark.parametrize("memory", [2**27, 2**14], ids=["one task", "many shares"])
@pytest.mark.parametrize("look", LOOKS)
def test_rows_that_the_batch_takes_out_are_not_there_for_it(tmp_path, look, memory):
    """An object that changed has most of its keys again; a key of one that is gone comes in another; both stay."""
    lake = SmallLake(tmp_path, step=LOOKS[look], source={**MIRROR, "schema_hints": {"at": "timestamp"}}, memory=memory)
    at = NOW.isoformat()

    def rows(first, last, value):
        return lines(*(row(key, value, at=at) for key in range(first, last)))

    lake.put("a.json", rows(0, 400, "a"))
    lake.put("b.json", rows(400, 600, "b"))
    lake.put("c.json", rows(600, 610, "c"))
    assert balance(lake.run()) == {"read": 610, "written": 610}
    lake.put("a.json", rows(100, 390, "newer"))
    (lake.raw / "b.json").unlink()
    lake.put("d.json", rows(400, 450, "d"))
    assert balance(lake.run()) == {"read": 340, "written": 340}
    expected = [*((key, "newer") for key in range(100, 390)), *((key, "d") for key in range(400, 450))]
    found = sorted((item["id"], item["v"]) for item in lake.rows("id", "v"))
    assert found == [*expected, *((key, "c") for key in range(600, 610))]


def test_rows_of_an_object_that_could_not_be_read_again_are_still_there(tmp_path):
    lake = SmallLake(tmp_path, step=LOOKS["table"], source={**MIRROR, "compression": "gzip", "max_tries": 5})
    lake.put("a.json", gzip.compress(lines(row(1, "a"), row(2, "a"))))
    lake.run()
    lake.put("a.json", b"no gzip")
    lake.put("b.json", gzip.compress(lines(row(2, "b"), row(3, "b"))))
    assert balance(lake.run())["deduplicated"] == 1
    assert sorted((item["id"], item["v"]) for item in lake.rows("id", "v")) == [(1, "a"), (2, "a"), (3, "b")]
