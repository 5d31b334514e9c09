"""Who may do what in runs, as the policy file of this process says now."""

from __future__ import annotations

from collections.abc import Collection

from lakeray.errors import ConfigError
from lakeray.gates.access import Access, NobodyMay
from lakeray.gates.evaluate import leaves
from lakeray.gates.policies import Closed, Policies, load_policies
from lakeray.security.principal import Principal
from lakeray.spec.gates import Condition
from lakeray.workflow.refusal import Refused


def asked_of(condition: Condition, principal: Principal, policy: str | None) -> tuple[Principal, Access]:
    """The principal with their roles, and what may be done in their tenant, for a condition that asks for it.

    ``policy`` is the file's path; without one nobody may do anything, and with one that cannot be read nobody may now.
    It is read at every look: a judgement keeps the revision that it was made by.
    """
    if policy is None or not any(leaf.kind == "access_control" for leaf in leaves(condition)):
        return principal, NobodyMay()
    try:
        known = load_policies(policy)
    except ConfigError as error:
        return principal, Closed(error.message)
    return with_roles(principal, known), known.access(principal.tenant)


def with_roles(principal: Principal, policies: Policies) -> Principal:
    """The principal as the policies know them."""
    roles = policies.roles(principal.name, principal.tenant)
    return Principal(name=principal.name, tenant=principal.tenant, roles=roles)


def spoken_for(
    name: str, tenant: str, policy: str | None, *, asked: Collection[str], said: Collection[str] | None
) -> tuple[str, ...]:
    """The roles in which somebody speaks at a gate that asks for ``asked``: those that they ``said``, or all of these.

    With a policy they have the roles that it gives them alone. Raises Refused for another, ConfigError for a policy
    that cannot be read.
    """
    wanted = set(asked if said is None else said)
    if policy is None:
        return tuple(sorted(wanted))
    roles = load_policies(policy).roles(name, tenant)
    if said is not None and not wanted <= roles:
        missing = ", ".join(sorted(wanted - roles))
        raise Refused(f"the policy gives {name} no role {missing}", hint=f"roles: {', '.join(sorted(roles)) or 'none'}")
    return tuple(sorted(wanted & roles if said is not None else roles))
