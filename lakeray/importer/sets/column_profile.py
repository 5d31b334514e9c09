"""What the values of one column of a batch are like, gathered piece by piece and put together again.

Mean and variance are merged as Chan, Golub and LeVeque (1979) do; quantiles come from a uniform sample of at most
``SAMPLE`` values that the batch's seed fixes, so that memory does not depend on how many rows there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.sets.staged_rows import StagedRows

SAMPLE = 10_000
DECILES = tuple(range(0, 101, 10))

Values = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnProfile:
    """``rows`` with ``nulls`` among them; ``low`` and ``high`` bound the rest, where the type has an order; ``outside``
    counts values beyond the bounds that were asked about. ``count``, ``mean`` and ``m2`` (sum of squared distances from
    the mean) are of finite numbers; ``sample`` holds (priority, value) pairs of them, the smallest priorities.
    """

    rows: int = 0
    nulls: int = 0
    low: Any = None
    high: Any = None
    outside: int = 0
    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    sample: Values = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def stddev(self) -> float:
        """Of the population."""
        return math.sqrt(self.m2 / self.count) if self.count else 0.0

    def deciles(self) -> dict[str, float]:
        """Named ``q0`` to ``q100``; empty without a number."""
        if not len(self.sample):
            return {}
        found = np.quantile(self.sample[:, 1], [share / 100 for share in DECILES])
        return {f"q{share}": float(value) for share, value in zip(DECILES, found, strict=True)}

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        count = self.count + other.count
        apart = other.mean - self.mean
        pooled = np.concatenate([self.sample, other.sample])
        return ColumnProfile(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            low=min((item for item in (self.low, other.low) if item is not None), default=None),
            high=max((item for item in (self.high, other.high) if item is not None), default=None),
            outside=self.outside + other.outside,
            count=count,
            mean=self.mean + apart * other.count / count if count else 0.0,
            m2=self.m2 + other.m2 + (apart**2 * self.count * other.count / count if count else 0.0),
            sample=pooled[np.argsort(pooled[:, 0], kind="stable")[:SAMPLE]],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileTask:
    """Profiles columns of some files. ``bounds`` are (smallest, largest) scalars by column, either None; ``seed`` draws
    the sample.
    """

    staged: StagedRows
    places: tuple[int, ...]
    columns: tuple[str, ...]
    bounds: Mapping[str, tuple[pa.Scalar | None, pa.Scalar | None]]
    seed: int

    def run(self) -> Iterator[dict[str, ColumnProfile]]:
        """One message."""
        found = {name: ColumnProfile() for name in self.columns}
        for place in self.places:
            draw = np.random.default_rng([self.seed, place])
            for group in self.staged.groups(self.staged.files[place], self.columns, origin=False):
                for name in self.columns:
                    found[name] += profile(group[name], self.bounds.get(name, (None, None)), draw)
        yield found


def profile(
    column: pa.ChunkedArray, bounds: tuple[pa.Scalar | None, pa.Scalar | None], draw: np.random.Generator
) -> ColumnProfile:
    """Of one piece of a column."""
    ends: dict[str, Any] = {"min": None, "max": None}
    if not pa.types.is_nested(column.type):
        ends = pc.min_max(column).as_py()
    outside = 0
    for bound, beyond in zip(bounds, (pc.less, pc.greater), strict=True):
        if bound is not None:
            outside += pc.sum(beyond(column, bound)).as_py() or 0
    numbers = _numbers(column)
    priorities = draw.random(len(numbers))
    smallest = np.argsort(priorities, kind="stable")[:SAMPLE]
    mean = float(numbers.mean()) if len(numbers) else 0.0
    return ColumnProfile(
        rows=len(column),
        nulls=column.null_count,
        low=ends["min"],
        high=ends["max"],
        outside=outside,
        count=len(numbers),
        mean=mean,
        m2=float(((numbers - mean) ** 2).sum()) if len(numbers) else 0.0,
        sample=np.column_stack([priorities[smallest], numbers[smallest]]),
    )


def _numbers(column: pa.ChunkedArray) -> Values:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return np.empty(0)
    values = np.asarray(column.drop_null().cast(pa.float64(), safe=False).to_numpy())
    finite: Values = values[np.isfinite(values)]
    return finite


def stability_index(earlier: list[Mapping[str, float]], now: ColumnProfile) -> float:
    """The population stability index of ``now`` over the mean deciles of earlier batches: the sum over ten bins of
    ``(actual - expected) * ln(actual / expected)``. Bins whose edges are equal count as one; an empty one as a
    ten-thousandth.
    """
    edges = [float(np.mean([one[f"q{share}"] for one in earlier])) for share in DECILES]
    inner, expected, weight = [], [], 0.0
    for low, high in pairwise(edges):
        weight += 0.1
        if high > low:
            inner.append(high)
            expected.append(weight)
            weight = 0.0
    if not inner:  # every value was the same
        inner, expected = [edges[-1]], [1.0]
        values = now.sample[:, 1]
        same = float(np.mean(np.isclose(values, edges[-1])))
        return _index([expected[0], 0.0], [same, 1.0 - same])
    expected[-1] += weight
    places = np.searchsorted(np.array(inner[:-1]), now.sample[:, 1], side="left")
    actual = np.bincount(places, minlength=len(inner)) / max(len(places), 1)
    return _index(expected, actual.tolist())


def _index(expected: list[float], actual: list[float]) -> float:
    pairs = [(max(e, 1e-4), max(a, 1e-4)) for e, a in zip(expected, actual, strict=True)]
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def decile_shift(earlier: list[Mapping[str, float]], now: Mapping[str, float]) -> float:
    """The largest distance of a decile from its mean in earlier batches, relative to the range from the first to the
    ninth of them.
    """
    means = {name: float(np.mean([one[name] for one in earlier])) for name in now}
    spread = means["q90"] - means["q10"] or abs(means["q50"]) or 1.0
    return max(abs(now[name] - means[name]) for name in means if name not in ("q0", "q100")) / spread
