"""What format 1 of the event store once wrote still loads, means the same, and can be gone on from, on both backends.

``state_1/state.db.gz`` is a state file, ``state_1/redis.jsonl`` the commands that bring every key back, an argument in
base64 each. These files are never written again: a release that cannot read them is wrong.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakeray.state import (
    Append,
    Command,
    EventStore,
    Message,
    NewEvent,
    Register,
    RunFilter,
    RunHead,
    Snapshot,
    open_event_store,
)
from lakeray.state.migrations import migrate

GOLDEN = Path(__file__).parent / "state_1"
AT = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
HEAD = RunHead(
    run_id="run-1",
    tenant="acme",
    workflow="orders",
    state="waiting",
    started_at=AT,
    wake_at=AT + timedelta(hours=1),
    parent="orders/2026",
    labels={"team": "lake", "ünï": "cödé"},
    sequence=3,
)
APPROVE = Command(command_id="approve-1", run_id="run-1", data=b"\x00approve\xff")
CANCEL = Command(command_id="cancel-1", run_id="run-1", data=b"cancel")


@pytest.fixture(params=["sqlite", "redis"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A copy of the store of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "state.db"
        path.write_bytes(gzip.decompress((GOLDEN / "state.db.gz").read_bytes()))
        return f"sqlite:///{path}"
    import redis

    url: str = request.getfixturevalue("redis_server").url
    with redis.Redis.from_url(url) as client:
        client.flushall()
        for line in (GOLDEN / "redis.jsonl").read_text().splitlines():
            client.execute_command(*map(base64.b64decode, json.loads(line)))
    return url


@pytest.fixture
def store(uri: str) -> Iterator[EventStore]:
    with open_event_store(uri, shards=4) as store:
        yield store


def test_runs_and_their_events(store: EventStore) -> None:
    assert store.shards == 16
    events = store.read("run-1")
    assert [(item.sequence, item.type, item.version, item.data, item.at) for item in events] == [
        (1, "run_accepted", 1, b"\x00\xffone", AT + timedelta(seconds=1)),
        (2, "step_scheduled", 2, b"two", AT + timedelta(seconds=2)),
        (3, "gate_opened", 3, b"", AT + timedelta(seconds=3)),
    ]
    assert store.feed(3, 0, 10) == events
    assert store.head("run-1") == HEAD
    assert [run.run_id for run in store.runs().runs] == ["run-1", "orders/2026"]
    assert store.runs(RunFilter(tenant="acme", workflow="orders", state="waiting")).runs == (HEAD,)
    assert store.active(3) == store.due(3, AT + timedelta(hours=1), 10) == [HEAD]
    assert store.active(10) == []
    assert [(run.run_id, run.state, run.ended_at) for run in store.ended(AT + timedelta(1), 10)] == [
        ("orders/2026", "succeeded", AT)
    ]


def test_messages_commands_registers_and_snapshots(store: EventStore) -> None:
    assert store.messages(3, AT + timedelta(minutes=5), 10) == [
        Message(message_id="run-1/1", topic="webhook", due_at=AT, data=b"\x00hello\xff"),
        Message(message_id="run-1/2", topic="webhook", due_at=AT + timedelta(minutes=5), data=b"later", attempts=2),
    ]
    assert store.received(3, 10) == [CANCEL]
    assert store.answered(APPROVE) == b"approved"
    assert store.keys() == ["schedules/orders"]
    assert store.get("schedules/orders") == Register(data=b"\x00register\xff", revision=1)
    assert store.load_snapshot("run-1") == Snapshot(run_id="run-1", sequence=2, version=1, data=b"\x00state")


def test_it_is_gone_on_from(store: EventStore) -> None:
    known = store.feed(3, 0, 10)
    lease = store.lease(3, "golden", 60)
    again = Append(
        append_id="append-2",
        expected=2,
        epoch=lease.epoch,
        events=(NewEvent(type="gate_opened", version=3, data=b"", at=AT),),
        head=HEAD,
    )
    assert store.append(again).position == known[-1].position, "an append of that time is known by its id"
    after = Append(append_id="append-4", expected=3, epoch=lease.epoch, events=again.events, head=HEAD)
    assert store.append(after).position > known[-1].position
    assert [event.sequence for event in store.feed(3, known[-1].position, 10)] == [4]
    store.send(APPROVE)
    store.answer(CANCEL, b"refused")
    store.settle(3, ["run-1/1"])
    assert store.received(3, 10) == []
    assert store.put("schedules/orders", b"new", expected=1) > 3, "revisions of what was removed do not come back"
    assert store.forget(["orders/2026"]) == 1


def test_it_can_be_brought_to_todays_format(uri: str) -> None:
    import redis

    if uri.startswith("redis"):
        with redis.Redis.from_url(uri) as client:
            client.hset("lakeray:{3}:shard", "until", "0")
            client.hset("lakeray:{10}:shard", "until", "0")
    assert migrate(uri, dry_run=False).found == 1
    with open_event_store(uri) as store:
        assert store.head("run-1") == HEAD
