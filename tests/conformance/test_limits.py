"""Pools, keys and breakers hold over all owners of a store, on SQLite and on Redis, whatever becomes of an owner.

Two owners have a part of the shards each, as two orchestrators have; on SQLite both are handles of one process, which
is the only one that may own the file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lakeray.errors import StateUnavailable
from lakeray.runtime.durable.limits import Limits
from lakeray.runtime.durable.port import Job
from lakeray.runtime.durable.queues import slots_waited_for
from lakeray.state import EventStore, Lease
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.definition import BreakerPlan, Definition, QueuePlan, StepPlan
from lakeray.workflow.evolve import evolve
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import RunAttempt, attempt_key
from tests.commands import python
from tests.conformance.event_stores import Backend, redis_backend, run_ids, sqlite_backend
from tests.polling import eventually

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
TTL_S = 0.5


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
    return backend.open()


class Roomy:
    """Workers with room for everything, which keep what they are given."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def room(self, work: Any, before: Any) -> bool:
        return True

    def start(self, job: Job) -> None:
        self.jobs[job.work.key] = job

    def stop(self, key: str) -> None: ...


class Owner:
    """One orchestrator's part: a lease of one shard, the limits of its runs, and what they told or woke."""

    def __init__(self, store: EventStore, shard: int, name: str, ttl_s: float = 600.0) -> None:
        self.store, self.shard, self.name = store, shard, name
        self.lease: Lease | None = store.lease(shard, name, ttl_s)
        self.now = START
        self.told: list[tuple[str, c.Command]] = []
        self.woken: list[str] = []
        self.workers = Roomy()
        self.limits = Limits(
            store,
            owner=name,
            epoch=lambda shard: self.lease.epoch if self.lease is not None and shard == self.shard else 0,
            clock=lambda: self.now,
            tell=lambda run_id, command: self.told.append((run_id, command)),
            wake=self.woken.append,
        )
        self.runs = run_ids(shard, store.shards, 40)

    def wants(self, state: RunState, attempt: int = 1) -> bool:
        """Ask for the run's step, and begin it if it may."""
        work = work_of(state, attempt)
        limited = self.limits.around(self.workers, state)
        if not limited.room(work, []):
            return False
        limited.start(Job(work=work, state=state, tell=lambda _: None, done=lambda _: None))
        return True

    def ends(self, state: RunState, attempt: int = 1) -> None:
        self.workers.jobs.pop(attempt_key(state.run_id, "load", attempt)).done(None)

    def look(self, *states: RunState) -> None:
        """A tick at which these runs still want their steps."""
        wanted = {state.run_id: {attempt_key(state.run_id, "load", 1)} for state in states}
        self.limits.look(lambda run_id: wanted.get(run_id, set()))


def run_of(run_id: str, *, breaker: BreakerPlan | None = None, slots: int | None = 1, **queue: Any) -> RunState:
    """A run of one step."""
    plan = QueuePlan(**queue) if queue else None
    step = StepPlan(name="load", kind="python", body={"function": "m:f"}, queue=plan, breaker=breaker)
    document = {"pools": {"db": slots}} if slots is not None else {}
    definition = Definition(workflow="w", tenant="acme", steps={"load": step}, document=document)
    return evolve(None, e.RunAccepted(at=START, run_id=run_id, definition=definition, definition_hash="x"))


def work_of(state: RunState, attempt: int = 1) -> RunAttempt:
    return RunAttempt(
        key=attempt_key(state.run_id, "load", attempt),
        run_id=state.run_id,
        step="load",
        attempt=attempt,
        plan=state.plan("load"),
        idempotency_key="k",
    )


def test_two_owners_respect_one_pool(store):
    one, two = Owner(store, 0, "one"), Owner(store, 1, "two")
    mine, others = run_of(one.runs[0], pool="db"), run_of(two.runs[0], pool="db")
    assert one.wants(mine)
    assert not two.wants(others)
    assert two.limits.waits(others.run_id) == []
    two.look(others)
    assert two.limits.waits(others.run_id) == [("load", "waits for 1 of 1 slots of the pool db: 1 taken")]
    assert slots_waited_for(store, others) == two.limits.waits(others.run_id), "anybody can see it"
    one.ends(mine)
    two.look(others)
    assert two.woken == [others.run_id]
    assert two.wants(others)
    assert not one.wants(mine, attempt=2)


def test_whoever_ends_wakes_the_next_of_the_same_owner_at_once(store):
    one = Owner(store, 0, "one")
    first, second = (run_of(name, key="orders") for name in one.runs[:2])
    assert one.wants(first)
    assert not one.wants(second)
    one.ends(first)
    assert one.woken == [second.run_id]
    assert one.wants(second)


def test_slots_of_a_lease_that_ran_out_are_given_away(backend, store):
    """Crash point: the holder's process dies at work; nobody releases anything."""
    dead, other = Owner(store, 0, "dead", ttl_s=TTL_S), Owner(store, 1, "other")
    assert dead.wants(run_of(dead.runs[0], pool="db"))
    waiting = run_of(other.runs[0], pool="db")
    assert not other.wants(waiting)
    backend.pass_time(TTL_S + 0.1)
    other.look(waiting)
    assert other.wants(waiting)


def test_a_fenced_holder_holds_nothing_and_takes_nothing_from_its_successor(store):
    """Crash point: the shard has another owner, the old one still works and then says so."""
    old = Owner(store, 0, "old")
    state = run_of(old.runs[0], pool="db")
    assert old.wants(state)
    assert old.lease is not None
    store.release(old.lease)
    new = Owner(store, 0, "new")
    assert new.wants(state), "the same work under the new owner"
    old.ends(state)
    third = run_of(new.runs[1], pool="db")
    assert not new.wants(third), "the old owner's end frees nothing"
    new.ends(state)
    assert new.wants(third)


def test_what_is_wanted_no_more_leaves_the_line(store):
    """A run that was cancelled, or whose step timed out, waits no more and gets no slot that nobody would give back."""
    one = Owner(store, 0, "one")
    first, gone, third = (run_of(name, pool="db") for name in one.runs[:3])
    assert [one.wants(each) for each in (first, gone, third)] == [True, False, False]
    one.look(third)
    one.ends(first)
    assert one.woken == [third.run_id]
    assert one.wants(third)


def test_a_lost_reply_gives_nothing_twice(store, monkeypatch):
    """Crash point: the register is changed, the reply is lost; asked again it is the same claim."""
    one = Owner(store, 0, "one")
    put, lost = store.put, [True]

    def dropped(key: str, data: bytes | None, *, expected: int) -> int:
        revision = put(key, data, expected=expected)
        if lost:
            lost.clear()
            raise StateUnavailable("the reply was lost")
        return revision

    monkeypatch.setattr(store, "put", dropped)
    first, second = (run_of(name, pool="db") for name in one.runs[:2])
    assert not one.wants(first)
    one.look(first)
    assert one.wants(first)
    assert not one.wants(second)
    lost.append(True)
    one.ends(first)
    one.look(second)
    assert one.wants(second)


def test_pools_that_cannot_be_read_let_nobody_in_and_keep_no_other_tenant_from_its_turn(store, caplog):
    one = Owner(store, 0, "one")
    store.put("pools/acme", b"of a later release", expected=0)
    waits, (first, second) = run_of(one.runs[0], pool="db"), (run_of(name, pool="db") for name in one.runs[1:3])
    others = [replace(each, definition=replace(each.definition, tenant="zeta")) for each in (first, second)]
    assert [one.wants(each) for each in (waits, *others)] == [False, True, False]
    for _ in range(3):
        one.look(waits, others[1])
    assert one.limits.waits(waits.run_id) == []
    assert one.limits.waits(others[1].run_id) == [("load", "waits for 1 of 1 slots of the pool db: 1 taken")]
    assert caplog.text.count("tenant acme that need slots wait: the pools in the state cannot be read") == 1
    store.put("pools/acme", None, expected=1)
    one.look(waits, others[1])
    assert one.woken == [waits.run_id]


def test_sizes_come_from_the_run_that_was_accepted_last(store):
    one = Owner(store, 0, "one")
    small, large = run_of(one.runs[0], pool="db", slots=1), run_of(one.runs[1], pool="db", slots=2)
    accepted = e.RunAccepted(at=START, run_id="x", definition=large.definition, definition_hash="x")
    assert one.wants(small)
    assert not one.wants(large), "a size that is known stays"
    one.limits.heard(large, [accepted])
    assert one.wants(large)


def test_never_more_than_the_pool_has_under_racing_owners(backend):
    """Four owners, each with a handle and threads of its own, never have more than three at work together."""
    owners = [Owner(backend.open(), 0, "o0")]
    owners += [Owner(owners[0].store if backend.kind == "sqlite" else backend.open(), n, f"o{n}") for n in (1, 2, 3)]
    at_work, most, lock = [0], [0], threading.Lock()

    def work(owner: Owner) -> int:
        done, states = 0, [run_of(name, pool="db", slots=3) for name in owner.runs[:6]]
        while states:
            begun = [state for state in states if owner.wants(state)]
            with lock:
                at_work[0] += len(begun)
                most[0] = max(most[0], at_work[0])
            owner.look(*(state for state in states if state not in begun))
            with lock:
                at_work[0] -= len(begun)
            for state in begun:
                owner.ends(state)
            done += len(begun)
            states = [state for state in states if state not in begun]
        return done

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(work, owners)) == 24
    assert 1 <= most[0] <= 3


HOLDER = """
import sys
from lakeray.state import open_event_store
from tests.conformance.test_limits import Owner, run_of
owner = Owner(open_event_store(sys.argv[1]), 0, "other process", ttl_s=1.0)
assert owner.wants(run_of(owner.runs[0], pool="db"))
print("has it", flush=True)
import signal, os
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_at_work_gives_its_slot_back_when_its_lease_ends(redis_server):
    """Two processes on one Redis: what the other has counts here, and is free soon after kill -9."""
    with redis_backend(redis_server.url) as backend:
        owner = Owner(backend.open(), 1, "this process")
        state = run_of(owner.runs[0], pool="db")
        killed = python(HOLDER, redis_server.url)
        assert (killed.returncode, killed.stdout) == (-9, "has it\n")
        assert not owner.wants(state)

        def freed() -> bool:
            owner.look(state)
            return owner.wants(state)

        assert eventually(freed, 30)


BREAKER = BreakerPlan(dependency="warehouse", failures=2, within_s=60.0, open_for_s=30.0)


def _fails(owner: Owner, state: RunState, attempt: int = 1, **error: Any) -> None:
    failure = e.Failure(code="x", message="down", **error)
    owner.limits.heard(state, [e.AttemptFailed(at=owner.now, step="load", attempt=attempt, error=failure)])


def test_an_open_breaker_puts_steps_of_all_owners_off_and_lets_one_try(store):
    one, two = Owner(store, 0, "one"), Owner(store, 1, "two")
    mine, others = run_of(one.runs[0], breaker=BREAKER), run_of(two.runs[0], breaker=BREAKER)
    assert one.wants(mine)
    _fails(one, mine)
    _fails(one, mine, attempt=2, retryable=False)
    assert one.wants(mine, attempt=2), "what a retry cannot help says nothing of the warehouse"
    _fails(one, mine, attempt=3)
    assert not two.wants(others)
    [(run_id, put_off)] = two.told
    assert isinstance(put_off, c.DeferAttempt)
    assert (run_id, put_off.step, put_off.until) == (others.run_id, "load", START + timedelta(seconds=30))
    assert put_off.reason is not None
    assert "warehouse is open since 12:00:00 UTC" in put_off.reason
    assert not two.wants(others)
    assert len(two.told) == 1, "put off once"
    one.now = two.now = START + timedelta(seconds=31)
    assert two.wants(others), "on trial"
    assert not one.wants(mine, attempt=4), "one at a time"
    two.limits.heard(others, [e.StepSucceeded(at=two.now, step="load", attempt=1)])
    one.now += timedelta(seconds=30)
    assert one.wants(mine, attempt=4)
    assert two.wants(others, attempt=2), "it is closed"


def test_a_step_that_is_put_off_holds_no_slot(store):
    one = Owner(store, 0, "one")
    state, other = run_of(one.runs[0], breaker=BREAKER, pool="db"), run_of(one.runs[1], pool="db")
    _fails(one, state)
    _fails(one, state, attempt=2)
    assert not one.wants(state, attempt=3)
    assert one.wants(other)
