"""Which of many rows have one of some keys: nearly all that have none are told by one look into a small table.

The table is a Bloom filter with one hash (Bloom 1970): sixteen slots a key, so that one in sixteen of the other rows
passes; those that pass are looked up exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SLOTS_PER_KEY = 16
_MOST_BITS = 30
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiplicative hashing (Knuth, volume 3, 6.4)
_WORD = 8

Places = np.ndarray[Any, Any]


class Lookup:
    """Finds rows by key among ``keys``, which are sorted, distinct, and not null."""

    def __init__(self, keys: pa.Array) -> None:
        self._keys = keys
        self._filter: Places | None = None
        self._shift = np.uint64(0)
        hashes = _hashes(keys)
        if hashes is not None and len(keys):
            bits = min(max(int(len(keys) * _SLOTS_PER_KEY - 1).bit_length(), 10), _MOST_BITS)
            self._shift = np.uint64(64 - bits)
            self._filter = np.zeros(1 << bits, dtype=bool)
            self._filter[hashes >> self._shift] = True

    def find(self, rows: pa.Array) -> tuple[Places, Places]:
        """The places of the rows that have one of the keys, ascending, and each one's place among the keys."""
        hashes = _hashes(rows) if self._filter is not None else None
        if hashes is None or self._filter is None:
            return _exact(rows, self._keys)
        passed = np.flatnonzero(self._filter[hashes >> self._shift])
        found, place = _exact(rows.take(pa.array(passed)), self._keys)
        return passed[found], place


def _exact(rows: pa.Array, keys: pa.Array) -> tuple[Places, Places]:
    if pa.types.is_integer(keys.type) and len(rows) < len(keys):
        return _searched(rows, keys)
    place = pc.index_in(rows, value_set=keys, skip_nulls=True)
    found = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    return found, place.drop_null().to_numpy()


def _searched(rows: pa.Array, keys: pa.Array) -> tuple[Places, Places]:
    """By binary search, which needs no table of all keys to be built for a few rows."""
    sorted_keys = keys.to_numpy()
    valid = rows.is_valid().to_numpy(zero_copy_only=False)
    wanted = (pc.fill_null(rows, 0) if rows.null_count else rows).to_numpy()
    place = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    found = np.flatnonzero((sorted_keys[place] == wanted) & valid)
    return found, place[found]


def _hashes(values: pa.Array) -> Places | None:
    """A hash a value, whatever for null; None for types that have none here."""
    kind = values.type
    if pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        values = values.cast(pa.int64())
    if pa.types.is_integer(values.type):
        numbers = (pc.fill_null(values, 0) if values.null_count else values).to_numpy()
        words: Places = numbers.astype(np.int64, copy=False).view(np.uint64)
        hashes: Places = words * _ODD
        return hashes
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _text_hashes(values)
    return None


def _text_hashes(values: pa.Array) -> Places:
    """From length, first and last eight bytes: texts that differ elsewhere alone are looked up exactly for nothing."""
    _, offset_buffer, data = values.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32, count=len(values) + 1, offset=values.offset * 4)
    begins, ends = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    # Padded by a word in front and behind, so that every text has one that begins, and one that ends, with it.
    low, high = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(high - low + 2 * _WORD, dtype=np.uint8)
    if high > low:
        padded[_WORD : _WORD + high - low] = np.frombuffer(data, dtype=np.uint8, count=high - low, offset=low)
    words = np.ndarray(shape=len(padded) - _WORD + 1, dtype="<u8", buffer=padded, strides=(1,))
    lengths = ends - begins
    spare = (_WORD - np.minimum(lengths, _WORD)).astype(np.uint64) * np.uint64(8)
    # Of a shorter text only its own bytes count; a shift by a whole word is none to numpy.
    first = np.where(lengths == 0, np.uint64(0), words[begins - low + _WORD] << np.minimum(spare, np.uint64(63)))
    last = np.where(lengths == 0, np.uint64(0), words[ends - low] >> np.minimum(spare, np.uint64(63)))
    mixed = (first * _ODD) ^ (first >> np.uint64(32)) ^ last
    return (mixed + lengths.astype(np.uint64)) * _ODD
