"""Access decisions by casbin, denied whenever anything is in doubt.

The only place that imports casbin. One ``CasbinAccess`` holds the rules of one tenant: casbin looks at every rule, and
rules of others are nobody else's business. What is not allowed is denied; a rule that denies wins over those that
allow; a failure is a denial that says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from lakeray.security.principal import Principal

_MODEL: Final = """
[request_definition]
r = sub, act, obj
[policy_definition]
p = sub, act, obj, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = has_role(r.sub, p.sub) && (p.act == "*" || r.act == p.act) && keyMatch(r.obj, p.obj)
"""
_REMEMBERED: Final = 10_000
"""Decisions that one policy remembers; a workflow asks for a handful."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRule:
    """What a role may, or may never, do in a tenant.

    ``permission`` is a word such as ``publish``, ``*`` for all; ``resource`` is ``kind:name``, where ``*`` at the end
    stands for anything.
    """

    role: str
    permission: str
    resource: str = "*"
    effect: Literal["allow", "deny"] = "allow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The rules of one tenant."""

    tenant: str
    rules: tuple[PolicyRule, ...]

    @property
    def revision(self) -> str:
        """A digest of the rules in their order: equal rules have equal revisions, on every machine."""
        plain = [(rule.role, rule.permission, rule.resource, rule.effect) for rule in self.rules]
        return hashlib.sha256(json.dumps([self.tenant, plain]).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Allowed or not, with the rule that said so.

    ``rule`` is None where no rule did. ``failed`` says that the policy could not be asked, so that it is a denial for
    now; asking again can end otherwise. ``revision`` is None where there is no policy.
    """

    allowed: bool
    reason: str
    rule: PolicyRule | None = None
    revision: str | None = None
    failed: bool = False


class Access(Protocol):
    """Who may do what.

    - ``decide`` never raises and never allows in doubt.
    - The same question under the same revision has the same answer.
    - The tenant is the principal's own; whoever asks has compared it with that of the thing.
    """

    def decide(self, principal: Principal, *, permission: str, resource: str) -> Decision:
        """Whether ``principal`` may do ``permission`` to ``resource``."""


class NobodyMay:
    """The access of a tenant without a policy: everything is denied."""

    def decide(self, principal: Principal, *, permission: str, resource: str) -> Decision:
        """A denial."""
        return Decision(allowed=False, reason=f"no policy allows {principal.name} to {permission} {resource}")


class CasbinAccess:
    """The access that a policy describes. Safe to share between threads; rebuilt for another revision."""

    def __init__(self, policy: Policy) -> None:
        # Imported here, as it takes a third of a second that most commands have no use for.
        import casbin  # type: ignore[import-untyped, unused-ignore]

        self.policy = policy
        self.revision = policy.revision
        model = casbin.Model()
        model.load_model_from_text(_MODEL)
        # It turns its own loggers off: they would write who asked for what, and denials as warnings.
        self._enforcer = casbin.Enforcer(model, enable_log=False)
        self._enforcer.add_function("has_role", _has_role)
        self._by_text: dict[tuple[str, ...], PolicyRule] = {}
        for rule in policy.rules:
            text = (rule.role, rule.permission, rule.resource, rule.effect)
            self._by_text[text] = rule
            self._enforcer.add_policy(*text)
        self._known: dict[tuple[frozenset[str], str, str], Decision] = {}

    def decide(self, principal: Principal, *, permission: str, resource: str) -> Decision:
        """Whether a rule allows it and none denies it."""
        if principal.tenant != self.policy.tenant:
            return Decision(allowed=False, reason=f"{principal.name} belongs to another tenant", revision=self.revision)
        question = (principal.roles, permission, resource)
        known = self._known.get(question)
        if known is None:
            known = self._ask(principal.roles, permission, resource)
            if not known.failed and len(self._known) < _REMEMBERED:
                self._known[question] = known
        return known

    def _ask(self, roles: Collection[str], permission: str, resource: str) -> Decision:
        try:
            allowed, found = self._enforcer.enforce_ex(frozenset(roles), permission, resource)
        except Exception as error:  # noqa: BLE001 - whatever happens inside, nobody is let in by it
            reason = f"the policy could not be asked: {type(error).__name__}"
            return Decision(allowed=False, reason=reason, revision=self.revision, failed=True)
        rule = self._by_text.get(tuple(found))
        # A disabled enforcer allows everything, and names no rule.
        let_in = bool(allowed) and rule is not None and rule.effect == "allow"
        return Decision(
            allowed=let_in, reason=_reason(let_in, rule, permission, resource), rule=rule, revision=self.revision
        )


def _has_role(roles: Any, role: Any) -> bool:
    return isinstance(roles, frozenset) and isinstance(role, str) and role in roles


def _reason(allowed: bool, rule: PolicyRule | None, permission: str, resource: str) -> str:
    if rule is None:
        return f"no rule allows {permission} on {resource}"
    verb = "may" if allowed else "may never"
    return f"the role {rule.role} {verb} {rule.permission} on {rule.resource}"


def access_of(tenant: str, policies: Iterable[Policy]) -> Access:
    """The access of ``tenant`` under its policy among ``policies``, or nobody's."""
    policy = next((policy for policy in policies if policy.tenant == tenant), None)
    return NobodyMay() if policy is None else CasbinAccess(policy)
