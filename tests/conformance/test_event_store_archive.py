"""Ended runs leave the store through an archive that holds all of them, however often it is begun."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakeray.state import Event, EventStore, shard_of
from lakeray.state.archive import SCHEMA, Retention, archived_events, clean
from tests.conformance.event_stores import NOW, Backend, append, redis_backend, sqlite_backend

DAY_S = 86_400.0
KEEP = Retention(runs_s=DAY_S, answers_s=DAY_S)


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    context = (
        sqlite_backend(tmp_path)
        if request.param == "sqlite"
        else redis_backend(request.getfixturevalue("redis_server").url)
    )
    with context as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> EventStore:
    """Twelve runs, every third of them active, the others over for one day more each."""
    store = backend.open()
    leases = [store.lease(shard, "owner", 60) for shard in range(store.shards)]
    for number in range(12):
        name = f"r{number:02d}"
        lease = leases[shard_of(name, store.shards)]
        ended = None if number % 3 == 0 else NOW - timedelta(days=number)
        store.append(append(name, 0, lease, "x", "y", labels={"n": str(number)}))
        store.append(append(name, 2, lease, "z", labels={"n": str(number)}, ended_at=ended))
    return store


def histories(store: EventStore) -> dict[str, list[Event]]:
    return {run.run_id: store.read(run.run_id) for run in store.runs(limit=1000).runs}


def test_what_leaves_the_store_is_in_parquet(store: EventStore, tmp_path: Path) -> None:
    before = histories(store)
    count = clean(store, KEEP, now=NOW, write=lambda name, table: pq.write_table(table, tmp_path / f"{name}.parquet"))
    after = histories(store)
    assert count == 7
    assert set(before) - set(after) == {"r02", "r04", "r05", "r07", "r08", "r10", "r11"}
    table = pa.concat_tables([pq.read_table(path) for path in tmp_path.glob("*.parquet")])
    assert table.schema == SCHEMA
    assert {**archived_events(table), **after} == before
    assert {row["labels"] for row in table.to_pylist() if row["run_id"] == "r04"} == {'{"n":"4"}'}
    assert clean(store, KEEP, now=NOW, write=lambda name, table: pytest.fail("there is nothing left")) == 0


def test_an_archive_that_cannot_be_written_costs_no_run(store: EventStore) -> None:
    before = histories(store)

    def fail(name: str, table: pa.Table) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        clean(store, KEEP, now=NOW, write=fail)
    assert histories(store) == before


def test_runs_that_were_archived_and_not_forgotten_are_archived_once(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between archive and store: the same runs come under the same name, later ones beside them."""
    before = histories(store)
    written: dict[str, pa.Table] = {}
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "forget", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for days in (0, 0, 1):
            with pytest.raises(KeyboardInterrupt):
                clean(store, KEEP, now=NOW + timedelta(days=days), write=written.__setitem__)
    assert len(written) == 2
    clean(store, KEEP, now=NOW + timedelta(days=1), write=written.__setitem__)
    assert {**archived_events(pa.concat_tables(written.values())), **histories(store)} == before


def test_portions_are_bounded(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakeray.state.archive._BYTES_AT_ONCE", 2)
    before = histories(store)
    written: dict[str, pa.Table] = {}
    clean(store, KEEP, now=NOW, write=written.__setitem__)
    assert [table.num_rows for table in written.values()] == [3] * 7
    assert {**archived_events(pa.concat_tables(written.values())), **histories(store)} == before
