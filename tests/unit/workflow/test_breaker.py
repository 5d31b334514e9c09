"""A breaker opens after so many failures in a time, lets one through after a while, closes when that one succeeds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.workflow import breaker as b
from lakeray.workflow.definition import BreakerPlan
from lakeray.workflow.events import Failure

START = datetime(2024, 1, 1, tzinfo=UTC)
PLAN = BreakerPlan(dependency="db", failures=3, within_s=60.0, open_for_s=30.0)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def opened() -> b.Breaker:
    breaker = b.Breaker()
    for second in (0, 1, 2):
        breaker = b.failed(breaker, PLAN, f"w{second}", at(second))
    return breaker


def test_it_opens_at_so_many_failures_in_the_time():
    breaker = b.failed(b.failed(b.Breaker(), PLAN, "w1", at(0)), PLAN, "w2", at(50))
    assert b.admit(breaker, PLAN, "w3", at(51)).allowed
    assert b.admit(b.failed(breaker, PLAN, "w3", at(61)), PLAN, "w4", at(62)).allowed, "the first is too long ago"
    assert not b.admit(b.failed(breaker, PLAN, "w3", at(59)), PLAN, "w4", at(59)).allowed


def test_an_open_one_says_when_to_ask_again_and_then_lets_one_through():
    breaker = opened()
    held = b.admit(breaker, PLAN, "w4", at(10))
    assert (held.allowed, held.ask_again_at, held.breaker) == (False, at(32), breaker)
    trial = b.admit(breaker, PLAN, "w4", at(32))
    assert trial.allowed
    assert b.admit(trial.breaker, PLAN, "w4", at(33)).allowed, "the one on trial, asking again"
    other = b.admit(trial.breaker, PLAN, "w5", at(33))
    assert (other.allowed, other.ask_again_at) == (False, at(62))


def test_the_trial_decides():
    trial = b.admit(opened(), PLAN, "w4", at(32)).breaker
    assert b.succeeded(trial, "w4") == b.Breaker()
    again = b.failed(trial, PLAN, "w4", at(35))
    assert b.admit(again, PLAN, "w5", at(64)).ask_again_at == at(65)


def test_work_that_began_before_it_opened_decides_nothing():
    breaker = opened()
    assert b.succeeded(breaker, "w0") == breaker
    assert b.failed(breaker, PLAN, "w0", at(20)) == breaker
    trial = b.admit(breaker, PLAN, "w4", at(32)).breaker
    assert b.succeeded(trial, "w0") == trial


def test_a_trial_that_is_never_heard_of_again_is_followed_by_another():
    trial = b.admit(opened(), PLAN, "w4", at(32)).breaker
    assert b.admit(trial, PLAN, "w5", at(62)).breaker.trial == "w5"


@pytest.mark.parametrize(
    ("cause", "retryable", "counts"),
    [("error", True, True), ("error", False, False), ("timeout", True, True), ("worker_died", True, False)],
)
def test_only_failures_that_speak_of_the_dependency_count(cause, retryable, counts):
    assert b.counts(Failure(code="x", message="x", retryable=retryable), cause) is counts


@given(st.lists(st.tuples(st.sampled_from(["ask", "ok", "fail"]), st.integers(0, 5), st.integers(0, 50)), max_size=60))
def test_an_open_breaker_lets_at_most_one_through_in_each_time(acts):
    """Slow oracle: while one is on trial, since its first admission, none other passes for ``open_for``."""
    breaker, now = b.Breaker(), 0
    passed: list[tuple[float, str]] = []
    for act, who, later in acts:
        now += later
        work = f"w{who}"
        if act == "ask":
            admission = b.admit(breaker, PLAN, work, at(now))
            was_open, breaker = breaker.opened_at is not None, admission.breaker
            if was_open and admission.allowed:
                passed = [(when, other) for when, other in passed if now - when < PLAN.open_for_s]
                assert all(other == work for _, other in passed)
                passed = passed or [(now, work)]
        elif act == "ok":
            breaker = b.succeeded(breaker, work)
        else:
            breaker = b.failed(breaker, PLAN, work, at(now))
        if breaker.opened_at is None or breaker.trial is None:
            passed = []
        assert len(breaker.failures) < PLAN.failures
        assert b.decode_breaker(b.encode_breaker(breaker)) == breaker


def test_what_is_no_breaker_is_refused():
    with pytest.raises(ValueError, match="no circuit breaker"):
        b.decode_breaker(b"[]")
    assert b.register("acme", "db") == "breakers/acme/db"
