"""What a look at the bytes says of a text is what a regular expression says of it, whatever stands beside it."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.spec.cleansing import CleanseRule
from lakeray.transform.cleanse.texts import Function, text_rule
from lakeray.transform.delta_types import TIMESTAMP
from lakeray.transform.local_dates import _parsed, parse_moments
from lakeray.transform.text_bytes import (
    BEYOND_ASCII,
    ODD,
    UPPER,
    FixedWidth,
    digits_and_points,
    odd_at_ends,
    with_any,
)

PATTERNS = ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d", "%d/%m/%y", "%Y%m%d", "%H:%M %F", "%d·%m·%Y"]
NUMBERS = st.text("0123456789.-, x", max_size=21)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(" \t\n\x1c\x7f\u00a0\u3000aZé0.", max_size=6)
MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S")),
    st.datetimes().map(lambda moment: moment.strftime("%d.%m.%Y %H:%M:%S")),
    st.dates().map(lambda day: day.strftime("%d/%m/%y")),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?", fullmatch=True),
    st.from_regex(r"[0-9]{2}[.·][0-9]{2}[.·][0-9]{4}( [0-9]{1,2}:[0-9]{2}:[0-9]{2})?", fullmatch=True),
    st.text("0123456789-/.: ·", max_size=20),
)


def column(texts):
    """The texts as a slice of a longer array with a null in it, as a chunk of a table may be."""
    return pa.array(["before", *texts, None, "behind"], pa.string()).slice(1, len(texts) + 1)


@given(st.lists(NUMBERS))
def test_digits_and_points_are_plain_numbers_with_any_number_of_points(texts):
    found = digits_and_points(column(texts)).to_pylist()
    expected = [bool(re.fullmatch(r"[0-9]|[0-9][0-9.]{0,16}[0-9]", text)) for text in texts]
    assert found == [*expected, False]


@given(st.lists(TEXTS))
def test_bytes_are_found_in_the_texts_that_have_them(texts):
    upper = with_any(UPPER | BEYOND_ASCII)(column(texts)).to_pylist()
    assert upper == [*(any("A" <= sign <= "Z" or sign > "\x7f" for sign in text) for text in texts), False]
    ends = odd_at_ends(column(texts)).to_pylist()
    odd = [bool(text) and any(ODD[text.encode()[place]] for place in (0, -1)) for text in texts]
    assert ends == [*odd, False]


@pytest.mark.parametrize(
    "rule", [{"trim": "ends"}, {"trim": "all"}, {"case": "lower"}, {"case": "upper"}, {"unicode": "NFKC"}], ids=str
)
@given(texts=st.lists(TEXTS))
def test_a_rule_changes_what_its_function_changes(rule, texts):
    made = text_rule("rule", CleanseRule.model_validate(rule))
    assert isinstance(made, Function)
    values = column(texts)
    alone = Function("rule", made._function)(values).values
    quick = made(values)
    assert quick.values.equals(alone)
    changed = [False] * len(values) if quick.changed is None else quick.changed.to_pylist()
    assert changed == pc.fill_null(pc.not_equal(values, alone), fill_value=False).to_pylist()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("pattern", PATTERNS)
@given(texts=st.lists(MOMENTS))
def test_moments_are_those_of_the_careful_way(pattern, zone, texts):
    values = column(texts)
    assert parse_moments(values, pattern, TIMESTAMP, zone).equals(_parsed(values, pattern, TIMESTAMP, zone))
    assert parse_moments(values, pattern, pa.date32(), zone).equals(_parsed(values, pattern, pa.date32(), zone))


@given(texts=st.lists(MOMENTS))
def test_a_shape_is_that_of_the_regular_expression(texts):
    width = FixedWidth.of("%d.%m.%Y %H:%M:%S")
    assert width is not None
    shape = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}")
    assert width.shaped(column(texts)).to_pylist() == [*(bool(shape.fullmatch(text)) for text in texts), False]


def test_a_pattern_with_names_or_fractions_has_no_fixed_width():
    assert [FixedWidth.of(pattern) for pattern in ("%d %b %Y", "%Y-%m-%d %I%p", "%F", "%Y-%m-%d%%")] == [None] * 4
