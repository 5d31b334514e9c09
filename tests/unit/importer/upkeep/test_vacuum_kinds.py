"""Vacuum takes change data of old versions, scratch files and leftovers, each in its time and nothing else."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lakeray.delta.files import data_files
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.table import TableHandle, create_table, require_table
from lakeray.delta.vacuum import interval, vacuum
from lakeray.delta.writer import StagedWriter

SCHEMA = pa.schema([("n", pa.int64())])


def age(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def change(uri: str, number: int) -> str:
    """Commit a change with a change data file; its path."""
    from dataclasses import replace

    def staged(root: str, schema: pa.Schema, name: str) -> list:
        writer = StagedWriter(root, schema=schema, partition_by=[], prefix=f"{name}-{number}")
        writer.write(pa.table({item.name: pa.array([number if item.name == "n" else "x"]) for item in schema}))
        return writer.close()

    changes = staged(f"{uri}/_change_data", SCHEMA.append(pa.field("_change_type", pa.string())), "cdc")
    changes = [replace(file, path=f"_change_data/{file.path}") for file in changes]

    def plan(handle: TableHandle) -> Rewrite:
        return Rewrite(adds=staged(uri, SCHEMA, "part"), removes=data_files(handle), changes=changes)

    commit_rewrite(uri, app_id="a", number=number, previous=number - 1 or None, plan=plan, operation="MERGE")
    return changes[0].path


@pytest.fixture
def uri(tmp_path: Path) -> str:
    made = str(tmp_path / "t")
    create_table(made, SCHEMA, properties={"delta.enableChangeDataFeed": "true"})
    return made


def backdate(uri: str, version: int, days: float) -> None:
    """As if the commit were that old."""
    entry = Path(uri, "_delta_log", f"{version:020d}.json")
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    for action in actions:
        if "commitInfo" in action:
            action["commitInfo"]["timestamp"] -= int(days * 86_400_000)
    entry.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_change_data_of_versions_within_the_retention_stays(uri: str) -> None:
    old, young = change(uri, 1), change(uri, 2)
    for path in (old, young):
        age(Path(uri, path), 30)  # staged long before the commit, as of a long batch
    backdate(uri, 1, 30)
    found = vacuum(uri)
    assert [(file.path, file.kind) for file in found] == [(old, "change_data")]
    assert found[0].size_bytes == Path(uri, old).stat().st_size
    assert vacuum(uri, protected={old}) == []
    assert vacuum(uri, dry_run=False) == found
    assert not Path(uri, old).exists()
    assert Path(uri, young).exists()
    assert vacuum(uri) == []


def test_scratch_and_leftovers_go_after_a_day_whatever_retention(uri: str) -> None:
    change(uri, 1)
    places = [
        "_lakeray/optimize/x/a.parquet",
        "_delta_log/.lakeray-tmp-1",
        ".lakeray-tmp-2",
        "_lakeray/p/.lakeray-tmp-3",
    ]
    for name in places:
        for suffix, days in (("", 2.0), (".young", 0.5)):
            path = Path(uri, name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"12345")
            age(path, days)
    kept = Path(uri, "_lakeray/p/s/ledger/part.parquet")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x")
    age(kept, 400)
    for hours in (0, 1000):
        found = [file for file in vacuum(uri, hours) if file.kind in ("scratch", "leftover")]
        assert sorted(file.path for file in found) == sorted(places)
        assert {file.size_bytes for file in found} == {5}
    vacuum(uri, 0, dry_run=False)
    assert not any(Path(uri, name).exists() for name in places)
    assert all(Path(uri, name + ".young").exists() for name in places)
    assert kept.exists()


def test_removed_files_have_their_size_and_are_listed_once(uri: str) -> None:
    change(uri, 1)
    change(uri, 2)
    found = [file for file in vacuum(uri, 0, dry_run=False) if file.kind == "removed"]
    assert [file.path for file in found] == ["part-1-00000.parquet"]
    assert found[0].size_bytes > 0
    assert not [file for file in vacuum(uri, 0) if file.kind == "removed"], "it is gone already"
    assert len(data_files(require_table(uri))) == 1


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("interval 30 days", 720),
        ("INTERVAL 1 week", 168),
        ("interval 90 minutes", 1.5),
        ("", 5),
        (None, 5),
        ("soon", 5),
    ],
)
def test_intervals_as_properties_spell_them(text: str | None, hours: float) -> None:
    assert interval(text, hours=5) == dt.timedelta(hours=hours)
