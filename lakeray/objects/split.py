"""A prefix is cut into ranges of about equal size for listing in parallel.

Ranges are exact whatever the guesses: any strings may divide them. The guesses only decide how even they are.
"""

from __future__ import annotations

import bisect
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa

from lakeray.objects.port import ObjectStore

PAGE: Final = 1000
_MOST_LOOKS: Final = 96
_LEVELS: Final = 4
Range = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Children:
    """The first page of what lies directly under a prefix: uris, ascending. ``complete`` unless the page was cut."""

    objects: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    complete: bool = True


class Probe(Protocol):
    """Two cheap questions to a listing."""

    def children(self, prefix: str) -> Children: ...

    def after(self, prefix: str, start_after: str) -> list[str] | None:
        """The first page (about 1,000 uris) of ``prefix`` behind ``start_after``; None where the store cannot start in the middle."""
        ...


def split(probe: Probe, prefix: str, parts: int) -> list[Range]:
    """At most ``parts`` ranges. Asks for common prefixes level by level, then samples keys where a level is one long flat list."""
    if parts <= 1:
        return [("", None)]
    looks = _MOST_LOOKS
    units, whole = [prefix], False
    for _ in range(_LEVELS):
        if len(units) >= parts * 2 or looks <= 0:
            break
        opened: list[str] = []
        whole = True
        for unit in units:
            if looks <= 0 or not (unit.endswith("/") or unit == prefix):
                opened.append(unit)
                continue
            looks -= 1
            found = probe.children(unit)
            if not found.complete:
                opened += _sampled(probe, unit, found, parts)
                looks -= 4 * parts
                continue
            opened += sorted([*found.prefixes, *found.objects[:: max(1, PAGE // 4)]])
            whole = whole and not found.prefixes
        if len(opened) <= len(units) and whole:
            break
        units = opened
    return cut(units, [1] * len(units), parts)


def cut(starts: list[str], weights: list[int], parts: int) -> list[Range]:
    """At most ``parts`` ranges of about equal weight, divided at some of ``starts`` (ascending).

    A range ends with (includes) the uri that the next one starts after; the first is open below, the last above.
    """
    total, filled, edges = sum(weights), 0, list[str]()
    for name, weight in zip(starts, weights, strict=True):
        if filled and len(edges) + 1 < parts and filled >= total * (len(edges) + 1) / parts:
            edges.append(name)
        filled += weight
    return list(zip(["", *edges], [*edges, None], strict=True))


def _sampled(probe: Probe, prefix: str, first: Children, parts: int) -> list[str]:
    """About ``4 * parts`` keys spread over a prefix that has more than a page of them, ascending."""
    known = sorted([*first.objects, *first.prefixes])
    if not known or probe.after(prefix, known[-1]) is None:
        return known[:1] or [prefix]
    keys = {known[0], known[-1]}
    last = _last(probe, prefix, known[-1])
    keys.add(last)
    queue = [(known[-1], last)]
    for _ in range(4 * parts):
        if not queue:
            break
        low, high = queue.pop(0)
        middle = _between(low, high, keys)
        page = (probe.after(prefix, middle) if middle else None) or []
        found = page[0] if page else None
        if found is None or found >= high:
            # Nothing above the middle: keys are crowded below it.
            page = probe.after(prefix, low) or []
            found = page[-1] if page and page[-1] < high and len(page) >= PAGE else None
            if found is None:
                continue
            keys.add(found)
            queue.append((found, high))
            continue
        keys.add(found)
        queue += [(low, found), (found, high)]
    return sorted(keys)


def _last(probe: Probe, prefix: str, known: str) -> str:
    """A key near the end: from the left, each place takes the highest character behind which something is still listed."""
    best = known
    fixed = prefix
    for _ in range(6):
        step = _highest(probe, prefix, fixed, best)
        if step is None or len(step) <= len(fixed):
            break
        best = max(best, step)
        fixed = best[: len(fixed) + 1]
    return best


_LADDER: Final = "~zxvtrpnljhfdb`_ZXVTRPNLJHFDB@9876543210.-"


def _highest(probe: Probe, prefix: str, fixed: str, best: str) -> str | None:
    """The first key behind the highest rung of the ladder that has one; binary search, six questions."""
    rungs = [fixed + rung for rung in reversed(_LADDER)]
    low, high, found = 0, len(rungs) - 1, None
    while low <= high:
        middle = (low + high) // 2
        page = probe.after(prefix, rungs[middle]) if rungs[middle] >= best[: len(fixed) + 1] else [best]
        if page and page[0].startswith(fixed):
            found, low = page[0], middle + 1
        else:
            high = middle - 1
    return found


def _between(low: str, high: str, known: set[str]) -> str | None:
    """A string between two keys, in the middle as digits, hexadecimal or letters count at the place where they part."""
    at = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    width = 4
    alphabets = [_alphabet({key[at + i] for key in known if len(key) > at + i}) for i in range(width)]
    first, last = _number(low, at, alphabets), _number(high, at, alphabets)
    middle = (first + last) // 2
    if middle <= first:
        return None
    digits = []
    for alphabet in reversed(alphabets):
        middle, digit = divmod(middle, len(alphabet))
        digits.append(alphabet[digit])
    candidate = low[:at] + "".join(reversed(digits))
    return candidate if low < candidate < high else None


def _alphabet(seen: set[str]) -> str:
    for known in (string.digits, "0123456789abcdef", "0123456789ABCDEF"):
        if seen and seen <= set(known):
            return known
    printable = {chr(code) for code in range(0x20, 0x7F)}
    return "".join(sorted(seen | printable if not seen or seen & printable else seen))


def _number(key: str, at: int, alphabets: list[str]) -> int:
    value = 0
    for place, alphabet in enumerate(alphabets):
        char = key[at + place : at + place + 1]
        rank = sum(1 for each in alphabet if each < char) if char else 0
        value = value * len(alphabet) + min(rank, len(alphabet) - 1)
    return value


def list_range(store: ObjectStore, prefix: str, start_after: str, up_to: str | None) -> Iterator[pa.RecordBatch]:
    """The pages of one range of ``split``: above ``start_after``, up to and with ``up_to`` (None: to the end)."""
    for page in store.list(prefix, start_after=start_after):
        if up_to is None or page["uri"][-1].as_py() <= up_to:
            yield page
            continue
        kept = bisect.bisect_right(page["uri"].to_pylist(), up_to)
        if kept:
            yield page.slice(0, kept)
        return
