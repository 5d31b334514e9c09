"""Targets of a workflow file: places outside the lake that data is delivered to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakeray.spec.policies import Retry
from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import SecretRef, TableUri, Text, WebAddress
from lakeray.spec.units import PositiveDuration, PositiveSize
from lakeray.spec.wrong import WrongValue

WriteMode = Literal["append", "upsert", "replace"]


class _Keyed(Spec):
    """A target whose rows can have a key."""

    mode: WriteMode = "append"
    """`append` (default): rows are added. `upsert`: rows with the same key are replaced. `replace`: the whole is
    replaced."""
    key: list[Text] = Field(default_factory=list)
    """Columns that identify a row. Needed by `upsert`. Default: none."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A mode without the key that it needs."""
        yield from repeated(data.get("key"), "key")
        if data.get("mode") == "upsert" and not data.get("key"):
            yield ("key",), WrongValue("mode upsert needs the columns that identify a row", found="nothing")


class Postgres(_Keyed):
    """A table of a PostgreSQL database."""

    dsn: SecretRef
    """Reference to the connection string: env:NAME, file:/path or secret:NAME."""
    table: Text
    """The table, as `orders` or `schema.orders`."""
    batch_rows: int = Field(default=50_000, ge=1)
    """Rows of one transaction. Default: 50000."""


class Webhook(Spec):
    """An HTTP address that takes rows as signed JSON."""

    url: WebAddress
    """Where rows are posted to."""
    secret: SecretRef | None = None
    """Reference to the key that signs each request. Default: none, requests are not signed."""
    headers: dict[Text, SecretRef] = Field(default_factory=dict)
    """Further headers, whose values are references. Default: none."""
    batch_rows: int = Field(default=500, ge=1)
    """Rows of one request. Default: 500."""
    timeout: PositiveDuration = 30.0
    """Seconds to wait for an answer. Default: 30."""


class Files(Spec):
    """Files in object storage."""

    uri: TableUri
    """The folder that files are written to."""
    format: Literal["parquet", "csv", "json"] = "parquet"
    """What the files hold. Default: parquet. `json` is one object a line."""
    partition_by: list[Text] = Field(default_factory=list)
    """Columns whose values become folders. Default: none."""
    target_file_size: PositiveSize = 256 * 2**20
    """Bytes that a file is aimed at. Default: 256MiB."""


class DeltaTarget(_Keyed):
    """A Delta table that this workflow does not own."""

    uri: TableUri
    """Where the table lies."""


class RedisTarget(Spec):
    """A Redis stream."""

    url: SecretRef
    """Reference to the redis:// or rediss:// address."""
    stream: Text
    """The key of the stream."""
    max_length: int | None = Field(default=None, ge=1)
    """Entries after which the oldest are let go. Default: none is."""


class Target(Choice):
    """A place that data is delivered to."""

    choices: ClassVar[tuple[str, ...]] = ("postgres", "webhook", "files", "delta", "redis")
    noun: ClassVar[str] = "a target"

    postgres: Postgres | None = None
    """A table of a PostgreSQL database."""
    webhook: Webhook | None = None
    """An HTTP address that takes rows as signed JSON."""
    files: Files | None = None
    """Files in object storage."""
    delta: DeltaTarget | None = None
    """A Delta table that this workflow does not own."""
    redis: RedisTarget | None = None
    """A Redis stream."""
    retry: Retry = Retry()
    """How one delivery is tried again before it becomes a dead letter."""
