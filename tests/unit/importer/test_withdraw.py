"""The rows of a batch can be taken back, exactly those, once, whatever was written since.

Crash points: every failpoint that a withdrawal passes (``KILLED_AT``); the same call again must end as if nothing had
happened.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import lakeray
from lakeray.config import Settings
from lakeray.delta.table import require_table
from lakeray.delta.upkeep import history
from lakeray.errors import ImportFailed, SpecError
from lakeray.failpoints import EVERY_IMPORT, TAKE_OUT
from lakeray.importer.provenance import withdraw as module
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.runtime.upkeep import TableOf
from tests.unit.importer.small_lake import SmallLake, lines
from tests.unit.importer.test_taking_out import ids

NEVER = ("task_started", "task_staged", "before_result", "after_result")
KILLED_AT = [name for name in (*EVERY_IMPORT, *TAKE_OUT) if name not in NEVER]


@pytest.fixture
def lake(tmp_path):
    """Three batches: 0 and 10; 1 and 11, with a refused row; 2 and 12."""
    lake = SmallLake(tmp_path, table={"provenance": True})
    for number in range(3):
        more = [b"{"] if number == 1 else []
        lake.put(f"{number}.json", lines({"id": number}, {"id": number + 10}, *more))
        lake.run()
    return lake


def test_rows_and_refused_rows_of_the_batch_go_in_one_commit_and_are_not_imported_again(lake):
    TableOf(lake.table_uri).optimize()
    version = require_table(lake.table_uri).version
    done = withdraw(lake.context(), batches=[2])
    assert (done.number, done.rows_removed) == (4, 2)
    assert ids(lake) == [0, 2, 10, 12]
    assert lake.quarantined() == []
    assert require_table(lake.table_uri).version == version + 1
    assert history(lake.table_uri, 1)[0].operation == "DELETE"
    assert lake.outcomes()["1.json"] == "withdrawn"
    assert lake.run().batches == []
    assert ids(lake) == [0, 2, 10, 12]


def test_again_it_changes_nothing(lake):
    withdraw(lake.context(), batches=[1, 2])
    version = require_table(lake.table_uri).version
    assert withdraw(lake.context(), batches=[1, 2]) is None
    assert withdraw(lake.context(), batches=[2]) is None
    assert require_table(lake.table_uri).version == version
    assert ids(lake) == [2, 12]


def test_after_a_reset_the_objects_are_imported_again(lake):
    withdraw(lake.context(), batches=[2])
    rows = lake.ledger_rows()
    lake.ledger().reset(rows.filter(pc.equal(rows["outcome"], "withdrawn")), now=lake.now)
    lake.run()
    assert ids(lake) == [0, 1, 2, 10, 11, 12]
    assert len(lake.quarantined()) == 1
    withdraw(lake.context(), batches=[5])
    assert ids(lake) == [0, 2, 10, 12]


def test_of_an_object_that_was_loaded_twice_the_other_load_stays(lake):
    rows = lake.ledger_rows()
    lake.ledger().reset(rows.filter(pc.equal(rows["uri"], lake.uri("0.json"))), now=lake.now)
    lake.run()
    assert ids(lake) == [0, 0, 1, 2, 10, 10, 11, 12]
    withdraw(lake.context(), batches=[1])
    assert ids(lake) == [0, 1, 2, 10, 11, 12]
    lake.run()
    assert ids(lake) == [0, 1, 2, 10, 11, 12]
    withdraw(lake.context(), batches=[4])
    assert ids(lake) == [1, 2, 11, 12]


def test_a_run_names_its_batches(lake):
    assert withdraw(lake.context(), run_id="nobody's") is None
    done = withdraw(lake.context(), run_id="run-1")
    assert done.rows_removed == 6
    assert ids(lake) == []


def test_rows_of_a_merge_belong_to_their_latest_change(tmp_path):
    lake = SmallLake(tmp_path, table={"provenance": True}, plan={"mode": "merge", "key": ["id"]})
    lake.put("a.json", lines({"id": 1, "v": "a"}, {"id": 2, "v": "a"}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "v": "b"}, {"id": 3, "v": "b"}))
    lake.run()
    TableOf(lake.table_uri).optimize()
    withdraw(lake.context(), batches=[1])
    assert sorted((row["id"], row["v"]) for row in lake.rows("id", "v")) == [(2, "b"), (3, "b")]
    withdraw(lake.context(), batches=[2])
    assert ids(lake) == []


def test_deleted_objects_of_a_merge_take_their_rows_with_them(tmp_path):
    source = {"deleted_objects": "delete", "deletion_guard": 1.0}
    lake = SmallLake(tmp_path, source=source, plan={"mode": "merge", "key": ["id"]})
    lake.put("a.json", lines({"id": 1, "v": "a"}, {"id": 2, "v": "a"}))
    lake.put("b.json", lines({"id": 2, "v": "b"}, {"id": 3, "v": "b"}))
    lake.run()
    (lake.raw / "b.json").unlink()
    lake.put("c.json", lines({"id": 4, "v": "c"}))
    lake.run()
    assert sorted((row["id"], row["v"]) for row in lake.rows("id", "v")) == [(1, "a"), (4, "c")]


@pytest.mark.parametrize("number", [0, 4, 99])
def test_a_batch_that_is_not_there_is_said(lake, number):
    with pytest.raises(ImportFailed, match=f"no batch {number}"):
        withdraw(lake.context(), batches=[1, number])
    assert len(ids(lake)) == 6


def test_rows_that_do_not_say_where_they_came_from_are_refused(tmp_path):
    lake = SmallLake(tmp_path)
    lake.put("a.json", lines({"id": 1}))
    lake.run()
    lake.table = {"provenance": True}
    lake.put("b.json", lines({"id": 2}))
    lake.run()
    with pytest.raises(ImportFailed, match="rows of batch 1 do not say"):
        withdraw(lake.context(), batches=[1, 2])
    assert ids(lake) == [1, 2]
    withdraw(lake.context(), batches=[2])
    assert ids(lake) == [1]


def test_nothing_is_withdrawn_before_an_open_batch_is_finished(lake, monkeypatch):
    def crash(name):
        if name == "after_manifest":
            raise KeyboardInterrupt

    from lakeray.importer import loop

    lake.put("3.json", lines({"id": 3}))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "failpoint", crash)
        with pytest.raises(KeyboardInterrupt):
            lake.run()
    with pytest.raises(ImportFailed, match="batch 4 was planned and is not finished"):
        withdraw(lake.context(), batches=[1])
    lake.run()
    withdraw(lake.context(), batches=[1])
    assert ids(lake) == [1, 2, 3, 11, 12]


def test_a_withdrawal_that_was_left_half_done_is_finished_by_the_next_import(lake, monkeypatch):
    def crash(name):
        if name == "after_manifest":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "failpoint", crash)
        with pytest.raises(KeyboardInterrupt):
            withdraw(lake.context(), batches=[2])
    assert len(ids(lake)) == 6
    lake.put("3.json", lines({"id": 3}))
    summary = lake.run()
    assert ids(lake) == [0, 2, 3, 10, 12]
    assert summary.rows_removed == 2


def test_of_two_withdrawals_at_once_each_counts_once(lake, monkeypatch):
    done = []

    def meanwhile(name):
        if name == "before_manifest" and not done:
            done.append(1)
            withdraw(lake.context(), batches=[1])

    monkeypatch.setattr(module, "failpoint", meanwhile)
    withdraw(lake.context(), batches=[1, 2])
    assert ids(lake) == [2, 12]
    rows = lake.ledger().rows("outcome = 'withdrawn'")
    assert sorted(zip(rows["takes"].to_pylist(), rows["rows_removed"].to_pylist(), strict=True)) == [(1, 2), (2, 2)]


WORKFLOW = """
workflow: w
tenant: acme
sources:
  good: {{uri: {folder}/good/, format: json}}
  bad: {{uri: {folder}/bad/, format: json}}
tables:
  one: {{uri: {folder}/one}}
  two: {{uri: {folder}/two}}
steps:
  first: {{import: {{from: good, into: one}}, compensate: withdraw}}
  second: {{after: [first], import: {{from: bad, into: two}}, retry: {{maximum_attempts: 1}}}}
"""


def test_a_step_that_fails_for_good_takes_the_rows_of_those_before_with_it(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "a.json").write_bytes(lines({"id": 1}))
    file = tmp_path / "w.yaml"
    file.write_text(WORKFLOW.format(folder=tmp_path))
    lake = lakeray.connect(settings=Settings(executor="inline", catalog=str(tmp_path / "catalog")))
    (tmp_path / "bad" / "a.json").write_bytes(lines({"id": 1}))
    assert lake.run(file).result().state == "succeeded"
    (tmp_path / "good" / "b.json").write_bytes(lines({"id": 2}))
    (tmp_path / "bad" / "a.json").write_bytes(b"\xff\xfe\x00 no json")
    file.write_text(
        WORKFLOW.format(folder=tmp_path).replace("bad/, format: json", "bad/, format: json, changed_objects: fail")
    )
    failed = lake.run(file).result()
    assert failed.state == "failed"
    assert any("step first: 1 rows of this run were withdrawn" in note for note in failed.notes)
    assert numbers(tmp_path / "one") == [1]
    file.write_text(WORKFLOW.format(folder=tmp_path))
    assert lake.run(file).result().state == "succeeded"
    assert numbers(tmp_path / "one") == [1, 2]
    assert lake.run(file).result().state == "succeeded"
    assert numbers(tmp_path / "one") == [1, 2]


def numbers(path):
    from tests.sample_lake import read

    return sorted(read(str(path))["id"].to_pylist())


def test_lake_withdraw_asks_for_something(tmp_path):
    with pytest.raises(SpecError, match="nothing says what"):
        lakeray.connect().withdraw(tmp_path / "none.yaml")


def test_an_older_ledger_is_widened(lake):
    """A ledger of a version that knew no provenance gets the columns with the next batch."""
    assert {"takes", "rows_removed", "provenance"} <= set(lake.ledger().open().schema.names)
    assert pa.types.is_boolean(lake.ledger().rows()["provenance"].type)
