"""The event store, whatever is asked of it in whatever order, is a list of what it acknowledged.

Two handles write and read, owners come and go, appends are sent again, late, too early, under leases that are over; the
store is closed and opened. Crash points: ``before_append`` and ``after_append`` drop the reply, so that nobody knows
whether the append happened. The model is a few lists and dictionaries.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lakeray import failpoints
from lakeray.errors import Fenced, HistoryWentBack, SequenceConflict, StateUnavailable
from lakeray.state import Append, Appended, EventStore, Lease, Message, open_event_store
from tests.conformance.event_stores import NOW, append, run_ids
from tests.servers import RedisServer

SHARD = 3
RUNS = run_ids(SHARD, 16, 4)
OFTEN = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


class Machine(RuleBasedStateMachine):
    """``uri`` is of an empty store."""

    uri: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.numbers = itertools.count()
        self.events: dict[str, list[str]] = {}
        self.ended: set[str] = set()
        self.done: list[tuple[Append, Appended]] = []
        self.feed: list[tuple[str, int, int]] = []
        self.messages: set[str] = set()
        self.followed: list[tuple[str, int]] = []
        self.cursor = 0
        self.over: list[Lease] = []
        self.open_both()
        self.lease = self.writer.lease(SHARD, "owner", 3600)

    def open_both(self) -> None:
        self.writer: EventStore = self.opened.enter_context(open_event_store(self.uri))
        self.reader: EventStore = self.opened.enter_context(open_event_store(self.uri))

    def teardown(self) -> None:
        failpoints._ARMED.clear()
        self.opened.close()

    def next_append(self, run: str, count: int, *, ends: bool = False) -> Append:
        number = next(self.numbers)
        names = [f"event-{number}-{index}" for index in range(count)]
        messages = (Message(message_id=f"m{number:04d}", topic="t", due_at=NOW, data=b"m"),)
        ended = NOW + timedelta(seconds=number) if ends else None
        expected = len(self.events.get(run, []))
        return append(run, expected, self.lease, *names, messages=messages, ended_at=ended)

    def happened(self, item: Append, appended: Appended) -> None:
        run = item.run_id
        known = self.events.setdefault(run, [])
        for index, event in enumerate(item.events):
            known.append(event.type)
            self.feed.append((run, len(known), appended.position - len(item.events) + index + 1))
        assert appended.sequence == len(known)
        self.messages |= {message.message_id for message in item.messages}
        (self.ended.add if item.head.ended_at else self.ended.discard)(run)
        self.done.append((item, appended))

    @rule(run=st.sampled_from(RUNS), count=st.integers(1, 4), ends=st.booleans())
    def an_append_is_stored(self, run: str, count: int, ends: bool) -> None:
        item = self.next_append(run, count, ends=ends)
        self.happened(item, self.writer.append(item))

    @rule(run=st.sampled_from(RUNS), side=st.sampled_from(["before", "after"]))
    def a_reply_is_lost(self, run: str, side: str) -> None:
        item = self.next_append(run, 2)
        name = f"{side}_append"
        failpoints._PASSES.pop(name, None)
        failpoints._ARMED[name] = ("error", 1)
        with pytest.raises(StateUnavailable):
            self.writer.append(item)
        failpoints._ARMED.clear()
        self.happened(item, self.writer.append(item))

    @rule(runs=st.lists(st.sampled_from(RUNS), min_size=2, max_size=4, unique=True))
    def several_are_submitted_together(self, runs: list[str]) -> None:
        items = [self.next_append(run, 1) for run in runs]
        for item, future in zip(items, [self.writer.submit(item) for item in items], strict=True):
            self.happened(item, future.result(30))

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def an_append_is_sent_again(self, data: st.DataObject) -> None:
        item, appended = data.draw(st.sampled_from(self.done))
        assert self.writer.append(item) == appended

    @precondition(lambda self: self.over)
    @rule(data=st.data(), run=st.sampled_from(RUNS))
    def a_fenced_owner_appends(self, data: st.DataObject, run: str) -> None:
        lease = data.draw(st.sampled_from(self.over))
        with pytest.raises(Fenced):
            self.writer.append(replace(self.next_append(run, 1), epoch=lease.epoch))

    @rule(run=st.sampled_from(RUNS), away=st.integers(-3, 3).filter(bool))
    def an_append_comes_at_the_wrong_place(self, run: str, away: int) -> None:
        item = self.next_append(run, 1)
        if item.expected + away >= 0:
            with pytest.raises(SequenceConflict if away < 0 else HistoryWentBack):
                self.writer.append(replace(item, expected=item.expected + away))

    @rule()
    def another_owner_comes(self) -> None:
        self.over.append(self.lease)
        self.lease = self.writer.lease(SHARD, "owner", 3600)

    @rule()
    def the_store_is_opened_anew(self) -> None:
        self.opened.close()
        self.open_both()
        self.over.append(self.lease)
        self.lease = self.writer.lease(SHARD, "owner", 3600)

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def a_message_is_settled(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(sorted(self.messages)))
        self.writer.settle(SHARD, [message_id])
        self.messages.discard(message_id)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def an_ended_run_is_forgotten(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.ended)))
        assert self.writer.forget([run]) == 1
        self.ended.discard(run)
        del self.events[run]
        self.done = [(item, appended) for item, appended in self.done if item.run_id != run]
        self.feed = [item for item in self.feed if item[0] != run]

    @rule(limit=st.integers(1, 5))
    def a_follower_goes_on(self, limit: int) -> None:
        expected = [item for item in self.feed if item[2] > self.cursor][:limit]
        found = self.reader.feed(SHARD, self.cursor, limit)
        assert [(event.run_id, event.sequence, event.position) for event in found] == expected
        if found:
            self.cursor = found[-1].position

    @invariant()
    def the_store_is_the_list(self) -> None:
        for run in RUNS:
            found = self.reader.read(run)
            assert [(event.sequence, event.type) for event in found] == list(enumerate(self.events.get(run, []), 1))
        heads: dict[str, Any] = {head.run_id: head for head in self.reader.runs().runs}
        assert {run: head.sequence for run, head in heads.items()} == {
            run: len(events) for run, events in self.events.items()
        }
        assert {head.run_id for head in self.reader.active(SHARD)} == set(self.events) - self.ended
        assert {item.message_id for item in self.reader.messages(SHARD, NOW, 1000)} == self.messages


def test_on_sqlite(tmp_path: Path) -> None:
    class OnSqlite(Machine):
        def __init__(self) -> None:
            self.folder = tempfile.mkdtemp(dir=tmp_path)
            type(self).uri = f"sqlite:///{self.folder}/state.db"
            super().__init__()

        def teardown(self) -> None:
            super().teardown()
            shutil.rmtree(self.folder)

    run_state_machine_as_test(OnSqlite, settings=OFTEN)


def test_on_redis(redis_server: RedisServer) -> None:
    import redis

    class OnRedis(Machine):
        uri = redis_server.url

        def __init__(self) -> None:
            with redis.Redis.from_url(self.uri) as client:
                client.flushall()
            super().__init__()

    run_state_machine_as_test(OnRedis, settings=OFTEN)
