"""Numbers that look random but follow from an id alone, the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]


def mixed(ids: Ids, salt: int) -> Ids:
    """64 well-mixed bits for each id (SplitMix64, Steele et al., OOPSLA 2014); another ``salt`` gives other bits."""
    with np.errstate(over="ignore"):
        state = ids + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def below(ids: Ids, salt: int, bound: int) -> npt.NDArray[np.int64]:
    """One whole number in ``[0, bound)`` for each id."""
    return (mixed(ids, salt) % np.uint64(bound)).astype(np.int64)


def fraction(ids: Ids, salt: int) -> npt.NDArray[np.float64]:
    """One number in ``[0, 1)`` for each id."""
    return (mixed(ids, salt) >> np.uint64(11)).astype(np.float64) / 2.0**53
