"""Changes of rows become the table's rows: by key, latest wins."""

from __future__ import annotations

import pytest

from tests.unit.importer.small_lake import SmallLake, balance, lines

MERGE = {"mode": "merge", "key": ["id"], "sequence": "seq"}
HINTS = {"schema_hints": {"id": "int64", "seq": "int64", "v": "string", "op": "string"}}


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path, source=HINTS, plan={**MERGE, "delete_when": "op = 'd'", "leave_out": ["op"]})


def rows(lake):
    return sorted(lake.rows("id", "v"), key=lambda row: row["id"])


def test_the_latest_change_of_a_key_is_its_row(lake):
    lake.put("a", lines({"id": 1, "seq": 1, "v": "a"}, {"id": 2, "seq": 1, "v": "b"}, {"id": 1, "seq": 2, "v": "c"}))
    summary = lake.run()
    assert balance(summary) == {"read": 3, "written": 2, "deduplicated": 1}
    assert rows(lake) == [{"id": 1, "v": "c"}, {"id": 2, "v": "b"}]
    lake.put("b", lines({"id": 2, "seq": 2, "v": "z"}, {"id": 3, "seq": 1, "v": "n"}, {"id": 1, "seq": 1, "v": "late"}))
    assert balance(lake.run()) == {"read": 3, "written": 2, "deduplicated": 1}
    assert rows(lake) == [{"id": 1, "v": "c"}, {"id": 2, "v": "z"}, {"id": 3, "v": "n"}]
    assert "op" not in lake.schema()


def test_a_delete_wins_over_an_insert_that_it_has_overtaken(lake):
    lake.put("a", lines({"id": 1, "seq": 5, "op": "d"}, {"id": 2, "seq": 1, "v": "x"}))
    lake.run()
    lake.put("b", lines({"id": 1, "seq": 4, "v": "late"}, {"id": 2, "seq": 2, "op": "d"}))
    assert balance(lake.run()) == {"read": 2, "written": 1, "deduplicated": 1}
    assert rows(lake) == []
    lake.put("c", lines({"id": 1, "seq": 6, "v": "new"}))
    lake.run()
    assert rows(lake) == [{"id": 1, "v": "new"}]
