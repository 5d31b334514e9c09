"""Access is denied whenever nothing allows it, something denies it, or the policy cannot be asked."""

from __future__ import annotations

import ast
import itertools
import logging
import random
from pathlib import Path

import pytest

import lakeray
from lakeray.gates.access import CasbinAccess, NobodyMay, Policy, PolicyRule, access_of
from lakeray.gates.evaluate import evaluate
from tests.unit.gates.facts import condition, facts, person

POLICY = Policy(
    tenant="acme",
    rules=(
        PolicyRule(role="engineer", permission="publish", resource="workflow:orders*"),
        PolicyRule(role="admin", permission="*"),
        PolicyRule(role="trainee", permission="publish", effect="deny"),
    ),
)


@pytest.fixture(scope="module")
def access():
    return CasbinAccess(POLICY)


@pytest.mark.parametrize(
    ("roles", "permission", "resource", "allowed"),
    [
        (["engineer"], "publish", "workflow:orders", True),
        (["engineer"], "publish", "workflow:orders_eu", True),
        (["engineer"], "publish", "workflow:crm", False),
        (["engineer"], "erase", "workflow:orders", False),
        (["admin"], "erase", "table:anything", True),
        (["engineer", "trainee"], "publish", "workflow:orders", False),
        (["admin", "trainee"], "publish", "workflow:orders", False),
        (["admin", "trainee"], "erase", "workflow:orders", True),
        ([], "publish", "workflow:orders", False),
        ([""], "publish", "workflow:orders", False),
        (["*"], "publish", "workflow:orders", False),
        (["engineer"], "*", "workflow:orders", False),
    ],
)
def test_what_the_rules_say(access, roles, permission, resource, allowed):
    decision = access.decide(person("bob", *roles), permission=permission, resource=resource)
    assert (decision.allowed, decision.failed, decision.revision) == (allowed, False, POLICY.revision)
    assert (decision.rule is not None) or not allowed


def test_a_decision_names_the_rule_that_said_so(access):
    denied = access.decide(person("bob", "admin", "trainee"), permission="publish", resource="workflow:orders")
    assert denied.rule == POLICY.rules[2]
    assert denied.reason == "the role trainee may never publish on *"


def test_rules_against_a_slow_reading_of_them():
    """Every question over small worlds: allowed exactly when a rule of a role of theirs allows and none denies."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    roles, permissions, resources = ["a", "b", ""], ["read", "write", "*"], ["t:x", "t:y", "t:*", "*"]
    for _ in range(60):
        rules = tuple(
            PolicyRule(
                role=chance.choice(roles),
                permission=chance.choice(permissions),
                resource=chance.choice(resources),
                effect=chance.choice(["allow", "allow", "deny"]),
            )
            for _ in range(chance.randint(0, 5))
        )
        asked = CasbinAccess(Policy(tenant="acme", rules=rules))
        for held in itertools.chain.from_iterable(itertools.combinations(["a", "b", "c"], n) for n in range(4)):
            for permission, resource in itertools.product(["read", "write"], ["t:x", "t:y", "u:z"]):
                fitting = {
                    rule.effect
                    for rule in rules
                    if rule.role in held
                    and rule.permission in ("*", permission)
                    and (rule.resource in ("*", resource) or (rule.resource == "t:*" and resource.startswith("t:")))
                }
                decision = asked.decide(person("bob", *held), permission=permission, resource=resource)
                assert decision.allowed == (fitting == {"allow"}), (
                    f"seed {seed}: {rules} {held} {permission} {resource}"
                )


def test_without_a_policy_nobody_may_do_anything():
    assert isinstance(access_of("acme", []), NobodyMay)
    asked = CasbinAccess(Policy(tenant="acme", rules=()))
    for nobody in (NobodyMay(), asked):
        assert not nobody.decide(person("bob", "admin"), permission="publish", resource="x").allowed


def test_a_rule_of_another_tenant_is_nobodys(access):
    decision = access.decide(person("bob", "admin", tenant="other"), permission="publish", resource="x")
    assert not decision.allowed
    assert isinstance(access_of("other", [POLICY]), NobodyMay)
    assert access_of("acme", [POLICY]).decide(person("bob", "admin"), permission="publish", resource="x").allowed


def test_a_disabled_enforcer_lets_nobody_in():
    asked = CasbinAccess(POLICY)
    asked._enforcer.enable_enforce(False)
    assert asked._enforcer.enforce(frozenset(), "x", "y"), "casbin itself allows everything then"
    assert not asked.decide(person("bob", "admin"), permission="publish", resource="x").allowed


def test_a_failure_is_a_denial_for_now(monkeypatch):
    asked = CasbinAccess(POLICY)
    monkeypatch.setattr(asked._enforcer, "enforce_ex", lambda *_: (_ for _ in ()).throw(RuntimeError("hunter2")))
    decision = asked.decide(person("bob", "admin"), permission="publish", resource="x")
    assert (decision.allowed, decision.failed) == (False, True)
    assert decision.reason == "the policy could not be asked: RuntimeError"
    monkeypatch.undo()
    assert asked.decide(person("bob", "admin"), permission="publish", resource="x").allowed


def test_nothing_is_logged_about_who_asks_for_what(caplog):
    with caplog.at_level(logging.DEBUG):
        CasbinAccess(POLICY).decide(person("bob", "engineer"), permission="erase", resource="x")
    assert not caplog.records


def test_equal_rules_have_one_revision_and_others_another():
    again = Policy(tenant="acme", rules=tuple(POLICY.rules))
    assert again.revision == POLICY.revision
    assert Policy(tenant="acme", rules=POLICY.rules[:2]).revision != POLICY.revision


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"role": "engineer"}, "true"),
        ({"role": "admin"}, "false"),
        ({"permission": "publish"}, "true"),
        ({"permission": "erase"}, "false"),
        ({"role": "engineer", "permission": "publish"}, "true"),
        ({"role": "admin", "permission": "publish"}, "false"),
        ({"permission": "publish", "resource": "table:orders"}, "false"),
    ],
)
def test_a_gate_asks_for_whoever_started_the_run(access, said, verdict):
    judgement = evaluate(condition({"access_control": said}), facts(), access=access)
    assert judgement.verdict == verdict
    asked = "permission" in said and said.get("role") != "admin"
    assert judgement.evidence[0].policy_revision == (POLICY.revision if asked else None)


def test_a_starter_from_another_tenant_may_nothing(access):
    stranger = person("ann", "engineer", "admin", tenant="other")
    for said in ({"role": "engineer"}, {"permission": "publish"}):
        assert (
            evaluate(condition({"access_control": said}), facts(started_by=stranger), access=access).verdict == "false"
        )


def test_only_one_module_imports_casbin():
    root = Path(lakeray.__file__).parent
    importers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "casbin" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "casbin" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "casbin")
    }
    assert importers == {"gates/access.py"}
