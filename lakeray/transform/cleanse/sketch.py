"""How numbers are distributed, in a form that is the same however they were parted and put together again.

Bins grow by a thousandth each, as in DDSketch (Masson, Rim and Lee, VLDB 2019): a quantile is off by less than that
share of its value, memory depends on the range of the numbers and not on how many there are.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_GROWTH = math.log(1.001)
_ZERO = (0, 0)
Bin = tuple[int, int]
"""Sign, then exponent."""


@dataclass
class Sketch:
    """Counts by bin."""

    bins: Counter[Bin] = field(default_factory=Counter)

    def add(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Count the numbers of ``values``; nulls, NaN and the infinities are none."""
        floats = np.asarray(pc.drop_null(values.cast(pa.float64(), safe=False)))
        floats = floats[np.isfinite(floats)]
        zeros = int((floats == 0).sum())
        if zeros:
            self.bins[_ZERO] += zeros
        for sign in (-1, 1):
            sizes = np.abs(floats[np.sign(floats) == sign])
            found, counts = np.unique(np.floor(np.log(sizes) / _GROWTH).astype(np.int64), return_counts=True)
            for exponent, count in zip(found.tolist(), counts.tolist(), strict=True):
                self.bins[(sign, exponent)] += count

    def merge(self, other: Sketch) -> None:
        """Count what ``other`` counted as well."""
        self.bins.update(other.bins)

    def quantile(self, share: float) -> float | None:
        """The number that ``share`` of all lie at or below; None when there are none."""
        return _quantile([(_middle(key), count) for key, count in self.bins.items()], share)

    def deviation(self) -> tuple[float, float] | None:
        """The median, and the median absolute deviation from it; None when there are no numbers."""
        median = self.quantile(0.5)
        if median is None:
            return None
        away = _quantile([(abs(_middle(key) - median), count) for key, count in self.bins.items()], 0.5)
        return median, away or 0.0


def _middle(key: Bin) -> float:
    sign, exponent = key
    return sign * math.exp((exponent + 0.5) * _GROWTH)


def _quantile(weighted: list[tuple[float, int]], share: float) -> float | None:
    total = sum(count for _, count in weighted)
    rank = share * total
    seen = 0
    last: float | None = None
    for value, count in sorted(weighted):
        seen += count
        last = value
        if seen >= rank:
            break
    return last
