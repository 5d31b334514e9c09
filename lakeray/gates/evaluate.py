"""A gate's verdict, from its conditions and the facts alone.

- ``all``, ``any`` and ``not`` are Kleene's: unknown is what could still become true or false.
- Every condition is looked at, so that the evidence is whole; ``each`` may look at them side by side.
- What an earlier look decided stays as it was written down. Only what was unknown is looked at again.
- Unknown at the deadline is a refusal. So is unknown without a deadline when nobody is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lakeray.gates.access import Access, NobodyMay
from lakeray.gates.approvals import look_at_approval
from lakeray.gates.business import look_at_rule
from lakeray.gates.facts import Facts
from lakeray.gates.finding import Finding
from lakeray.gates.functions import Functions, NoFunctions, look_at_function
from lakeray.gates.judgement import ApprovalNeed, Evidence, Judgement, Outcome, Verdict
from lakeray.gates.quality import look_at_alignment, look_at_quality
from lakeray.spec.gates import AccessControl, Condition

LOOK_AGAIN_S: Final = 60.0
"""Seconds after which a condition that is unknown without waiting for a person is looked at again."""

Look = Callable[["Leaf"], tuple[Evidence, ApprovalNeed | None]]
Each = Callable[[Look, Iterable["Leaf"]], Iterable[tuple[Evidence, ApprovalNeed | None]]]
"""``map``, or that of a pool: results in the order of the conditions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A condition that is no ``all``, ``any`` or ``not``: its place in the gate, its kind, what it says."""

    path: str
    kind: str
    said: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """A part's verdict with the paths of the conditions that made it so: of those that could still turn it, while it is
    unknown.
    """

    verdict: Verdict
    decisive: tuple[str, ...]


def evaluate(
    condition: Condition,
    facts: Facts,
    *,
    access: Access | None = None,
    functions: Functions | None = None,
    earlier: Judgement | None = None,
    each: Each = map,
) -> Judgement:
    """What the gate comes to at ``facts.now``.

    ``access`` decides what the run's principal may do (default: nothing), ``functions`` calls the user's (default:
    none may be called). ``earlier`` is the gate's last judgement, if it has one.
    """
    asked, called = access or NobodyMay(), functions or NoFunctions()

    def look(leaf: Leaf) -> tuple[Evidence, ApprovalNeed | None]:
        kept = earlier.seen(leaf.path, leaf.kind) if earlier is not None else None
        if kept is not None:
            return kept, None
        found = _look(leaf, facts, asked, called)
        evidence = Evidence(
            path=leaf.path,
            kind=leaf.kind,
            verdict=found.verdict,
            said=found.said,
            at=facts.now,
            values=found.values,
            policy_revision=found.policy_revision,
        )
        return evidence, found.need

    looked = list(each(look, list(leaves(condition))))
    evidence = tuple(item for item, _ in looked)
    told = _fold(condition, "", {item.path: item.verdict for item in evidence})
    needs = tuple(need for item, need in looked if need is not None and item.path in told.decisive)
    return _judgement(told, evidence, needs, facts)


def leaves(condition: Condition, path: str = "") -> Iterator[Leaf]:
    """The conditions of a gate in the file's order, each with its path, as in ``all[0].not.data_quality``."""
    parts = list(_parts(condition, path))
    for part, below in parts:
        yield from leaves(part, below)
    if not parts:
        kind = condition.kind
        yield Leaf(path=f"{path}.{kind}" if path else kind, kind=kind, said=condition.chosen)


def _parts(condition: Condition, path: str) -> Iterator[tuple[Condition, str]]:
    before = f"{path}." if path else ""
    for key, parts in (("all", condition.all_), ("any", condition.any_)):
        for index, part in enumerate(parts or ()):
            yield part, f"{before}{key}[{index}]"
    if condition.not_ is not None:
        yield condition.not_, f"{before}not"


def _look(leaf: Leaf, facts: Facts, access: Access, functions: Functions) -> Finding:
    looks: dict[str, Callable[[], Finding]] = {
        "data_quality": lambda: look_at_quality(leaf.said, facts),
        "alignment": lambda: look_at_alignment(leaf.said, facts),
        "business_rule": lambda: look_at_rule(leaf.said, facts),
        "access_control": lambda: _look_at_access(leaf.said, facts, access),
        "approval": lambda: look_at_approval(leaf.said, facts, leaf.path),
        "python": lambda: look_at_function(leaf.said, facts, functions),
    }
    return looks[leaf.kind]()


def _look_at_access(condition: AccessControl, facts: Facts, access: Access) -> Finding:
    principal = facts.started_by
    values: dict[str, Any] = {"principal": principal.name, "roles": sorted(principal.roles)}
    if principal.tenant != facts.tenant:
        said = f"{principal.name} belongs to another tenant"
        return Finding(verdict=Verdict.FALSE, said=said, values=values)
    role = condition.role
    if role is not None and role not in principal.roles:
        return Finding(verdict=Verdict.FALSE, said=f"{principal.name} has no role {role}", values=values)
    if condition.permission is None:
        return Finding(verdict=Verdict.TRUE, said=f"{principal.name} has the role {role}", values=values)
    resource = condition.resource or f"workflow:{facts.workflow}"
    decision = access.decide(principal, permission=condition.permission, resource=resource)
    verdict = Verdict.UNKNOWN if decision.failed else Verdict.of(decision.allowed)
    return Finding(
        verdict=verdict,
        said=f"{principal.name}: {decision.reason}",
        values={**values, "permission": condition.permission, "resource": resource},
        policy_revision=decision.revision,
    )


def _fold(condition: Condition, path: str, verdicts: dict[str, Verdict]) -> _Told:
    parts = [_fold(part, below, verdicts) for part, below in _parts(condition, path)]
    if not parts:
        own = f"{path}.{condition.kind}" if path else condition.kind
        return _Told(verdict=verdicts[own], decisive=(own,))
    if condition.not_ is not None:
        return _Told(verdict=parts[0].verdict.negated, decisive=parts[0].decisive)
    join = Verdict.all if condition.all_ is not None else Verdict.any
    verdict = join(part.verdict for part in parts)
    return _Told(verdict=verdict, decisive=tuple(p for part in parts if part.verdict is verdict for p in part.decisive))


def _judgement(told: _Told, evidence: tuple[Evidence, ...], needs: tuple[ApprovalNeed, ...], facts: Facts) -> Judgement:
    outcome, reason = _outcome(told, evidence, needs, facts)
    return Judgement(
        verdict=told.verdict,
        outcome=outcome,
        reason=reason,
        evidence=evidence,
        at=facts.now,
        waits_for=needs if outcome == "waiting" else (),
        look_again_at=_next_look(told, needs, facts) if outcome == "waiting" else None,
    )


def _outcome(
    told: _Told, evidence: tuple[Evidence, ...], needs: tuple[ApprovalNeed, ...], facts: Facts
) -> tuple[Outcome, str]:
    because = "; ".join(item.said for item in evidence if item.path in told.decisive)
    if told.verdict is not Verdict.UNKNOWN:
        return ("passed" if told.verdict is Verdict.TRUE else "refused"), because
    if facts.deadline is not None and facts.now >= facts.deadline:
        return "refused", f"not known at the deadline {facts.deadline.isoformat()}: {because}"
    if facts.deadline is None and not needs:
        return "refused", f"not known, and neither a person nor a deadline is waited for: {because}"
    return "waiting", because


def _next_look(told: _Told, needs: tuple[ApprovalNeed, ...], facts: Facts) -> datetime | None:
    ends = [need.until for need in needs if need.until is not None]
    if facts.deadline is not None:
        ends.append(facts.deadline)
        if len(told.decisive) > len(needs):
            ends.append(facts.now + timedelta(seconds=LOOK_AGAIN_S))
    return min(ends, default=None)
