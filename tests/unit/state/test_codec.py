"""What was ever written still means the same, and what is damaged is not taken for whole."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.errors import StateFormat
from lakeray.state import Event, Snapshot, shard_of
from lakeray.state.codec import Upcasters, seal, unseal
from lakeray.state.instants import from_us, to_us
from lakeray.state.pages import page, page_start
from tests.conformance.event_stores import head

AT = datetime(2026, 11, 25, tzinfo=UTC)


def event(version: int, data: bytes, type_: str = "moved") -> Event:
    return Event(run_id="run", sequence=4, position=9, type=type_, version=version, data=data, at=AT)


MOVES = Upcasters(
    current={"moved": 3, "still": 1},
    steps={("moved", 1): lambda data: data + b"->2", ("moved", 2): lambda data: data + b"->3"},
)


@pytest.mark.parametrize(("version", "data"), [(1, b"x->2->3"), (2, b"x->3"), (3, b"x")])
def test_an_event_of_any_version_becomes_one_of_todays(version: int, data: bytes) -> None:
    assert MOVES.upcast(event(version, b"x")) == event(3, data)


def test_an_event_from_a_later_release_is_refused_by_name() -> None:
    with pytest.raises(StateFormat, match="event 4 of run run is a moved of version 4"):
        MOVES.upcast(event(4, b"x"))
    with pytest.raises(StateFormat, match="is a flown of version 1"):
        MOVES.upcast(event(1, b"x", "flown"))


def test_a_missing_step_is_seen_before_an_event_needs_it() -> None:
    with pytest.raises(ValueError, match="moved 2"):
        Upcasters(current={"moved": 3}, steps={("moved", 1): bytes})


SNAPSHOT = Snapshot(run_id="rün", sequence=7, version=2, data=b"\0state" * 10)


def test_a_snapshot_comes_back_as_it_was() -> None:
    assert unseal("rün", seal(SNAPSHOT), newest=7) == SNAPSHOT


def test_a_torn_snapshot_is_ignored_wherever_it_is_torn(caplog: pytest.LogCaptureFixture) -> None:
    sealed = seal(SNAPSHOT)
    for length in range(len(sealed)):
        assert unseal("rün", sealed[:length], newest=9) is None
    assert caplog.text.count("damaged and ignored") == len(sealed)


@given(st.integers(0, len(seal(SNAPSHOT)) - 1), st.integers(1, 255))
def test_a_snapshot_with_a_changed_byte_is_ignored(place: int, change: int) -> None:
    sealed = bytearray(seal(SNAPSHOT))
    sealed[place] ^= change
    assert unseal("rün", bytes(sealed), newest=9) is None


def test_another_runs_snapshot_is_ignored() -> None:
    assert unseal("other", seal(SNAPSHOT), newest=9) is None


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_times_are_kept_to_the_microsecond(at: datetime) -> None:
    assert from_us(to_us(at)) == at


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        to_us(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_a_page_token_leads_behind_the_last_run() -> None:
    heads = [head(name) for name in ("c", "b b", "a")]
    first = page(heads, 2)
    assert first.runs == tuple(heads[:2])
    assert page_start(first.next_token) == (to_us(heads[1].started_at), "b b")
    assert page(heads, 3).next_token is None


@given(st.text(), st.integers(1, 64))
def test_every_run_has_a_shard(run_id: str, shards: int) -> None:
    assert 0 <= shard_of(run_id, shards) < shards


def test_shards_are_what_they_were_when_the_first_runs_were_stored() -> None:
    assert [shard_of(name, 16) for name in ("run-1", "orders/2026", "ü")] == [3, 10, 5]
