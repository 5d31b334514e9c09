"""What is kept of a column while its rows go by: a few kilobytes, however many rows there are.

Distinct values by HyperLogLog, quantiles by KLL, frequent values by the Misra-Gries family, all of Apache DataSketches
(https://datasketches.apache.org), whose sketches of different workers add up; moments after Chan et al. (1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LG_K = 13  # 8,192 registers: 1.2 % standard error, 4 KiB
_KLL_K = 200  # a rank error of about 1.3 %
_LG_FREQUENT = 10
_COUNTED_A_STRETCH = 1_000
_LONGEST = 80
_SAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Count, mean and sum of squared differences from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray[Any, Any]) -> Moments:
        """Of finite numbers."""
        if not len(values):
            return cls()
        mean = float(values.mean())
        return cls(count=len(values), mean=mean, squares=float(np.square(values - mean).sum()))

    def __add__(self, other: Moments) -> Moments:
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        squares = self.squares + other.squares + delta * delta * self.count * other.count / count
        return Moments(count=count, mean=mean, squares=squares)

    @property
    def stddev(self) -> float:
        """Of the population."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """A column so far. ``distinct``, ``ranks`` and ``frequent`` are serialised sketches, None where the type has none.
    ``low`` and ``high`` are Python values, ``lengths`` is (least, sum, greatest, count).
    """

    rows: int = 0
    nulls: int = 0
    nans: int = 0
    low: Any = None
    high: Any = None
    moments: Moments = Moments()
    lengths: tuple[int, int, int, int] | None = None
    distinct: bytes | None = None
    ranks: bytes | None = None
    frequent: bytes | None = None
    samples: tuple[str, ...] = ()

    def __add__(self, other: Sketch) -> Sketch:
        return Sketch(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            nans=self.nans + other.nans,
            low=_of_both(min, self.low, other.low),
            high=_of_both(max, self.high, other.high),
            moments=self.moments + other.moments,
            lengths=_longer(self.lengths, other.lengths),
            distinct=_merged(self.distinct, other.distinct, _union),
            ranks=_merged(self.ranks, other.ranks, _ranks_of_both),
            frequent=_merged(self.frequent, other.frequent, _frequent_of_both),
            samples=tuple(dict.fromkeys([*self.samples, *other.samples]))[:_SAMPLES],
        )


class Watcher:
    """Looks at the values of one column; ``hidden`` keeps every value out of what is told."""

    def __init__(self, kind: pa.DataType, *, hidden: bool, random: np.random.Generator) -> None:
        self._kind = kind
        self._hidden = hidden
        self._random = random
        self._sketch = Sketch()
        self._distinct = datasketches.hll_sketch(_LG_K)
        self._ranks = datasketches.kll_doubles_sketch(_KLL_K)
        self._frequent = datasketches.frequent_strings_sketch(_LG_FREQUENT)

    def watch(self, values: pa.ChunkedArray) -> None:
        """More rows."""
        filled = values.drop_null()
        sketch = Sketch(rows=len(values), nulls=values.null_count)
        if pa.types.is_nested(self._kind):
            self._sketch += replace(sketch, lengths=_lengths(filled, self._kind))
            return
        sketch = replace(sketch, lengths=_lengths(filled, self._kind))
        self._count(filled)
        if not self._hidden:
            sketch = self._valued(sketch, filled)
        self._sketch += sketch

    def told(self) -> Sketch:
        """All that is known now, in a form that travels."""
        if pa.types.is_nested(self._kind):
            return self._sketch
        shown = not self._hidden
        return replace(
            self._sketch,
            distinct=self._distinct.serialize_compact(),
            ranks=self._ranks.serialize() if shown and ordinal(self._kind) else None,
            frequent=self._frequent.serialize() if shown else None,
        )

    def _count(self, filled: pa.ChunkedArray) -> None:
        counts = pc.value_counts(filled)
        for value in texts(counts.field("values"), self._kind):
            self._distinct.update(value)
        if self._hidden or not len(counts):
            return
        rows = counts.field("counts")
        if len(counts) > _COUNTED_A_STRETCH:  # a frequent value is among the most frequent of most stretches
            counts = counts.take(pc.select_k_unstable(rows, _COUNTED_A_STRETCH, [("", "descending")]))
            rows = counts.field("counts")
        for value, count in zip(texts(counts.field("values"), self._kind), rows.to_pylist(), strict=True):
            self._frequent.update(value[:_LONGEST], count)
        if len(self._sketch.samples) < _SAMPLES:
            chosen = self._random.choice(len(counts), size=min(_SAMPLES, len(counts)), replace=False)
            found = texts(counts.field("values").take(pa.array(chosen)), self._kind)
            samples = tuple(dict.fromkeys([*self._sketch.samples, *(value[:_LONGEST] for value in found)]))
            self._sketch = replace(self._sketch, samples=samples[:_SAMPLES])

    def _valued(self, sketch: Sketch, filled: pa.ChunkedArray) -> Sketch:
        nans = 0
        if pa.types.is_floating(self._kind):
            broken = pc.is_nan(filled)
            nans = int(pc.sum(broken).as_py() or 0)
            filled = filled.filter(pc.invert(broken)) if nans else filled
        low = high = None
        if len(filled):
            both = pc.min_max(filled)
            low, high = both["min"].as_py(), both["max"].as_py()
        moments = Moments()
        if ordinal(self._kind) and len(filled):
            numbers = as_numbers(filled, self._kind)
            numbers = numbers[np.isfinite(numbers)]
            self._ranks.update(numbers)
            moments = Moments.of(numbers)
        return replace(sketch, nans=nans, low=low, high=high, moments=moments)


def ordinal(kind: pa.DataType) -> bool:
    """Whether values are numbers or instants, so that quantiles and a histogram say something."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_timestamp, pa.types.is_date)
    return any(test(kind) for test in tests)


def as_numbers(values: pa.ChunkedArray, kind: pa.DataType) -> np.ndarray[Any, Any]:
    """Dates as days, instants as microseconds since 1970."""
    if pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy())


def texts(values: pa.Array, kind: pa.DataType) -> list[str]:
    """Each value as a text that no other value has."""
    if pa.types.is_binary(kind):
        return [value.hex() for value in values.to_pylist()]
    if pa.types.is_string(kind):
        return [str(value) for value in values.to_pylist()]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return [value.isoformat() for value in values.to_pylist()]
    return [str(value) for value in values.to_pylist()]


def _lengths(filled: pa.ChunkedArray, kind: pa.DataType) -> tuple[int, int, int, int] | None:
    if not len(filled):
        return None
    if pa.types.is_string(kind):
        found = pc.utf8_length(filled)
    elif pa.types.is_binary(kind):
        found = pc.binary_length(filled)
    elif pa.types.is_list(kind):
        found = pc.list_value_length(filled)
    else:
        return None
    both = pc.min_max(found)
    return both["min"].as_py(), pc.sum(found).as_py(), both["max"].as_py(), len(filled)


def _longer(
    one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int] | None
) -> tuple[int, int, int, int] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), one[1] + other[1], max(one[2], other[2]), one[3] + other[3]


def _of_both(choose: Callable[[Sequence[Any]], Any], one: Any, other: Any) -> Any:
    known = [value for value in (one, other) if value is not None]
    return choose(known) if known else None


def _merged(one: bytes | None, other: bytes | None, merge: Callable[[bytes, bytes], bytes]) -> bytes | None:
    return merge(one, other) if one is not None and other is not None else one or other


def _union(one: bytes, other: bytes) -> bytes:
    both = datasketches.hll_union(_LG_K)
    for data in (one, other):
        both.update(datasketches.hll_sketch.deserialize(data))
    return bytes(both.get_result().serialize_compact())


def _ranks_of_both(one: bytes, other: bytes) -> bytes:
    both = datasketches.kll_doubles_sketch.deserialize(one)
    both.merge(datasketches.kll_doubles_sketch.deserialize(other))
    return bytes(both.serialize())


def _frequent_of_both(one: bytes, other: bytes) -> bytes:
    both = datasketches.frequent_strings_sketch.deserialize(one)
    both.merge(datasketches.frequent_strings_sketch.deserialize(other))
    return bytes(both.serialize())
