"""The child tables of an import are there before a batch is planned for them, and are those of the batch before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.types as pt

from lakeray.delta.table import TableHandle, create_table, open_table, set_properties
from lakeray.errors import ImportFailed, TableError, UnsupportedTable
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.pipeline import output_schema
from lakeray.importer.protection.masks import task_keys
from lakeray.importer.schema.drift import new_in_table
from lakeray.importer.schema.source import table_schema_for
from lakeray.importer.unnest.record import ChildBatch, PlannedChild, child_property
from lakeray.importer.unnest.stage import Into
from lakeray.spec.unnest import Unnest
from lakeray.transform.contract import Widening
from lakeray.transform.delta_types import is_list
from lakeray.transform.growth import grown
from lakeray.transform.infer import merge_types
from lakeray.transform.unnest import child_schema, list_type


def child_identity(identity: ImportId, table_id: str) -> ImportId:
    """The import, with the child's transaction ids in place of its table's."""
    return replace(identity, table_id=table_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A child table as a batch begins with it."""

    into: Into
    handle: TableHandle

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """Its columns for rows of that schema."""
        return child_schema(rows, self.into.unnest, table=self.into.name)


def without_lists(schema: pa.Schema, unnest: Mapping[str, Unnest]) -> pa.Schema:
    """The columns that the step's own table gets."""
    kept = {item.from_ for item in unnest.values() if item.keep}
    gone = {item.from_ for item in unnest.values()} - kept
    return pa.schema([item for item in schema if item.name not in gone])


@dataclass(frozen=True, kw_only=True)
class ChildTables:
    """The child tables of one step. ``last`` are those of the last recorded batch, ``batch`` is its number."""

    context: ImportContext
    identity: ImportId
    last: Sequence[ChildBatch] = ()
    batch: int = 0

    def ready(self, made: Callable[[], pa.Schema], note: Callable[[str], None]) -> list[PlannedChild]:
        """See to it that they are there, in the order in which they are committed to; ``made`` are the columns of the
        step's rows, asked for when one has to be made.

        Raises ImportFailed when one is not that of the batch before, UnsupportedTable when one cannot be written to.
        """
        return [self._ready(name, made, note) for name in sorted(self.context.step.unnest)]

    def _ready(self, name: str, made: Callable[[], pa.Schema], note: Callable[[str], None]) -> PlannedChild:
        context, table = self.context, self.context.tables[name]
        before = next((child for child in self.last if child.name == name), None)
        handle = open_table(table.uri)
        if handle is None and before is None:
            handle = self._create(name, made)
            if self.batch:
                note(f"the child table {name} is new: rows of batches up to {self.batch} are not in it")
        if handle is None or (before is not None and handle.id != before.table_id):
            raise ImportFailed(
                f"the child table {name} is {'gone' if handle is None else 'another one'}, with it the rows of "
                f"batches up to {self.batch}",
                uri=table.uri,
                hint="put it back from a backup; or import everything again into new tables: move "
                f"{context.table.uri} and {table.uri} away",
            )
        self._check(name, handle, before)
        owner = {child_property(self.identity.pipeline, self.identity.step): context.table.uri}
        handle = set_properties(table.uri, {**owner, **table.feed_properties})
        known = before is not None
        return PlannedChild(
            name=name,
            uri=table.uri,
            table_id=handle.id,
            previous=self.batch if known else None,
            checked=before.checked if before is not None else handle.version,
        )

    def _create(self, name: str, made: Callable[[], pa.Schema]) -> TableHandle:
        context, table = self.context, self.context.tables[name]
        if context.source.contract.tables != "evolve":
            raise ImportFailed(
                f"there is no child table {name}, and the contract of {context.source.uri} does not let the import "
                "make one",
                uri=table.uri,
                hint="make the table, or say `contract: {tables: evolve}`",
            )
        schema = child_schema(made(), context.step.unnest[name], table=name)
        properties = {**table.properties, **context.table_properties, **table.feed_properties}
        return create_table(table.uri, schema, partition_by=list(table.partition_by), properties=properties)

    def _check(self, name: str, handle: TableHandle, before: ChildBatch | None) -> None:
        handle.check_writable(self.context.mode)
        demands = [*handle.not_null, *(check for check, _ in handle.checks), *handle.generated]
        if demands:
            raise UnsupportedTable(
                f"the child table {name} demands of its rows what is not checked there yet: {', '.join(demands)}",
                uri=handle.uri,
                hint="take the constraints off, or name another table",
            )
        seen = handle.transaction_version(child_identity(self.identity, handle.id).app_id)
        if before is None and seen is not None and (seen > self.batch or not self.batch):
            raise ImportFailed(
                f"the child table {name} holds rows of an earlier import of this step (batch {seen})",
                uri=handle.uri,
                hint="the step's table was made anew: move the child table away too, so that both begin together",
            )


def open_children(context: ImportContext, planned: Sequence[PlannedChild]) -> list[Child]:
    """The child tables of a manifest as they are now.

    Raises ImportFailed when the step names others, TableError when one is gone.
    """
    said = {name: context.tables[name].uri for name in context.step.unnest}
    if said != {child.name: child.uri for child in planned}:
        raise ImportFailed(
            f"the batch was planned with the child tables {_listed([child.name for child in planned])}, and the step "
            f"has {_listed(list(said))} now",
            uri=context.table.uri,
            hint="finish it with `unnest` as it was, then change it; or close it with `lakeray ledger abandon`",
        )
    found = []
    for child in planned:
        handle = require_child(child)
        handle.check_writable(context.mode)
        found.append(_child(context, child.name, handle))
    return found


def is_there(child: PlannedChild) -> bool:
    """Whether the table that a batch was planned for still is there."""
    handle = open_table(child.uri)
    return handle is not None and handle.id == child.table_id


def _child(context: ImportContext, name: str, handle: TableHandle) -> Child:
    into = Into(
        name=name,
        unnest=context.step.unnest[name],
        table=context.tables[name],
        partition_by=tuple(handle.partition_by),
        properties=handle.properties,
    )
    return Child(into=into, handle=handle)


def with_lists(schema: pa.Schema, context: ImportContext, source_schema: pa.Schema) -> pa.Schema:
    """``working_schema`` with the step's child tables as they are now, as far as they are there."""
    opened = {name: open_table(context.tables[name].uri) for name in sorted(context.step.unnest)}
    children = [_child(context, name, handle) for name, handle in opened.items() if handle is not None]
    return working_schema(schema, children, lambda: made_of(context, source_schema, task_keys(context)))


def require_child(child: PlannedChild) -> TableHandle:
    """The table that a batch was planned for. Raises TableError when it is there no more."""
    handle = open_table(child.uri)
    if handle is None or handle.id != child.table_id:
        gone = "gone" if handle is None else "another one"
        raise TableError(
            f"the child table {child.name}, for which the batch was planned, is {gone}",
            uri=child.uri,
            hint="put it back from a backup, or close the batch with `lakeray ledger abandon`",
        )
    return handle


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def made_of(context: ImportContext, source_schema: pa.Schema, keys: Mapping[str, bytes]) -> pa.Schema:
    """The columns that the step makes of the source's, in types that a table can have. Raises TransformError."""
    made = output_schema(context.step, source_schema, source=context.source, now=context.now(), keys=keys)
    return table_schema_for(made)


def working_schema(schema: pa.Schema, children: Sequence[Child], made: Callable[[], pa.Schema]) -> pa.Schema:
    """``schema``, of the step's own table, with the lists whose elements the children hold: what rows are fitted to.

    ``made`` are the columns that the step makes of the source's, asked for where a child alone does not tell.
    """
    for child in children:
        unnest = child.into.unnest
        structs = _structs(made(), unnest.from_) if _may_be_scalars(child) else None
        kind = list_type(child.handle.schema, unnest, structs=structs)
        place = schema.get_field_index(unnest.from_)
        if kind is not None and place >= 0:
            schema = schema.set(place, schema.field(place).with_type(grown(schema.field(place).type, kind)))
        elif kind is not None:
            schema = schema.append(pa.field(unnest.from_, kind))
    return schema


def check_keys(children: Sequence[Child], rows: pa.Schema) -> None:
    """Raise TableError for a child that says whose its rows are in another type than the step's rows, of that schema,
    have: widening it (a batch that died may have widened the step's own table alone) would not help.
    """
    for child in children:
        unnest = child.into.unnest
        for name, wanted in (*((key, _type_of(rows, key)) for key in unnest.key), (unnest.position, pa.int64())):
            known = _type_of(child.handle.schema, name)
            if known is None or wanted is None or merge_types(known, wanted) == wanted:
                continue
            raise TableError(
                f"the column {name!r} of the child table {child.into.name} is {known}, where the rows have {wanted}",
                uri=child.handle.uri,
                hint="import into another child table, or name another column",
            )


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    place = schema.get_field_index(name)
    return None if place < 0 else schema.field(place).type


def _may_be_scalars(child: Child) -> bool:
    kind = list_type(child.handle.schema, child.into.unnest, structs=None)
    return kind is not None and not pt.is_struct(kind.value_type)


def _structs(made: pa.Schema, name: str) -> bool:
    place = made.get_field_index(name)
    return place >= 0 and is_list(made.field(place).type) and pt.is_struct(made.field(place).type.value_type)


def new_in_children(children: Sequence[Child], schemas: Mapping[str, pa.Schema]) -> list[str]:
    """The columns and nested fields that child tables have to be given, with the table's name before each."""
    return [
        f"{child.into.name}.{path}"
        for child in children
        for path in new_in_table(child.handle.schema, schemas[child.into.name])
    ]


def widening_with(widening: Widening, children: Sequence[tuple[Child, Widening]]) -> Widening:
    """What may become of the lists' types where what their children hold sets limits; ``children`` have their own."""
    fixed, inexact = set(widening.fixed), set(widening.inexact)
    closed = widening.closed
    for child, own in children:
        closed |= own.closed
        name = child.into.unnest.from_
        if own.fixed.issuperset(child.handle.schema.names):
            fixed.add(name)
        if own.inexact:
            inexact.add(name)
    return replace(widening, closed=closed, fixed=frozenset(fixed), inexact=frozenset(inexact))
