"""Manifests and results with child tables come back whole, under a format that earlier versions refuse."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from lakeray.delta.staged import StagedFile
from lakeray.errors import ExactlyOnceError
from lakeray.importer.manifest import Manifest
from lakeray.importer.result import Result
from lakeray.importer.unnest.record import ChildBatch, PlannedChild, planned_children, with_children
from tests.unit.importer.test_stored_records import a_manifest, a_result

CHILD = PlannedChild(name="items", uri="/t/items", table_id="i", previous=3, checked=7)
FILE = StagedFile(path="p", size_bytes=1, rows=2, partition_values={}, modified_ms=3, stats="{}")


def test_a_manifest_comes_back(tmp_path):
    stored = a_manifest(tmp_path, extra=with_children({"unnest": ["of another"]}, [CHILD]))
    found = Manifest.from_bytes(stored.to_bytes(), uri="u")
    assert found == stored
    assert planned_children(found.extra) == [CHILD]
    raw = orjson.loads(stored.to_bytes())
    assert raw["format"] == 3
    with pytest.raises(ExactlyOnceError, match="newer version"):
        Manifest.from_bytes(orjson.dumps({**raw, "format": 4}), uri="u")


def test_a_result_comes_back():
    child = replace(ChildBatch.empty(CHILD), files=[FILE])
    stored = a_result(children=[child])
    found = Result.from_bytes(stored.to_bytes(), uri="u")
    assert found == stored
    assert found.children[0].rows == 2
    assert orjson.loads(stored.to_bytes())["format"] == 3


def test_without_child_tables_the_formats_stay(tmp_path):
    assert with_children({"unnest": [1]}, []) == {}
    assert orjson.loads(a_manifest(tmp_path).to_bytes())["format"] == 1
    assert orjson.loads(a_result().to_bytes())["format"] == 1
