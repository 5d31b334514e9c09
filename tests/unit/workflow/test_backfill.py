"""A backfill does every partition once, so many at a time, whatever is said twice, paused, cancelled, handed over."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from lakeray.workflow.backfill import Backfill as State
from lakeray.workflow.backfill import (
    Plan,
    again,
    began,
    cancel,
    child_ended,
    pause,
    planned,
    progress,
    resume,
    running,
    window,
)
from lakeray.workflow.kept import decode, encode
from lakeray.workflow.partitions import BackfillRefused, listed, time_ranges

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def plan(**said) -> Plan:
    return Plan(**{"backfill_id": "b1", "workflow": "orders", "values": tuple("abcdef"), "concurrency": 2, **said})


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def all_begun(state, now=NOW):
    for child in window(state):
        state = began(state, child.index, now)
    return state


def keys(children) -> str:
    return "".join(str(child.partition.key) for child in children)


def test_a_year_by_months():
    parts = time_ranges(start="2024-01-01", end="2024-12-31", every="1 month")
    assert len(parts) == 12
    assert (parts[1].key, parts[1].end) == ("2024-02-01T00:00:00Z", datetime(2024, 3, 1, tzinfo=UTC))
    assert parts[-1].end == datetime(2025, 1, 1, tzinfo=UTC)


def test_months_from_a_31st_do_not_drift():
    parts = time_ranges(start="2024-01-31", end="2024-06-01T00:00", every="month")
    days = [(part.start.month, part.start.day) for part in parts]
    assert days == [(1, 31), (2, 29), (3, 31), (4, 30), (5, 31)]


def test_a_day_in_a_zone_is_as_long_as_its_clocks_say():
    parts = time_ranges(start="2025-03-29", end="2025-03-31", every="1 day", timezone="Europe/Berlin")
    assert [(part.end - part.start) / timedelta(hours=1) for part in parts] == [24, 23, 24]
    hours = time_ranges(start="2025-03-30", end="2025-03-30", every="6h", timezone="Europe/Berlin")
    assert [(part.end - part.start) / timedelta(hours=1) for part in hours] == [6, 6, 6, 5]


def test_a_time_as_end_is_not_part_of_it():
    (part,) = time_ranges(start="2024-01-01T06:00+02:00", end="2024-01-01T05:00Z", every="1 day")
    assert (part.start, part.end) == (datetime(2024, 1, 1, 4, tzinfo=UTC), datetime(2024, 1, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize("every", ["1 day", "7 hours", "45 minutes", "2 weeks", "1 month", "quarter", "1 year"])
def test_partitions_lie_side_by_side_without_a_gap(timezone, every):
    start = "2011-12-01" if "minutes" in every else "2011-01-31"
    parts = time_ranges(start=start, end="2012-03-01", every=every, timezone=timezone)
    assert all(part.start < part.end for part in parts)
    assert all(one.end == other.start for one, other in pairwise(parts))
    whole = time_ranges(start=start, end="2012-03-01", every="40000 days", timezone=timezone)
    assert [(parts[0].start, parts[-1].end)] == [(part.start, part.end) for part in whole]
    assert len({part.key for part in parts}) == len(parts)
    assert sorted(part.key for part in parts) == [part.key for part in parts]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"every": "often"}, 'found every "often"'),
        ({"every": "0 days"}, 'found every "0 days"'),
        ({"start": "2024-13-01"}, 'found start "2024-13-01"'),
        ({"end": "2023-12-31"}, "does not lie behind its start"),
        ({"end": "2099-01-01", "every": "1 minute"}, "more than 100000 partitions"),
        ({"end": "9999-12-31"}, "no partitions from 2024-01-01 to 9999-12-31"),
        ({"timezone": "Mars/Olympus"}, "in Mars/Olympus"),
    ],
)
def test_what_makes_no_partitions_is_refused_before_anything_starts(said, told):
    asked = {"start": "2024-01-01", "end": "2024-12-31", "every": "1 day", "timezone": "UTC", **said}
    with pytest.raises(BackfillRefused, match=told) as caught:
        time_ranges(**asked)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("values", "told"), [([], "found 0"), (["a", "b", "a"], 'partition "a" is named twice')])
def test_lists_that_are_none(values, told):
    with pytest.raises(BackfillRefused, match=told):
        listed(values)


def test_a_window_slides_and_never_holds_more_than_it_may():
    state = planned(plan(), NOW)
    assert keys(window(state)) == "ab"
    state = all_begun(state)
    assert window(state) == ()
    state = child_ended(state, 1, "succeeded", later(10))
    assert keys(window(state)) == "c"
    assert keys(running(state)) == "a"


def test_saying_it_twice_changes_nothing():
    state = all_begun(planned(plan(), NOW))
    assert began(state, 0, later(5)) == state
    state = child_ended(state, 0, "failed", later(5))
    assert child_ended(state, 0, "succeeded", later(6)) == state
    assert child_ended(state, 5, "succeeded", later(6)) == state
    assert began(state, 0, later(6)) == state


def test_a_dry_run_counts_and_begins_nothing():
    told = progress(planned(plan(start="2024-01-01", end="2024-12-31", every="1 month"), NOW), NOW)
    assert (told.total, told.pending, told.running, told.left, told.state) == (12, 12, 0, None, "running")


def test_pause_begins_nothing_further():
    state = pause(all_begun(planned(plan(), NOW)))
    state = child_ended(state, 0, "succeeded", later(1))
    assert window(state) == ()
    assert progress(state, later(1)).state == "paused"
    assert keys(window(resume(state))) == "c"


def test_cancel_reaches_the_children_and_ends_with_them():
    state, children = cancel(all_begun(planned(plan(), NOW)))
    assert (keys(children), window(state), progress(state, NOW).state) == ("ab", (), "cancelling")
    again_, children = cancel(state)
    assert (again_, keys(children)) == (state, "ab"), "whoever was killed in between cancels them again"
    state = child_ended(state, 0, "cancelled", later(1))
    state = child_ended(state, 1, "succeeded", later(1))
    told = progress(state, later(1))
    assert (told.state, told.succeeded, told.cancelled) == ("cancelled", 1, 5)


def test_only_the_failed_ones_are_done_again_under_ids_of_their_own():
    state = planned(plan(concurrency=6), NOW)
    first = {child.index: child for child in window(state)}
    state = all_begun(state)
    for index in range(6):
        state = child_ended(state, index, "failed" if index in (1, 4) else "succeeded", later(index))
    assert progress(state, later(9)).state == "failed"
    state = again(state)
    children = window(state)
    assert keys(children) == "be"
    assert [child.run_id for child in children] == ["b1-000001-2", "b1-000004-2"]
    assert [child.identity for child in children] == [first[index].identity for index in (1, 4)]
    assert first[1].run_id == "b1-000001-1"


def test_the_time_that_is_left_is_that_of_those_that_ended():
    state = all_begun(planned(plan(), NOW))
    assert progress(state, later(5)).left is None
    state = child_ended(state, 0, "succeeded", later(10))
    assert progress(state, later(10)).left == timedelta(seconds=(5 * 10 - 10) / 2)
    assert progress(state, later(15)).left == timedelta(seconds=20), "what takes longer than others promises nothing"


@pytest.mark.parametrize(("reprocess", "done"), [("none", "cdef"), ("failed", "bcdef"), ("all", "abcdef")])
def test_what_an_earlier_backfill_did_is_done_again_only_when_asked(reprocess, done):
    first = all_begun(planned(plan(), NOW))
    first = child_ended(child_ended(first, 0, "succeeded", NOW), 1, "failed", NOW)
    first, _ = cancel(first)
    second = planned(plan(backfill_id="b2", concurrency=9, reprocess=reprocess), later(9), earlier=[first])
    assert keys(window(second)) == done
    assert progress(second, NOW).left_out == 6 - len(done)
    other = planned(plan(backfill_id="b3", concurrency=9, step="other"), later(9), earlier=[first])
    assert keys(window(other)) == "abcdef"


def test_the_last_word_about_a_partition_counts():
    def one(how, at, backfill_id):
        state = all_begun(planned(plan(backfill_id=backfill_id, values=("a",)), later(at)))
        return child_ended(state, 0, how, later(at + 1))

    failed, mended = one("failed", 0, "x"), one("succeeded", 10, "y")
    for earlier in ([failed, mended], [mended, failed]):
        state = planned(plan(values=("a",), reprocess="failed"), later(99), earlier=earlier)
        assert window(state) == ()


def test_ten_thousand_partitions_are_small():
    state = planned(plan(start="2000-01-01", end="2027-05-18", every="1 day", concurrency=8), NOW)
    assert len(state.codes) == 10_000
    assert len(encode(all_begun(state))) < 12_000


def test_every_partition_is_done_once_whoever_carries_it_on():
    """Random failures, pauses, cancellations, doubled words, and a hand-over through bytes after every step."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(100):
        total, most = chance.randint(1, 20), chance.randint(1, 5)
        state = planned(plan(values=tuple(range(total)), concurrency=most), NOW)
        succeeded, ids, now = [], set(), NOW
        for _ in range(2000):
            now += timedelta(seconds=1)
            state = decode(encode(state), State)
            told = progress(state, now)
            assert told.running <= most, f"seed {seed}"
            move = chance.random()
            if told.state in ("succeeded", "failed", "cancelled"):
                if told.succeeded == total:
                    break
                state = again(state)
            elif move < 0.45:
                for child in window(state):
                    assert child.run_id not in ids, f"seed {seed}"
                    ids.add(child.run_id)
                    state = began(began(state, child.index, now), child.index, now)
            elif move < 0.9 and running(state):
                child = chance.choice(running(state))
                how = chance.choice(["succeeded", "succeeded", "failed", "cancelled"])
                succeeded += [child.index] if how == "succeeded" else []
                state = child_ended(child_ended(state, child.index, how, now), child.index, "failed", now)
            elif move < 0.93:
                state = pause(state)
            elif move < 0.99:
                state = resume(state)
            else:
                state, _ = cancel(state)
        assert sorted(succeeded) == list(range(total)), f"seed {seed}"
