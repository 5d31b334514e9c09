"""The schema log says what changed, where it was seen first, and says it again after it was lost.

Crash point: between quarantine and ledger (``before_ledger_commit``, ``after_quarantine_commit``): the next run
records the batch from the winner's result, log included.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lakeray.delta.table import open_table
from lakeray.errors import ExactlyOnceError
from lakeray.importer.recording.amend import LedgerOf
from lakeray.importer.schema.log import versions
from tests.commands import python
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path)


def log(lake):
    handle = open_table(lake.table_uri)
    assert handle is not None
    return versions(lake.context().identity(handle))


def folder(lake):
    handle = open_table(lake.table_uri)
    assert handle is not None
    return Path(lake.context().identity(handle).folder) / "schemas"


def told(lake):
    """(version, batch, change, object's name)."""
    return [(v.version, v.batch, str(c), c.object and Path(c.object).name) for v in log(lake) for c in v.changes]


def stream(lake):
    """Seven batches, five versions."""
    lake.put("a.json", lines({"id": 1, "s": {"a": 1}, "n": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "s": {"a": 1}, "n": 1}))
    lake.run()
    lake.put("c.json", lines({"id": 3, "s": {"a": 1, "b": "x"}, "n": 1}))
    lake.put("d.json", lines({"id": 4, "s": {"a": 1, "b": "x"}, "new": True, "n": 1}))
    lake.run()
    lake.put("e.json", lines({"id": 5, "s": {"a": 2}, "n": "text"}))
    lake.run()
    lake.put("f.json", lines({"id": 6, "s": {"a": 2}, "n": "text again"}))
    lake.run()
    lake.put("g.json", lines({"id": 7, "s": {"a": 2}, "new": False, "n": 1, "N": 5}))
    lake.run()


EXPECTED = [
    (1, 1, "added id (int64)", "a.json"),
    (1, 1, "added s (struct<a: int64>)", "a.json"),
    (1, 1, "added n (int64)", "a.json"),
    (2, 3, "added s.b (string)", "c.json"),
    (2, 3, "added new (bool)", "d.json"),
    (3, 4, "absent new", "e.json"),
    (3, 4, "conflict n (int64 -> string)", "e.json"),
    (4, 6, "returned new", "g.json"),
    (4, 6, "left out N (int64)", "g.json"),
]


@pytest.mark.parametrize("slots", [1, 2])
def test_each_change_is_told_once_with_its_first_object(lake, slots):
    lake.slots = slots
    stream(lake)
    assert told(lake) == EXPECTED
    assert log(lake)[-1].columns["new"] == "bool"


def test_widened_columns_are_told(lake):
    lake.source = {"contract": {"types": "evolve", "widen": "rewrite"}}
    lake.put("a.json", lines({"id": 1, "n": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "n": 1.5}))
    summary = lake.run()
    assert told(lake)[-1] == (2, 2, "changed n (int64 -> float64)", "b.json")
    assert "batch 2: the source's schema changed: changed n (int64 -> float64)" in summary.notes


def test_the_report_says_it_in_one_line(lake):
    lake.put("a.json", lines({"id": 1}))
    assert not any("schema" in note for note in lake.run().notes)
    lake.put("b.json", lines({"id": 2, **{f"c{n}": 1 for n in range(9)}}))
    (note,) = [note for note in lake.run().notes if "schema" in note]
    assert note.startswith("batch 2: the source's schema changed: added c0 (int64)")
    assert note.endswith("and 4 more")


def test_a_lost_log_is_written_again_from_the_results(lake):
    stream(lake)
    shutil.rmtree(folder(lake))
    assert told(lake) == []
    LedgerOf(lake.context()).rebuild()
    assert told(lake) == EXPECTED


def test_a_damaged_log_says_what_to_do(lake):
    stream(lake)
    (folder(lake) / "0000000003.json").write_text("{")
    with pytest.raises(ExactlyOnceError, match=r"0000000003\.json"):
        told(lake)


@pytest.mark.parametrize("name", ["after_quarantine_commit", "before_ledger_commit", "after_commit"])
def test_killed_before_the_batch_is_recorded(lake, name):
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "x": 1}))
    code = (
        "import sys; from pathlib import Path; from tests.unit.importer.small_lake import SmallLake;"
        "SmallLake(Path(sys.argv[1])).run()"
    )
    done = python(code, str(lake.folder), LAKERAY_FAILPOINTS=f"{name}=kill")
    assert done.returncode == -9, done.stderr
    lake.run()
    assert told(lake) == [(1, 1, "added id (int64)", "a.json"), (2, 2, "added x (int64)", "b.json")]
