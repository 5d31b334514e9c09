"""Intervals between attempts grow as the file says, within their bounds, with a jitter that anybody can draw again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.spec.policies import Retry
from lakeray.workflow.definition import RetryPlan
from lakeray.workflow.retry import interval_s, uniform


def test_intervals_grow_up_to_the_largest():
    plan = RetryPlan(initial_interval_s=2.0, backoff_coefficient=3.0, maximum_interval_s=30.0)
    assert [interval_s(plan, used, "x") for used in (1, 2, 3, 4)] == [2.0, 6.0, 18.0, 30.0]


def test_a_growth_beyond_all_numbers_is_the_largest_interval():
    plan = RetryPlan(backoff_coefficient=1000.0, maximum_interval_s=7.0)
    assert interval_s(plan, 5000, "x") == 7.0


@given(st.text(), st.integers(1, 50), st.floats(0.0, 1.0))
def test_jitter_stays_within_its_share_and_is_the_same_for_the_same_attempt(chance, used, jitter):
    plan = RetryPlan(initial_interval_s=10.0, maximum_interval_s=100.0, jitter=jitter)
    plain = interval_s(RetryPlan(initial_interval_s=10.0, maximum_interval_s=100.0), used, chance)
    drawn = interval_s(plan, used, chance)
    assert plain * (1 - jitter) - 1e-9 <= drawn <= plain * (1 + jitter) + 1e-9
    assert drawn == interval_s(plan, used, chance)


def test_jitter_spreads_evenly():
    drawn = [uniform(f"7/step/{n}") for n in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.02)
    assert all(0.0 <= each < 1.0 for each in drawn)
    assert 350 < sum(each < 0.1 for each in drawn) < 450


def test_a_draw_is_the_same_in_every_release():
    """The next attempt's time is an event, but a saved history is checked against what would be drawn today."""
    assert uniform("7/ingest/1") == pytest.approx(0.4348528060916492, abs=1e-9)


@given(st.integers(1, 30), st.floats(0, 100), st.floats(1, 5))
def test_the_plan_and_the_file_agree(attempt, initial, coefficient):
    said = Retry(initial_interval=initial, backoff_coefficient=coefficient)
    plan = RetryPlan(initial_interval_s=initial, backoff_coefficient=coefficient, maximum_interval_s=100 * initial)
    assert interval_s(plan, attempt, "x") == said.interval_s(attempt)
