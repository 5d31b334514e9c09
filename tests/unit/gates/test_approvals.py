"""An approval counts the right people once, in time, and nobody else."""

from __future__ import annotations

import random

import pytest

from lakeray.gates.approvals import refused
from lakeray.gates.evaluate import evaluate
from tests.unit.gates.facts import STARTER, after, condition, facts, person, vote

BOB, CID, DEE = (person(name, "steward") for name in ("bob", "cid", "dee"))
EVE = person("eve", "chief")


def told(said, *votes, now=10.0, **more):
    return evaluate(condition({"approval": {"role": "steward", **said}}), facts(votes=votes, now=now, **more))


def test_it_waits_and_says_for_whom():
    judgement = told({"quorum": 2, "four_eyes": True, "comment": "required"}, vote(BOB, 1, comment="fine"))
    (need,) = judgement.waits_for
    assert (judgement.outcome, judgement.verdict) == ("waiting", "unknown")
    assert (need.roles, need.given, need.missing, need.excluded) == (("steward",), ("bob",), 1, ("ann",))
    assert (need.comment_required, need.until, judgement.look_again_at) == (True, None, None)


def test_a_quorum_says_yes():
    assert told({"quorum": 2}, vote(BOB, 1), vote(CID, 2)).outcome == "passed"


def test_nobody_is_counted_twice():
    assert told({"quorum": 2}, vote(BOB, 1), vote(BOB, 2)).outcome == "waiting"


def test_a_no_decides_unless_the_quorum_was_there_before():
    assert told({"quorum": 2}, vote(BOB, 1), vote(CID, 2, "reject"), vote(DEE, 3)).outcome == "refused"
    assert told({"quorum": 1}, vote(BOB, 1), vote(CID, 2, "reject")).outcome == "passed"


def test_one_who_said_yes_cannot_say_no_later():
    assert told({"quorum": 2}, vote(BOB, 1), vote(BOB, 2, "reject")).outcome == "waiting"


def why_not(asked, facts, vote, heard=frozenset()):
    return refused(asked.approval, facts, vote, path="approval", heard=heard)


@pytest.mark.parametrize(
    ("by", "why"),
    [
        (person("bob"), "bob has no role steward"),
        (person("bob", "chief"), "bob has no role steward"),
        (person("bob", "steward", tenant="other"), "bob belongs to another tenant"),
        (person("ann", "steward"), "ann started the run, and four eyes are asked for"),
        (person("max", "steward"), "max started the run, and four eyes are asked for"),
    ],
)
def test_who_is_not_heard(by, why):
    said = {"four_eyes": True}
    for says in ("approve", "reject"):
        assert told(said, vote(by, 1, says), also_started_by=frozenset({"max"})).outcome == "waiting"
    asked = condition({"approval": {"role": "steward", **said}})
    assert why_not(asked, facts(now=1, also_started_by=frozenset({"max"})), vote(by, 1)) == why


def test_without_four_eyes_a_person_alone_can_go_on():
    assert told({}, vote(person(STARTER.name, "steward"), 1)).outcome == "passed"


def test_a_comment_can_be_asked_for():
    assert told({"comment": "required"}, vote(BOB, 1, comment="  ")).outcome == "waiting"
    assert told({"comment": "required"}, vote(BOB, 1, comment="checked the totals")).outcome == "passed"


@pytest.mark.parametrize(("on_expiry", "outcome"), [("reject", "refused"), ("approve", "passed")])
def test_silence_means_what_the_file_says(on_expiry, outcome):
    said = {"expires_in": 60, "on_expiry": on_expiry}
    waiting = told(said, now=59.999)
    assert (waiting.outcome, waiting.look_again_at) == ("waiting", after(60))
    assert told(said, now=60).outcome == outcome
    assert told(said, vote(BOB, 59.9), now=60).outcome == "passed"
    assert told(said, vote(BOB, 60), now=61).outcome == outcome
    assert told(said, vote(BOB, 60, "reject"), now=61).outcome == outcome


def test_escalation_asks_others_as_well_and_then_silence_is_a_no():
    said = {"quorum": 2, "expires_in": 60, "on_expiry": "escalate", "escalate_to": "chief"}
    assert told(said, vote(EVE, 59), now=59).waits_for[0].given == ()
    escalated = told(said, vote(BOB, 1), now=60)
    (need,) = escalated.waits_for
    assert (need.roles, need.given, need.until) == (("steward", "chief"), ("bob",), after(120))
    assert told(said, vote(BOB, 1), vote(EVE, 61), now=61).outcome == "passed"
    assert told(said, vote(BOB, 1), vote(CID, 61), now=61).outcome == "passed"
    assert told(said, vote(BOB, 1), now=120).outcome == "refused"
    assert told(said, vote(BOB, 1), vote(EVE, 120), now=121).outcome == "refused"


def test_words_before_the_gate_opened_are_about_something_else():
    assert told({}, vote(BOB, -1)).outcome == "waiting"


def test_a_word_can_be_about_one_of_several_approvals():
    two = condition({"all": [{"approval": {"role": "steward"}}, {"approval": {"role": "chief"}}]})
    both = person("bob", "steward", "chief")
    assert evaluate(two, facts(votes=(vote(both, 1),), now=2)).outcome == "passed"
    judgement = evaluate(two, facts(votes=(vote(both, 1, condition="all[1].approval"),), now=2))
    assert [need.path for need in judgement.waits_for] == ["all[0].approval"]


def test_whoever_speaks_in_vain_is_told_why():
    asked = condition({"approval": {"role": "steward", "expires_in": 60}})
    assert why_not(asked, facts(), vote(BOB, 1)) is None
    assert why_not(asked, facts(), vote(BOB, 60)) == "it expired at 2025-03-01T12:01:00+00:00"
    assert why_not(asked, facts(), vote(BOB, 2), heard={"bob"}) == "bob has spoken before"
    assert why_not(asked, facts(), vote(BOB, 1, condition="x")) == "it is about x, not approval"


def test_what_was_decided_stays_decided_whatever_is_said_later():
    """Over 150 random gates: once true or false, more time and more words change nothing."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    people = [BOB, CID, DEE, EVE, person("ann", "steward"), person("fay", "steward", tenant="other")]
    for _ in range(150):
        said = {"role": "steward", "quorum": chance.randint(1, 3), "four_eyes": chance.random() < 0.5}
        if chance.random() < 0.7:
            said |= {"expires_in": chance.choice([5, 20]), "on_expiry": chance.choice(["reject", "approve"])}
            if chance.random() < 0.4:
                said |= {"on_expiry": "escalate", "escalate_to": "chief"}
        times = sorted(chance.sample(range(60), 6))
        says = [chance.choice(["approve", "approve", "reject"]) for _ in times]
        votes = tuple(vote(chance.choice(people), at, word) for at, word in zip(times, says, strict=True))
        asked, decided = condition({"approval": said}), None
        for now in range(60):
            known = tuple(item for item in votes if item.at <= after(now))
            verdict = evaluate(asked, facts(votes=known, now=now)).verdict
            assert decided in (None, verdict), f"seed {seed}"
            decided = verdict if verdict != "unknown" else None
