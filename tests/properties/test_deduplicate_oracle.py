"""However objects are spread over tasks, batches and shares, the rows that stay are the oracle's."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.importer.small_lake import SmallLake, balance, lines

KEEP = ["first", "last", {"latest": "rank"}]
ROW = st.fixed_dictionaries(
    {"id": st.one_of(st.none(), st.integers(0, 4)), "k": st.sampled_from(["", "a", "b"]), "rank": st.integers(0, 3)}
)
OBJECTS = st.lists(st.lists(ROW, max_size=6), min_size=1, max_size=4)


def survivors(rows: list[dict[str, Any]], keep: Any, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Row by row, with a dictionary; ``known`` are the table's."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    stays = []
    there = {(row["id"], row["k"]) for row in known}
    for row in rows:
        key = (row["id"], row["k"])
        if row["id"] is None:
            stays.append(row)
        elif key not in there:
            held = best.get(key)
            later = keep == "last" or (isinstance(keep, dict) and held is not None and row["rank"] >= held["rank"])
            if held is None or later:
                best[key] = row
    return [*stays, *best.values()]


@pytest.mark.parametrize("within", ["batch", "table"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=OBJECTS, second=OBJECTS, keep=st.sampled_from(KEEP), way=st.tuples(st.integers(1, 3), st.booleans()))
def test_the_same_rows_stay(within, first, second, keep, way):
    """``way``: how many tasks there are at once, and whether one holds only a few keys."""
    slots, small = way
    keep = "first" if within == "table" else keep
    with tempfile.TemporaryDirectory() as folder:
        lake = SmallLake(
            Path(folder),
            source={"schema_hints": {"id": "int64", "k": "string", "rank": "int64", "n": "int64"}},
            step={"deduplicate": {"key": ["id", "k"], "keep": keep, "within": within}},
            slots=slots,
            memory=2**12 if small else 2**24,
        )
        expected: list[dict[str, Any]] = []
        for batch, objects in enumerate((first, second)):
            rows = []
            for place, found in enumerate(objects):
                numbered = [{**row, "n": 100 * batch + 10 * place + n} for n, row in enumerate(found)]
                rows += numbered
                lake.put(f"{batch}{place}.json", lines(*numbered))
            stay = survivors(rows, keep, expected if within == "table" else [])
            counts = Counter(read=len(rows), written=len(stay), deduplicated=len(rows) - len(stay))
            assert balance(lake.run()) == +counts
            expected += stay
        assert sorted(lake.rows("n")) == sorted(row["n"] for row in expected)
        assert not lake.stray_files()
