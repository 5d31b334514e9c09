"""Manifests and results come back as they were stored; a damaged one is named, never guessed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.delta.staged import StagedFile
from lakeray.errors import ExactlyOnceError
from lakeray.importer.identity import ImportId, pipeline_id
from lakeray.importer.manifest import Manifest, PlannedObject, load_manifest, manifest_uri, new_manifest, store_manifest
from lakeray.importer.recording.summary import ExpectationSummary, Rows
from lakeray.importer.result import ObjectOutcome, Result, load_result, result_uri, store_result
from lakeray.objects import ObjectInfo

AT = datetime(2024, 1, 1, 12, 30, 0, 123457, tzinfo=UTC)
moments = st.datetimes(timezones=st.just(UTC))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
infos = st.builds(
    ObjectInfo,
    uri=texts,
    size=st.integers(0, 2**53),
    etag=st.none() | texts,
    version_id=st.none() | texts,
    modified_at=moments,
)
going = st.builds(
    PlannedObject.going,
    infos,
    fate=st.sampled_from(["replaced", "deleted", "withdrawn", "compensated"]),
    takes=st.integers(1, 2**53),
)
planned = st.builds(PlannedObject, info=infos, tries=st.integers(0, 9), skip=st.none() | texts) | going
counts = st.builds(
    Rows,
    read=st.integers(0, 2**53),
    written=st.integers(0, 9),
    quarantined=st.integers(0, 9),
    rescued=st.integers(0, 9),
)
outcomes = st.builds(
    ObjectOutcome,
    planned=planned,
    outcome=st.sampled_from(["loaded", "partly_loaded", "failed", "superseded", "skipped", "poison"]),
    rows=counts,
    bytes_read=st.integers(0, 2**53),
    rows_removed=st.integers(0, 2**53),
) | st.builds(
    ObjectOutcome,
    planned=planned,
    outcome=st.just("failed"),
    code=texts,
    error=texts.filter(bool),
    line=st.none() | st.integers(1, 2**53),
    column=st.just(3),
)
staged = st.builds(
    StagedFile,
    path=texts,
    size_bytes=st.integers(0, 2**53),
    rows=st.integers(0, 2**53),
    partition_values=st.dictionaries(texts, st.none() | texts, max_size=2),
    modified_ms=st.integers(0, 2**53),
    stats=texts,
)


def identity(tmp_path, table_id="t-1"):
    return ImportId(
        pipeline=pipeline_id("acme", "w"), workflow="w", step="ingest", table_uri=str(tmp_path / "t"), table_id=table_id
    )


def a_manifest(tmp_path, batch=1, **more):
    info = ObjectInfo(uri="/raw/a", size=3, etag="e", version_id=None, modified_at=AT)
    values = {"source_uri": "/raw/", "objects": [PlannedObject(info=info)], "mode": "append", "now": AT, **more}
    return new_manifest(identity(tmp_path), batch=batch, **values)


def a_result(**more):
    values = {
        "batch": 1,
        "attempt": "a1",
        "run_id": "r",
        "manifest_nonce": "n",
        "created_at": AT.isoformat(),
        "outcomes": [],
        "files": [],
        "quarantine_files": [],
        "source_schema": {"id": "int64"},
    }
    return Result(**{**values, **more})


@given(
    objects=st.lists(planned, max_size=5),
    now=moments,
    batch=st.integers(1, 10**9),
    replays=st.none() | st.integers(1, 9),
)
def test_a_manifest_comes_back(objects, now, batch, replays):
    stored = Manifest(
        batch=batch,
        app_id="a",
        source_uri="s",
        created_at=now,
        seed=2**63 - 1,
        nonce="n",
        mode="append",
        objects=objects,
        replays=replays,
    )
    assert Manifest.from_bytes(stored.to_bytes(), uri="u") == stored


@given(found=st.lists(outcomes, max_size=5), files=st.lists(staged, max_size=3))
def test_a_result_comes_back(found, files):
    stored = a_result(
        outcomes=found,
        files=files,
        quarantine_files=files[:1],
        new_columns=["x"],
        expectations={"e": ExpectationSummary(on_violation="drop", checked=4, violated=1)},
        replays=3,
        restores_checked=7,
    )
    assert Result.from_bytes(stored.to_bytes(), uri="u") == stored


def test_times_keep_their_microsecond_and_their_instant():
    shifted = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    item = PlannedObject(info=ObjectInfo(uri="/a", size=1, etag=None, version_id="v", modified_at=shifted))
    assert PlannedObject.from_list(item.to_list()).info.modified_at == AT


def test_of_two_planners_one_wins(tmp_path):
    first, second = a_manifest(tmp_path), a_manifest(tmp_path)
    assert store_manifest(identity(tmp_path), first)
    assert not store_manifest(identity(tmp_path), second)
    assert load_manifest(identity(tmp_path), 1) == first
    assert load_manifest(identity(tmp_path), 2) is None


def test_the_manifest_of_another_table_under_the_path_is_refused(tmp_path):
    store_manifest(identity(tmp_path), a_manifest(tmp_path))
    with pytest.raises(ExactlyOnceError, match="planned for another table") as error:
        load_manifest(identity(tmp_path, "t-2"), 1)
    assert error.value.uri == manifest_uri(identity(tmp_path), 1)


def _cut(data):
    return data[: len(data) // 2]


def _no_object(data):
    return b"[1]"


def _other_type(data):
    return orjson.dumps({**orjson.loads(data), "objects": 5, "outcomes": 5})


def _more(data):
    return orjson.dumps({**orjson.loads(data), "unheard_of": 5})


def _without_format(data):
    raw = orjson.loads(data)
    del raw["format"]
    return orjson.dumps(raw)


DAMAGES = [
    _cut,
    _no_object,
    _other_type,
    _more,
    _without_format,
    lambda data: b"",
    lambda data: b"null",
    lambda data: b"\xff\xfe",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["manifest", "result"])
def test_a_damaged_file_is_named(tmp_path, damage, kind):
    who = identity(tmp_path)
    store_manifest(who, a_manifest(tmp_path))
    store_result(who, a_result())
    uri = manifest_uri(who, 1) if kind == "manifest" else result_uri(who, a_result().name)
    Path(uri).write_bytes(damage(Path(uri).read_bytes()))
    with pytest.raises(ExactlyOnceError) as error:
        load_manifest(who, 1) if kind == "manifest" else load_result(who, a_result().name)
    assert error.value.uri == uri
    assert error.value.hint


@pytest.mark.parametrize("cls", [Manifest, Result])
def test_a_newer_format_asks_for_an_upgrade(tmp_path, cls):
    data = orjson.loads(a_manifest(tmp_path).to_bytes() if cls is Manifest else a_result().to_bytes())
    with pytest.raises(ExactlyOnceError, match="newer version") as error:
        cls.from_bytes(orjson.dumps({**data, "format": 2}), uri="/u")
    assert error.value.hint == "upgrade lakeray"


def test_a_result_that_is_gone_is_named(tmp_path):
    with pytest.raises(ExactlyOnceError, match="0000000001-a1") as error:
        load_result(identity(tmp_path), a_result().name)
    assert error.value.uri == result_uri(identity(tmp_path), a_result().name)


def test_a_pipeline_is_the_same_on_every_machine_and_in_every_release():
    assert pipeline_id("acme", "orders") == uuid.UUID("21253ec9-2133-5c68-82df-9056578b4bf7")
    assert pipeline_id("acme", "orders") != pipeline_id("orders", "acme")
