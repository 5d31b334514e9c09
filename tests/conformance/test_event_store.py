"""The event store port, on SQLite and on Redis: every bullet of its docstring."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakeray.errors import Fenced, HistoryWentBack, LeaseHeld, RevisionConflict, SequenceConflict
from lakeray.state import (
    Answer,
    Append,
    Command,
    EventStore,
    Lease,
    Message,
    Register,
    RunFilter,
    Snapshot,
    open_event_store,
    shard_of,
)
from tests.conformance.event_stores import (
    NOW,
    Backend,
    append,
    events,
    head,
    redis_backend,
    run_ids,
    sqlite_backend,
    told,
)
from tests.forks import exit_code, fork
from tests.polling import eventually

LONG_S = 3600.0


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store of each kind in turn."""
    if request.param == "sqlite":
        context = sqlite_backend(tmp_path)
    else:
        context = redis_backend(request.getfixturevalue("redis_server").url)
    with context as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> EventStore:
    return backend.open()


@pytest.fixture
def lease(store: EventStore) -> Lease:
    """Shard 3 is ours."""
    return store.lease(3, "owner", LONG_S)


@pytest.fixture
def run(store: EventStore) -> str:
    """A run of shard 3."""
    return run_ids(3, store.shards, 1)[0]


def message(message_id: str, **more: object) -> Message:
    return Message(**{"message_id": message_id, "topic": "t", "due_at": NOW, "data": b"m", **more})


class TestAppend:
    def test_what_is_read_is_what_was_written(self, store: EventStore, lease: Lease, run: str) -> None:
        at = datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=UTC)
        labels = {
            "b": "2",
            "a": "ünï\n",
            "long": "x" * 100,
            "longer": "y" * 70_000,
            **dict.fromkeys("cdefghijklmnopq", ""),
        }
        first = Append(
            append_id="a",
            expected=0,
            epoch=lease.epoch,
            events=tuple(
                event.__class__(type=event.type, version=7, data=bytes(range(256)), at=at) for event in events("x", "y")
            ),
            head=head(
                run,
                state="wäiting",
                wake_at=at,
                parent="run-0",
                labels=labels,
            ),
        )
        done = store.append(first)
        found = store.read(run)
        assert (done.run_id, done.sequence) == (run, 2)
        assert [(event.run_id, event.sequence, event.type) for event in found] == [(run, 1, "x"), (run, 2, "y")]
        assert {(event.version, event.data, event.at) for event in found} == {(7, bytes(range(256)), at)}
        assert found[0].position < found[1].position == done.position
        stored = store.head(run)
        assert stored == head(run, state="wäiting", wake_at=at, parent="run-0", labels=labels, sequence=2)

    def test_sequences_are_dense_and_positions_ascend_over_runs(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 3)
        for expected in range(0, 6, 2):
            for name in names:
                store.append(append(name, expected, lease, "x", "y"))
        for name in names:
            assert [event.sequence for event in store.read(name)] == [1, 2, 3, 4, 5, 6]
        assert store.read(names[0], after=4) == store.read(names[0])[4:]
        feed = store.feed(3, 0, 100)
        assert len(feed) == 18
        assert [event.position for event in feed] == sorted({event.position for event in feed})

    def test_a_run_that_is_not_there_has_no_events(self, store: EventStore) -> None:
        assert store.read("nobody") == []
        assert store.head("nobody") is None

    def test_an_append_sent_again_happens_once_and_answers_the_same(
        self, store: EventStore, lease: Lease, run: str
    ) -> None:
        first = append(run, 0, lease, "x", "y", messages=(message("m"),))
        done = store.append(first)
        assert store.append(first) == done
        store.append(append(run, 2, lease, "z"))
        assert store.append(first) == done, "also when the run has gone on"
        assert told(store.read(run)) == [(1, "x"), (2, "y"), (3, "z")]

    def test_an_append_sent_again_by_a_fenced_owner_learns_that_it_happened(
        self, store: EventStore, lease: Lease, run: str
    ) -> None:
        first = append(run, 0, lease)
        done = store.append(first)
        store.lease(3, "owner", LONG_S)
        assert store.append(first) == done

    def test_another_append_at_the_same_place_is_refused_whole(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease, "x"))
        late = append(run, 0, lease, "z", state="other", messages=(message("m"),))
        with pytest.raises(SequenceConflict, match=f"{run} is at event 1"):
            store.append(late)
        assert told(store.read(run)) == [(1, "x")]
        stored = store.head(run)
        assert stored is not None
        assert stored.state == "running"
        assert store.messages(3, NOW, 10) == []

    def test_more_events_expected_than_there_are_means_that_some_are_lost(
        self, store: EventStore, lease: Lease, run: str
    ) -> None:
        store.append(append(run, 0, lease, "x"))
        with pytest.raises(HistoryWentBack, match=f"{run} had 2 events, the store has 1"):
            store.append(append(run, 2, lease, "z"))

    def test_an_append_without_events_cannot_be_made(self, run: str, lease: Lease) -> None:
        with pytest.raises(ValueError, match="without events"):
            Append(append_id="a", expected=0, epoch=lease.epoch, events=(), head=head(run))

    def test_large_data(self, store: EventStore, lease: Lease, run: str) -> None:
        data = os.urandom(3 * 2**20)
        big = append(run, 0, lease)
        event = big.events[0]
        store.append(
            Append(
                append_id="a",
                expected=0,
                epoch=lease.epoch,
                events=(event.__class__(type="x", version=1, data=data, at=NOW),) * 2,
                head=big.head,
            )
        )
        assert [event.data for event in store.read(run)] == [data, data]

    def test_many_are_submitted_at_once_and_stored_in_order(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 20)
        futures = [store.submit(append(name, number, lease)) for number in range(20) for name in names]
        positions = [future.result(30).position for future in futures]
        assert positions == sorted(positions)
        assert all([event.sequence for event in store.read(name)] == list(range(1, 21)) for name in names)

    def test_a_refused_append_spoils_none_beside_it(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 30)
        store.append(append(names[0], 0, lease))
        futures = [store.submit(append(name, 0, lease)) for name in names]
        with pytest.raises(SequenceConflict):
            futures[0].result(30)
        assert [future.result(30).sequence for future in futures[1:]] == [1] * 29

    def test_an_append_that_cannot_be_stored_spoils_none_beside_it(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 20)
        wrong = append(names[0], 0, lease, started_at=NOW.replace(tzinfo=None))
        good = [append(name, 0, lease) for name in names[1:]]
        futures = [store.submit(item) for item in good[:10]]
        with pytest.raises(TypeError):
            store.append(wrong)
        futures += [store.submit(item) for item in good[10:]]
        assert [future.result(30).sequence for future in futures] == [1] * 19
        assert store.read(names[0]) == []

    def test_of_racing_threads_one_wins_each_place(self, store: EventStore, lease: Lease, run: str) -> None:
        def race(thread: int) -> int:
            won = 0
            while (at := len(store.read(run))) < 40:
                try:
                    store.append(append(run, at, lease, f"by-{thread}"))
                    won += 1
                except SequenceConflict:
                    pass
            return won

        with ThreadPoolExecutor(8) as pool:
            won = sum(pool.map(race, range(8)))
        assert won == len(store.read(run))
        assert [event.sequence for event in store.read(run)] == list(range(1, won + 1))

    def test_another_handle_sees_it_at_once(self, backend: Backend, store: EventStore, lease: Lease, run: str) -> None:
        other = backend.open()
        for number in range(20):
            store.append(append(run, number, lease))
            assert len(other.read(run)) == number + 1


class TestLease:
    def test_a_shard_has_one_owner_until_its_time_is_over(self, backend: Backend, store: EventStore) -> None:
        first = store.lease(3, "one", 0.3)
        with pytest.raises(LeaseHeld, match="one"):
            store.lease(3, "two", 0.3)
        assert [(held.shard, held.owner, held.epoch) for held in store.leases()] == [(3, "one", first.epoch)]
        backend.pass_time(0.31)
        assert store.leases() == []
        second = store.lease(3, "two", LONG_S)
        assert second.epoch > first.epoch

    def test_shards_are_owned_apart(self, store: EventStore) -> None:
        assert [store.lease(shard, f"owner-{shard % 2}", LONG_S).shard for shard in range(4)] == [0, 1, 2, 3]
        assert [held.owner for held in store.leases()] == ["owner-0", "owner-1", "owner-0", "owner-1"]
        with pytest.raises(ValueError, match="no shard"):
            store.lease(store.shards, "owner", LONG_S)

    def test_epochs_are_above_the_clock_so_that_a_forgotten_one_never_comes_back(self, store: EventStore) -> None:
        before = (datetime.now(UTC) - timedelta(seconds=5)).timestamp() * 1e6
        epochs = [store.lease(3, "owner", LONG_S).epoch for _ in range(5)]
        assert epochs == sorted(set(epochs))
        assert epochs[0] > before

    def test_leases_go_on_when_the_clock_stands_still_or_goes_back(
        self, backend: Backend, store: EventStore, run: str
    ) -> None:
        """Only a state file's clock can be moved; on a server the leases follow each other within its microseconds."""
        taken = []
        for number in range(6):
            backend.pass_time(-600 if backend.kind == "sqlite" and number == 3 else 0)
            taken.append(store.lease(3, "owner", LONG_S))
            if number % 2:
                store.append(append(run, number // 2, taken[-1], "x"))
        epochs = [lease.epoch for lease in taken]
        assert epochs == sorted(set(epochs))
        assert [event.sequence for event in store.feed(3, 0, 10)] == [1, 2, 3]

    def test_a_renewed_lease_keeps_its_epoch(self, backend: Backend, store: EventStore, run: str) -> None:
        lease = store.lease(3, "one", 0.2)
        renewed = store.renew(lease, LONG_S)
        backend.pass_time(0.21)
        assert renewed.epoch == lease.epoch
        assert renewed.until > lease.until
        with pytest.raises(LeaseHeld):
            store.lease(3, "two", LONG_S)
        store.append(append(run, 0, lease))

    def test_a_lease_that_ran_out_is_good_until_somebody_comes(
        self, backend: Backend, store: EventStore, run: str
    ) -> None:
        lease = store.lease(3, "one", 0.01)
        backend.pass_time(0.02)
        store.append(append(run, 0, lease))
        assert store.renew(lease, LONG_S).epoch == lease.epoch
        assert len(store.leases()) == 1

    def test_a_released_shard_is_free_at_once(self, store: EventStore) -> None:
        lease = store.lease(3, "one", LONG_S)
        store.release(lease)
        assert store.leases() == []
        assert store.lease(3, "two", LONG_S).epoch > lease.epoch
        store.release(lease)
        assert [held.owner for held in store.leases()] == ["two"], "a lease that is over lets nobody go"

    def test_the_former_owner_is_fenced(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease))
        later = store.lease(3, "owner", LONG_S)
        with pytest.raises(Fenced, match=f"epoch {later.epoch}"):
            store.append(append(run, 1, lease))
        with pytest.raises(Fenced):
            store.renew(lease, LONG_S)
        assert len(store.read(run)) == 1
        store.append(append(run, 1, later))

    def test_an_epoch_that_the_store_does_not_know_means_that_it_lost_a_lease(
        self, store: EventStore, lease: Lease, run: str
    ) -> None:
        unknown = Lease(shard=3, owner="owner", epoch=lease.epoch + 10**6, until=lease.until)
        with pytest.raises(HistoryWentBack):
            store.append(append(run, 0, unknown))
        with pytest.raises(HistoryWentBack):
            store.renew(unknown, LONG_S)

    def test_owners_that_fight_over_a_shard_leave_one_dense_history(self, store: EventStore, run: str) -> None:
        """Each takes the shard although another has it, appends until it is fenced, and comes again."""
        stop = threading.Event()

        def owner() -> int:
            stored = 0
            while not stop.is_set():
                lease = store.lease(3, "owner", LONG_S)
                try:
                    while (at := len(store.read(run))) < 25:
                        store.append(append(run, at, lease))
                        stored += 1
                    stop.set()
                except (Fenced, SequenceConflict):
                    pass
            return stored

        with ThreadPoolExecutor(3) as pool:
            stored = sum(future.result() for future in [pool.submit(owner) for _ in range(3)])
        assert [event.sequence for event in store.read(run)] == list(range(1, stored + 1))


class TestFeed:
    def test_a_follower_that_goes_on_sees_every_event_once(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 4)
        seen, after = [], 0
        for number in range(12):
            store.append(append(names[number % 4], number // 4 * 2, lease, "x", "y"))
            for event in store.feed(3, after, 1 + number % 5):
                seen.append((event.run_id, event.sequence))
                after = event.position
        while more := store.feed(3, after, 3):
            seen += [(event.run_id, event.sequence) for event in more]
            after = more[-1].position
        assert len(seen) == len(set(seen)) == 24

    def test_a_gap_is_never_filled_in_behind_a_follower(self, backend: Backend, store: EventStore) -> None:
        """Threads append to all shards side by side while followers read: what they saw is the whole feed, in order."""
        shards, written = range(4), threading.Event()
        leases = {shard: store.lease(shard, "owner", LONG_S) for shard in shards}
        reader = backend.open()

        def write(shard: int) -> None:
            for name in run_ids(shard, store.shards, 5):
                for number in range(5):
                    store.append(append(name, number, leases[shard]))

        def follow(shard: int) -> list[int]:
            seen: list[int] = []
            last_look = False
            while not last_look:
                last_look = written.is_set()
                while found := reader.feed(shard, seen[-1] if seen else 0, 7):
                    seen += [event.position for event in found]
            return seen

        with ThreadPoolExecutor(12) as pool:
            followers = [pool.submit(follow, shard) for shard in shards]
            try:
                for done in [pool.submit(write, shard) for shard in shards]:
                    done.result()
            finally:
                written.set()
            for shard, follower in zip(shards, followers, strict=True):
                assert follower.result() == [event.position for event in store.feed(shard, 0, 1000)]
                assert len(follower.result()) == 25

    def test_a_new_lease_begins_above_every_position(self, store: EventStore, lease: Lease, run: str) -> None:
        last = store.append(append(run, 0, lease)).position
        later = store.lease(3, "owner", LONG_S)
        assert store.feed(3, last, 10) == []
        assert store.append(append(run, 1, later)).position > max(last, lease.epoch)
        assert told(store.feed(3, last, 10)) == [(2, "something")]

    def test_positions_that_the_store_does_not_know_mean_that_it_lost_events(
        self, backend: Backend, store: EventStore, lease: Lease, run: str
    ) -> None:
        last = store.append(append(run, 0, lease)).position
        with pytest.raises(HistoryWentBack):
            store.feed(3, last + 1, 10)
        backend.pass_time(0.01)
        later = store.lease(3, "owner", LONG_S)
        store.append(append(run, 1, later))
        with pytest.raises(HistoryWentBack, match=f"none behind {last}"):
            store.feed(3, last + 1, 10)
        assert len(store.feed(3, last, 10)) == 1


class TestIndex:
    def many(self, store: EventStore, count: int = 30) -> None:
        leases = [store.lease(shard, "owner", LONG_S) for shard in range(store.shards)]
        for number in range(count):
            name = f"r{number:03d}"
            store.append(
                append(
                    name,
                    0,
                    leases[shard_of(name, store.shards)],
                    tenant=("acme", "globex")[number % 2],
                    workflow=("orders", "customers", "stock")[number % 3],
                    state=("running", "failed", "succeeded")[number // 10],
                    started_at=NOW + timedelta(minutes=number // 2),
                    ended_at=None if number < 10 else NOW + timedelta(hours=number),
                )
            )

    def names(self, store: EventStore, wanted: RunFilter, limit: int = 4) -> list[str]:
        found: list[str] = []
        token = None
        for _ in range(50):
            page = store.runs(wanted, limit=limit, token=token)
            found += [run.run_id for run in page.runs]
            token = page.next_token
            if token is None:
                return found
        raise AssertionError("the pages do not end")

    @pytest.mark.parametrize("limit", [1, 4, 15, 30, 100])
    def test_pages_hold_every_run_once_newest_first(self, store: EventStore, limit: int) -> None:
        self.many(store)
        assert self.names(store, RunFilter(), limit) == [f"r{number:03d}" for number in range(29, -1, -1)]

    @pytest.mark.parametrize(
        ("wanted", "right"),
        [
            (RunFilter(tenant="acme"), lambda n: n % 2 == 0),
            (RunFilter(workflow="stock"), lambda n: n % 3 == 2),
            (RunFilter(state="failed"), lambda n: n // 10 == 1),
            (RunFilter(tenant="acme", workflow="orders", state="running"), lambda n: n < 10 and n % 6 == 0),
            (RunFilter(since=NOW + timedelta(minutes=5)), lambda n: n >= 10),
            (RunFilter(until=NOW + timedelta(minutes=5)), lambda n: n < 10),
            (
                RunFilter(tenant="globex", since=NOW + timedelta(minutes=2), until=NOW + timedelta(minutes=9)),
                lambda n: n % 2 == 1 and 4 <= n < 18,
            ),
            (RunFilter(tenant="nobody"), lambda n: False),
            (RunFilter(tenant="ac*"), lambda n: False),
        ],
    )
    def test_filters(self, store: EventStore, wanted: RunFilter, right: Callable[[int], bool]) -> None:
        self.many(store)
        assert self.names(store, wanted) == [f"r{number:03d}" for number in range(29, -1, -1) if right(number)]

    def test_a_run_leaves_the_lists_it_no_longer_belongs_to(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease, wake_at=NOW))
        assert [found.run_id for found in store.active(3)] == [run]
        assert [found.run_id for found in store.due(3, NOW, 10)] == [run]
        assert store.ended(NOW + timedelta(days=1), 10) == []
        store.append(append(run, 1, lease, state="failed", ended_at=NOW))
        assert store.active(3) == store.due(3, NOW, 10) == []
        assert [found.run_id for found in store.ended(NOW + timedelta(days=1), 10)] == [run]
        assert store.runs(RunFilter(state="running")).runs == ()
        assert [found.sequence for found in store.runs(RunFilter(state="failed")).runs] == [2]

    def test_a_run_that_is_retried_is_active_again(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease, ended_at=NOW, state="failed"))
        store.append(append(run, 1, lease))
        assert [found.run_id for found in store.active(3)] == [run]
        assert store.ended(NOW + timedelta(days=1), 10) == []

    def test_what_is_due_comes_in_order_of_its_time(self, store: EventStore, lease: Lease) -> None:
        names = run_ids(3, store.shards, 6)
        for number, name in enumerate(names):
            store.append(append(name, 0, lease, wake_at=NOW - timedelta(seconds=number)))
        assert [found.run_id for found in store.due(3, NOW, 3)] == names[:2:-1]
        assert [found.run_id for found in store.due(3, NOW - timedelta(seconds=5), 3)] == names[5:]
        assert store.due(4, NOW, 3) == []

    def test_a_wrong_page_token_is_refused(self, store: EventStore) -> None:
        for token in ("x", "!!!!", "", "YWJj"):
            with pytest.raises(ValueError, match="page token"):
                store.runs(token=token)


class TestOutbox:
    def test_messages_come_with_the_append_and_stay_until_they_are_settled(
        self, store: EventStore, lease: Lease, run: str
    ) -> None:
        first, second = message("a", data=b"\0\xff"), message("b", due_at=NOW + timedelta(seconds=1), topic="ü")
        store.append(append(run, 0, lease, messages=(second, first)))
        assert store.messages(3, NOW, 10) == [first]
        assert store.messages(3, NOW + timedelta(seconds=1), 10) == [first, second]
        assert store.messages(3, NOW + timedelta(seconds=1), 1) == [first]
        store.settle(3, ["a", "absent"])
        store.settle(3, ["a"])
        store.settle(3, [])
        assert store.messages(3, NOW + timedelta(seconds=1), 10) == [second]
        assert store.messages(4, NOW + timedelta(seconds=1), 10) == []

    def test_a_postponed_message_comes_later_with_its_attempts(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease, messages=(message("a"),)))
        later = NOW + timedelta(minutes=1)
        store.postpone(3, "a", due_at=later, attempts=2)
        assert store.messages(3, NOW, 10) == []
        assert store.messages(3, later, 10) == [message("a", due_at=later, attempts=2)]
        store.settle(3, ["a"])
        store.postpone(3, "a", due_at=NOW, attempts=3)
        assert store.messages(3, later, 10) == [], "a settled message does not come back"


class TestInbox:
    def test_a_command_arrives_once_in_order_until_it_is_answered(self, store: EventStore, run: str) -> None:
        commands = [Command(command_id=name, run_id=run, data=name.encode()) for name in ("z", "a", "m")]
        for command in [*commands, *commands]:
            store.send(command)
        assert store.received(3, 10) == commands
        assert store.received(3, 2) == commands[:2]
        assert store.received(4, 10) == []
        assert store.answered(commands[0]) is None
        store.answer(commands[0], b"no")
        store.answer(commands[0], b"another answer")
        assert store.answered(commands[0]) == b"no", "the first answer stays"
        assert store.received(3, 10) == commands[1:]
        store.send(commands[0])
        assert store.received(3, 10) == commands[1:], "an answered command does not come again"

    def test_an_append_answers_in_the_same_step(self, store: EventStore, lease: Lease, run: str) -> None:
        command = Command(command_id="c", run_id=run, data=b"?")
        store.send(command)
        store.append(append(run, 0, lease, answers=(Answer(command_id="c", data=b""),)))
        assert store.answered(command) == b""
        assert store.received(3, 10) == []
        with pytest.raises(SequenceConflict):
            store.append(append(run, 0, lease, answers=(Answer(command_id="c", data=b"other"),)))
        assert store.answered(command) == b""

    def test_the_first_answer_stays_whoever_gives_it(self, store: EventStore, lease: Lease, run: str) -> None:
        sent, unsent = (Command(command_id=name, run_id=run, data=b"?") for name in ("sent", "unsent"))
        store.send(sent)
        store.answer(sent, b"first")
        late = tuple(Answer(command_id=name, data=b"late") for name in ("sent", "unsent"))
        store.append(append(run, 0, lease, answers=late))
        store.answer(unsent, b"late")
        assert store.answered(sent) == b"first"
        assert store.answered(unsent) is None, "what nobody sent has no answer"

    def test_a_refused_append_answers_nothing(self, store: EventStore, lease: Lease, run: str) -> None:
        command = Command(command_id="c", run_id=run, data=b"?")
        store.send(command)
        store.append(append(run, 0, lease))
        with pytest.raises(SequenceConflict):
            store.append(append(run, 0, lease, answers=(Answer(command_id="c", data=b"!"),)))
        assert store.received(3, 10) == [command]

    def test_anybody_may_send_without_owning_anything(
        self, backend: Backend, store: EventStore, lease: Lease, run: str
    ) -> None:
        other = backend.open()
        command = Command(command_id="c", run_id=run, data=b"?")
        other.send(command)
        assert store.received(3, 10) == [command]
        store.answer(command, b"!")
        assert other.answered(command) == b"!"

    def test_answers_are_swept_when_they_are_old(self, backend: Backend, store: EventStore, run: str) -> None:
        old, new, waiting = (Command(command_id=name, run_id=run, data=b"?") for name in ("old", "new", "waiting"))
        for command in (old, new, waiting):
            store.send(command)
        store.answer(old, b"!")
        backend.pass_time(0.05)
        between = store.lease(5, "clock", 0.0).until
        backend.pass_time(0.05)
        store.answer(new, b"!")
        assert store.sweep(between) == 1
        assert (store.answered(old), store.answered(new)) == (None, b"!")
        assert store.received(3, 10) == [waiting]


class TestRegisters:
    def test_compare_and_set(self, store: EventStore) -> None:
        assert store.get("k") is None
        first = store.put("k", b"\0one", expected=0)
        assert store.get("k") == Register(data=b"\0one", revision=first)
        for wrong in (0, first + 1):
            with pytest.raises(RevisionConflict, match="k is at revision"):
                store.put("k", b"two", expected=wrong)
        second = store.put("k", b"", expected=first)
        assert second > first
        assert store.get("k") == Register(data=b"", revision=second)

    def test_a_revision_never_comes_back(self, store: EventStore) -> None:
        first = store.put("k", b"one", expected=0)
        store.put("k", None, expected=first)
        assert store.get("k") is None
        assert store.keys() == []
        again = store.put("k", b"one", expected=0)
        assert again > first
        with pytest.raises(RevisionConflict):
            store.put("k", b"two", expected=first)
        with pytest.raises(RevisionConflict):
            store.put("absent", None, expected=first)

    def test_names_by_their_beginning(self, store: EventStore) -> None:
        for key in ("a/2", "a/1", "a*", "A/1", "b", "ä/1", "a/1/x", "[a]"):
            store.put(key, b"", expected=0)
        assert store.keys("a/") == ["a/1", "a/1/x", "a/2"]
        assert store.keys("a*") == ["a*"]
        assert store.keys("[a") == ["[a]"]
        assert store.keys() == sorted(("a/2", "a/1", "a*", "A/1", "b", "ä/1", "a/1/x", "[a]"), key=str.encode)

    def test_of_racing_threads_one_changes_it(self, store: EventStore) -> None:
        store.put("k", b"0", expected=0)

        def count(_: int) -> None:
            for _ in range(10):
                while True:
                    found = store.get("k")
                    assert found is not None
                    try:
                        store.put("k", str(int(found.data) + 1).encode(), expected=found.revision)
                        break
                    except RevisionConflict:
                        pass

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, range(4)))
        found = store.get("k")
        assert found is not None
        assert found.data == b"40"


class TestSnapshots:
    def test_the_newest_stays(self, store: EventStore, lease: Lease, run: str) -> None:
        store.append(append(run, 0, lease, "x", "y", "z"))
        assert store.load_snapshot(run) is None
        two = Snapshot(run_id=run, sequence=2, version=5, data=b"\0two")
        store.save_snapshot(two)
        store.save_snapshot(Snapshot(run_id=run, sequence=1, version=5, data=b"one"))
        assert store.load_snapshot(run) == two
        three = Snapshot(run_id=run, sequence=3, version=6, data=b"")
        store.save_snapshot(three)
        assert store.load_snapshot(run) == three

    def test_one_beyond_the_events_is_ignored_aloud(
        self, store: EventStore, lease: Lease, run: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.append(append(run, 0, lease))
        store.save_snapshot(Snapshot(run_id=run, sequence=2, version=1, data=b"?"))
        assert store.load_snapshot(run) is None
        assert "events up to 1" in caplog.text


class TestForget:
    def test_a_forgotten_run_leaves_nothing(self, store: EventStore, lease: Lease) -> None:
        gone, stays = run_ids(3, store.shards, 2)
        for name in (gone, stays):
            store.append(append(name, 0, lease, "x", "y"))
            store.append(append(name, 2, lease, ended_at=NOW, state="succeeded"))
            store.save_snapshot(Snapshot(run_id=name, sequence=3, version=1, data=b"s"))
        before = store.feed(3, 0, 10)
        assert store.forget([gone, "absent"]) == 1
        assert store.forget([gone]) == 0
        assert store.read(gone) == []
        assert store.head(gone) is None
        assert store.load_snapshot(gone) is None
        assert [run.run_id for run in store.runs().runs] == [stays]
        assert [run.run_id for run in store.ended(NOW + timedelta(1), 10)] == [stays]
        assert store.feed(3, 0, 10) == [event for event in before if event.run_id == stays]
        assert store.feed(3, before[-1].position, 10) == []
        assert store.append(append(stays, 3, lease)).position > before[-1].position

    def test_an_active_run_is_not_forgotten(self, store: EventStore, lease: Lease) -> None:
        active, over = run_ids(3, store.shards, 2)
        store.append(append(active, 0, lease))
        store.append(append(over, 0, lease, ended_at=NOW))
        with pytest.raises(ValueError, match=f"{active} has not ended"):
            store.forget([over, active])
        assert len(store.read(active)) == len(store.read(over)) == 1, "all or none"


class TestProcesses:
    """Stores are opened in forks of this process, before which none is open here."""

    def test_processes_send_and_put_side_by_side(self, backend: Backend) -> None:
        backend.open().close()

        def work(number: int) -> None:
            with open_event_store(backend.uri) as store:
                for count in range(10):
                    store.send(Command(command_id=f"{number}-{count}", run_id="run", data=b"?"))
                    while True:
                        found = store.get("k")
                        try:
                            value = str(int(found.data if found else b"0") + 1).encode()
                            store.put("k", value, expected=found.revision if found else 0)
                            break
                        except RevisionConflict:
                            pass

        children = [fork(lambda number=number: work(number)) for number in range(3)]
        assert [exit_code(child) for child in children] == [0] * len(children)
        store = backend.open()
        found = store.get("k")
        assert found is not None
        assert found.data == b"30"
        sent = [command.command_id for command in store.received(shard_of("run", store.shards), 100)]
        assert len(sent) == len(set(sent)) == 30

    def test_processes_that_make_the_store_together_make_one(self, backend: Backend) -> None:
        def work() -> None:
            with open_event_store(backend.uri) as store:
                store.put(uuid.uuid4().hex, b"", expected=0)

        children = [fork(work) for _ in range(4)]
        assert [exit_code(child) for child in children] == [0] * len(children)
        assert len(backend.open().keys()) == 4

    def test_an_owner_that_freezes_is_fenced_or_keeps_all(self, backend: Backend, tmp_path: Path) -> None:
        """The owner freezes inside a lease of 50 ms. On a server another takes over; a file has one owning process, so
        there nobody can, and the owner goes on.
        """
        backend.open().close()
        frozen, outcome = tmp_path / "frozen", tmp_path / "outcome"

        def work() -> None:
            with open_event_store(backend.uri) as store:
                lease = store.lease(3, "stopped", 0.05)
                run = run_ids(3, store.shards, 1)[0]
                store.append(append(run, 0, lease, "before"))
                frozen.touch()
                os.kill(os.getpid(), signal.SIGSTOP)
                try:
                    store.append(append(run, 1, lease, "behind"))
                    outcome.write_text("went on")
                except Fenced:
                    outcome.write_text("fenced")

        child = fork(work)
        eventually(frozen.exists, 10)
        os.waitpid(child, os.WUNTRACED)
        store = backend.open()
        run = run_ids(3, store.shards, 1)[0]
        if backend.kind == "sqlite":
            backend.pass_time(LONG_S)
            with pytest.raises(LeaseHeld, match=f"owned by stopped, process {child} on "):
                store.lease(3, "next", LONG_S)
        else:
            lease = eventually(lambda: store.lease(3, "next", LONG_S), 10)
            store.append(append(run, len(store.read(run)), lease, "after"))
        os.kill(child, signal.SIGCONT)
        assert exit_code(child) == 0
        alone = backend.kind == "sqlite"
        assert outcome.read_text() == ("went on" if alone else "fenced")
        assert told(store.read(run)) == [(1, "before"), (2, "behind" if alone else "after")]


def test_positions_and_sequences_never_depend_on_who_asks_first(backend: Backend) -> None:
    """Random interleavings of two handles against a list: the store is the list."""
    one, two = backend.open(), backend.open()
    lease = one.lease(3, "owner", LONG_S)
    names = run_ids(3, one.shards, 3)
    model: list[tuple[str, int, str]] = []
    for number, name in zip(range(30), itertools.cycle(names)):
        expected = sum(run == name for run, _, _ in model)
        kinds = ("x", "y")[: 1 + number % 2]
        one.append(append(name, expected, lease, *kinds))
        model += [(name, expected + count, kind) for count, kind in enumerate(kinds, 1)]
        assert [(event.run_id, event.sequence, event.type) for event in two.feed(3, 0, 1000)] == model


def test_a_closed_store_says_so(backend: Backend) -> None:
    from lakeray.errors import StateUnavailable

    store = backend.open()
    store.close()
    store.close()
    with pytest.raises(StateUnavailable, match="closed"):
        store.read("run")
    with pytest.raises(StateUnavailable, match="closed"):
        store.put("k", b"", expected=0)


def test_how_many_shards_is_settled_when_the_store_is_made(backend: Backend) -> None:
    assert backend.open().shards == 16
    assert open_event_store(backend.uri, shards=3).shards == 16
