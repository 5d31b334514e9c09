"""A judgement is kept as it was: later looks, other policies and later versions change nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakeray.gates.access import CasbinAccess, Policy, PolicyRule
from lakeray.gates.evaluate import LOOK_AGAIN_S, evaluate
from lakeray.gates.facts import StepFacts
from lakeray.gates.judgement import JudgementUnreadable, decode, encode
from tests.unit.gates.facts import after, condition, facts, person, vote

GOLDEN = Path(__file__).parents[2] / "golden" / "gates" / "judgement_1.json"
GATE = {
    "all": [
        {"data_quality": {"step": "ingest", "at_least": 0.99}},
        {"access_control": {"permission": "publish"}},
        {"not": {"business_rule": "steps.ingest.rows_written > 10"}},
        {"approval": {"role": "steward", "quorum": 2, "expires_in": 3600}},
    ]
}
STEPS = {"ingest": StepFacts(state="succeeded", metrics={"pass_rate": 1.0, "rows_written": 5})}
ALLOWED = Policy(tenant="acme", rules=(PolicyRule(role="engineer", permission="publish"),))
DENIED = Policy(tenant="acme", rules=())
FIRST = vote(person("bob", "steward"), 1, comment="checked")


def waiting():
    known = facts(steps=STEPS, votes=(FIRST,), now=2, deadline=after(7200))
    return evaluate(condition(GATE), known, access=CasbinAccess(ALLOWED))


def test_format_1_still_loads_and_is_still_written():
    """The file is never written again: a release that cannot read it, or writes other bytes under 1, is wrong."""
    assert decode(GOLDEN.read_bytes()) == waiting()
    assert encode(waiting()) == GOLDEN.read_bytes().rstrip()


def test_what_was_decided_is_not_looked_at_again():
    """Policy, numbers and rules have turned against the run meanwhile; only the approval was still open."""
    first = waiting()
    worse = {"ingest": StepFacts(state="succeeded", metrics={"pass_rate": 0.0, "rows_written": 500})}
    votes = (FIRST, vote(person("cid", "steward"), 3))
    second = evaluate(
        condition(GATE), facts(steps=worse, votes=votes, now=4), access=CasbinAccess(DENIED), earlier=first
    )
    assert (first.outcome, second.outcome) == ("waiting", "passed")
    assert second.evidence[:3] == first.evidence[:3]
    assert second.evidence[1].policy_revision == ALLOWED.revision
    fresh = evaluate(condition(GATE), facts(steps=worse, votes=votes, now=4), access=CasbinAccess(DENIED))
    assert fresh.outcome == "refused"


def test_evidence_of_another_kind_at_the_same_place_is_not_taken_over():
    other = evaluate(condition({"all": [{"business_rule": "true"}]}), facts())
    now = evaluate(condition({"all": [{"data_quality": {"step": "x", "at_least": 1}}]}), facts(), earlier=other)
    assert now.verdict == "unknown"


def test_a_refusal_says_what_refused():
    gate = {"any": [{"business_rule": "1 > 2"}, {"all": [{"business_rule": "true"}, {"business_rule": "2 > 3"}]}]}
    assert evaluate(condition(gate), facts()).reason == "the rule 1 > 2 is false; the rule 2 > 3 is false"
    negated = {"not": {"business_rule": "true"}}
    assert evaluate(condition(negated), facts()).reason == "the rule true is true"


def test_unknown_without_a_person_or_a_deadline_is_refused_at_once():
    judgement = evaluate(condition({"data_quality": {"step": "x", "at_least": 1}}), facts())
    assert (judgement.outcome, judgement.look_again_at) == ("refused", None)
    assert "neither a person nor a deadline" in judgement.reason


def test_the_next_look_is_when_something_can_change_by_itself():
    asked = {"approval": {"role": "steward", "expires_in": 3600}}
    unknown = {"data_quality": {"step": "x", "at_least": 1}}

    def looked(gate, **more):
        return evaluate(condition(gate), facts(**more)).look_again_at

    assert looked(asked) == after(3600)
    assert looked(asked, deadline=after(60)) == after(60)
    assert looked({"all": [asked, unknown]}, deadline=after(7200)) == after(LOOK_AGAIN_S)
    assert looked({"all": [asked, {"business_rule": "true"}]}, deadline=after(7200)) == after(3600)
    assert looked(unknown, deadline=after(30)) == after(30)
    assert looked({"approval": {"role": "steward"}}) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"verdict": "maybe"}'])
def test_what_is_no_judgement_is_refused(data):
    with pytest.raises(JudgementUnreadable):
        decode(data)


def test_a_later_format_is_refused_by_name():
    with pytest.raises(JudgementUnreadable, match="has format 2, this version knows up to 1"):
        decode(encode(waiting()).replace(b'"format":1', b'"format":2'))
