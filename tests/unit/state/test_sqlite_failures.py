"""A state file without space, without permission, in others' hands or from a backup says so, and loses nothing."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakeray.errors import HistoryWentBack, LeaseHeld, StateUnavailable
from lakeray.state import Append, Snapshot, open_event_store
from lakeray.state.sqlite import schema, writer
from lakeray.state.sqlite.store import SqliteStore
from tests.conformance.event_stores import append, run_ids, told
from tests.forks import exit_code, fork

RUN = run_ids(3, 16, 1)[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as store:
        yield store


def until_refused(store: SqliteStore, number: int = 0) -> Append:
    """Append until the store refuses; what it refused."""
    lease = store.lease(3, "owner", 60)
    while True:
        item = append(RUN, number, lease, "x" * 5000)
        try:
            store.append(item)
        except StateUnavailable:
            return item
        number += 1
        assert number < 1000, "the store never ran full"


def goes_on(store: SqliteStore, refused: Append) -> None:
    """What was refused can be asked again and happens once, without anything being opened anew."""
    assert len(store.read(RUN)) == refused.expected
    done = store.append(refused)
    assert store.append(refused) == done
    assert [event.sequence for event in store.read(RUN)] == list(range(1, refused.expected + 2))


def test_a_commit_waits_for_the_disk(store: SqliteStore, path: Path) -> None:
    """https://www.sqlite.org/pragma.html#pragma_synchronous: 2 is FULL."""
    assert store.durability.mode == "disk"
    connection = schema.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def test_a_file_that_may_not_grow_loses_nothing(path: Path) -> None:
    """A limit of the operating system stands for the full disk; then it is lifted."""

    def work() -> None:
        with SqliteStore(path) as store:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, hard))
            refused = until_refused(store)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            goes_on(store, refused)

    assert exit_code(fork(work)) == 0


def test_a_full_disk_says_so_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own answer for a full disk, which a limit of pages brings about."""
    pages = [200]

    def connect(path: Path) -> sqlite3.Connection:
        connection = schema.connect(path)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    monkeypatch.setattr(writer, "connect", connect)
    with SqliteStore(path) as store:
        refused = until_refused(store)
        with pytest.raises(StateUnavailable, match=r"database or disk is full\n  -> free disk space"):
            store.append(refused)
        pages[0] = 10_000
        goes_on(store, refused)


def test_a_folder_that_may_not_be_written_says_so() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "state.db"
        with SqliteStore(path) as store:
            store.append(append(RUN, 0, store.lease(3, "owner", 60)))
        for name in (path, path.with_name("state.db.owner")):
            name.chmod(0o444)
        folder.chmod(0o555)

        def work() -> None:
            if os.getuid() == 0:
                os.setuid(65_534)  # nobody: permissions mean nothing to root
            for uri in (f"sqlite:///{path}", f"sqlite:///{folder}/other.db", f"sqlite:///{folder}/deep/other.db"):
                with pytest.raises(StateUnavailable) as refused:
                    open_event_store(uri).put("k", b"", expected=0)
                assert refused.value.hint, refused.value

        assert exit_code(fork(work)) == 0
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_transaction_of_another_program_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    with SqliteStore(path) as store, sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnavailable, match=r"locked\n  -> another process holds the file"):
            store.put("k", b"", expected=0)
        assert store.get("k") is None, "readers are not held up"
        other.execute("COMMIT")
        store.put("k", b"", expected=0)


def test_events_that_are_lost_are_seen_by_owner_and_follower(store: SqliteStore, path: Path) -> None:
    """The newest two appends disappear under the owner, as from a file system that lied about its sync."""
    lease = store.lease(3, "owner", 60)
    first = store.append(append(RUN, 0, lease, "kept"))
    other = run_ids(3, 16, 2)[1]
    store.append(append(RUN, 1, lease, "lost"))
    last = store.append(append(other, 0, lease, "lost"))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM events WHERE position > ?", (first.position,))
        connection.execute("UPDATE runs SET sequence = 1 WHERE run_id = ?", (RUN,))
        connection.execute("DELETE FROM runs WHERE run_id = ?", (other,))
        connection.execute("UPDATE shards SET position = ? WHERE shard = 3", (first.position,))
    with pytest.raises(HistoryWentBack, match=f"{RUN} had 2 events, the store has 1"):
        store.append(append(RUN, 2, lease))
    third = run_ids(3, 16, 3)[2]
    with pytest.raises(HistoryWentBack, match=f"up to position {last.position} were acknowledged"):
        store.append(append(third, 0, lease))
    with pytest.raises(HistoryWentBack):
        store.feed(3, last.position, 10)
    again = store.lease(3, "owner", 60)
    assert store.append(append(third, 0, again)).position > last.position, "no position comes back"
    with pytest.raises(HistoryWentBack, match="read the shard's runs again"):
        store.feed(3, last.position, 10)


def test_a_backup_that_was_put_back_is_seen_by_a_follower(path: Path) -> None:
    with SqliteStore(path) as store:
        lease = store.lease(3, "owner", 60)
        store.append(append(RUN, 0, lease))
    copy = path.read_bytes()
    with SqliteStore(path) as store:
        lease = store.lease(3, "owner", 60)
        last = store.append(append(RUN, 1, lease)).position
    path.write_bytes(copy)
    with SqliteStore(path) as store:
        with pytest.raises(HistoryWentBack):
            store.feed(3, last, 10)
        lease = store.lease(3, "owner", 60)
        store.append(append(RUN, 1, lease, "another history"))
        with pytest.raises(HistoryWentBack):
            store.feed(3, last, 10)


def test_a_damaged_snapshot_is_ignored_aloud(store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.append(append(RUN, 0, store.lease(3, "owner", 60)))
    store.save_snapshot(Snapshot(run_id=RUN, sequence=1, version=1, data=b"state"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE snapshots SET sealed = substr(sealed, 1, 30)")
    assert store.load_snapshot(RUN) is None
    assert f"the snapshot of run {RUN} is damaged" in caplog.text


def test_a_damaged_file_says_so(path: Path) -> None:
    with SqliteStore(path) as store:
        store.append(append(RUN, 0, store.lease(3, "owner", 60)))
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StateUnavailable, match="malformed") as told_so, SqliteStore(path) as store:
        store.read(RUN)
    assert "restore a backup" in str(told_so.value)


def test_the_owner_of_a_file_is_named_and_gone_with_its_process(path: Path) -> None:
    def work() -> None:
        SqliteStore(path).lease(3, "first", 3600)
        os.kill(os.getpid(), 9)

    assert exit_code(fork(work)) == -9
    with SqliteStore(path) as store:
        store.lease(3, "second", 3600)
        with SqliteStore(path) as another, pytest.raises(LeaseHeld, match=f"second, process {os.getpid()} on "):
            another.lease(4, "third", 3600)
    path.with_name("state.db.owner").write_text("no JSON")
    with SqliteStore(path) as store:
        store.lease(3, "fourth", 3600)


def test_everything_waits_for_one_sync_together(store: SqliteStore, path: Path) -> None:
    """Group commit: a hundred appends at once take far fewer transactions."""
    lease = store.lease(3, "owner", 60)
    commits = []
    transaction = writer._transaction

    def counted(connection: sqlite3.Connection, works: list[writer.Work]) -> list[object]:
        commits.append(len(works))
        return transaction(connection, works)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_transaction", counted)
        futures = [store.submit(append(name, 0, lease)) for name in run_ids(3, 16, 100)]
        assert {future.result(30).sequence for future in futures} == {1}
    assert sum(commits) == 100
    assert len(commits) < 50
    assert told(store.read(RUN)) == [(1, "something")]
