"""Ranges are exact always, even where keys are spread in one of the usual ways."""

from __future__ import annotations

import base64
import bisect
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.objects import LISTING, list_range
from lakeray.objects.split import PAGE, Children, split

ROOT = "s3://b/"
NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Listing:
    """A bucket in memory that counts what it is asked."""

    def __init__(self, keys: list[str], *, starts: bool = True) -> None:
        self.keys = sorted(ROOT + key for key in set(keys))
        self.asked = 0
        self._starts = starts

    def children(self, prefix: str) -> Children:
        self.asked += 1
        found: list[str] = []
        at = bisect.bisect_left(self.keys, prefix)
        while at < len(self.keys) and self.keys[at].startswith(prefix) and len(found) < PAGE:
            head, slash, _ = self.keys[at][len(prefix) :].partition("/")
            found.append(prefix + head + slash)
            at = bisect.bisect_left(self.keys, prefix + head + "0") if slash else at + 1
        complete = at >= len(self.keys) or not self.keys[at].startswith(prefix)
        return Children(
            objects=[each for each in found if not each.endswith("/")],
            prefixes=[each for each in found if each.endswith("/")],
            complete=complete,
        )

    def after(self, prefix: str, start_after: str) -> list[str] | None:
        if not self._starts:
            return None
        self.asked += 1
        at = max(bisect.bisect_right(self.keys, start_after), bisect.bisect_left(self.keys, prefix))
        return [key for key in self.keys[at : at + 200] if key.startswith(prefix)]

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        at = bisect.bisect_right(self.keys, start_after or "")
        uris = [key for key in self.keys[at:] if key.startswith(prefix)]
        for start in range(0, len(uris), 700):
            rows = [
                {"uri": uri, "size": 1, "etag": None, "version_id": None, "modified_at": NOW}
                for uri in uris[start : start + 700]
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=LISTING)


def sizes(listing: Listing, prefix: str, parts: int) -> list[int]:
    """Objects in each range, after checking that the ranges cover the prefix exactly."""
    ranges = split(listing, prefix, parts)
    assert ranges[0][0] == ""
    assert ranges[-1][1] is None
    found: list[str] = []
    counts = []
    for start_after, up_to in ranges:
        uris = [uri for page in list_range(listing, prefix, start_after, up_to) for uri in page["uri"].to_pylist()]
        counts.append(len(uris))
        found += uris
    assert found == [key for key in listing.keys if key.startswith(prefix)]
    return counts


random.seed(7)
SPREADS = {
    "numbered": [f"raw/part-{number:06}.json" for number in range(40_000)],
    "uuids": [f"raw/{uuid.UUID(int=random.getrandbits(128))}.json" for _ in range(40_000)],
    "days": [f"raw/dt=2024-{n % 12 + 1:02}-{n % 28 + 1:02}/part-{n:06}.json" for n in range(40_000)],
    "hours": [f"raw/{n % 4}/{n % 28:02}/{n % 24:02}/part-{n:06}.json" for n in range(40_000)],
    "timestamps": [f"raw/{1_700_000_000_000 + n * 977}-{n % 7}.json" for n in range(40_000)],
    "base64": [f"raw/{base64.urlsafe_b64encode(random.randbytes(12)).decode()}" for _ in range(40_000)],
    "two-clusters": [f"raw/a{n:06}" for n in range(35_000)] + [f"raw/z{n:06}" for n in range(5_000)],
}


@pytest.mark.parametrize("spread", SPREADS)
def test_usual_spreads_are_divided_well_with_few_questions(spread: str) -> None:
    listing = Listing(SPREADS[spread])
    counts = sizes(listing, ROOT + "raw/", 8)
    assert 4 <= len(counts) <= 8
    assert max(counts) <= 0.45 * sum(counts), counts
    assert listing.asked <= 60


def test_a_store_that_cannot_start_in_the_middle_gives_one_range_for_a_flat_prefix() -> None:
    assert len(sizes(Listing(SPREADS["numbered"], starts=False), ROOT + "raw/", 8)) <= 2
    assert len(sizes(Listing(SPREADS["days"], starts=False), ROOT + "raw/", 8)) >= 7


def test_small_prefixes_cost_one_look() -> None:
    for keys in ([], ["raw/a"], [f"raw/{n}" for n in range(900)]):
        listing = Listing(keys)
        sizes(listing, ROOT + "raw/", 8)
        assert listing.asked <= 1
    assert split(Listing([]), ROOT, 1) == [("", None)]


KEYS = st.lists(st.text(alphabet="ab/0é\u2028😀-", min_size=1, max_size=12), max_size=60)


@settings(max_examples=150, deadline=None)
@given(keys=KEYS, parts=st.integers(1, 20), prefix=st.sampled_from(["", "a", "a/", "b0"]))
def test_any_keys_are_covered_exactly(keys: list[str], parts: int, prefix: str) -> None:
    counts = sizes(Listing(keys), ROOT + prefix, parts)
    assert len(counts) <= parts
