"""A schedule begins each run once, in time, or says that it did not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from lakeray.spec.schedule import Schedule
from lakeray.workflow.overlap import Skip, Start
from lakeray.workflow.schedules import (
    Missed,
    ScheduleState,
    advance,
    fires,
    next_fire,
    pause,
    resume,
    run_ended,
    start_of,
    wake_at,
)

NOON = datetime(2025, 6, 2, 12, tzinfo=UTC)
SEED = "acme/orders"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def schedule(**said) -> Schedule:
    return Schedule(**{"cron": "*/15 * * * *", **said})


def begun(actions) -> list[datetime]:
    return [action.fire.at for action in actions if isinstance(action, Start)]


def kinds(actions) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_a_29_february_on_a_sunday_is_found_over_the_year_2100():
    rare = Schedule(cron="0 0 29 2 */7")
    assert next_fire(rare, datetime(2088, 3, 1, tzinfo=UTC)) == datetime(2128, 2, 29, tzinfo=UTC)


def test_the_calendar_has_an_end():
    assert next_fire(schedule(), datetime(9999, 12, 31, 23, 50, tzinfo=UTC)) is None


def test_runs_begin_when_they_are_due_and_not_again():
    allowing = schedule(overlap="allow_all")
    state = ScheduleState(cursor=NOON)
    assert wake_at(allowing, state, SEED) == at(15)
    state, actions = advance(allowing, state, at(14.99), seed=SEED)
    assert actions == ()
    state, actions = advance(allowing, state, at(30), seed=SEED)
    assert begun(actions) == [at(15), at(30)]
    assert advance(allowing, state, at(30), seed=SEED) == (state, ())
    assert actions[0].fire.key == "schedule/2025-06-02T12:15:00+00:00"


def test_what_is_older_than_the_catch_up_window_is_missed_aloud():
    state = ScheduleState(cursor=NOON)
    late = schedule(catchup_window=20 * 60, overlap="allow_all")
    state, actions = advance(late, state, at(61), seed=SEED)
    assert kinds(actions) == ["Missed", "Start", "Start"]
    assert actions[0] == Missed(first=at(15), until=at(41) - timedelta(microseconds=1))
    assert begun(actions) == [at(45), at(60)]


def test_a_run_exactly_as_late_as_the_window_still_begins():
    state = ScheduleState(cursor=NOON)
    _, actions = advance(schedule(catchup_window=15 * 60), state, at(30), seed=SEED)
    assert begun(actions) == [at(15)]
    _, actions = advance(schedule(catchup_window=0), state, at(15), seed=SEED)
    assert begun(actions) == [at(15)]


def test_a_year_of_missed_minutes_costs_nothing():
    every = schedule(cron="* * * * *", overlap="allow_all")
    _, actions = advance(every, ScheduleState(cursor=NOON - timedelta(days=3650)), NOON, seed=SEED)
    assert kinds(actions) == ["Missed", *["Start"] * 61]


def test_many_at_once_come_in_portions():
    every = schedule(cron="* * * * *", overlap="allow_all")
    state, told = ScheduleState(cursor=NOON), []
    while (wake := wake_at(every, state, SEED)) is not None and wake <= at(45):
        state, actions = advance(every, state, at(45), seed=SEED, limit=10)
        assert len(actions) <= 10
        told.extend(begun(actions))
    assert told == [at(minute) for minute in range(1, 46)]


def test_a_failed_run_pauses_and_what_waits_begins_when_somebody_resumes():
    careful = schedule(pause_on_failure=True, overlap="buffer_one")
    state, actions = advance(careful, ScheduleState(cursor=NOON), at(30), seed=SEED)
    assert kinds(actions) == ["Start"]
    first = actions[0].fire.key
    state, actions = run_ended(careful, state, first, failed=True)
    assert (actions, state.paused) == ((), f"the run of {first} failed")
    assert wake_at(careful, state, SEED) is None
    state, actions = advance(careful, state, at(120), seed=SEED)
    assert actions == ()
    state, actions = resume(state, at(121))
    assert begun(actions) == [at(30)]
    state, actions = run_ended(careful, state, actions[0].fire.key, failed=False)
    assert (state.paused, actions) == (None, ())
    _, actions = advance(careful, state, at(135), seed=SEED)
    assert begun(actions) == [at(135)], "what the pause passed over is not made up for"


def test_a_failure_of_a_run_that_is_not_its_own_pauses_nothing():
    careful = schedule(pause_on_failure=True)
    state, _ = run_ended(careful, ScheduleState(cursor=NOON), "manual/1", failed=True)
    assert state.paused is None


def test_pausing_keeps_its_first_reason_and_resuming_what_runs_changes_nothing():
    state = pause(pause(ScheduleState(cursor=NOON), "holiday"), "other")
    assert state.paused == "holiday"
    running = ScheduleState(cursor=NOON)
    assert resume(running, at(5)) == (running, ())


@pytest.mark.parametrize("cron", ["*/15 * * * *", "* * * * *", "0 0 1 * *"])
def test_jitter_is_the_same_for_everybody_and_never_reaches_beyond_the_next(cron):
    spread = schedule(cron=cron, jitter=3600.0)
    delays = []
    for fire in list(fires(spread, NOON, NOON + timedelta(days=1)))[:200] or [datetime(2025, 7, 1, tzinfo=UTC)]:
        start = start_of(spread, fire, SEED)
        assert start == start_of(spread, fire, SEED)
        assert fire <= start <= min(next_fire(spread, fire), fire + timedelta(hours=1))
        delays.append(start - fire)
    assert len(set(delays)) == len(delays)
    assert start_of(spread, NOON, "other") != start_of(spread, NOON, SEED)


def test_with_jitter_a_run_begins_at_its_start_and_the_key_is_the_nominal_time():
    spread = schedule(jitter=600.0)
    state = ScheduleState(cursor=NOON)
    start = wake_at(spread, state, SEED)
    assert at(15) < start < at(25)
    assert advance(spread, state, start - timedelta(seconds=1), seed=SEED)[1] == ()
    _, (action,) = advance(spread, state, start, seed=SEED)
    assert action.fire.at == at(15)


def test_every_fire_is_begun_skipped_waiting_or_missed_however_it_is_looked_at():
    """Random schedules and looks at random times: nothing is forgotten, nothing told twice. Prints its seed."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(60):
        asked = schedule(
            cron=chance.choice(["* * * * *", "*/7 * * * *", "0 * * * *", "30 12,13 * * *"]),
            timezone=chance.choice(["UTC", "Europe/Berlin"]),
            overlap=chance.choice(["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]),
            catchup_window=chance.choice([0.0, 90.0, 3600.0]),
            jitter=chance.choice([0.0, 45.0]),
        )
        state, now, told, running = ScheduleState(cursor=NOON), NOON, [], set()
        for _ in range(40):
            now += timedelta(seconds=chance.choice([1, 20, 60, 400, 4000]))
            if running and chance.random() < 0.5:
                key = chance.choice(sorted(running))
                running.discard(key)
                state, actions = run_ended(asked, state, key, failed=False)
            else:
                state, actions = advance(asked, state, now, seed=SEED, limit=chance.choice([1, 5, 100]))
            told.extend(actions)
            running |= {action.fire.key for action in actions if isinstance(action, Start)}
            state = msgspec.json.decode(msgspec.json.encode(state), type=ScheduleState)
        missed = [(item.first, item.until) for item in told if isinstance(item, Missed)]
        named = [item.fire.at for item in told if isinstance(item, Start | Skip)]
        named += [fire.at for fire in state.lane.waiting]
        assert len(named) == len(set(named)), f"seed {seed}"
        for fire in fires(asked, NOON, state.cursor):
            times = (fire in named) + any(first <= fire <= until for first, until in missed)
            assert times == 1, f"seed {seed}: {asked} {fire}"
