"""However many shares the keys of a batch are divided into, each staged file is read for them once."""

from __future__ import annotations

from collections import Counter

import pytest

from lakeray.errors import StoreUnavailable
from lakeray.importer.sets import duplicates, keys, rules
from lakeray.importer.sets.staged_rows import StagedRows
from tests.unit.importer.small_lake import SmallLake, balance, lines

SMALL = 2**12
"""A task's memory that a few dozen keys fill."""
RULES = {
    "duplicates": {"deduplicate": {"key": ["id", "k"], "within": "table"}},
    "unique": {"expect_set": {"one": {"unique": ["id"], "against": "table", "on_violation": "warn"}}},
}


def row(number):
    return {"id": number, "k": f"k{number % 7}", "v": "x"}


@pytest.fixture
def reads(monkeypatch):
    """How often each file's keys were asked for; scans of the table are counted under ``table``."""
    found: Counter[str] = Counter()
    plain, scan = StagedRows.groups, keys.stream_at

    def groups(self, file, columns, *, origin=True):
        found[file.path] += "v" not in columns
        return plain(self, file, columns, origin=origin)

    def stream_at(*parts, **more):
        found["table"] += 1
        return scan(*parts, **more)

    monkeypatch.setattr(StagedRows, "groups", groups)
    monkeypatch.setattr(keys, "stream_at", stream_at)
    return found


def filled(folder, step, **more):
    lake = SmallLake(folder, step=step, memory=SMALL, slots=2, **more)
    lake.put("a.json", lines(*map(row, range(100))))
    lake.run()
    for place in range(3):
        lake.put(f"b{place}.json", lines(*map(row, range(50 + 100 * place, 150 + 100 * place))))
    return lake


def keys_left(lake):
    return [path for path in lake.stray_files() if path.endswith("-h.parquet")]


@pytest.mark.parametrize("name", RULES)
def test_keys_and_table_are_read_once(tmp_path, reads, name):
    lake = filled(tmp_path, RULES[name])
    reads.clear()
    told = balance(lake.run())
    assert reads.pop("table") == 1
    assert set(reads.values()) == {1}
    assert len(reads) >= 2
    assert told.get("deduplicated", 0) == (50 if name == "duplicates" else 0)
    assert keys_left(lake) == []


def test_rows_without_keys_are_no_duplicates(tmp_path, reads):
    lake = SmallLake(tmp_path, step=RULES["duplicates"], memory=SMALL, source={"schema_hints": {"id": "int64"}})
    lake.put("a.json", lines(*({"k": "k", "v": "x"} for _ in range(200))))
    assert balance(lake.run()) == {"read": 200, "written": 200}
    assert set(reads.values()) <= {1}


def test_many_references_are_looked_up_share_by_share(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(rules, "BROADCAST_ROWS", 0)
    other = SmallLake(tmp_path / "other")
    other.put("a.json", lines(*({"id": number} for number in range(0, 1000, 2))))
    other.run()
    rule = {"references": {"column": "id", "to": "others.id"}, "on_violation": "quarantine"}
    lake = SmallLake(tmp_path / "lake", step={"expect_set": {"there": rule}}, memory=SMALL, slots=2)
    lake.more_tables = {"others": {"uri": other.table_uri}}
    for place in range(3):
        lake.put(f"b{place}.json", lines(*map(row, range(100 * place, 100 * place + 100))))
    assert balance(lake.run()) == {"read": 300, "written": 150, "quarantined": 150}
    assert sorted(lake.rows("id")) == list(range(0, 300, 2))
    assert keys_left(lake) == []


def test_nothing_of_the_keys_is_left_where_a_share_cannot_be_looked_at(tmp_path, monkeypatch):
    lake = filled(tmp_path, RULES["unique"])

    def gone(self, rows):
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(duplicates.DuplicateTask, "_lost", gone)
        with pytest.raises(StoreUnavailable):
            lake.run()
    assert keys_left(lake) == []
