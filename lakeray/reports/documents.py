"""Any value of lakeray as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson


def plain(value: object) -> Any:
    """``value`` as dicts, lists and scalars.

    Models and dataclasses become dicts, Arrow tables lists of rows, times ISO 8601, bytes text.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    opened = _opened(value)
    return opened if isinstance(opened, str) else plain(opened)


def _opened(value: object) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def dumps(value: object) -> str:
    """One indented JSON document with a line break at its end; valid JSON also for names that are no valid unicode."""
    simple = plain(value)
    try:
        return orjson.dumps(simple, option=orjson.OPT_INDENT_2).decode() + "\n"
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits: the standard library escapes them
        return json.dumps(_finite(simple), indent=2) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - not a number
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
