"""A column's sketch becomes its profile: estimates with their bounds, values as people write them."""

from __future__ import annotations

import datetime as dt
import decimal
from contextlib import suppress
from typing import Any

import datasketches
import numpy as np
import pyarrow as pa

from lakeray.importer.profile.model import Bin, ColumnProfile, Frequent, Lengths, Value
from lakeray.importer.profile.sketch import Sketch

_QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_BARS = 24
_TOP = 10
_RARE = 200  # a value that fewer than one row in so many has is not frequent
_TWO_SIGMA = 2
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is the type's


def column_profile(name: str, kind: pa.DataType, sketch: Sketch, hidden: str | None) -> ColumnProfile:
    """What is shown of the column."""
    found: dict[str, Any] = {}
    if sketch.distinct is not None:
        distinct = datasketches.hll_sketch.deserialize(sketch.distinct)
        # A sketch that was merged knows its own error no better than this; few values are exact.
        found["distinct"] = round(distinct.get_estimate())
        found["distinct_low"] = round(distinct.get_lower_bound(_TWO_SIGMA))
        found["distinct_high"] = round(distinct.get_upper_bound(_TWO_SIGMA))
    if hidden is None:
        found |= {"low": _value(sketch.low), "high": _value(sketch.high), "samples": list(sketch.samples)}
        if sketch.frequent is not None:
            found["top"] = _top(sketch.frequent, least=max(2, (sketch.rows - sketch.nulls) // _RARE))
        if sketch.ranks is not None and sketch.moments.count:
            found |= _ranked(sketch, kind)
    if sketch.lengths is not None:
        least, total, greatest, count = sketch.lengths
        found["lengths"] = Lengths(low=least, mean=total / count, high=greatest)
    return ColumnProfile(
        name=name, type=str(kind), rows=sketch.rows, nulls=sketch.nulls, nans=sketch.nans, hidden=hidden, **found
    )


def _ranked(sketch: Sketch, kind: pa.DataType) -> dict[str, Any]:
    ranks = datasketches.kll_doubles_sketch.deserialize(sketch.ranks)
    quantiles = ranks.get_quantiles(list(_QUANTILES.values()))
    found: dict[str, Any] = {
        "quantiles": {name: _spelt(value, kind) for name, value in zip(_QUANTILES, quantiles, strict=True)},
        "histogram": _histogram(ranks, kind),
    }
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        found |= {"mean": sketch.moments.mean, "stddev": sketch.moments.stddev}
    return found


def _histogram(ranks: Any, kind: pa.DataType) -> list[Bin]:
    low, high = ranks.get_min_value(), ranks.get_max_value()
    if low == high:
        return [Bin(low=_spelt(low, kind), high=_spelt(high, kind), share=1.0)]
    bars = _BARS
    if not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        bars = int(min(_BARS, high - low + 1))
        high = high + 1 if bars < _BARS else high  # a bar for each of a few whole numbers
    edges = np.linspace(low, high, bars + 1)
    shares = ranks.get_pmf(edges[1:-1].tolist(), False)
    return [
        Bin(low=_spelt(left, kind), high=_spelt(right, kind), share=float(share))
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
    ]


def _top(data: bytes, *, least: int) -> list[Frequent]:
    sketch = datasketches.frequent_strings_sketch.deserialize(data)
    items = sketch.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_POSITIVES)
    ordered = sorted(items, key=lambda item: (-item[1], item[0]))
    return [Frequent(value=item[0], rows=int(item[1])) for item in ordered[:_TOP] if item[1] >= least]


def _spelt(number: float, kind: pa.DataType) -> Value:
    """A number of a sketch as a value of the column's type; as a number where Python's calendar ends."""
    with suppress(OverflowError):
        return _as_typed(number, kind)
    return float(number)


def _as_typed(number: float, kind: pa.DataType) -> Value:
    if pa.types.is_date(kind):
        return (_EPOCH + dt.timedelta(days=float(number))).date().isoformat()
    if pa.types.is_timestamp(kind):
        moment = _EPOCH + dt.timedelta(microseconds=float(number))
        return moment.isoformat(timespec="seconds") + ("Z" if kind.tz else "")
    if pa.types.is_integer(kind) and float(number).is_integer():
        return int(number)
    return float(number)


def _value(value: Any) -> Value:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()[:80]
    if isinstance(value, str):
        return value[:80]
    return value if isinstance(value, int | float | bool) else None
