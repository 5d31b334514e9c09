"""Random nested rows become exactly the child rows that a dozen lines of plain Python make of them.

Lists are absent, null, empty, of structs whose fields come and go, of scalars, with null elements; objects come in
batches and tasks of any size. (What has no type yet, as a list of nothing, is in rescued data as everywhere: so the
first row shows one.)
"""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from tests.sample_lake import read
from tests.unit.importer.small_lake import SmallLake, lines

FIELDS = ("sku", "qty", "note", "id", "items_id", "position", "deep", "parts")


def element(chance, number):
    """A struct with some of the fields; those that are like the child's own columns too."""
    values = {
        "sku": f"s{chance.randrange(9)}",
        "qty": chance.randrange(100),
        "note": "" if chance.random() < 0.2 else f"n{chance.randrange(4)}",
        "id": chance.randrange(5),
        "items_id": chance.randrange(5),
        "position": chance.random() < 0.5,
        "deep": {"a": chance.randrange(3), f"b{chance.randrange(2)}": "x"},
        "parts": [chance.randrange(9) for _ in range(chance.randint(1, 3))],
    }
    known = FIELDS[: 2 + min(number // 4, len(FIELDS) - 2)]  # more of them as time goes by
    return {name: values[name] for name in known if chance.random() < 0.7}


def row(chance, number):
    found = {"id": number, "other": chance.random()}
    kind = chance.random()
    if kind < 0.1:
        found["items"] = None
    elif kind < 0.9:
        found["items"] = [
            None if chance.random() < 0.1 else element(chance, number) for _ in range(chance.randrange(4))
        ]
    if chance.random() < 0.8:
        found["tags"] = [
            None if chance.random() < 0.1 else f"t{chance.randrange(9)}" for _ in range(chance.randrange(4))
        ]
    return found


def oracle(rows):
    items, tags = Counter(), Counter()
    for found in rows:
        for place, item in enumerate(found.get("items") or ()):
            named = {f"items_{k}" if k in ("id", "items_id", "position") else k: v for k, v in (item or {}).items()}
            items[_key({"id": found["id"], "position": place, **named})] += 1
        for place, tag in enumerate(found.get("tags") or ()):
            tags[_key({"id": found["id"], "position": place, "value": tag})] += 1
    return items, tags


def _key(values):
    return json.dumps(_plain(values), sort_keys=True)


def _plain(value):
    """Without what is null: a column that is not there and one that is null say the same."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return value


@pytest.mark.parametrize("seed", range(6))
def test_random_nested_rows(tmp_path, seed):
    chance, keep = random.Random(seed), bool(seed % 2)
    unnest = {"from": "items", "key": ["id"], "keep": keep}
    lake = SmallLake(
        tmp_path,
        step={"unnest": {"order_items": unnest, "order_tags": {"from": "tags", "key": ["id"]}}},
        more_tables={name: {"uri": str(tmp_path / "silver" / name)} for name in ("order_items", "order_tags")},
        plan={"batch": {"max_objects": chance.randint(1, 4)}},
        slots=chance.randint(1, 3),
    )
    rows = [{"id": 0, "items": [{"sku": "s", "qty": 1}], "tags": ["t"]}]
    lake.put("first.json", lines(*rows))
    for object_ in range(9):
        new = [row(chance, len(rows) + n) for n in range(chance.randint(1, 6))]
        rows += new
        lake.put(f"{object_}.json", lines(*new))
        if chance.random() < 0.5:
            lake.run()
    summary = lake.run()
    assert not lake.quarantined()
    assert sorted(lake.rows("id")) == [found["id"] for found in rows]
    items, tags = oracle(rows)
    for name, expected in (("order_items", items), ("order_tags", tags)):
        held = Counter(map(_key, read(str(tmp_path / "silver" / name)).to_pylist()))
        assert held == expected, f"seed {seed}"
    assert sum(lake.ledger_rows()["rows_unnested"].to_pylist()) == items.total() + tags.total()
    assert ("items" in lake.schema()) == keep
    assert summary.rows.balanced
