"""Engine and store together, whatever is asked of a run and wherever its owner dies, are the list of what was decided.

The rules are those of the engine's machine; every decision goes into a real store. Crash points: the owner dies before
its append, or behind it, with a snapshot or without; the reply is lost and the append sent again; another owner takes
the shard over while an append is on its way. The model is the list of the events that were ever decided on.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from lakeray.errors import Fenced
from lakeray.runtime.durable import journal
from lakeray.state import EventStore, Lease, open_event_store, shard_of
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from tests.properties.test_engine_machine import EngineMachine
from tests.servers import RedisServer

TROUBLES = ("dies_before", "dies_behind", "loses_reply", "is_fenced")
OFTEN = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class StoredEngine(EngineMachine):
    """One run in the store at ``uri``, which is empty."""

    uri: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.trouble: str | None = None
        self.own()

    def own(self) -> None:
        """A new owner in a process of its own."""
        self.opened.close()
        self.kept: EventStore = self.opened.enter_context(open_event_store(self.uri))
        self.lease: Lease = self.kept.lease(shard_of("r", self.kept.shards), "owner", 3600)

    def send(self, command: c.Command) -> list[e.Event]:
        before, known = self.state, len(self.store)
        events = super().send(command)
        if events:
            trouble, self.trouble = self.trouble, None
            assert self.state is not None
            if trouble == "dies_before":
                self.own()
                assert journal.load(self.kept, "r") == before, "what was not appended did not happen"
            append = journal.append_of(self.state, events, expected=known, epoch=self.lease.epoch)
            if trouble == "is_fenced":
                self.lease = self.kept.lease(self.lease.shard, "owner", 3600)
                with pytest.raises(Fenced):
                    self.kept.append(append)
                append = journal.append_of(self.state, events, expected=known, epoch=self.lease.epoch)
            done = self.kept.append(append)
            if trouble == "loses_reply":
                assert self.kept.append(append) == done
            if trouble == "dies_behind":
                self.own()
                assert self.kept.append(append) == done, "whoever asks again learns that it happened"
        return events

    @rule(trouble=st.sampled_from(TROUBLES))
    def trouble_comes(self, trouble: str) -> None:
        self.trouble = trouble

    @rule()
    def snapshot_is_kept(self) -> None:
        if self.state is not None:
            journal.keep_snapshot(self.kept, self.state)

    @invariant()
    def the_store_is_the_list(self) -> None:
        stored = self.kept.read("r")
        assert [event.sequence for event in stored] == list(range(1, len(self.store) + 1))
        assert [(event.type, event.version, event.data) for event in stored] == self.store
        assert journal.load(self.kept, "r") == self.state
        if self.state is not None:
            head = self.kept.head("r")
            assert head is not None
            assert (head.state, head.sequence) == (self.state.phase, len(stored))
            assert bool(self.kept.active(self.lease.shard)) == (self.state.ended is None)

    def teardown(self) -> None:
        super().teardown()
        self.the_store_is_the_list()
        self.opened.close()


def test_on_sqlite(tmp_path: Path) -> None:
    class OnSqlite(StoredEngine):
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

    class OnRedis(StoredEngine):
        uri = redis_server.url

        def __init__(self) -> None:
            with redis.Redis.from_url(self.uri) as client:
                client.flushall()
            super().__init__()

    run_state_machine_as_test(OnRedis, settings=OFTEN)
