"""What a Delta table demands of its writers, and whether lakeray can keep it.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#valid-feature-names-in-table-features
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from lakeray.errors import UnsupportedTable

_KEPT = frozenset(
    {
        "appendOnly",
        "invariants",
        "checkConstraints",
        "generatedColumns",
        "changeDataFeed",  # commits that only add need no change files; overwrite is refused below
        "timestampNtz",
        "columnMapping",  # harmless unless a mode is set, see below
        "deletionVectors",  # harmless unless they are being written, see below
    }
)
_NEWEST_READER = 3
_NEWEST_WRITER = 7

_Properties = Mapping[str, str]


def _is(name: str, *values: str) -> Callable[[_Properties], bool]:
    """Whether the property has one of these values, in any case."""
    return lambda properties: properties.get(name, "").strip().lower() in values


_BY_PROPERTY: dict[str, Callable[[_Properties], bool]] = {
    "column mapping": _is("delta.columnMapping.mode", "id", "name"),
    "deletion vectors being written": _is("delta.enableDeletionVectors", "true"),
    "row tracking": _is("delta.enableRowTracking", "true"),
    "in-commit timestamps": _is("delta.enableInCommitTimestamps", "true"),
    "v2 checkpoints": _is("delta.checkpointPolicy", "v2"),
}
_AGAINST_REWRITE: dict[str, Callable[[_Properties], bool]] = {
    "no removal of rows (it is append-only)": _is("delta.appendOnly", "true"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Demands:
    """What rows must satisfy, as found in a table's schema and properties."""

    not_null: list[str] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)
    generated: dict[str, str] = field(default_factory=dict)
    identity: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)


def demands(fields: Sequence[Mapping[str, Any]], properties: Mapping[str, str]) -> Demands:
    """Read them from the fields of a Delta schema (its JSON form) and the table's properties."""
    found = Demands()
    for name, sql in properties.items():
        if name.startswith("delta.constraints."):
            found.checks.append((name.removeprefix("delta.constraints."), sql))
    for column in fields:
        _visit(column, "", found)
    return found


def _visit(column: Mapping[str, Any], above: str, found: Demands) -> None:
    path = f"{above}{column['name']}"
    extra = column.get("metadata") or {}
    if not column["nullable"]:
        found.not_null.append(path)
    if "delta.generationExpression" in extra:
        found.generated[path] = str(extra["delta.generationExpression"])
    if "delta.invariants" in extra:
        invariant = orjson.loads(extra["delta.invariants"])
        found.checks.append((f"invariant of {path}", str(invariant["expression"]["expression"])))
    if any(name.startswith("delta.identity.") for name in extra):
        found.identity.append(path)
    if "CURRENT_DEFAULT" in extra:
        found.defaults.append(path)
    kind = column["type"]
    if isinstance(kind, dict) and kind.get("type") == "struct":
        for child in kind["fields"]:
            _visit(child, f"{path}.", found)


def check_writable(
    uri: str,
    mode: str,
    *,
    reader: int,
    writer: int,
    features: Sequence[str],
    properties: Mapping[str, str],
    found: Demands,
) -> None:
    """Raise UnsupportedTable, naming everything that stands in the way of writing in ``mode``: append, overwrite, or
    one that removes and adds files and writes the change data files that this takes (rewrite, merge, scd2).
    """
    reasons = [f"the writer feature {name!r}" for name in sorted(set(features) - _KEPT)]
    if writer > _NEWEST_WRITER or reader > _NEWEST_READER:
        reasons.append(f"the protocol version ({reader}, {writer})")
    reasons += [reason for reason, holds in _BY_PROPERTY.items() if holds(properties)]
    reasons += [f"the identity column {name!r}" for name in found.identity]
    reasons += [f"the default value of column {name!r}" for name in found.defaults]
    if mode != "append":
        reasons += [reason for reason, holds in _AGAINST_REWRITE.items() if holds(properties)]
    if reasons:
        raise UnsupportedTable(
            f"the table at {uri} needs {', '.join(dict.fromkeys(reasons))}; nothing was written",
            uri=uri,
            hint="import into a table without these, or turn them off where the table's owner can",
        )
