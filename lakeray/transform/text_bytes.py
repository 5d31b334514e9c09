"""Texts looked at as the bytes they are: what a regular expression says of them, sooner.

Everything here is about the shape of single texts, so that a value gets the same answer whatever stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ZERO, _NINE = ord("0"), ord("9")
_WIDTHS = {"%Y": 4, "%y": 2, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2}
_LONGEST_NUMBER = 18


def _bytes(*ranges: tuple[int, int]) -> Any:
    table = np.zeros(256, dtype=bool)
    for first, last in ranges:
        table[first : last + 1] = True
    return table


UPPER, LOWER = _bytes((ord("A"), ord("Z"))), _bytes((ord("a"), ord("z")))
BEYOND_ASCII = _bytes((0x80, 0xFF))
ODD = _bytes((0, 0x20), (0x7F, 0xFF))
"""Of blanks, of what nobody sees, of all that is beyond ASCII."""
_DIGITS = _bytes((_ZERO, _NINE))
_OF_NUMBERS = _bytes((_ZERO, _NINE), (ord("."), ord(".")))


class TextBytes:
    """The bytes of ``texts`` (string, n of them): ``data`` (uint8), where each text ``starts`` and ``ends`` in it."""

    def __init__(self, texts: pa.StringArray) -> None:
        _, offsets, data = texts.buffers()
        bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        self._bounds = bounds
        self.starts, self.ends = bounds[:-1], bounds[1:]
        self.lengths = self.ends - self.starts
        self.data = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        self.valid = np.asarray(texts.is_valid()) if texts.null_count else np.ones(len(texts), dtype=bool)

    def edges(self) -> tuple[Any, Any, Any]:
        """The texts that have a byte (indices), with the first and the last byte of each."""
        some = np.flatnonzero(self.valid & (self.lengths > 0))
        return some, self.data[self.starts[some]], self.data[self.ends[some] - 1]

    def with_byte(self, table: Any) -> Any:
        """Where a text (n booleans) has a byte for which ``table`` (256 booleans) is true."""
        found = np.zeros(len(self.starts), dtype=bool)
        if len(found):
            first = int(self._bounds[0])
            places = np.flatnonzero(table[self.data[first : int(self._bounds[-1])]]) + first
            found[np.searchsorted(self.ends, places, side="right")] = True
        return found & self.valid


def with_any(table: Any) -> Callable[[pa.StringArray], pa.BooleanArray]:
    """Finds the texts with a byte for which ``table`` (256 booleans) is true; null has none."""
    return lambda texts: pa.array(TextBytes(texts).with_byte(table))


def byte_at(texts: pa.StringArray, place: int, byte: str) -> pa.BooleanArray:
    """Where a text has that byte at that place (from 0); false for null."""
    bytes_ = TextBytes(texts)
    some = np.flatnonzero(bytes_.valid & (bytes_.lengths > place))
    found = np.zeros(len(texts), dtype=bool)
    found[some] = bytes_.data[bytes_.starts[some] + place] == ord(byte)
    return pa.array(found)


def odd_at_ends(texts: pa.StringArray) -> pa.BooleanArray:
    """Where the first or the last byte of a text is an ``ODD`` one; null and the empty text have none."""
    some, first, last = TextBytes(texts).edges()
    found = np.zeros(len(texts), dtype=bool)
    found[some] = ODD[first] | ODD[last]
    return pa.array(found)


def matching(texts: pa.StringArray, pattern: str, *, sure: pa.BooleanArray) -> pa.BooleanArray:
    """Where the regular expression ``pattern`` finds something, as it does where ``sure`` is true; null for null."""
    rest = pc.invert(sure)
    return pc.replace_with_mask(sure, rest, pc.match_substring_regex(texts.filter(rest), pattern))


def digits_alone(texts: pa.StringArray, most: int) -> pa.BooleanArray:
    """Where a text is one to ``most`` digits."""
    found = TextBytes(texts)
    return pa.array(~found.with_byte(~_DIGITS) & found.valid & (found.lengths > 0) & (found.lengths <= most))


def digits_and_points(texts: pa.StringArray) -> pa.BooleanArray:
    """Where a text of at most 18 bytes begins and ends with a digit and has digits and points between: a plain number,
    unless it has several points.
    """
    found = TextBytes(texts)
    some, first, last = found.edges()
    sure = np.zeros(len(texts), dtype=bool)
    sure[some] = _digit(first) & _digit(last) & (found.lengths[some] <= _LONGEST_NUMBER)
    return pa.array(sure & ~found.with_byte(~_OF_NUMBERS))


def _digit(bytes_: Any) -> Any:
    return (bytes_ >= _ZERO) & (bytes_ <= _NINE)


class FixedWidth:
    """A date pattern all of whose directives are digits, read where each has its full width."""

    def __init__(self, parts: list[str]) -> None:
        self.width = 0
        self._digits: dict[str, slice] = {}
        self._literals: list[tuple[int, int]] = []
        for part in parts:
            if part in _WIDTHS:
                self._digits[part[1]] = slice(self.width, self.width + _WIDTHS[part])
                self.width += _WIDTHS[part]
                continue
            for byte in part.encode():
                self._literals.append((self.width, byte))
                self.width += 1

    @classmethod
    def of(cls, pattern: str) -> FixedWidth | None:
        """The pattern (see ``lakeray.spec.formats``); None for one with other directives."""
        parts = [part for part in re.split(r"(%.)", pattern) if part]
        return None if any(part[0] == "%" and part not in _WIDTHS for part in parts) else cls(parts)

    def shaped(self, texts: pa.StringArray) -> pa.BooleanArray:
        """Where a text has the pattern's digits and other characters, at their places and no more."""
        right = pc.fill_null(pc.equal(pc.binary_length(texts), self.width), fill_value=False)
        if not pc.any(right).as_py():
            return right
        return pc.replace_with_mask(right, right, pa.array(self._fit(self._matrix(texts.filter(right)))))

    def numbers(self, texts: pa.StringArray) -> dict[str, Any]:
        """What stands for each directive's letter, as int64, of texts that are all ``shaped``."""
        digits = self._matrix(texts) - _ZERO
        return {letter: _number(digits[:, place]) for letter, place in self._digits.items()}

    def _matrix(self, texts: pa.StringArray) -> Any:
        """Texts of the pattern's width, none of them null, as rows of bytes."""
        found = TextBytes(texts)
        first = int(found.starts[0]) if len(texts) else 0
        return found.data[first : first + len(texts) * self.width].reshape(len(texts), self.width)

    def _fit(self, bytes_: Any) -> Any:
        right = np.ones(len(bytes_), dtype=bool)
        for place, byte in self._literals:
            right &= bytes_[:, place] == byte
        for digits in self._digits.values():
            for column in range(digits.start, digits.stop):
                right &= bytes_[:, column] - _ZERO <= _NINE - _ZERO  # uint8: what is below wraps around
        return right


def _number(digits: Any) -> Any:
    value = digits[:, 0].astype(np.int64)
    for column in range(1, digits.shape[1]):
        value = value * 10 + digits[:, column]
    return value
