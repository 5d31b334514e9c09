"""A policy file gives people roles, roles permissions; whatever is wrong with it lets nobody in."""

from __future__ import annotations

import pytest

from lakeray.errors import ConfigError
from lakeray.gates.policies import Closed, load_policies
from lakeray.security.principal import Principal

TEXT = """
acme:
  people: {ann: [steward, publisher], bo: [clerk]}
  rules:
    - {role: publisher, permission: publish, resource: "workflow:*"}
    - {role: clerk, permission: "*", effect: deny}
other: {}
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return load_policies(str(path))

    return load


def test_who_may_do_what_is_what_the_file_says(load):
    policies = load(TEXT)
    assert policies.roles("ann", "acme") == {"steward", "publisher"}
    assert policies.roles("ann", "other") == policies.roles("eve", "acme") == frozenset()
    access = policies.access("acme")
    for name, allowed in (("ann", True), ("bo", False), ("eve", False)):
        principal = Principal(name=name, tenant="acme", roles=policies.roles(name, "acme"))
        assert access.decide(principal, permission="publish", resource="workflow:orders").allowed is allowed
    ann = Principal(name="ann", tenant="other", roles=frozenset({"publisher"}))
    assert not policies.access("other").decide(ann, permission="publish", resource="workflow:orders").allowed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acme:\n  rules:\n    - {role: a}\n", r":3:7 .*acme\.rules\.0\.permission"),
        ("acme: {people: {ann: steward}}\n", r":1:\d+ .*people\.ann"),
        ("acme: {roles: {}}\n", r"allowed keys"),
        ("acme: {rules: [{role: a, permission: p, effect: maybe}]}\n", "effect"),
        ("- a\n", "policy.yaml"),
        ("a: [\n", r":\d+:\d+ .*YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(load, text, said):
    with pytest.raises(ConfigError, match=said):
        load(text)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_policies(str(tmp_path / "none.yaml"))


def test_what_cannot_be_asked_denies_for_now():
    decision = Closed("it is on fire").decide(Principal(name="ann", tenant="acme"), permission="p", resource="r:x")
    assert (decision.allowed, decision.failed) == (False, True)
    assert "on fire" in decision.reason
