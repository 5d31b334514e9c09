"""A store's own format goes forward only, when it is asked to, and a dry run changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lakeray.errors import ConfigError, LeaseHeld, StateFormat, StateUnavailable
from lakeray.state import open_event_store
from lakeray.state.migrations import Step, migrate
from lakeray.state.sqlite import schema
from tests.conformance.event_stores import append, run_ids, told
from tests.servers import RedisServer


def add_color(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE runs ADD COLUMN color TEXT")


def add_color_on_redis(client: Any) -> None:
    client.set("lakeray:color", "red")


def paint(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE runs SET color = 'red'")


STEPS = (
    Step(to_format=3, what="runs are red", sqlite=paint, redis=lambda client: None),
    Step(to_format=2, what="runs have a colour", sqlite=add_color, redis=add_color_on_redis),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of format 1 with a run."""
    path = tmp_path / "state.db"
    with open_event_store(f"sqlite:///{path}") as store:
        store.append(append(run_ids(3, 16, 1)[0], 0, store.lease(3, "owner", 60)))
    return path


def test_a_dry_run_says_what_would_be_done(path: Path) -> None:
    before = path.read_bytes()
    plan = migrate(f"sqlite:///{path}", dry_run=True, steps=STEPS)
    assert (plan.found, plan.reached) == (1, 3)
    assert plan.steps == ("2: runs have a colour", "3: runs are red")
    assert path.read_bytes() == before
    assert plan.copy is None


def test_every_step_is_taken_in_order_beside_a_copy_of_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = migrate(f"sqlite:///{path}", dry_run=False, steps=STEPS)
    assert done.reached == 3
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT color FROM runs").fetchall() == [("red",)]
    assert done.copy is not None
    with open_event_store(f"sqlite:///{done.copy}") as copy:
        assert told(copy.read("run-1")) == [(1, "something")]
    with pytest.raises(StateFormat, match="has format 3, this version of lakeray knows formats up to 1"):
        open_event_store(f"sqlite:///{path}")
    monkeypatch.setattr(schema, "FORMAT", 3)
    with open_event_store(f"sqlite:///{path}") as store:
        assert told(store.read("run-1")) == [(1, "something")]
    again = migrate(f"sqlite:///{path}", dry_run=False, steps=STEPS)
    assert (again.steps, again.copy) == ((), None)


def test_a_step_that_fails_leaves_the_format_before_it(path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM runs")
        connection.execute("UPDATE absent SET x = 1")

    steps = (STEPS[1], Step(to_format=3, what="?", sqlite=fail, redis=fail))
    with pytest.raises(StateUnavailable, match="no such table: absent"):
        migrate(f"sqlite:///{path}", dry_run=False, steps=steps)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert migrate(f"sqlite:///{path}", dry_run=False, steps=STEPS).steps == ("3: runs are red",)


def test_an_older_file_is_not_opened_but_says_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "FORMAT", 2)
    with pytest.raises(StateFormat, match="has format 1, this version of lakeray works with format 2"):
        open_event_store(f"sqlite:///{path}")


def test_there_is_no_way_back(path: Path) -> None:
    migrate(f"sqlite:///{path}", dry_run=False, steps=STEPS)
    with pytest.raises(StateFormat, match="format 3"):
        migrate(f"sqlite:///{path}", dry_run=True)


def test_nobody_may_own_the_store_meanwhile(path: Path) -> None:
    with open_event_store(f"sqlite:///{path}") as store:
        store.lease(3, "busy", 60)
        with pytest.raises(LeaseHeld, match="busy"):
            migrate(f"sqlite:///{path}", dry_run=False, steps=STEPS)


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_bytes(b"hello\n" * 1000)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    for path in (text, other):
        content = path.read_bytes()
        with pytest.raises(StateFormat, match="is not a state file of lakeray"):
            open_event_store(f"sqlite:///{path}")
        assert path.read_bytes() == content
    with pytest.raises(StateFormat, match="there is no state file"):
        migrate(f"sqlite:///{tmp_path}/absent", dry_run=True)
    assert not (tmp_path / "absent").exists()
    for opened in (open_event_store, lambda uri: migrate(uri, dry_run=True)):
        with pytest.raises(ConfigError):
            opened("postgres://somewhere")


def test_a_server_goes_forward_too(redis_server: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        with pytest.raises(StateFormat, match="holds no runs"):
            migrate(redis_server.url, dry_run=True)
        with open_event_store(redis_server.url) as store:
            lease = store.lease(3, "busy", 60)
            with pytest.raises(LeaseHeld, match="busy"):
                migrate(redis_server.url, dry_run=False, steps=STEPS)
            store.release(lease)
        assert migrate(redis_server.url, dry_run=True, steps=STEPS).reached == 3
        assert client.get("lakeray:color") is None
        assert migrate(redis_server.url, dry_run=False, steps=STEPS).reached == 3
        assert client.get("lakeray:color") == b"red"
        with pytest.raises(StateFormat, match="holds format 3"):
            open_event_store(redis_server.url)
        assert migrate(redis_server.url, dry_run=False, steps=STEPS).steps == ()
