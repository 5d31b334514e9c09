"""A store killed at any named point of its protocol has lost nothing that it acknowledged and done nothing twice.

Crash points: every name in ``lakeray.failpoints.STATE``, on the first and on the second pass, on both backends. The
killed process is a fork of this one; after the kill another owner does the same work again under the same ids. Dropped
replies (action ``error``) leave the process alive: it asks again and goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lakeray import failpoints
from lakeray.errors import LeaseHeld, RevisionConflict, StateUnavailable
from lakeray.state import Answer, Append, Command, EventStore, Lease, Message, Snapshot, open_event_store
from tests.conformance.event_stores import NOW, append, run_ids, told
from tests.forks import exit_code, fork
from tests.polling import eventually

T = TypeVar("T")
SHARD, TTL_S, LONG_S = 3, 0.02, 60.0
STAYS, GOES = run_ids(SHARD, 16, 2)
LATER = NOW + timedelta(days=1)


@pytest.fixture(params=["sqlite", "redis"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty store; none is open in this process, which forks."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
        return
    import redis

    server = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    yield server.url


def ask_again(ask: Callable[[], T], *, may_fail: bool) -> T:
    """Once more when the reply is lost."""
    try:
        return ask()
    except StateUnavailable:
        assert may_fail
        return ask()


def message(name: str) -> tuple[Message, ...]:
    return (Message(message_id=name, topic="t", due_at=NOW, data=name.encode()),)


COMMANDS = [Command(command_id=f"command-{number}", run_id=STAYS, data=b"?") for number in range(3)]


def appends(run: str, lease: Lease) -> list[Append]:
    """Three appends, the same whoever makes them, but for the epoch."""
    made = []
    for number in range(3):
        more: dict[str, Any] = {"messages": message(f"{run}-{number}"), "append_id": f"{run}-{number}"}
        if (run, number) == (STAYS, 1):
            more["answers"] = (Answer(command_id="command-0", data=b"done"),)
        if (run, number) == (GOES, 2):
            more["ended_at"] = NOW
        made.append(append(run, number, lease, f"event-{number}", **more))
    return made


def asked_for(store: EventStore, lease: Lease) -> Iterator[Callable[[], object]]:
    """What may be asked twice; each crash point lies within at least two of them."""
    for command in COMMANDS:
        yield partial(store.send, command)
    for run in (STAYS, GOES):
        if run == GOES and store.get("gone") is not None:
            continue
        for item in appends(run, lease):
            yield partial(store.append, item)
        for sequence in (2, 3):
            yield partial(store.save_snapshot, Snapshot(run_id=run, sequence=sequence, version=1, data=b"state"))
    for command in COMMANDS[1:]:
        yield partial(store.answer, command, b"refused")
    for number in range(2):
        yield partial(store.settle, SHARD, [f"{STAYS}-{number}"])
    for _ in range(2):
        yield partial(store.forget, [GOES])


def put_once(store: EventStore, key: str, *, may_fail: bool) -> None:
    """Compare-and-set is the one thing that is looked at again, not asked again."""
    while store.get(key) is None:
        try:
            store.put(key, b"yes", expected=0)
        except (StateUnavailable, RevisionConflict):
            assert may_fail


def work(store: EventStore, owner: str, *, may_fail: bool = False) -> None:
    """Everything that passes a crash point, at least twice; it may be done again by whoever comes later."""
    take = partial(store.lease, SHARD, owner, TTL_S)
    ask_again(take, may_fail=may_fail)
    lease = ask_again(take, may_fail=may_fail)
    for ask in asked_for(store, lease):
        ask_again(ask, may_fail=may_fail)
    for key in ("other", "gone"):
        put_once(store, key, may_fail=may_fail)


def check(store: EventStore) -> None:
    """What must be true after the work was done to its end, however often it was begun."""
    assert told(store.read(STAYS)) == [(1, "event-0"), (2, "event-1"), (3, "event-2")]
    assert [event.run_id for event in store.feed(SHARD, 0, 100)] == [STAYS] * 3
    assert store.head(GOES) is None
    snapshot = store.load_snapshot(STAYS)
    assert snapshot is not None
    assert (snapshot.sequence, snapshot.data) == (3, b"state")
    assert [item.message_id for item in store.messages(SHARD, LATER, 100)] == sorted(
        [f"{STAYS}-2", *(f"{GOES}-{number}" for number in range(3))]
    ), "a settled message stays settled, the others are there once"
    assert store.received(SHARD, 10) == []
    answers = [store.answered(Command(command_id=f"command-{number}", run_id=STAYS, data=b"?")) for number in range(3)]
    assert answers == [b"done", b"refused", b"refused"]
    assert store.keys() == ["gone", "other"]


def killed(uri: str, name: str, count: int) -> int:
    """The exit code of a process that is killed on its ``count``-th pass of ``name``."""

    def to_death() -> None:
        failpoints._ARMED[name] = ("kill", count)
        with open_event_store(uri) as store:
            work(store, "killed")

    return exit_code(fork(to_death))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", failpoints.STATE)
def test_kill(uri: str, name: str, count: int) -> None:
    assert killed(uri, name, count) == -signal.SIGKILL
    with open_event_store(uri) as store:
        eventually(lambda: store.lease(SHARD, "next", TTL_S), 10, every_s=0.002)
        work(store, "next")
        check(store)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", failpoints.STATE)
def test_a_dropped_reply_is_asked_for_again(uri: str, name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_ARMED", {name: ("error", count)})
    monkeypatch.setattr(failpoints, "_PASSES", {})
    with open_event_store(uri) as store:
        work(store, "owner", may_fail=True)
        check(store)
    assert failpoints._PASSES[name] >= count


def test_every_crash_point_has_two_sides() -> None:
    names = {name.split("_", 1)[1] for name in failpoints.STATE}
    assert set(failpoints.STATE) == {f"{side}_{name}" for side in ("before", "after") for name in names}


def test_whoever_is_killed_with_a_lease_keeps_nobody_out_for_long(uri: str) -> None:
    """An embedded store is free at once: the system knows that its owner is dead. A server waits for the lease."""
    assert killed(uri, "after_append", 1) == -signal.SIGKILL
    with open_event_store(uri) as store:
        if uri.startswith("sqlite"):
            store.lease(SHARD, "next", LONG_S)
        else:
            eventually(lambda: store.lease(SHARD, "next", LONG_S), TTL_S + 10, every_s=0.002)
        with pytest.raises(LeaseHeld, match="next"):
            store.lease(SHARD, "another", TTL_S)
