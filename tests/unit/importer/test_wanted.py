"""SQL may read a column that the first sample does not show, wherever an object of the batch shows it."""

from __future__ import annotations

import gzip
import os

import pytest

from lakeray.errors import TransformError
from lakeray.importer.schema import wanted
from tests.unit.importer.small_lake import SmallLake, lines

WHERE = {"where": "status IS NULL OR status <> 'test'"}


@pytest.fixture
def lake(tmp_path):
    """Twenty objects without the column; the sample is of the first, the largest and six others."""
    lake = SmallLake(tmp_path, step=dict(WHERE))
    for number in range(20):
        lake.put(f"{number:02d}.json", lines({"id": number, "note": "x" * (500 if number == 0 else 1)}))
    return lake


def test_in_an_object_outside_the_sample(lake):
    lake.put("06.json", lines({"id": 6, "status": "test"}, {"id": 50, "status": "new"}))
    summary = lake.run()
    assert (summary.rows.written, summary.rows.filtered) == (20, 1)
    assert lake.schema()["status"] == "string"
    assert {row["id"]: row["status"] for row in lake.rows("id", "status")}[50] == "new"


def test_far_behind_in_an_object(lake):
    lake.put("06.json", lines(*({"id": 100 + n} for n in range(20_000)), {"id": 6, "status": "test"}))
    assert lake.run().rows.filtered == 1


def test_in_a_computed_column_with_its_type(lake):
    lake.step = {"select": {"double": "amount * 2"}}
    lake.put("06.json", lines({"id": 6, "amount": 3}))
    lake.run()
    assert lake.schema()["double"] == "int64"
    assert {row["id"]: row["double"] for row in lake.rows("id", "double")}[6] == 6


def test_a_column_that_only_today_has_a_reader(lake):
    """The table is there, its source's columns are known from earlier batches, then the workflow is changed."""
    lake.step = {}
    lake.run()
    lake.step = dict(WHERE)
    lake.put("new1.json", lines({"id": 100}))
    lake.put("new2.json", lines({"id": 101, "status": "test"}))
    assert lake.run().rows.filtered == 1


def test_nowhere_it_names_the_hint_to_write(lake):
    with pytest.raises(TransformError) as caught:
        lake.run()
    assert "reads the column 'status', which does not exist in any object that was looked at" in caught.value.message
    assert "`schema_hints: {status: string}` under sources.s" in caught.value.hint
    assert not lake.folder.joinpath("silver").exists()
    lake.source = {"schema_hints": {"status": "string"}}
    assert lake.run().rows.written == 20


def test_a_misspelt_column_is_still_recognised(lake):
    lake.step = {"where": "idd > 3"}
    with pytest.raises(TransformError) as caught:
        lake.run()
    assert "did you mean 'id'?" in caught.value.hint


def test_looking_has_an_end_and_begins_with_the_newest(lake, monkeypatch):
    monkeypatch.setattr(wanted, "LOOKED_AT", 3)
    for number in range(20):
        os.utime(lake.raw / f"{number:02d}.json", (1000 + number, 1000 + number))
    lake.put("06.json", lines({"id": 6, "status": "test"}))
    os.utime(lake.raw / "06.json", (10, 10))
    with pytest.raises(TransformError, match="does not exist in any object"):
        lake.run()
    os.utime(lake.raw / "06.json", (9000, 9000))
    assert lake.run().rows.filtered == 1


def test_a_corrupt_object_on_the_way_is_no_obstacle(lake):
    lake.put("98.json.gz", gzip.compress(lines({"id": 98, "status": "new"}))[:-9])
    lake.put("06.json", lines({"id": 6, "status": "test"}))
    assert lake.run().rows.filtered == 1
