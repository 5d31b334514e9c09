"""Two orchestrators on one Redis: they share the shards, take over from the dead, and of two that believe they own a
run one is fenced.

No Ray: each does the work in threads. ``Redis`` is real, its clock decides about leases.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lakeray.config import Settings
from lakeray.runtime.actors.order import workers_of
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.shared import SharedOrchestrator
from lakeray.state import EventStore, open_event_store, shard_of
from lakeray.workflow import events as e
from tests.integration.standing import begin
from tests.integration.steps_on_ray import HERE
from tests.polling import eventually
from tests.servers import RedisServer
from tests.unit.runtime.durable_world import completions, prepare

TTL_S = 1.5
SETTINGS = Settings(executor="inline")


class One:
    """An orchestrator with a connection of its own."""

    def __init__(self, uri: str, number: int) -> None:
        self.store: EventStore = open_event_store(uri)
        self.fenced = threading.Event()
        self.all = SharedOrchestrator(
            self.store,
            owner=f"owner-{number}-{uuid.uuid4().hex}",
            clock=utc_now,
            adopt=lambda state: workers_of(state, SETTINGS),
            number=number,
            of=2,
            fenced=self.fenced.set,
            ttl_s=TTL_S,
        )
        self.all.open()

    def die(self) -> None:
        """Do nothing more, and give nothing back."""
        self.all._loop.end()

    def believe_in_its_leases_for_ever(self) -> None:
        """As a process that stood still: it asked for no renewal, and takes its leases for good."""
        leases = self.all._leases
        leases._renewed = float("inf")
        leases._until = dict.fromkeys(leases._until, float("inf"))
        self.all._reach_at = float("inf")


@pytest.fixture
def uri(redis_server: RedisServer) -> str:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def pair(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[One]]:
    monkeypatch.setenv("SINK", str(tmp_path / "sink"))
    monkeypatch.setenv("LAKERAY_STATE", uri)
    both = [One(uri, number) for number in range(2)]
    eventually(lambda: all(len(one.all.shards) == one.store.shards // 2 for one in both), 20)
    yield both
    for one in both:
        one.die()
        one.store.close()


def ended(store: EventStore, run_id: str) -> str | None:
    state = journal.load(store, run_id)
    return state.ended if state is not None else None


def test_they_share_the_runs_and_survive_each_other(pair: list[One], tmp_path: Path) -> None:
    """Runs of every Ray-free kind of step, whose last step fails, so that they are undone."""
    prepare(tmp_path)
    store = pair[1].store
    names = [f"run-{number}" for number in range(8)]
    assert {shard_of(name, store.shards) % 2 for name in names} == {0, 1}
    for name in names[:4]:
        begin(store, tmp_path / "whole.yaml", name)
    pair[0].die()
    for name in names[4:]:
        begin(store, tmp_path / "whole.yaml", name)
    for name in names:
        eventually(lambda name=name: ended(store, name) == "failed", 40)
        stored = store.read(name)
        assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
        assert set(completions(journal.history(store, name)).values()) == {1}
    assert pair[1].all.shards == list(range(store.shards))


def test_of_two_that_believe_they_own_a_run_one_is_fenced(pair: list[One], tmp_path: Path) -> None:
    """The first misses the end of its leases; the other does the run; then the first tells what it has done."""
    (tmp_path / "sink").mkdir()
    store = pair[1].store
    name = next(name for name in (f"run-{n}" for n in range(99)) if shard_of(name, store.shards) % 2 == 0)
    text = f"""
workflow: held
steps:
  linger: {{python: {{function: "{HERE}:linger", arguments: {{sink: {tmp_path}}}}}, retry: {{initial_interval: 0s}}}}
  effect: {{after: [linger], python: "tests.unit.runtime.durable_world:effect"}}
"""
    begin(store, text, name)
    eventually(lambda: pair[0].all.state(name).steps["linger"].status == "running", 20)
    pair[0].believe_in_its_leases_for_ever()
    eventually(lambda: shard_of(name, store.shards) in pair[1].all.shards, 20)
    eventually(lambda: journal.load(store, name).steps["linger"].tries.attempt == 2, 20)
    (tmp_path / "go").touch()
    assert pair[0].fenced.wait(20)
    eventually(lambda: ended(store, name) == "succeeded", 20)
    history = journal.history(store, name)
    assert set(completions(history).values()) == {1}
    assert [event.cause for event in history if isinstance(event, e.AttemptFailed)] == ["worker_died"]
    assert len(list((tmp_path / "sink").iterdir())) == 1
