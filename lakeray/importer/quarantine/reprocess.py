"""Refused rows get another chance: which rows those are, as a batch of their own.

A batch of kind ``reprocess`` is planned like any other: its manifest, written if absent, names the version of the
quarantine and the rows in it, together with the object versions that they came from. Its rows go through the step's
program, are committed under the batch's number, and only then leave quarantine; what is refused again is there under
the new batch with its new reason. ``read`` in the balance of such a batch counts rows taken from quarantine.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lakeray.delta.query import query, quoted_text
from lakeray.delta.table import TableHandle, open_table
from lakeray.errors import ImportFailed
from lakeray.importer.claims.claim import finished_parts
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.quarantine.table import of_step
from lakeray.importer.recording.ledger import Ledger
from lakeray.objects import ObjectInfo
from lakeray.spec.steps import Import

_KINDS = ("expect", "expect_set", "constraint", "type", "table", "select")
_ORIGIN = ("object_uri", "object_etag", "object_version_id")
_INFO = ("uri", "size", "etag", "version_id", "modified_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which rows of a quarantine are meant: all that meet everything that is said.

    ``rule`` is a rule as stored (``expect:positive``, ``malformed``) or its name alone (``positive``); ``object_glob``
    matches uris; ``since`` and ``before`` bound ``quarantined_at`` (``before`` not included).
    """

    rule: str | None = None
    batch: int | None = None
    object_glob: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is said."""
        return all(getattr(self, name) is None for name in self.__dataclass_fields__)

    def sql(self, handle: TableHandle) -> str:
        """The condition over the quarantine ``handle``."""
        parts = []
        if self.rule is not None:
            names = [self.rule, *(f"{kind}:{self.rule}" for kind in _KINDS)]
            parts.append(f"rule IN ({', '.join(map(quoted_text, names))})")
        if self.batch is not None:
            parts.append(f"batch = {int(self.batch)}")
        for sign, moment in ((">=", self.since), ("<", self.before)):
            if moment is not None:
                parts.append(f"quarantined_at {sign} {_instant(moment)}")
        if self.object_glob is not None:
            uris = query(handle, "SELECT DISTINCT object_uri FROM this")["object_uri"].to_pylist()
            chosen = [uri for uri in uris if uri is not None and fnmatch.fnmatchcase(uri, self.object_glob)]
            parts.append(f"object_uri IN ({', '.join(map(quoted_text, sorted(chosen)))})" if chosen else "false")
        return " AND ".join(parts) or "true"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One batch: the object versions that the rows came from, and what the manifest says of the rows."""

    objects: list[PlannedObject]
    extra: dict[str, Any]


def cannot_reprocess(plan: Import) -> str | None:
    """Why rows of an import of that kind cannot be taken from quarantine, and what to do; None where they can."""
    if plan.mode == "overwrite":
        return "mode overwrite reads its objects whole: run"
    if plan.mode == "merge" and plan.sequence is None:
        return (
            "mode merge without a `sequence` takes what comes last for the latest, and refused changes would win over "
            "later ones: name a sequence, or write the corrected changes into a new object"
        )
    return None


def plan_reprocess(context: ImportContext, identity: ImportId, choice: Choice, *, upto: int) -> Plan | None:
    """The next batch of rows that ``choice`` means, refused by batches up to number ``upto``; None when there are none.

    Raises ImportFailed when the ledger does not know an object that a row came from.
    """
    uri = context.table.quarantine_uri
    handle = open_table(uri)
    if handle is None:
        return None
    pipeline = str(identity.pipeline)
    refused = [f"{of_step(pipeline, identity.step)} AND batch <= {upto}"]
    refused += [of_step(pipeline, part) for part in finished_parts(identity)]  # which refuse nothing any more
    where = f"(({') OR ('.join(refused)})) AND ({choice.sql(handle)})"
    limit = context.plan.batch.max_objects
    listed = ", ".join(_ORIGIN)
    found = query(
        handle,
        f"SELECT DISTINCT {listed} FROM this WHERE {where} ORDER BY {listed} LIMIT {limit + 1}",  # noqa: S608 - quoted
    )
    if not found.num_rows:
        return None
    if found.num_rows > limit:
        uris = found["object_uri"].to_pylist()
        last = max((uri for uri in uris if uri < uris[-1]), default=uris[-1])  # an object's versions stay together
        where += f" AND object_uri <= {quoted_text(last)}"
        found = found.filter(pa.compute.less_equal(found["object_uri"], last))
    where = f"({where})"
    extra = {"reprocess": {"uri": uri, "version": handle.version, "where": where}}
    return Plan(objects=_origins(found, Ledger(identity)), extra=extra)


def _origins(found: pa.Table, ledger: Ledger) -> list[PlannedObject]:
    """The object versions, whole, from the ledger; those of one uri in the order of time."""
    uris = sorted(set(found["object_uri"].to_pylist()))
    known: dict[tuple[str, str | None, str | None], ObjectInfo] = {}
    for start in range(0, len(uris), 1000):
        listed = ", ".join(map(quoted_text, uris[start : start + 1000]))
        for row in ledger.rows(f"uri IN ({listed})").select(list(_INFO)).to_pylist():
            known[row["uri"], row["etag"], row["version_id"]] = ObjectInfo(**row)
    planned = []
    for row in found.select(list(_ORIGIN)).to_pylist():
        info = known.get((row["object_uri"], row["object_etag"], row["object_version_id"]))
        if info is None:
            raise ImportFailed(
                f"rows of {row['object_uri']} are in quarantine, but the ledger does not know the object",
                uri=row["object_uri"],
                hint="run `lakeray ledger rebuild` first",
            )
        planned.append(PlannedObject(info=info))
    return sorted(planned, key=lambda item: (item.info.uri, item.info.modified_at))


def _instant(moment: datetime) -> str:
    naive = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)
    return f"""arrow_cast('{naive.isoformat()}Z', 'Timestamp(Microsecond, Some("UTC"))')"""
