"""How the schema of a source moved from one batch to the next.

What a batch saw is gathered task by task (``Seen``), compared with what the batch before knew (``SchemaState``), and
kept as a list of ``Change`` in the batch's result, from which the schema log is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from lakeray.spec.types import type_name
from lakeray.transform.coerce import Coerced
from lakeray.transform.growth import changed_paths, new_paths
from lakeray.transform.names import Renamed

Kind = Literal["added", "changed", "absent", "returned", "conflict", "left_out", "renamed"]
_MAX_ODD = 1_000
"""Conflicts and the like that are remembered, so that a hostile source cannot make results grow without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change. ``path`` is a column, or a place in one (``a.b``, ``a[].b``, ``a{}`` for a map's values).

    ========  =======================================================================================
    added     a column or nested field has come, of type ``after``
    changed   its type went from ``before`` to ``after`` (widened, or hinted otherwise)
    absent    no object of the batch has a value in it, after batches that had
    returned  one has again
    conflict  values of type ``after`` came that its type ``before`` does not hold
    left_out  a column or field of type ``after`` came that the contract does not let in
    renamed   the name ``before`` of the source is the column ``after``
    ========  =======================================================================================

    ``object`` is the uri of the first object of the batch that showed it, where one did.
    """

    kind: Kind
    path: str
    before: str | None = None
    after: str | None = None
    object: str | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Change:
        """The inverse of ``to_json``."""
        return cls(**raw)

    def to_json(self) -> dict[str, str]:
        """The stored form."""
        pairs = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: value for name, value in pairs if value is not None}

    def __str__(self) -> str:
        """``added x (int64)``."""
        types = " -> ".join(part for part in (self.before, self.after) if part)
        return f"{self.kind.replace('_', ' ')} {self.path}{f' ({types})' if types else ''}"


@dataclass(kw_only=True, slots=True)
class Seen:
    """What the objects of a task, or of a batch, showed: to each thing the uri of the first object that did.

    ``columns`` are those that held a value, ``places`` those that joined the schema; ``odd`` holds (kind, path,
    before, after) of conflicts, renamings and what was left out.
    """

    columns: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    odd: dict[tuple[Kind, str, str | None, str | None], str] = field(default_factory=dict)

    def copy(self) -> Seen:
        """One that does not move with this one."""
        return Seen(columns=dict(self.columns), places=dict(self.places), odd=dict(self.odd))

    def chunk(self, coerced: Coerced, target: pa.Schema, uri: str) -> None:
        """A chunk of the object ``uri`` was fitted to ``target``."""
        for name, column in zip(coerced.table.column_names, coerced.table.columns, strict=True):
            if name not in self.columns and column.null_count < len(column):
                self.columns[name] = uri
        for item in coerced.new_fields:
            self.places.setdefault(item.name, uri)
        for name, kind in coerced.grown.items():
            known = target.field(name).type
            for path, _ in new_paths(known, kind, name):
                self.places.setdefault(path, uri)
            for path, _, _ in changed_paths(known, kind, name):
                self.places.setdefault(path, uri)
        for name, kind in coerced.conflicts.items():
            before = (
                target.field(name).type if target.get_field_index(name) >= 0 else coerced.table.schema.field(name).type
            )
            self.note("conflict", name, type_name(before), type_name(kind), uri)
            self.columns.setdefault(name, uri)
        for name, kind in coerced.left_out.items():
            self.note("left_out", name, None, type_name(kind), uri)

    def note(self, kind: Kind, path: str, before: str | None, after: str | None, uri: str) -> None:
        """Something odd of the object ``uri``."""
        if len(self.odd) < _MAX_ODD:
            self.odd.setdefault((kind, path, before, after), uri)

    def add(self, other: Seen, *, odd: bool = True) -> None:
        """What other objects showed; without ``odd`` only what joined the schema."""
        for mine, theirs in ((self.columns, other.columns), (self.places, other.places)):
            for name, uri in theirs.items():
                mine[name] = min(mine.get(name, uri), uri)
        for key, uri in other.odd.items() if odd else ():
            self.odd[key] = min(self.odd.get(key, uri), uri)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaState:
    """What is known before a batch: the columns with their types, those that had gone, the oddities told already.

    ``sampled`` are names of the source that a sample showed under other names.
    """

    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    absent: frozenset[str] = frozenset()
    told: frozenset[tuple[str, str, str | None, str | None]] = frozenset()
    sampled: frozenset[Renamed] = frozenset()

    @property
    def renamed(self) -> set[Renamed]:
        """Names of the source with those that the columns and fields have."""
        found = {(path, str(old), str(new)) for kind, path, old, new in self.told if kind == "renamed"}
        return found | self.sampled

    def after(self, schema: pa.Schema, seen: Seen, *, read: bool) -> tuple[list[Change], SchemaState]:
        """What changed in a batch that ended with ``schema``, and the state behind it. A batch in which no object
        could be ``read`` says nothing of absent columns.
        """
        changes = [*_moved(self.schema, schema, seen)]
        known = set(self.schema.names)
        absent = set(self.absent)
        if read:
            absent = {name for name in schema.names if name not in seen.columns}
            first = min(seen.columns.values(), default=None)
            new = sorted(absent & known - self.absent)
            changes += [Change(kind="absent", path=name, object=first) for name in new]
            back = sorted(self.absent - absent)
            changes += [Change(kind="returned", path=name, object=seen.columns.get(name)) for name in back]
        told = set(self.told)
        for key in sorted(seen.odd, key=str):
            if key not in told and len(told) < _MAX_ODD:
                told.add(key)
                kind, path, before, after = key
                changes.append(Change(kind=kind, path=path, before=before, after=after, object=seen.odd[key]))
        return changes, SchemaState(schema=schema, absent=frozenset(absent), told=frozenset(told))

    def to_json(self) -> dict[str, Any]:
        """The stored form, without the schema."""
        return {"absent": sorted(self.absent), "told": sorted(map(list, self.told), key=str)}

    @classmethod
    def from_json(cls, schema: pa.Schema, raw: Mapping[str, Any]) -> SchemaState:
        """The inverse of ``to_json``."""
        told = frozenset((kind, path, before, after) for kind, path, before, after in raw.get("told", ()))
        return cls(schema=schema, absent=frozenset(raw.get("absent", ())), told=told)


def _moved(before: pa.Schema, after: pa.Schema, seen: Seen) -> Iterator[Change]:
    """Columns and nested fields that came, and types that changed."""
    for item in after:
        place = before.get_field_index(item.name)
        known = None if place < 0 else before.field(place).type
        for path, kind in new_paths(known, item.type, item.name):
            first = seen.places.get(path) or seen.columns.get(item.name)
            yield Change(kind="added", path=path, after=type_name(kind), object=first)
        if known is not None:
            for path, old, new in changed_paths(known, item.type, item.name):
                first = seen.places.get(path)
                yield Change(kind="changed", path=path, before=type_name(old), after=type_name(new), object=first)


def new_in_table(before: pa.Schema, after: pa.Schema) -> list[str]:
    """The columns and nested fields that a table has to be given."""
    known = {item.name: item.type for item in before}
    return [path for item in after for path, _ in new_paths(known.get(item.name), item.type, item.name)]
