"""Facts and conditions for tests of gates, with as little said as possible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lakeray.gates.facts import Facts, Vote
from lakeray.security.principal import Principal
from lakeray.spec.gates import Condition

OPENED = datetime(2025, 3, 1, 12, tzinfo=UTC)
STARTER = Principal(name="ann", tenant="acme", roles=frozenset({"engineer"}))


def after(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def facts(**said) -> Facts:
    """What a run knows; ``now`` in seconds after the opening."""
    now = after(said.pop("now", 0))
    plain = {"run_id": "r1", "workflow": "orders", "tenant": "acme", "started_by": STARTER, "opened_at": OPENED}
    return Facts(**{**plain, "now": now, **said})


def condition(said: dict) -> Condition:
    return Condition.model_validate(said)


def person(name: str, *roles: str, tenant: str = "acme") -> Principal:
    return Principal(name=name, tenant=tenant, roles=frozenset(roles))


def vote(by: Principal, at: float, says: str = "approve", **more) -> Vote:
    return Vote(by=by, says=says, at=after(at), **more)
