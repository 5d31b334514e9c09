"""How a source's schema moved over time, as small immutable files beside the ledger.

``<import folder>/schemas/<batch, ten digits>.json`` is there for every batch that changed something: the columns
behind it, and each change with the first object that showed it. A file says nothing that the batch's result does not
say, so that it is written from the winner's result, once, and again by ``ledger rebuild`` when it is lost. Versions
are counted from 1 in the order of batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pyarrow as pa

from lakeray.errors import ExactlyOnceError, ObjectExists, ObjectNotFound
from lakeray.importer.identity import ImportId
from lakeray.importer.result import Result
from lakeray.importer.schema.drift import Change
from lakeray.importer.schema.source import schema_from_names
from lakeray.objects import join, open_store

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaVersion:
    """The schema from ``batch`` on; ``columns`` maps names to types; ``created_at`` is ISO 8601."""

    version: int
    batch: int
    created_at: str
    run_id: str
    columns: dict[str, str]
    changes: list[Change]

    @property
    def schema(self) -> pa.Schema:
        """The columns in Arrow's types."""
        return schema_from_names(self.columns)


def record_version(identity: ImportId, result: Result) -> None:
    """Write what ``result`` changed, if it changed anything; idempotent."""
    if not result.schema_changes:
        return
    uri = join(_folder(identity), f"{result.batch:010d}.json")
    body = {
        "format": FORMAT,
        "batch": result.batch,
        "created_at": result.created_at,
        "run_id": result.run_id,
        "columns": result.source_schema,
        "changes": result.schema_changes,
    }
    try:
        open_store(uri).create(uri, orjson.dumps(body))
    except ObjectExists:
        return  # the winner's result is one and the same for everybody


def versions(identity: ImportId) -> list[SchemaVersion]:
    """All versions, the oldest first. Raises ExactlyOnceError for a file that is damaged or of a newer format."""
    return [_read(uri, number) for number, uri in enumerate(sorted(_uris(identity)), 1)]


def _uris(identity: ImportId) -> Iterator[str]:
    store = open_store(identity.folder)
    try:
        for page in store.list(join(_folder(identity), "")):
            yield from (uri for uri in page["uri"].to_pylist() if uri.endswith(".json"))
    except ObjectNotFound:  # a local folder that is not there yet
        return


def _read(uri: str, number: int) -> SchemaVersion:
    try:
        raw = orjson.loads(open_store(uri).read(uri))
        if raw["format"] != FORMAT:
            raise ExactlyOnceError("the schema log was written by a newer version of lakeray", uri=uri, hint="upgrade")
        return SchemaVersion(
            version=number,
            batch=raw["batch"],
            created_at=raw["created_at"],
            run_id=raw["run_id"],
            columns=raw["columns"],
            changes=[Change.from_json(item) for item in raw["changes"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ExactlyOnceError(
            f"the schema log's file {uri} cannot be read: {error}",
            uri=uri,
            hint="delete it and run `lakeray ledger rebuild`, which writes it again from the batch's result",
        ) from error


def _folder(identity: ImportId) -> str:
    return join(identity.folder, "schemas")
