"""Cron expressions are read as crontab(5) reads them, or refused with the field that is wrong."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.spec.schedule import parse_cron
from lakeray.spec.wrong import WrongValue


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("*/15 * * * *", 0, {0, 15, 30, 45}),
        ("5/20 * * * *", 0, {5, 25, 45}),
        ("0 8-10,20 * * *", 1, {8, 9, 10, 20}),
        ("0 0 1-31/10 * *", 2, {1, 11, 21, 31}),
        ("0 0 * JAN,mar-may *", 3, {1, 3, 4, 5}),
        ("0 0 * * mon-fri", 4, {1, 2, 3, 4, 5}),
        ("0 0 * * 7", 4, {0}),
        ("0 0 * * 5-7", 4, {0, 5, 6}),
        ("@hourly", 0, {0}),
        ("@weekly", 4, {0}),
        ("0 0 29 2 *", 2, {29}),
        ("0 0 31 2 mon", 2, {31}),
    ],
)
def test_fields(text, field, values):
    cron = parse_cron(text)
    assert (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays)[field] == values


@pytest.mark.parametrize(
    ("text", "day", "allowed"),
    [
        ("0 0 13 * fri", date(2025, 6, 13), True),
        ("0 0 13 * fri", date(2025, 6, 6), True),
        ("0 0 13 * fri", date(2025, 5, 13), True),
        ("0 0 13 * fri", date(2025, 5, 14), False),
        ("0 0 * * fri", date(2025, 5, 13), False),
        ("0 0 */2 * fri", date(2025, 6, 6), False),
        ("0 0 */2 * fri", date(2025, 6, 13), True),
        ("0 0 13 * */5", date(2025, 6, 13), True),
        ("0 0 13 * */5", date(2025, 6, 6), False),
        ("0 0 * 5 *", date(2025, 6, 1), False),
        ("0 0 * * 7", date(2025, 6, 1), True),
    ],
)
def test_two_days_are_joined_by_or_unless_one_begins_with_a_star(text, day, allowed):
    assert parse_cron(text).on(day) is allowed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("* * * *", "expected five fields"),
        ("", "expected five fields"),
        ("60 * * * *", "expected minute from 0 to 59"),
        ("* 24 * * *", "expected hour from 0 to 23"),
        ("* * 0 * *", "expected day of month from 1 to 31"),
        ("* * * 13 *", "expected month from 1 to 12"),
        ("* * * * 8", "expected day of week from 0 to 7"),
        ("* * * sept *", 'Did you mean "sep"'),
        ("10-5 * * * *", "end behind its beginning"),
        ("*/0 * * * *", "expected a step from 1 to 59"),
        ("1,,2 * * * *", "expected minute as"),
        ("a-b * * * *", "expected minute as"),
        ("0 0 31 4,6 *", "expected a day that its month has"),
        ("0 0 31 4,6 */2", "expected a day that its month has"),
        ("@fortnightly", "allowed: @hourly"),
    ],
)
def test_what_is_no_cron_expression(text, told):
    with pytest.raises(WrongValue) as caught:
        parse_cron(text)
    assert told in str(caught.value)


@given(st.text(alphabet="0123456789*/,- @adehilmnorstuwy", max_size=30))
def test_any_text_is_an_expression_that_comes_true_or_a_wrong_value(text):
    try:
        cron = parse_cron(text)
    except WrongValue:
        return
    assert all((cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays))
