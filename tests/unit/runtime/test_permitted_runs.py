"""What a run's principal may do is asked of the policy file, which lets nobody in when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import ConfigError
from lakeray.workflow.refusal import Refused

HERE = "tests.unit.runtime.test_permitted_runs"
WITHIN_S = 60
FILE = f"""
workflow: orders
tenant: acme
steps:
  may: {{gate: {{access_control: {{permission: publish}}}}}}
  is: {{after: [may], python: "{HERE}:fine", requires: {{access_control: {{role: steward}}}}}}
  release: {{after: [is], gate: {{approval: {{role: steward}}}}}}
"""
POLICY = """
acme:
  people: {ann: [steward, publisher], bo: [publisher], eve: [steward]}
  rules: [{role: publisher, permission: publish, resource: "workflow:orders"}]
"""


def fine():
    return "fine"


@pytest.fixture
def who(monkeypatch):
    """The user of this machine."""
    name = ["ann"]
    monkeypatch.setattr("getpass.getuser", lambda: name[0])
    return name


def connect(folder: Path, policy: str | None = "policy.yaml"):
    state = f"sqlite:///{folder}/state.db"
    path = str(folder / policy) if policy else None
    settings = Settings(executor="inline", catalog=str(folder / "catalog"), state=state, policy=path)
    return lakeray.connect(settings=settings)


def run(folder: Path, policy: str | None = "policy.yaml"):
    (folder / "w.yaml").write_text(FILE)
    return connect(folder, policy).run(folder / "w.yaml").result(WITHIN_S)


def test_who_may_goes_on_and_the_revision_is_kept(tmp_path, who):
    (tmp_path / "policy.yaml").write_text(POLICY)
    summary = run(tmp_path)
    assert summary.state == "waiting"
    [found] = summary.steps[0].conditions
    assert found.verdict == "true"
    assert found.said == "ann: the role publisher may publish on workflow:orders"
    assert found.values["roles"] == ["publisher", "steward"]
    assert found.policy_revision
    with pytest.raises(Refused, match="role steward"):
        connect(tmp_path).runs.approve(summary.run_id, by="bo").result(WITHIN_S)
    with pytest.raises(Refused, match="gives bo no role steward"):
        connect(tmp_path).runs.approve(summary.run_id, by="bo", roles=["steward"])
    assert connect(tmp_path).runs.approve(summary.run_id, by="eve").result(WITHIN_S).state == "succeeded"


def test_who_may_not_is_refused_at_the_gate(tmp_path, who):
    (tmp_path / "policy.yaml").write_text(POLICY)
    who[0] = "eve"
    summary = run(tmp_path)
    assert summary.errors[0].code == "gate_refused"
    assert "no rule allows publish" in summary.steps[0].said[0]


def test_a_role_is_asked_before_a_step(tmp_path, who):
    (tmp_path / "policy.yaml").write_text(POLICY)
    who[0] = "bo"
    assert [(error.step, error.code) for error in run(tmp_path).errors] == [("is", "precondition_failed")]


@pytest.mark.parametrize("policy", [None, "absent.yaml", "wrong.yaml"])
def test_without_a_policy_that_can_be_read_nobody_goes_on(tmp_path, who, policy):
    (tmp_path / "wrong.yaml").write_text("acme: {rules: [{role: a}]}")
    summary = run(tmp_path, policy)
    assert summary.state == "failed"
    assert summary.errors[0].code == "gate_refused"


def test_nobody_approves_under_a_policy_that_cannot_be_read(tmp_path, who):
    (tmp_path / "policy.yaml").write_text(POLICY)
    summary = run(tmp_path)
    (tmp_path / "policy.yaml").write_text("acme: 7")
    with pytest.raises(ConfigError, match="LAKERAY_POLICY"):
        connect(tmp_path).runs.approve(summary.run_id)
