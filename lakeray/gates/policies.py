"""The file that says who is what, and what each role may do, by tenant.

```yaml
acme:
  people: {ann: [steward, publisher], bo: [clerk]}
  rules:
    - {role: publisher, permission: publish, resource: "workflow:*"}
    - {role: clerk, permission: "*", effect: deny}
```

Who is not in it has no role, and what no rule allows is denied. A file that cannot be read lets nobody in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, RootModel, ValidationError

from lakeray.errors import ConfigError
from lakeray.gates.access import Access, Decision, Policy, PolicyRule, access_of
from lakeray.security.principal import Principal
from lakeray.spec.document import read_document
from lakeray.spec.strict import Spec
from lakeray.spec.texts import Name, Text


class Rule(Spec):
    """What a role may, or may never, do."""

    role: Name
    """The role."""
    permission: Text
    """A word such as `publish`; `*` stands for all."""
    resource: Text = "*"
    """`kind:name`, where `*` at the end stands for anything. Default: everything."""
    effect: Literal["allow", "deny"] = "allow"
    """Whether they may (default), or may never: a rule that denies wins."""


class TenantPolicy(Spec):
    """One tenant's people and rules."""

    people: dict[Text, list[Name]] = Field(default_factory=dict)
    """Roles by the name of whoever has them. Default: nobody has any."""
    rules: list[Rule] = Field(default_factory=list)
    """What roles may do. Default: nothing."""


class Policies(RootModel[dict[Name, TenantPolicy]]):
    """A policy file, by tenant."""

    def roles(self, name: str, tenant: str) -> frozenset[str]:
        """The roles of a person in a tenant."""
        known = self.root.get(tenant)
        return frozenset(known.people.get(name, ())) if known is not None else frozenset()

    def access(self, tenant: str) -> Access:
        """What may be done in a tenant."""
        policies = [
            Policy(tenant=name, rules=tuple(PolicyRule(**rule.model_dump()) for rule in said.rules))
            for name, said in self.root.items()
        ]
        return access_of(tenant, policies)


class Closed:
    """The access under a policy that cannot be asked: a denial for now, which a later look may turn."""

    def __init__(self, why: str) -> None:
        self._why = why

    def decide(self, principal: Principal, *, permission: str, resource: str) -> Decision:
        """A denial that says why."""
        reason = f"{principal.name} may not {permission} {resource} now: {self._why}"
        return Decision(allowed=False, reason=reason, failed=True)


def load_policies(path: str) -> Policies:
    """The policies in a file. Raises ConfigError, which names the line, for one that cannot be read or is wrong."""
    hint = "correct the file that LAKERAY_POLICY names; until then no condition `access_control` holds"
    try:
        document = read_document(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"the policy {path} cannot be read: {reason}", hint=hint) from error
    if document.problems:
        first = document.problems[0]
        raise ConfigError(f"{path}:{first.line}:{first.column}  {first.expected}", hint=hint)
    try:
        return Policies.model_validate(document.data)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        line, column = _place(document.values, detail["loc"])
        where = ".".join(str(part) for part in detail["loc"])
        raise ConfigError(f"{path}:{line}:{column}  {where}: {detail['msg']}", hint=hint) from error


def _place(known: Mapping[tuple[str | int, ...], tuple[int, int]], loc: tuple[str | int, ...]) -> tuple[int, int]:
    """Line and column of the nearest thing around ``loc``."""
    return next((known[loc[:end]] for end in range(len(loc), -1, -1) if loc[:end] in known), (1, 1))
