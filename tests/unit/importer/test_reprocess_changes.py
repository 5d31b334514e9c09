"""Refused changes that are reprocessed change the table as if they had never been refused.

Crash points: every name in ``EVERY_IMPORT``, ``CHANGES`` and ``REPROCESS`` of ``lakeray.failpoints``, while changes are
taken out of quarantine.
"""

from __future__ import annotations

import json
import os

import pytest

from lakeray.errors import ImportFailed
from lakeray.failpoints import CHANGES, EVERY_IMPORT, REPROCESS
from tests.commands import python
from tests.unit.importer.small_lake import SmallLake, balance, lines
from tests.unit.importer.test_reprocess import reprocess

HINTS = {"schema_hints": {"id": "int64", "seq": "int64", "v": "string", "op": "string"}, "changed_objects": "append"}
OPERATION = {"column": "op", "insert": ["i"], "update": ["u"], "delete": ["d"]}
CHANGE = {"key": ["id"], "sequence": "seq", "operation": OPERATION}
PLANS = {"merge": {"mode": "merge", **CHANGE}, "partial": {"mode": "merge", "partial": True, **CHANGE}}
PLANS["scd2"] = {"mode": "scd2", **CHANGE}
STRICT = {"expect": {"known": {"sql": "v <> 'bad'", "on_violation": "quarantine"}}}
FIRST = [
    {"id": 1, "seq": 1, "v": "a", "op": "i"},
    {"id": 2, "seq": 1, "v": "bad", "op": "i"},
    {"id": 3, "seq": 1, "v": "c", "op": "i"},
    {"id": 4, "seq": 1, "v": "d", "op": "i"},
    {"id": 4, "seq": 5, "v": "bad", "op": "u"},
    {"id": 6, "seq": 1, "v": "bad", "op": "i"},
]
SECOND = [
    {"id": 1, "seq": 4, "v": "A", "op": "u"},
    {"id": 1, "seq": 3, "v": "bad", "op": "u"},
    {"id": 2, "seq": 2, "op": "d"},
    {"id": 3, "seq": 2, "v": "bad", "op": "u"},
    {"id": 4, "seq": 4, "v": "D", "op": "u"},
    {"id": 5, "seq": 1, "v": "bad", "op": "i"},
]
"""Of the refused: older than what is there, older than a delete, the latest, later than what came after, new ones."""


def filled(folder, plan, step):
    lake = SmallLake(folder, source=HINTS, plan=plan, step=step)
    lake.put("a.json", lines(*FIRST))
    lake.run()
    lake.put("b.json", lines(*SECOND))
    lake.run()
    return lake


def state(lake):
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in lake.rows())


@pytest.mark.parametrize("plan", PLANS)
def test_the_table_is_as_if_they_had_never_been_refused(tmp_path, plan):
    never = filled(tmp_path / "never", PLANS[plan], {})
    lake = filled(tmp_path / "lake", PLANS[plan], STRICT)
    assert len(lake.quarantined()) == 6
    assert state(lake) != state(never)
    lake.step = {}
    told = balance(reprocess(lake))
    assert told["read"] == 6
    assert told["written"] + told["deduplicated"] == 6
    assert state(lake) == state(never)
    assert lake.quarantined() == []
    assert balance(reprocess(lake)) == {}
    assert lake.run().batches == []


def test_two_versions_of_an_object_count_in_the_order_of_time(tmp_path):
    """Of changes with one sequence the later version's counts, and each version is told what became of its rows."""
    lake = SmallLake(tmp_path, source=HINTS, plan=PLANS["merge"], step=STRICT)
    for version, value in enumerate(["one", "two", "three", "four"]):
        path = lake.put("a.json", lines({"id": 1, "seq": 1, "v": "bad", "op": "i", "n": value}))
        os.utime(path, (1_700_000_000 + version, 1_700_000_000 + version))
        lake.run()
    lake.step = {}
    assert balance(reprocess(lake)) == {"read": 4, "written": 1, "deduplicated": 3}
    assert lake.rows("id", "n") == [{"id": 1, "n": "four"}]


def test_a_merge_without_a_sequence_is_refused_by_name(tmp_path):
    """What was refused is earlier than what came since, and nothing says so."""
    plan = {name: value for name, value in PLANS["merge"].items() if name != "sequence"}
    lake = filled(tmp_path, plan, STRICT)
    before = state(lake)
    lake.step = {}
    with pytest.raises(ImportFailed, match="cannot be reprocessed") as caught:
        reprocess(lake)
    assert "sequence" in (caught.value.hint or "")
    assert state(lake) == before
    assert len(lake.quarantined()) == 6


AGAIN = """
import json, sys
from pathlib import Path
from tests.unit.importer.small_lake import SmallLake
from tests.unit.importer.test_reprocess import reprocess
from tests.unit.importer.test_reprocess_changes import HINTS
reprocess(SmallLake(Path(sys.argv[1]), source=HINTS, plan=json.loads(sys.argv[2])))
"""


@pytest.mark.parametrize("name", [*EVERY_IMPORT, *CHANGES, *REPROCESS])
def test_a_kill_moves_each_change_once(tmp_path, name):
    plan = PLANS["scd2"]
    never = filled(tmp_path / "never", plan, {})
    lake = filled(tmp_path / "lake", plan, STRICT)
    lake.step = {}
    done = python(AGAIN, str(lake.folder), json.dumps(plan), LAKERAY_FAILPOINTS=f"{name}=kill")
    assert done.returncode == -9, done.stdout + done.stderr
    reprocess(lake)
    assert state(lake) == state(never)
    assert lake.quarantined() == []
    assert lake.run().batches == []
