"""The partition that a run of a backfill is for, as its arguments say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakeray.importer.claims.ranges import Range
from lakeray.importer.claims.take import Wish
from lakeray.workflow.backfill import Child, Plan
from lakeray.workflow.partitions import Partition

PARTITION, BACKFILL = "partition", "backfill"
"""Names of arguments. A function of the user reads ``context.arguments["partition"]["start"]``."""


def arguments_of(plan: Plan, child: Child) -> dict[str, Any]:
    """What the run of a partition is told."""
    partition = child.partition
    said: dict[str, Any] = {"key": partition.key}
    if partition.start is not None and partition.end is not None:
        said |= {"start": partition.start.isoformat(), "end": partition.end.isoformat()}
    else:
        said["value"] = partition.value
    of = {"id": plan.backfill_id, "by": list(plan.by), "timezone": plan.timezone}
    return {PARTITION: said, BACKFILL: of}


def owner_of(backfill_id: str, key: str) -> str:
    """Who claims a partition of a backfill."""
    return f"backfill {backfill_id} {key}"


def part_of_run(arguments: Mapping[str, Any]) -> Wish | None:
    """What the imports of a run shall claim; None of a run that is for no partition."""
    partition, of = arguments.get(PARTITION), arguments.get(BACKFILL)
    if not isinstance(partition, Mapping) or not isinstance(of, Mapping):
        return None
    said = {name: partition[name] for name in ("start", "end") if name in partition}
    if partition.get("value") is not None:
        said["value"] = str(partition["value"])
    found = Range.from_json({**said, "by": of.get("by", ()), "timezone": of.get("timezone", "UTC")})
    return Wish(owner=owner_of(str(of["id"]), str(partition["key"])), range=found)


def range_of(plan: Plan, partition: Partition) -> Range:
    """Which objects a partition of a backfill has."""
    value = None if partition.value is None else str(partition.value)
    return Range(start=partition.start, end=partition.end, value=value, by=plan.by, timezone=plan.timezone)
