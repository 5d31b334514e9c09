"""Orchestrators of one store ask for the shards at home with them, and for those of a neighbour that shows no life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakeray.runtime.durable.shared import Neighbours, said_of
from lakeray.state.sqlite.store import SqliteStore
from lakeray.workflow.events import RunTerminated

TTL_S = 9.0


class Clock:
    """Time as the test has it."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state.db", shards=4, clock=clock.now) as opened:
        yield opened


def neighbours(store: SqliteStore, clock: Clock, owner: str, number: int, of: int) -> Neighbours:
    return Neighbours(store, owner, number=number, of=of, ttl_s=TTL_S, monotonic=clock.monotonic)


@pytest.fixture
def pair(store: SqliteStore, clock: Clock) -> list[Neighbours]:
    return [neighbours(store, clock, f"owner-{number}", number, 2) for number in range(2)]


def test_each_asks_for_its_own_shards_first(pair: list[Neighbours]) -> None:
    assert [each.open_to_me(set()) for each in pair] == [[0, 2], [1, 3]]


def test_one_asks_for_no_shard_that_is_owned(store: SqliteStore, pair: list[Neighbours], clock: Clock) -> None:
    store.lease(2, "owner-0", TTL_S)
    assert pair[0].open_to_me(set()) == [0]
    assert pair[0].open_to_me({0, 2}) == []
    pair[1].open_to_me(set())
    clock.at += TTL_S + 1
    pair[1].open_to_me(set())
    assert pair[0].open_to_me({0}) == [2], "a lease that has run out is no more"


def test_shards_of_a_neighbour_that_is_silent_for_a_lease_are_asked_for(pair: list[Neighbours], clock: Clock) -> None:
    first, second = pair
    second.open_to_me(set())
    for _ in range(int(TTL_S)):
        assert first.open_to_me(set()) == [0, 2]
        clock.at += 1
    assert first.open_to_me(set()) == [0, 1, 2, 3]
    second.open_to_me(set())
    assert first.open_to_me(set()) == [0, 2], "a sign of life, and they are the neighbour's again"


def test_the_end_of_a_lease_and_the_silence_are_waited_for_at_the_same_time(
    store: SqliteStore, pair: list[Neighbours], clock: Clock
) -> None:
    first, second = pair
    for _ in range(3):
        second.open_to_me(set())
        first.open_to_me(set())
        clock.at += 1
    store.lease(1, "owner-1", TTL_S)
    for _ in range(int(TTL_S) + 1):
        clock.at += 1
        found = first.open_to_me(set())
    assert 1 in found


def test_signs_of_life_keep_them(pair: list[Neighbours], clock: Clock) -> None:
    first, second = pair
    for _ in range(5 * int(TTL_S)):
        second.open_to_me(set())
        assert first.open_to_me(set()) == [0, 2]
        clock.at += 1


def test_two_of_one_number_do_not_stand_in_each_others_way(store: SqliteStore, clock: Clock) -> None:
    twins = [neighbours(store, clock, owner, 0, 1) for owner in "ab"]
    assert [each.open_to_me(set()) for each in twins] == [[0, 1, 2, 3]] * 2


def test_people_hear_of_the_end_of_a_run_that_is_terminated() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert said_of(RunTerminated(at=at, principal="ann", reason="enough")) == "terminated"
