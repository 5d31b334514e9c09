"""A gate of any shape means what its truth table says.

Every condition stands in a gate once, so that Kleene's logic is exact: a gate is unknown just when one way to fill in
what is unknown makes it true and another makes it false. The oracle tries all of them.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.gates.evaluate import evaluate, leaves
from lakeray.gates.judgement import Verdict, decode, encode
from tests.unit.gates.facts import condition, facts, person, vote

WORDS = {"true": True, "false": False}


def _shapes(depth=3):
    """Trees of True, False, None (unknown) and "person" (unknown until somebody speaks)."""
    leaf = st.sampled_from([True, False, None, "person"])
    return st.recursive(
        leaf,
        lambda part: st.one_of(
            st.tuples(st.sampled_from(["all", "any"]), st.lists(part, min_size=1, max_size=4)),
            st.tuples(st.just("not"), part),
        ),
        max_leaves=9,
    )


def _gate(shape, tables):
    """The shape as a file says it; each leaf is a table of its own with one row, none, or nothing known."""
    if isinstance(shape, tuple):
        kind, parts = shape
        return {kind: _gate(parts, tables) if kind == "not" else [_gate(part, tables) for part in parts]}
    name = f"t{len(tables)}"
    if shape == "person":
        tables[name] = None
        return {"approval": {"role": name}}
    tables[name] = {} if shape is None else {"rows": int(shape)}
    return {"data_quality": {"table": name, "metric": "rows", "at_least": 1}}


def _value(shape, filled):
    if isinstance(shape, tuple):
        kind, parts = shape
        if kind == "not":
            return not _value(parts, filled)
        return (all if kind == "all" else any)([_value(part, filled) for part in parts])
    return next(filled) if shape in (None, "person") else shape


def _open(shape):
    if isinstance(shape, tuple):
        kind, parts = shape
        return [leaf for part in ([parts] if kind == "not" else parts) for leaf in _open(part)]
    return [shape] if shape in (None, "person") else []


@given(_shapes())
@settings(max_examples=400, deadline=None)
def test_a_verdict_is_that_of_the_truth_table(shape):
    tables = {}
    gate = condition(_gate(shape, tables))
    known = facts(tables={name: said for name, said in tables.items() if said is not None})
    judgement = evaluate(gate, known)
    unknown = _open(shape)
    table = {row: _value(shape, iter(row)) for row in itertools.product([True, False], repeat=len(unknown))}
    expected = {(True,): "true", (False,): "false"}.get(tuple(set(table.values())), "unknown")
    assert judgement.verdict == expected

    def matters(place):
        """Whether this one alone can still turn the gate."""
        return any(table[row] != table[(*row[:place], not row[place], *row[place + 1 :])] for row in table)

    people = [place for place, leaf in enumerate(unknown) if leaf == "person" and matters(place)]
    assert len(judgement.waits_for) == len(people)
    assert (judgement.outcome == "waiting") == (expected == "unknown" and bool(people))


@given(_shapes(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_gate_can_be_looked_at_again_and_side_by_side_without_another_end(shape, chance):
    """People speak one by one; each look takes up the last one, from its bytes, and no evidence of it changes."""
    tables = {}
    gate = condition(_gate(shape, tables))
    known = {name: said for name, said in tables.items() if said is not None}
    roles = [name for name, said in tables.items() if said is None]
    chance.shuffle(roles)
    votes, earlier = (), None
    with ThreadPoolExecutor(4) as pool:
        for at in range(len(roles) + 1):
            now = facts(tables=known, votes=votes, now=at)
            again = evaluate(gate, now, earlier=earlier, each=pool.map)
            assert again.verdict == evaluate(gate, now).verdict
            for item in earlier.evidence if earlier else ():
                if item.verdict is not Verdict.UNKNOWN:
                    assert item in again.evidence
            assert [item.path for item in again.evidence] == [leaf.path for leaf in leaves(gate)]
            earlier = decode(encode(again))
            assert earlier == again
            if at < len(roles):
                says = chance.choice(["approve", "reject"])
                votes = (*votes, vote(person("bob", roles[at]), at + 1, says))
    assert not earlier.waits_for, "everybody has spoken"


@given(_shapes())
@settings(max_examples=200, deadline=None)
def test_unknown_at_the_deadline_is_a_refusal_and_known_is_not_touched_by_it(shape):
    tables = {}
    gate = condition(_gate(shape, tables))
    known = {name: said for name, said in tables.items() if said is not None}
    before = evaluate(gate, facts(tables=known, now=9, deadline=facts(now=10).now))
    at = evaluate(gate, facts(tables=known, now=10, deadline=facts(now=10).now))
    assert before.verdict == at.verdict
    assert before.outcome == {"true": "passed", "false": "refused"}.get(before.verdict, "waiting")
    assert at.outcome == ("passed" if at.verdict == "true" else "refused")
    if before.outcome == "waiting":
        assert facts(now=9).now < before.look_again_at <= facts(now=10).now
