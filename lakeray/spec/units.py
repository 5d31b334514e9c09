"""Sizes in bytes, durations in seconds, as people write them."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from lakeray.spec.wrong import WrongValue, quoted

_SIZES = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(B|[KMGTP]I?B)?", re.IGNORECASE | re.ASCII)
_MAX_SIZE = 2**63 - 1
SIZE_HELP = "expected a size such as 512KiB, 256MiB or 8GiB (also KB, MB, GB), or a whole number of bytes"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = r"\d{1,12}(?:\.\d{1,9})?\s*(?:ms|s|m|h|d|w)"
_DURATION = re.compile(rf"{_PART}(?:\s*{_PART})*", re.ASCII)
_MAX_SECONDS = 100 * 366 * 86400.0
DURATION_HELP = "expected a duration such as 500ms, 2s, 15m, 1h30m or 7d, or a number of seconds"


def parse_size(text: str) -> int:
    """Bytes in ``text``: ``256MiB`` is 256 * 2**20, ``256MB`` is 256 * 10**6, ``1024`` is itself. Case does not matter.

    Raises ValueError (a WrongValue) for anything else, or for more than 2**63 - 1 bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise WrongValue(SIZE_HELP, found=quoted(text))
    amount, unit = match.groups()
    factor = _SIZES[(unit or "").upper()]
    whole, _, fraction = amount.partition(".")
    size = int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    if size > _MAX_SIZE:
        raise WrongValue("expected a size below 8EiB", found=quoted(text))
    return size


def parse_duration(text: str) -> float:
    """Seconds in ``text``: ``2s``, ``1h30m``, ``500ms``, ``1.5d``; parts add up, each unit once at most, largest first.

    Raises ValueError (a WrongValue) for anything else, or for more than about 100 years.
    """
    stripped = text.strip().lower()
    if re.fullmatch(r"0+", stripped):
        return 0.0
    if _DURATION.fullmatch(stripped) is None:
        raise WrongValue(DURATION_HELP, found=quoted(text))
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", stripped)
    weights = [_SECONDS[unit] for _, unit in parts]
    if any(later >= earlier for earlier, later in pairwise(weights)):
        raise WrongValue("expected each unit once, the largest first, as in 1h30m", found=quoted(text))
    return _bounded(sum(float(amount) * _SECONDS[unit] for amount, unit in parts), found=quoted(text))


def _bounded(seconds: float, *, found: str) -> float:
    if not 0 <= seconds <= _MAX_SECONDS or math.isnan(seconds):
        raise WrongValue("expected a duration from 0 to 100 years", found=found)
    return seconds


def _size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE:
        return value
    raise WrongValue(SIZE_HELP)


def _duration(value: object) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded(float(min(value, 2 * _MAX_SECONDS)), found=str(value))
    raise WrongValue(DURATION_HELP)


def _some_bytes(value: int) -> int:
    if value == 0:
        raise WrongValue("expected a size above 0", found="0")
    return value


def _some_time(value: float) -> float:
    if value == 0:
        raise WrongValue("expected a duration above 0", found="0")
    return value


_UNIT = "([Mm][Ss]|[SsMmHhDdWw])"
_SIZE_PATTERN = r"^\s*\d{1,19}(\.\d{1,9})?\s*([Bb]|[KkMmGgTtPp][Ii]?[Bb])?\s*$"
_DURATION_PATTERN = rf"^\s*(0+|\d[\d.]*\s*{_UNIT}(\s*\d[\d.]*\s*{_UNIT})*)\s*$"


def _schema(kind: str, bounds: dict[str, float], pattern: str) -> WithJsonSchema:
    """What an editor can check: a number within bounds, or text."""
    return WithJsonSchema({"anyOf": [{"type": kind, **bounds}, {"type": "string", "pattern": pattern}]})


_ANY_SIZE = _schema("integer", {"minimum": 0, "maximum": _MAX_SIZE}, _SIZE_PATTERN)
_SOME_SIZE = _schema("integer", {"minimum": 1, "maximum": _MAX_SIZE}, _SIZE_PATTERN)
_ANY_TIME = _schema("number", {"minimum": 0, "maximum": _MAX_SECONDS}, _DURATION_PATTERN)
_SOME_TIME = _schema("number", {"exclusiveMinimum": 0, "maximum": _MAX_SECONDS}, _DURATION_PATTERN)

Size = Annotated[int, BeforeValidator(_size), _ANY_SIZE]
"""A field of bytes that also takes text such as ``256MiB``."""
PositiveSize = Annotated[int, BeforeValidator(_size), AfterValidator(_some_bytes), _SOME_SIZE]
"""A Size above 0."""
Duration = Annotated[float, BeforeValidator(_duration), _ANY_TIME]
"""A field of seconds that also takes text such as ``1h30m``."""
PositiveDuration = Annotated[float, BeforeValidator(_duration), AfterValidator(_some_time), _SOME_TIME]
"""A Duration above 0."""
