"""Whether enough of the right people said yes, in time.

- A person's first word that counts is their only one: nobody is counted twice.
- The first no decides, unless a quorum was reached before it.
- With ``four_eyes`` those who started the run, or set it going again, are not heard.
- Roles are those that the speaker had when speaking. People of other tenants are not heard.
- A word counts from the gate's opening until, and not at, the approval's expiry.
- ``escalate``: from the first expiry on those of ``escalate_to`` are heard as well, for one more window of the same
  length; words given before still count. What happens at the end is written in the file: no, or yes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lakeray.gates.facts import Facts, Vote
from lakeray.gates.finding import Finding
from lakeray.gates.judgement import ApprovalNeed, Verdict
from lakeray.spec.gates import Approval


def look_at_approval(condition: Approval, facts: Facts, path: str) -> Finding:
    """What the people's words come to at ``facts.now``."""
    yes: list[Vote] = []
    for vote in _in_order(facts):
        if refused(condition, facts, vote, path=path, heard={past.by.name for past in yes}):
            continue
        if vote.says == "reject":
            return _decided(condition, yes, vote, verdict=Verdict.FALSE, said=f"{vote.by.name} said no")
        yes.append(vote)
        if len(yes) >= condition.quorum:
            names = ", ".join(past.by.name for past in yes)
            return _decided(condition, yes, None, verdict=Verdict.TRUE, said=f"{names} said yes")
    first, last = _ends(condition, facts)
    if last is not None and facts.now >= last:
        silent_yes = condition.on_expiry == "approve"
        said = f"{len(yes)} of {condition.quorum} had said yes by {last.isoformat()}, which counts as "
        return _decided(
            condition, yes, None, verdict=Verdict.of(silent_yes), said=said + ("a yes" if silent_yes else "a no")
        )
    roles = _roles(condition, facts, facts.now)
    missing = condition.quorum - len(yes)
    need = ApprovalNeed(
        path=path,
        roles=roles,
        quorum=condition.quorum,
        given=tuple(vote.by.name for vote in yes),
        missing=missing,
        four_eyes=condition.four_eyes,
        escalated=len(roles) > 1,
        excluded=tuple(sorted(_starters(facts))) if condition.four_eyes else (),
        comment_required=condition.comment == "required",
        until=first if first is not None and facts.now < first else last,
    )
    said = f"{missing} more of role {' or '.join(roles)} must say yes"
    return Finding(verdict=Verdict.UNKNOWN, said=said, values=_values(condition, yes), need=need)


def refused(
    condition: Approval, facts: Facts, vote: Vote, *, path: str, heard: frozenset[str] | set[str] = frozenset()
) -> str | None:
    """Why ``vote`` does not count for this approval, for the person who gives it; None when it does.

    ``heard`` are the names of those whose word counted before.
    """
    _, last = _ends(condition, facts)
    roles = _roles(condition, facts, vote.at)
    reasons = {
        f"it is about {vote.condition}, not {path}": vote.condition is not None and vote.condition != path,
        f"{vote.by.name} belongs to another tenant": vote.by.tenant != facts.tenant,
        f"{vote.by.name} has no role {' or '.join(roles)}": vote.by.roles.isdisjoint(roles),
        f"{vote.by.name} started the run, and four eyes are asked for": condition.four_eyes
        and vote.by.name in _starters(facts),
        "a comment is needed": condition.comment == "required" and not vote.comment.strip(),
        "the gate had not opened": vote.at < facts.opened_at,
        f"it expired at {last.isoformat() if last else ''}": last is not None and vote.at >= last,
        f"{vote.by.name} has spoken before": vote.by.name in heard,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _in_order(facts: Facts) -> list[Vote]:
    return sorted((vote for vote in facts.votes if vote.at <= facts.now), key=lambda vote: vote.at)


def _starters(facts: Facts) -> frozenset[str]:
    return facts.also_started_by | {facts.started_by.name}


def _ends(condition: Approval, facts: Facts) -> tuple[datetime | None, datetime | None]:
    """When it first expires, and for good."""
    if condition.expires_in is None:
        return None, None
    first = facts.opened_at + timedelta(seconds=condition.expires_in)
    twice = condition.on_expiry == "escalate"
    return first, facts.opened_at + timedelta(seconds=condition.expires_in * (2 if twice else 1))


def _roles(condition: Approval, facts: Facts, at: datetime) -> tuple[str, ...]:
    first, _ = _ends(condition, facts)
    if condition.escalate_to is not None and first is not None and at >= first:
        return (condition.role, condition.escalate_to)
    return (condition.role,)


def _decided(condition: Approval, yes: list[Vote], no: Vote | None, *, verdict: Verdict, said: str) -> Finding:
    return Finding(verdict=verdict, said=said, values=_values(condition, yes, no))


def _values(condition: Approval, yes: list[Vote], no: Vote | None = None) -> dict[str, object]:
    votes = [*yes, *([no] if no is not None else [])]
    return {
        "role": condition.role,
        "quorum": condition.quorum,
        "votes": [
            {
                "by": vote.by.name,
                "roles": sorted(vote.by.roles),
                "says": vote.says,
                "at": vote.at.isoformat(),
                "comment": vote.comment,
            }
            for vote in votes
        ],
    }
