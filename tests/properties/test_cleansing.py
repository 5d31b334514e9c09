"""Cleansing finds what its rules cover, touches nothing else, and is the same done once or twice, whole or in parts."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.importer.bounds import bounds_of
from lakeray.spec.cleansing import CleanseRule
from lakeray.transform.cleanse.sketch import Sketch
from lakeray.transform.cleanse.table import Cleansing
from tests.properties.dirty_orders import RULES, Dirt

ROWS = 4_000
MOST_TELLING = 200
"""So many values of a kind that one in a hundred can be told."""


def cleansing(rules, **more):
    spec = {name: [CleanseRule.model_validate(rule) for rule in chosen] for name, chosen in rules.items()}
    return Cleansing(spec, **more)


def batch_bounds(table):
    """The bounds of the rules that ask for the batch's own, found in a first pass, as an import finds them."""
    first = cleansing(RULES)
    done = first.run(table)
    found = {}
    for (column, label), rule in first.batch_rules().items():
        sketch = Sketch()
        sketch.add(done.table[column])
        found[column, label] = bounds_of(rule, sketch)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_of_each_kind_99_of_100_soiled_values_are_found_and_no_value_is_changed_wrongly(seed):
    """The score by ground truth, for every kind of rule: recall over the values that it takes such a rule to repair,
    and not one value that became anything but the truth; no row of a value without dirt is refused.
    """
    rows = Dirt(seed).rows(ROWS)
    table = pa.table({name: pa.array([row[name].dirty for row in rows], pa.string()) for name in RULES})
    done = cleansing(RULES, bounds=batch_bounds(table)).run(table)
    soiled: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wrong = []
    for name in RULES:
        refused = {
            i for r in done.refused if r.rule == f"cleanse:{name}" for i, bad in enumerate(r.rows.to_pylist()) if bad
        }
        for index, (row, value) in enumerate(zip(rows, done.table[name].to_pylist(), strict=True)):
            truth, dirt = row[name].true, row[name].dirt
            same = value == pytest.approx(truth, rel=1e-12) if isinstance(truth, float) else value == truth
            same = same and index not in refused
            soiled.update(dirt)
            found.update(dirt if same else ())
            if not same and not (dirt and index in refused):
                wrong.append((name, row[name], value))
    score = [f"{kind:8} soiled {soiled[kind]:6} recall {found[kind] / soiled[kind]:.4f}" for kind in sorted(soiled)]
    print(f"seed {seed}", *score, f"wrong changes {len(wrong)} of {ROWS * len(RULES)}", sep="\n")  # noqa: T201 - the score
    assert not wrong, wrong[:5]
    assert set(soiled) == set(CleanseRule.choices)
    assert min(soiled.values()) >= MOST_TELLING
    for kind, count in soiled.items():
        assert found[kind] >= 0.99 * count, f"{kind}: recall {found[kind] / count:.4f}"


def test_counts_say_how_much_was_looked_at_and_changed():
    rows = Dirt(9).rows(ROWS)
    table = pa.table({"email": pa.array([row["email"].dirty for row in rows], pa.string())})
    done = cleansing({"email": RULES["email"]}).run(table)
    before, after = table["email"].to_pylist(), done.table["email"].to_pylist()
    counts = done.counts["email"]
    assert counts["unicode"].looked_at == sum(value is not None for value in before)
    assert counts["nulls"].changed == sum(b is not None and a is None for b, a in zip(before, after, strict=True))
    unlike = sum(b != a for b, a in zip(before, after, strict=True))
    assert max(count.changed for count in counts.values()) <= unlike <= sum(count.changed for count in counts.values())


PIECES = st.sampled_from(
    ["a", "A", "b", "ß", "İ", "é", "e\u0301", "\u0301", "\u200d", "\u200b", "ﬁ", "\uff11", "1", "2", ".", ",", "-", " ",
     "\u00a0", "\t", "kg", "g", "%", "€", "N/A", "neu", "NEW", "ja", "01", "2024", "\x07", "ǅ", "ΐ", "x"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=6)
TEXT_RULES = st.sampled_from(
    [
        {"trim": "ends"},
        {"trim": "all"},
        {"case": "upper"},
        {"case": "lower"},
        {"case": "title"},
        {"unicode": "NFC"},
        {"unicode": "NFKC"},
        {"nulls": ["", "N/A", "-"]},
        {"replace": {"pattern": "a", "with": "b"}},
        {"replace": {"pattern": "^0", "with": ""}},
        {"replace": {"pattern": "A|1", "with": "a1"}},
        {"enum": {"new": ["neu", "a"], "B": ["b"]}},
        {"enum": {"new": ["neu", "a"]}, "unknown": "null"},
    ]
)
LAST_RULES = st.sampled_from(
    [
        None,
        {"number": {"decimal": ",", "thousands": ".", "currency": ["€"], "percent": True, "unfit": "null"}},
        {"number": {"type": "decimal(9, 2)"}},
        {"date": {"formats": ["%d.%m.%Y", "%m.%d.%Y"], "unfit": "null"}},
        {"unit": {"to": "kg", "from": {"g": 0.001}, "bare": "kg"}},
        {"boolean": {"yes": ["ja", "new"]}},
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS | st.none(), max_size=12), st.lists(TEXT_RULES, max_size=4), LAST_RULES, st.integers(0, 12))
def test_cleansing_is_idempotent_and_looks_at_each_value_alone(values, rules, last, cut):
    """Twice is once: what came clean out of the rules goes through them unchanged and unrefused. A chunk's values do
    not depend on each other, however it is cut.
    """
    made = cleansing({"x": [*rules, *([last] if last else [])] or [{"trim": "ends"}]})
    table = pa.table({"x": pa.array(values, pa.string())})
    once = made.run(table)
    twice = made.run(once.table)
    assert twice.table.equals(once.table)
    assert not twice.refused
    parts = [made.run(table.slice(0, cut)).table, made.run(table.slice(cut)).table]
    assert pa.concat_tables(parts).to_pylist() == once.table.to_pylist()
