"""What a gate may look at, taken from the run and, where its condition asks for them, from tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lakeray.delta.files import DataFile, data_files
from lakeray.delta.table import open_table
from lakeray.delta.upkeep import history
from lakeray.errors import LakerayError
from lakeray.gates.evaluate import leaves
from lakeray.gates.facts import ExpectationFacts, Facts, Number, StepFacts, Vote
from lakeray.security.principal import Principal
from lakeray.spec.gates import Condition
from lakeray.spec.model import Workflow
from lakeray.workflow.events import ApprovalGiven
from lakeray.workflow.state import RunState, StepState, output_of


def facts_of(
    state: RunState,
    *,
    now: datetime,
    opened_at: datetime,
    deadline: datetime | None = None,
    approvals: tuple[ApprovalGiven, ...] = (),
    own: tuple[str, Any] | None = None,
    tables: Mapping[str, Mapping[str, Number]] | None = None,
) -> Facts:
    """The facts at ``now``. ``own`` is the step whose output stands before its postcondition, with that output."""
    tenant = state.definition.tenant
    steps = {name: _step(step) for name, step in state.steps.items() if step.over}
    if own is not None:
        steps[own[0]] = _told("succeeded", own[1])
    return Facts(
        run_id=state.run_id,
        workflow=state.definition.workflow,
        tenant=tenant,
        started_by=Principal(name=state.principal, tenant=tenant),
        opened_at=opened_at,
        now=now,
        deadline=deadline,
        also_started_by=frozenset(state.also_started_by),
        labels=state.labels,
        arguments=state.arguments,
        steps=steps,
        tables=tables or {},
        votes=tuple(_vote(given, tenant) for given in approvals),
    )


def _step(step: StepState) -> StepFacts:
    return _told(step.status, output_of(step))


def _told(status: str, output: Any) -> StepFacts:
    said = output if isinstance(output, dict) else {}
    counts = said.get("expectations")
    metrics = said.get("metrics")
    return StepFacts(
        state=status,
        metrics=metrics if isinstance(metrics, dict) else {},
        expectations={
            name: ExpectationFacts(checked=found["checked"], violated=found["violated"])
            for name, found in (counts.items() if isinstance(counts, dict) else ())
        },
        output=output,
    )


def _vote(given: ApprovalGiven, tenant: str) -> Vote:
    return Vote(
        by=Principal(name=given.principal, tenant=tenant, roles=frozenset(given.roles)),
        says="approve" if given.approve else "reject",
        at=given.at,
        comment=given.comment or "",
        condition=given.condition,
    )


def table_facts(condition: Condition, workflow: Workflow, now: datetime) -> dict[str, dict[str, Number]]:
    """The numbers of the tables that the condition names; those of a table that cannot be read are not known."""
    found = {}
    for name in set(_tables(condition, workflow)):
        try:
            found[name] = _measured(workflow, name, now)
        except LakerayError:  # what is not known is no error of the run: the verdict is unknown
            continue
    return found


def _tables(condition: Condition, workflow: Workflow) -> Iterator[str]:
    for leaf in leaves(condition):
        if leaf.kind == "data_quality" and leaf.said.table is not None:
            yield leaf.said.table
        elif leaf.kind == "business_rule":
            yield from (name for name in workflow.tables if name in leaf.said)


def _measured(workflow: Workflow, name: str, now: datetime) -> dict[str, Number]:
    table = workflow.tables[name]
    handle = open_table(table.uri)
    if handle is None:
        return {"rows": 0, "bytes": 0, "files": 0, "quarantined_rows": 0}
    files = data_files(handle)
    numbers: dict[str, Number] = {"files": len(files), "bytes": sum(file.size_bytes for file in files)}
    numbers.update(_rows("rows", files))
    changed = [entry.at for entry in history(table.uri, 50) if entry.operation != "OPTIMIZE"]
    if changed:
        numbers["age"] = (now - max(changed)).total_seconds()
    refused = open_table(table.quarantine_uri)
    numbers.update(_rows("quarantined_rows", data_files(refused) if refused else []))
    return numbers


def _rows(name: str, files: list[DataFile]) -> dict[str, Number]:
    """Known when every file says how many it has."""
    counts = [file.rows for file in files]
    return {name: sum(count for count in counts if count is not None)} if None not in counts else {}
