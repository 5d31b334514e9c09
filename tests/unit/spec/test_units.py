"""Sizes and durations read as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lakeray.spec.units import Duration, Size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256MiB", 256 * 2**20),
        ("256mib", 256 * 2**20),
        ("256MB", 256 * 10**6),
        ("1.5 KiB", 1536),
        ("8GiB", 8 * 2**30),
        ("1TB", 10**12),
        (" 42 ", 42),
        ("42B", 42),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1XB", "1iB", "MiB", "1 2", "9EiB", "8388608TiB", "1e9", "٣MiB", "0x10"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("500ms", 0.5),
        ("7d", 604800.0),
        ("1.5D", 129600.0),
        ("0", 0.0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "2x", "-1s", "1m1h", "1s1s", "s", "200000d", "1e3s", "٣s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


@pytest.mark.parametrize("value", [True, None, 1.5, -1, 2**63, [], "x"])
def test_a_size_field_takes_whole_numbers_and_text_only(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Size).validate_python(value)


@pytest.mark.parametrize("value", [True, None, -1, 10**400, float("nan"), float("inf"), [], "x"])
def test_a_duration_field_takes_sane_numbers_and_text_only(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(value)


@given(st.integers(0, 800_000), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours // 24}d{hours % 24}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds
