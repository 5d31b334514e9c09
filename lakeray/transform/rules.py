"""What a program is asked, and what it answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from lakeray.transform.mask import MaskSpec

OBJECT = "_object"
OBJECT_TYPE = pa.struct(
    [
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("modified_at", pa.timestamp("us", tz="UTC")),
        ("row", pa.int64()),
    ]
)
RESCUED = "_rescued_data"
QUARANTINED = pa.schema([("row", pa.int64()), ("rule", pa.string()), ("reason", pa.string()), ("record", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A condition over a row. It is violated where it is false, and where it is null."""

    name: str
    sql: str
    on_violation: Literal["warn", "drop", "quarantine", "fail"]


@dataclass(frozen=True, kw_only=True)
class ProgramSpec:
    """What a step says about rows, as plain values.

    ``constraints`` are the target table's own NOT NULL and CHECK conditions over the row as it would be written; a
    row that violates one is quarantined. ``apply`` names a hook, ``module:function``. ``prepared``: rows were mapped or
    cleansed before, so that they look otherwise as they were read. ``origins`` says of what column of the source a
    column was made by that, ``flattened`` what the names of all columns begin with that a column of the source was
    taken apart into: where that is shown it is masked like what it became.
    """

    select: dict[str, str] = field(default_factory=dict)
    where: str | None = None
    expectations: tuple[Expectation, ...] = ()
    constraints: tuple[Expectation, ...] = ()
    masks: dict[str, MaskSpec] = field(default_factory=dict)
    apply: str | None = None
    prepared: bool = False
    origins: dict[str, str] = field(default_factory=dict)
    flattened: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What became of a chunk: ``len(chunk) + generated == len(table) + len(quarantined) + sum(dropped) + filtered``.

    ``table``: rows to write, masked, in order; ``rows`` their record numbers. ``quarantined`` (schema
    ``QUARANTINED``): ``row`` as given to ``run`` (null after a hook that changed the number of rows), ``rule`` as in
    ``select:<column>``, ``where``, ``expect:<name>`` or ``constraint:<name>``, a ``reason`` without values, and the
    ``record`` as it was read (or as the hook left it) as JSON, masked. ``dropped`` counts rows by the first ``drop``
    expectation that each violates. ``violations`` counts rows by expectation, ``checked`` those that expectations
    looked at. ``generated`` and ``filtered`` include what a hook added or took away.
    """

    table: pa.Table
    rows: pa.Int64Array
    quarantined: pa.Table
    filtered: int
    dropped: dict[str, int]
    violations: dict[str, int]
    checked: int
    generated: int
