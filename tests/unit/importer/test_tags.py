"""The classification of columns is in the table's own metadata, and what is classified but not hidden is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

import lakeray
from lakeray.config import Settings
from lakeray.delta.table import require_table
from lakeray.delta.tags import set_tags, tags_of
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path, table={"tags": {"Email": ["pii", "contact"], "phone": ["pii"]}})


def test_tags_are_in_the_fields_of_the_table(lake: SmallLake) -> None:
    lake.put("a.json", lines({"id": 1, "email": "x"}))
    notes = lake.run().notes
    fields = {
        field["name"]: field["metadata"]
        for field in json.loads(DeltaTable(lake.table_uri).schema().to_json())["fields"]
    }
    assert fields["email"] == {"lakeray.tags": "pii,contact"}
    assert fields["id"] == {}
    assert "the tags of phone classify nothing: the table has no such column" in notes


def test_a_column_that_comes_later_is_tagged_then_and_only_once(lake: SmallLake) -> None:
    lake.put("a.json", lines({"id": 1, "email": "x"}))
    lake.run()
    lake.put("b.json", lines({"id": 2, "phone": "1"}))
    lake.run()
    handle = require_table(lake.table_uri)
    assert tags_of(handle) == {"email": ["pii", "contact"], "phone": ["pii"]}
    lake.run()
    assert require_table(lake.table_uri).version == handle.version
    assert lake.count() == 2


def test_an_empty_list_takes_tags_away_and_other_columns_keep_theirs(lake: SmallLake) -> None:
    lake.put("a.json", lines({"id": 1, "email": "x", "phone": "1"}))
    lake.run()
    assert set_tags(lake.table_uri, {"email": []}) == []
    assert tags_of(require_table(lake.table_uri)) == {"phone": ["pii"]}


def test_the_report_names_tagged_columns_that_no_mask_hides(lake: SmallLake) -> None:
    lake.step = {"mask": {"email": {"redact": True}}}
    lake.put("a.json", lines({"id": 1, "email": "x", "phone": "1"}))
    summary = lakeray.connect(settings=Settings(executor="inline")).run(lake.workflow()).result(timeout=60)
    assert summary.security == [
        "step ingest: column email is redacted, in the table and in quarantine",
        "step ingest: column phone is tagged pii, and stored as it comes: no mask",
    ]
    assert lakeray.connect().table(lake.table_uri).tags() == {"email": ["pii", "contact"], "phone": ["pii"]}
