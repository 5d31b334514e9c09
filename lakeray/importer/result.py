"""The record of one finished attempt at a batch, immutable once it exists.

A result is JSON at ``<import folder>/results/<batch>-<attempt>.json``: every object's outcome, every staged file, the
schema it was made with. The commit names it, so that whoever finds the batch committed can record exactly what the
winner did.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from lakeray.delta.staged import StagedFile
from lakeray.errors import WITHOUT_A_BACKUP, AccessDenied, ExactlyOnceError, ObjectNotFound, RecordLost
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.outputs.files import BatchOutput
from lakeray.importer.recording.summary import CleansingSummary, ExpectationSummary, Rows, SetOutcome
from lakeray.importer.unnest.record import ChildBatch
from lakeray.objects import join, open_store

FORMAT, REPROCESS_FORMAT, UNNEST_FORMAT, CLAIM_FORMAT = 1, 2, 3, 4
RESULT_KEY = "lakeray.result"
"""Where a commit names the result of its batch."""
Outcome = Literal[
    "loaded", "partly_loaded", "failed", "superseded", "skipped", "poison", "kept",
    "replaced", "deleted", "withdrawn", "compensated",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectOutcome:
    """What became of one planned object. ``line`` and ``column`` are 1-based; ``bytes_read`` counts stored
    (compressed) bytes; ``rows_removed`` rows that were taken out of the table; ``unnested`` counts rows of child tables
    by their name. A version is ``kept`` whose successor could not be read.
    """

    planned: PlannedObject
    outcome: Outcome
    rows: Rows = field(default_factory=Rows)
    bytes_read: int = 0
    code: str | None = None
    error: str | None = None
    line: int | None = None
    column: int | None = None
    rows_removed: int = 0
    unnested: dict[str, int] = field(default_factory=dict)

    @property
    def tries(self) -> int:
        """Failures so far, this one included."""
        counts = self.outcome in ("failed", "poison") and self.code != AccessDenied.code
        return self.planned.tries + counts

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        rows = {name: value for name, value in self.rows.model_dump().items() if value}
        error = [self.code, self.error, self.line, self.column] if self.error else None
        more: dict[str, Any] = {"removed": self.rows_removed} if self.rows_removed else {}
        more |= {"unnested": self.unnested} if self.unnested else {}
        return {
            "object": self.planned.to_list(),
            "outcome": self.outcome,
            "rows": rows,
            "bytes": self.bytes_read,
            "error": error,
            **more,
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ObjectOutcome:
        """The inverse of ``to_json``."""
        code, error, line, column = raw["error"] or (None, None, None, None)
        return cls(
            planned=PlannedObject.from_list(raw["object"]),
            outcome=raw["outcome"],
            rows=Rows(**raw["rows"]),
            bytes_read=raw["bytes"],
            code=code,
            error=error,
            line=line,
            column=column,
            rows_removed=raw.get("removed", 0),
            unnested=raw.get("unnested", {}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """``source_schema`` maps the source's columns to type names; ``schema_changes`` says how it differs from the batch
    before, ``schema_state`` what else the next batch compares with (see ``drift``). ``restores_checked`` is the table
    version up to which RESTOREs were dealt with; ``accepted``: it was made up when the true one was lost (see
    ``accept``); with ``provenance`` its rows say where they came from; ``tombstone_files`` hold the deletes that are
    remembered; ``cleansing`` counts by column, then by rule; ``outputs`` are files of other formats; ``children`` say
    what goes into child tables.
    """

    batch: int
    attempt: str
    run_id: str
    manifest_nonce: str
    created_at: str
    outcomes: list[ObjectOutcome]
    files: list[StagedFile]
    quarantine_files: list[StagedFile]
    source_schema: dict[str, str]
    new_columns: list[str] = field(default_factory=list)
    expectations: dict[str, ExpectationSummary] = field(default_factory=dict)
    set_expectations: dict[str, SetOutcome] = field(default_factory=dict)
    replays: int | None = None
    restores_checked: int = 0
    abandoned: bool = False
    schema_changes: list[dict[str, str]] = field(default_factory=list)
    schema_state: dict[str, Any] = field(default_factory=dict)
    accepted: bool = False
    provenance: bool = False
    tombstone_files: list[StagedFile] = field(default_factory=list)
    outputs: list[BatchOutput] = field(default_factory=list)
    children: list[ChildBatch] = field(default_factory=list)
    cleansing: dict[str, dict[str, CleansingSummary]] = field(default_factory=dict)
    reprocessed: str | None = None
    """SQL over the quarantine for the rows that this batch took from there; None for a batch of whole objects."""
    claims: dict[str, Any] = field(default_factory=dict)
    """What the manifest says of claims; a batch that says something has no objects."""

    @property
    def gone(self) -> list[PlannedObject]:
        """Object versions whose rows the batch took out of the table."""
        return [item.planned for item in self.outcomes if item.planned.fate and item.outcome == item.planned.fate]

    @property
    def rows_removed(self) -> int:
        """Rows that the batch took out of the table."""
        return sum(outcome.rows_removed for outcome in self.outcomes)

    @property
    def rows(self) -> Rows:
        """The batch's balance."""
        return Rows.total(outcome.rows for outcome in self.outcomes)

    @property
    def name(self) -> str:
        """What the commit calls it."""
        return f"{self.batch:010d}-{self.attempt}.json"

    def to_bytes(self) -> bytes:
        """The stored form."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        raw["format"] = _format(raw)
        raw["outcomes"] = [outcome.to_json() for outcome in self.outcomes]
        raw["files"] = [asdict(file) for file in self.files]
        raw["quarantine_files"] = [asdict(file) for file in self.quarantine_files]
        raw["tombstone_files"] = [asdict(file) for file in self.tombstone_files]
        for kind in ("expectations", "set_expectations"):
            raw[kind] = {name: item.model_dump() for name, item in getattr(self, kind).items()}
        raw["cleansing"] = {
            column: {rule: item.model_dump() for rule, item in rules.items()}
            for column, rules in self.cleansing.items()
        }
        raw["outputs"] = [output.to_json() for output in self.outputs]
        raw["children"] = [child.to_json() for child in self.children]
        return orjson.dumps(raw)

    @classmethod
    def from_bytes(cls, data: bytes, *, uri: str) -> Result:
        """Read the stored form. Raises RecordLost when it is damaged, ExactlyOnceError when it is newer than
        this version.
        """
        try:
            raw = orjson.loads(data)
            if raw.pop("format") != _format(raw):
                raise ExactlyOnceError(
                    "the result was written by a newer version of lakeray", uri=uri, hint="upgrade lakeray"
                )
            raw["outcomes"] = [ObjectOutcome.from_json(item) for item in raw["outcomes"]]
            raw["files"] = [StagedFile(**item) for item in raw["files"]]
            raw["quarantine_files"] = [StagedFile(**item) for item in raw["quarantine_files"]]
            raw["tombstone_files"] = [StagedFile(**item) for item in raw.get("tombstone_files", [])]
            raw["outputs"] = [BatchOutput.from_json(item) for item in raw.get("outputs", [])]
            raw["children"] = [ChildBatch.from_json(item) for item in raw.get("children", [])]
            raw["expectations"] = {name: ExpectationSummary(**item) for name, item in raw["expectations"].items()}
            found = raw.pop("set_expectations", {})
            raw["set_expectations"] = {name: SetOutcome(**item) for name, item in found.items()}
            raw["cleansing"] = {
                column: {rule: CleansingSummary(**item) for rule, item in rules.items()}
                for column, rules in raw.get("cleansing", {}).items()
            }
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordLost(
                f"the result {uri} cannot be read: {error}",
                uri=uri,
                hint=f"restore the file from a backup or a bucket version; {WITHOUT_A_BACKUP}",
            ) from error


def _format(raw: dict[str, Any]) -> int:
    if raw.get("claims"):
        return CLAIM_FORMAT
    if raw.get("children"):
        return UNNEST_FORMAT
    return FORMAT if raw.get("reprocessed") is None else REPROCESS_FORMAT


def result_uri(identity: ImportId, name: str) -> str:
    """Where the result of that name is."""
    return join(identity.folder, "results", name)


def accepted_name(batch: int) -> str:
    """Where a lost result's substitute is looked for when the table's log no longer names the true one."""
    return f"{batch:010d}-accepted.json"


def store_result(identity: ImportId, result: Result) -> None:
    """Write it; names are unique for each attempt."""
    uri = result_uri(identity, result.name)
    open_store(uri).create(uri, result.to_bytes())


def load_result(identity: ImportId, name: str) -> Result:
    """Read it. Raises RecordLost when it is gone or damaged."""
    uri = result_uri(identity, name)
    try:
        data = open_store(uri).read(uri)
    except ObjectNotFound as error:
        raise RecordLost(
            f"the table's log names the result {name}, but it is gone",
            uri=uri,
            hint=f"restore the file from a backup or a bucket version; {WITHOUT_A_BACKUP}",
        ) from error
    return Result.from_bytes(data, uri=uri)
