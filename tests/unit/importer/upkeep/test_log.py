"""The log gets shorter without losing what an import, a RESTORE or a reader may still ask it.

Crash points: log_entry_deleted, after the first and the second entry.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakeray.delta.commit import record_rows
from lakeray.delta.table import create_table, require_table, set_properties
from lakeray.delta.upkeep import restore, restores_since
from lakeray.errors import TableError
from lakeray.importer.upkeep.log import clean_log, needed_since, write_checkpoint
from tests.commands import python
from tests.unit.importer.small_lake import SmallLake, lines

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=40)


def log(uri: str) -> list[str]:
    return sorted(path.name for path in Path(uri, "_delta_log").glob("0*"))


def grow(uri: str, upto: int) -> None:
    for number in range(require_table(uri).version + 1, upto + 1):
        record_rows(uri, pa.table({"n": [number]}), app_id="app", number=number)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Checkpoints at the versions 3 and 6 of 8."""
    made = str(tmp_path / "t")
    create_table(made, pa.schema([("n", pa.int64())]))
    for version in (3, 6):
        grow(made, version)
        assert write_checkpoint(made) == version
    grow(made, 8)
    return made


def values(uri: str, version: int | None = None) -> list[int]:
    return sorted(DeltaTable(uri, version=version).to_pyarrow_table()["n"].to_pylist())


def test_old_entries_go_up_to_a_checkpoint(uri: str) -> None:
    assert clean_log(uri, now=dt.datetime.now(dt.UTC)).deleted == 0, "they are young"
    done = clean_log(uri, now=LATER)
    assert (done.deleted, done.kept_from, done.held_back_by) == (7, 6, None)
    assert log(uri)[0].startswith(f"{6:020d}")
    assert values(uri) == list(range(1, 9))
    assert values(uri, 7) == list(range(1, 8)), "what is kept can be read and restored"
    assert require_table(uri).transaction_version("app") == 8
    assert clean_log(uri, now=LATER).deleted == 0
    assert restore(uri, 7) == 9


def test_an_entry_goes_only_when_all_before_it_are_old(uri: str) -> None:
    for number in range(5):
        moment = time.time() - 40 * 86_400
        os.utime(Path(uri, "_delta_log", f"{number:020d}.json"), (moment, moment))
    assert clean_log(uri, now=dt.datetime.now(dt.UTC)).kept_from == 3
    assert values(uri, 4) == [1, 2, 3, 4]


def test_the_table_says_how_long_and_whether(uri: str) -> None:
    set_properties(uri, {"delta.logRetentionDuration": "interval 60 days"})
    assert clean_log(uri, now=LATER).deleted == 0
    set_properties(uri, {"delta.logRetentionDuration": "interval 1 hour", "delta.enableExpiredLogCleanup": "false"})
    assert clean_log(uri, now=LATER).deleted == 0


@pytest.mark.parametrize("count", [1, 2])
def test_killed_between_two_entries_it_leaves_a_shorter_log(uri: str, count: int) -> None:
    code = (
        "import datetime as dt; from lakeray.importer.upkeep.log import clean_log; "
        f"clean_log({uri!r}, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=40))"
    )
    assert python(code, LAKERAY_FAILPOINTS=f"log_entry_deleted=kill:{count}").returncode == -9
    assert values(uri) == list(range(1, 9))
    assert values(uri, 7) == list(range(1, 8))
    assert clean_log(uri, now=LATER).kept_from == 6
    assert values(uri) == list(range(1, 9))


def lake_schema(uri: str) -> pa.Schema:
    return require_table(uri).schema


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    lake = SmallLake(tmp_path)
    for number in range(3):
        lake.put(f"{number}.json", lines({"a": number}))
        lake.run()
    return lake


def test_what_an_import_has_not_looked_at_stays_however_old(lake: SmallLake) -> None:
    uri = lake.table_uri
    needed, who = needed_since(require_table(uri))
    assert who
    assert who.endswith("/ingest")
    for version in (needed - 1, needed + 1, needed + 3):  # another writer goes on
        while require_table(uri).version < version:
            rows = lake_schema(uri).empty_table()
            record_rows(uri, rows, app_id="other", number=require_table(uri).version + 1)
        write_checkpoint(uri)
    done = clean_log(uri, now=LATER)
    assert done.kept_from <= needed
    assert done.held_back_by == who
    restore(uri, needed)
    assert [one.to_version for one in restores_since(uri, needed - 1)] == [needed], "it can still be seen"
    lake.put("9.json", lines({"a": 9}))
    lake.plan = {"on_restore": "reimport"}
    lake.run()
    assert sorted(lake.rows("a")) == [0, 1, 2, 9]


def test_an_import_that_goes_on_lets_its_entries_go(lake: SmallLake) -> None:
    for number in range(3, 9):
        lake.put(f"{number}.json", lines({"a": number}))
        lake.run()
        write_checkpoint(lake.table_uri)
    done = clean_log(lake.table_uri, now=LATER)
    assert done.deleted > 0
    assert done.kept_from > 3
    lake.put("last.json", lines({"a": 99}))
    assert lake.run().rows.written == 1
    assert sorted(lake.rows("a")) == [*range(9), 99]
    assert lake.run().rows.written == 0


def test_an_import_without_a_readable_ledger_may_need_everything(lake: SmallLake) -> None:
    for path in Path(lake.ledger().identity.ledger_uri, "_delta_log").glob("*"):
        path.unlink()
    write_checkpoint(lake.table_uri)
    assert needed_since(require_table(lake.table_uri))[0] == 0
    assert clean_log(lake.table_uri, now=LATER).deleted == 0


def test_a_checkpoint_of_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no table"):
        write_checkpoint(str(tmp_path / "absent"))
