"""A prefix is cut into ranges of about equal size for listing in parallel.

Ranges are exact whatever the guesses: any strings may divide them. The guesses only decide how even they are.
"""

from __future__ import annotations

import bisect
import heapq
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa

from lakeray.objects.port import ObjectStore

PAGE: Final = 1000
_LEVELS: Final = 4
_LOOKS_A_PART: Final = 6
_FOLDER_WEIGHT: Final = 1000
_STEP: Final = 250
_PLACES: Final = 8
_TOP: Final = "\U0010ffff"
Range = tuple[str, str | None]
Unit = tuple[str, int]
"""A uri at which a range may be cut, with about how many objects lie between it and the next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Children:
    """The first page of what lies directly under a prefix: uris, ascending. ``complete`` unless the page was cut."""

    objects: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    complete: bool = True


class Probe(Protocol):
    """Two cheap questions to a listing."""

    def children(self, prefix: str) -> Children:
        """What lies directly under ``prefix``."""
        ...

    def after(self, prefix: str, start_after: str) -> list[str] | None:
        """The next uris (100 or more, fewer at the end) of ``prefix`` behind ``start_after``.

        None from a store that cannot start in the middle.
        """
        ...


def split(probe: Probe, prefix: str, parts: int) -> list[Range]:
    """At most ``parts`` ranges.

    Asks for common prefixes level by level, then samples keys where a level is one long flat list.
    """
    if parts <= 1:
        return [("", None)]
    looks = _LOOKS_A_PART * parts
    units: list[Unit] = [(prefix, _FOLDER_WEIGHT)]
    closed = {prefix}
    for _ in range(_LEVELS):
        if len(units) >= 2 * parts or not closed or looks <= 0:
            break
        opened: list[Unit] = []
        below: set[str] = set()
        for unit in units:
            if unit[0] not in closed or looks <= 0:
                opened.append(unit)
                continue
            looks -= 1
            found = probe.children(unit[0])
            if not found.complete:
                opened += _sampled(probe, unit[0], looks)
                looks = 0
                continue
            below.update(found.prefixes)
            folders = [(each, _FOLDER_WEIGHT) for each in found.prefixes]
            opened += sorted([*folders, *((each, _STEP) for each in found.objects[::_STEP])])
        units, closed = opened, below
    return cut([name for name, _ in units], [weight for _, weight in units], parts)


def cut(starts: list[str], weights: list[int], parts: int) -> list[Range]:
    """At most ``parts`` ranges of about equal weight, divided at some of ``starts`` (ascending).

    A range ends with (includes) the uri that the next one starts after; the first is open below, the last above.
    """
    total, filled, edges = sum(weights), 0, list[str]()
    for name, weight in zip(starts, weights, strict=True):
        # An edge where the sum comes nearest to its share: before this start, or before the next.
        share = total * (len(edges) + 1) / parts
        if filled and len(edges) + 1 < parts and filled + weight / 2 >= share:
            edges.append(name)
        filled += weight
    return list(zip(["", *edges], [*edges, None], strict=True))


@dataclass(slots=True)
class _Span:
    """Keys from ``page[0]`` on; from ``bound`` on there are none before the next span. ``page`` is their beginning."""

    page: list[str]
    bound: str

    def weight(self) -> float:
        """About how many keys: counted within the page, beyond it by the share of the key space that the page takes."""
        inside = bisect.bisect_left(self.page, self.bound)
        if inside < len(self.page):
            return inside
        first, last, bound, _ = self._numbers()
        return len(self.page) * max(1.0, (bound - first) / max(1, last - first))

    def _numbers(self) -> tuple[int, int, int, list[str]]:
        at = self._parting()
        # Four places at once: the first page of hexadecimal keys shows only zeros at the first.
        alphabets = [
            _alphabet({char for key in self.page for char in key[at + i : at + i + 4]}) for i in range(_PLACES)
        ]
        first, last, bound = (_number(key[at:], alphabets) for key in (self.page[0], self.page[-1], self.bound))
        return first, last, bound, alphabets

    def _parting(self) -> int:
        return _alike(self.page[0], self.bound)

    def middle(self) -> str | None:
        """A string about in the middle of what the page does not show; None where there is no room."""
        _, last, bound, alphabets = self._numbers()
        middle = (last + bound) // 2
        digits = []
        for alphabet in reversed(alphabets):
            middle, digit = divmod(middle, len(alphabet))
            digits.append(alphabet[digit])
        candidate = self.page[0][: self._parting()] + "".join(reversed(digits))
        return candidate if self.page[-1] < candidate < self.bound else None


def _sampled(probe: Probe, prefix: str, looks: int) -> list[Unit]:
    """Units of a prefix that has more than a page of keys.

    Gallop through its key space, then halve the heaviest span.
    """
    page = probe.after(prefix, "")
    if not page:
        return [(prefix, _FOLDER_WEIGHT)]
    spans, left = _gallop(probe, prefix, page, looks // 2)
    looks = left + looks - looks // 2
    heap = [(-span.weight(), number) for number, span in enumerate(spans)]
    heapq.heapify(heap)
    while heap and looks > 0:
        heaviest = spans[heapq.heappop(heap)[1]]
        middle = heaviest.middle()
        if middle is None:
            continue
        looks -= 1
        found = probe.after(prefix, middle) or []
        if found and found[0] < heaviest.bound:
            spans.append(_Span(page=found, bound=heaviest.bound))
            heapq.heappush(heap, (-spans[-1].weight(), len(spans) - 1))
        heaviest.bound = middle
        heapq.heappush(heap, (-heaviest.weight(), spans.index(heaviest)))
    spans.sort(key=lambda span: span.page[0])
    return [(span.page[0], max(1, round(span.weight()))) for span in spans]


def _gallop(probe: Probe, prefix: str, page: list[str], looks: int) -> tuple[list[_Span], int]:
    """Leap from one group of keys that begin alike to the next, over ever shorter beginnings, to the prefix's end."""
    spans: list[_Span] = []
    depth = _alike(page[0], page[-1])
    while looks > 0:
        bound = page[0][:depth] + _TOP
        looks -= 1
        following = probe.after(prefix, bound) or []
        if following:
            spans.append(_Span(page=page, bound=bound))
            shared = _alike(page[0], following[0])
            # Still in the same group: leap further; a new group: look at it closely first.
            depth = min(shared, depth - 1) if shared >= len(prefix) else len(prefix)
            page = following
            continue
        spans.append(_Span(page=page, bound=bound))
        return spans, looks
    spans.append(_Span(page=page, bound=prefix + _TOP))
    return spans, looks


def _alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _alphabet(seen: set[str]) -> str:
    for known in (string.digits, "0123456789abcdef", "0123456789ABCDEF"):
        if seen and seen <= set(known):
            return known
    printable = {chr(code) for code in range(0x20, 0x7F)}
    return "".join(sorted(seen | printable if not seen or seen & printable else seen))


def _number(text: str, alphabets: list[str]) -> int:
    """``text`` as a number whose places count as their alphabets do.

    A character above an alphabet is the top of all places behind it.
    """
    value, topped = 0, False
    for place, alphabet in enumerate(alphabets):
        char = text[place : place + 1]
        topped = topped or char > alphabet[-1]
        rank = len(alphabet) - 1 if topped else bisect.bisect_left(alphabet, char) if char else 0
        value = value * len(alphabet) + rank
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
