"""Workflow files whose runs begin by themselves, as the store keeps them until somebody takes them out again."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import msgspec

from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.spec.schedule import Schedule
from lakeray.spec.triggers import Trigger
from lakeray.state import EventStore
from lakeray.workflow.definition import Definition, definition_hash
from lakeray.workflow.kept import KeptUnreadable
from lakeray.workflow.refusal import Refused

_log = logging.getLogger(__name__)
FORMAT = 1
"""Of a kept ``Registered``. It grows by fields with defaults alone."""
SCHEDULE = "schedule"
"""What the file's schedule is called among its triggers, of which none can have that name."""


class Registered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file as it was handed in by ``principal``.

    ``since`` says for the schedule and each trigger since when it stands as it does: what was due before is not its
    business.
    """

    definition: Definition
    principal: str
    added_at: datetime
    since: dict[str, datetime] = {}
    format: int = FORMAT

    @property
    def name(self) -> str:
        """``tenant/workflow``: a tenant has one file of a workflow."""
        return name_of(self.definition.tenant, self.definition.workflow)

    def workflow(self) -> Workflow:
        """The file as a value."""
        return Workflow.model_validate(self.definition.document, context={FROM_FILE: True})


def name_of(tenant: str, workflow: str) -> str:
    """How a registered workflow is found."""
    return f"{tenant}/{workflow}"


class Files:
    """The registered files of a store, each parsed once for as long as it stays the same."""

    def __init__(self, store: EventStore) -> None:
        self._kept = Registers(store, "triggers/files/", Registered, format_=FORMAT)
        self._parsed: dict[str, tuple[str, Workflow]] = {}

    def all(self) -> list[tuple[Registered, Workflow]]:
        """Every file with what it says, in the order of their names; one that this version cannot read is logged and
        left out, so that the others go on.
        """
        found = []
        for name in self._kept.names():
            try:
                file = self._kept.get(name)
                found.extend([(file, self.parsed(file))] if file is not None else [])
            except (KeptUnreadable, ValueError) as error:
                _log.warning("the registered workflow %s cannot be read, hand it in anew: %s", name, error)
        return found

    def find(self, workflow: str, tenant: str | None = None) -> Registered:
        """A registered file by its workflow's name. Raises Refused when there is none, or one in several tenants."""
        names = [name for name in self._kept.names() if name.partition("/")[2] == workflow]
        chosen = [name for name in names if tenant in (None, name.partition("/")[0])]
        if len(chosen) > 1:
            raise Refused(f"several tenants have a workflow {workflow}: {', '.join(chosen)}", hint="name the tenant")
        file = self._kept.get(chosen[0]) if chosen else None
        if file is None:
            raise Refused(
                f"no workflow {workflow} is registered",
                hint="`lakeray schedules list` shows those that are, `lakeray schedules add FILE` adds one",
            )
        return file

    def parsed(self, file: Registered) -> Workflow:
        """What the file says."""
        digest = definition_hash(file.definition)
        known = self._parsed.get(file.name)
        if known is None or known[0] != digest:
            known = self._parsed[file.name] = (digest, file.workflow())
        return known[1]

    def add(self, definition: Definition, *, principal: str, at: datetime) -> Registered:
        """Register a file, or what it says now. What it says as before goes on as before."""
        said = parts_of(Workflow.model_validate(definition.document, context={FROM_FILE: True}))

        def added(before: Registered | None) -> Registered:
            known = parts_of(before.workflow()) if before is not None else {}
            old = before.since if before is not None else {}
            since = {name: old[name] if known.get(name) == part else at for name, part in said.items()}
            if before is not None and before.definition == definition and before.since == since:
                return before
            return Registered(definition=definition, principal=principal, added_at=at, since=since)

        file = self._kept.change(name_of(definition.tenant, definition.workflow), added)
        assert file is not None
        return file

    def remove(self, file: Registered) -> None:
        """Begin no further runs of it."""
        self._kept.change(file.name, lambda _: None)


def parts_of(workflow: Workflow) -> dict[str, Any]:
    """The schedule and the triggers of a file by name, as plain values."""
    parts: dict[str, Schedule | Trigger] = dict(workflow.triggers)
    if workflow.schedule is not None:
        parts[SCHEDULE] = workflow.schedule
    return {name: part.model_dump(mode="json") for name, part in parts.items()}
