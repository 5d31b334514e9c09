"""The schema of a source: what its columns are read as.

It is found once, from hints, the table's own columns and a sample of objects, then carried from result to result, so
that every batch starts from what the batch before knew. New columns join it inside a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ImportFailed
from lakeray.importer.discovery.source import path_columns, read_options
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.provenance import columns as provenance
from lakeray.objects import SourcePattern, open_store
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.spec.types import parse_type, type_name
from lakeray.transform.contract import Contract
from lakeray.transform.declared import ArrowSchema, JsonSchema
from lakeray.transform.delta_types import delta_type
from lakeray.transform.growth import can_be_stored
from lakeray.transform.infer import infer_schema
from lakeray.transform.names import Renamed, normalised, snake_case

SAMPLE_OBJECTS = 8
SAMPLE_ROWS = 5_000
SAMPLE_BYTES = 2**20
TEXT_FORMATS = ("csv", "tsv")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Rows from the beginning of one object in wire types, or why there are none."""

    uri: str
    table: pa.Table | None
    error: str | None = None
    renamed: frozenset[Renamed] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleTask:
    """Reads the beginning of some objects, in a worker, because an object may kill its reader."""

    objects: tuple[PlannedObject, ...]
    source: Source
    wanted: frozenset[str] = frozenset()
    """Columns to look for: a sample is of rows that have a value in one of them, however far behind they are."""

    def run(self) -> Iterator[list[Sampled]]:
        """One message: a sample of each object."""
        yield [self._sample(planned) for planned in self.objects]

    def _sample(self, planned: PlannedObject) -> Sampled:
        return next(self.chunks(planned), Sampled(uri=planned.info.uri, table=None))

    def chunks(self, planned: PlannedObject, *, rows: int | None = SAMPLE_ROWS) -> Iterator[Sampled]:
        """The first ``rows`` of every chunk that has any; at the end why the object cannot be read, where it cannot."""
        from lakeray.errors import AccessDenied, ObjectChanged, ObjectNotFound, ReadError
        from lakeray.importer.readers import read

        info = planned.info
        options = read_options(self.source, wire_schema=None, chunk_bytes=SAMPLE_BYTES)
        try:
            with open_store(info.uri).open(info.uri, match=info) as file:
                for chunk in read(file, options, name=info.uri):
                    sampled = self._sampled(chunk.table, info.uri)
                    telling = self._telling(sampled.table)
                    if telling.num_rows:  # asked first: a slice of no rows and no columns has some in Arrow
                        yield replace(sampled, table=telling.slice(0, rows))
        except (AccessDenied, ReadError, ObjectChanged, ObjectNotFound) as error:
            yield Sampled(uri=info.uri, table=None, error=error.message)

    def _telling(self, table: pa.Table) -> pa.Table:
        if not self.wanted:
            return table
        shown = [table[name].is_valid() for name in table.column_names if name in self.wanted]
        return table.filter(reduce(pc.or_, shown)) if shown else table.slice(0, 0)

    def _sampled(self, table: pa.Table, uri: str) -> Sampled:
        table = add_path_columns(table, path_columns(self.source, SourcePattern.parse(self.source.uri), uri))
        if self.source.names == "as_is":
            return Sampled(uri=uri, table=table)
        named = normalised(table)
        return Sampled(uri=uri, table=named.table, renamed=frozenset(named.renamed))


def add_path_columns(table: pa.Table, columns: Mapping[str, str | None]) -> pa.Table:
    """Append what the path says as string columns; a column that the object itself has wins."""
    for name, value in columns.items():
        if table.schema.get_field_index(name) < 0:
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table


def choose_sample(objects: list[PlannedObject]) -> list[PlannedObject]:
    """A few objects from the whole range, the largest among them."""
    if len(objects) <= SAMPLE_OBJECTS:
        return objects
    stride = len(objects) / (SAMPLE_OBJECTS - 1)
    chosen = {int(index * stride) for index in range(SAMPLE_OBJECTS - 1)}
    chosen.add(max(range(len(objects)), key=lambda index: objects[index].info.size))
    return [objects[index] for index in sorted(chosen)]


def first_schema(source: Source, samples: list[Sampled]) -> pa.Schema:
    """What a sample says, overruled by the hints."""
    hints = source.hints
    tables = [sample.table for sample in samples if sample.table is not None]
    path_names = {name for sample in samples if sample.table is not None for name in _path_names(source, sample.uri)}
    text = source.format in TEXT_FORMATS
    if text or not path_names:
        inferred = infer_schema(tables, hints, text=text)
    else:
        inferred = _infer_apart(tables, hints, path_names)
    return _one_spelling(inferred, preferred=hints)


def unread_sample(source: Source, samples: list[Sampled]) -> ImportFailed | None:
    """The error of an import that needs columns when no object of the sample shows any; None when one does."""
    if any(sample.table is not None for sample in samples):
        return None
    first = next((sample.error for sample in samples if sample.error), "there are no good records in them")
    return ImportFailed(
        f"no object of the sample has a record that can be read, so the columns of {source.uri} are not known: {first}",
        uri=source.uri,
        hint="name the columns that the workflow uses under the source's schema_hints, or correct its format",
    )


def _one_spelling(schema: pa.Schema, *, preferred: Collection[str]) -> pa.Schema:
    """Of columns whose names differ by case alone, which Delta takes for one, the preferred or else the first."""
    kept: dict[str, str] = {}
    for name in sorted(schema.names, key=lambda name: name not in preferred):
        kept.setdefault(name.casefold(), name)
    return pa.schema([item for item in schema if kept[item.name.casefold()] == item.name and can_be_named(item.name)])


def can_be_named(name: str) -> bool:
    """Whether a user's column can have that name: Delta can store it, and it does not say where a row came from."""
    return can_be_stored(name) and not provenance.is_reserved(name)


def _path_names(source: Source, uri: str) -> list[str]:
    names = path_columns(source, SourcePattern.parse(source.uri), uri)
    return list(names) if source.names == "as_is" else [snake_case(name) for name in names]


def _infer_apart(tables: list[pa.Table], hints: dict[str, pa.DataType], path_names: set[str]) -> pa.Schema:
    """Columns from paths are text to be understood even where the format itself is typed."""
    from_path = [table.select([name for name in table.column_names if name in path_names]) for table in tables]
    from_object = [table.select([name for name in table.column_names if name not in path_names]) for table in tables]
    schema = infer_schema(
        from_object, {name: kind for name, kind in hints.items() if name not in path_names}, text=False
    )
    paths = infer_schema(from_path, {name: kind for name, kind in hints.items() if name in path_names}, text=True)
    return pa.schema([*schema, *paths])


def with_table(schema: pa.Schema, table_schema: pa.Schema, *, source: Source, step: Step) -> pa.Schema:
    """``schema`` with the types of an existing table's columns, but for those that hints or ``select`` decide."""
    fields = []
    for item in schema:
        index = table_schema.get_field_index(item.name)
        mapped = step.mapping is not None and item.name in step.mapping.columns
        free = mapped or item.name in {*source.hints, *step.select, *step.mask}
        fields.append(item if index < 0 or free else pa.field(item.name, table_schema.field(index).type))
    return pa.schema(fields)


def with_hints(schema: pa.Schema, source: Source) -> pa.Schema:
    """``schema`` under today's hints."""
    hints = source.hints
    fields = [pa.field(item.name, hints.pop(item.name, item.type)) for item in schema]
    known = pa.schema([*fields, *(pa.field(name, kind) for name, kind in hints.items())])
    return _one_spelling(known, preferred=schema.names)


def wire_schema(source: Source, schema: pa.Schema, renamed: Collection[Renamed] = ()) -> pa.Schema | None:
    """The types in which a reader shall hand over columns that it must parse from text itself (JSON), by the names that
    the source has for them.
    """
    if source.format != "json":
        return None
    spellings: dict[str, list[str]] = {}
    for path, old, _ in sorted(renamed):
        spellings.setdefault(path, []).append(old)
    return pa.schema(_wire_fields(list(schema), "", spellings))


def _wire_fields(fields: list[pa.Field], above: str, spellings: Mapping[str, list[str]]) -> list[pa.Field]:
    found: list[pa.Field] = []
    for item in fields:
        path = f"{above}{item.name}"
        kind = _wire_type(item.type, path, spellings)
        found.extend(pa.field(name, kind) for name in dict.fromkeys([item.name, *spellings.get(path, ())]))
    return found


def _wire_type(kind: pa.DataType, path: str, spellings: Mapping[str, list[str]]) -> pa.DataType:
    """Dates and times travel as the text that was written, nested types field by field."""
    types = pa.types
    if types.is_struct(kind):
        return pa.struct(_wire_fields(list(kind), f"{path}.", spellings))
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(_wire_type(kind.value_type, f"{path}[]", spellings))
    kept = (types.is_integer, types.is_boolean, types.is_floating, types.is_decimal, types.is_map)
    return kind if any(same(kind) for same in kept) else pa.string()


def contract_of(source: Source) -> Contract:
    """The source's rules about new columns and values that do not fit, as the transform room takes them."""
    lost: Literal["rescue", "drop"] = "drop" if source.evolution == "ignore" else "rescue"
    return Contract(columns=source.columns_rule, types=source.types_rule, lost=lost)


def declared_of(source: Source) -> JsonSchema | ArrowSchema | None:
    """The check of the schema that the source declares."""
    declared = source.declared_schema
    if declared is None:
        return None
    if declared.arrow is not None:
        return ArrowSchema(declared.fields)
    assert isinstance(declared.json_schema, dict), "load_workflow reads the file that it names"
    return JsonSchema(declared.json_schema)


def schema_names(schema: pa.Schema) -> dict[str, str]:
    """The stored form: column to type name."""
    return {item.name: type_name(item.type) for item in schema}


def schema_from_names(names: Mapping[str, str]) -> pa.Schema:
    """The inverse of ``schema_names``."""
    return pa.schema([pa.field(name, parse_type(text)) for name, text in names.items()])


def table_schema_for(output: pa.Schema) -> pa.Schema:
    """The columns of a new table: the output's in types that Delta can write, never none at all."""
    fields = [pa.field(item.name, delta_type(item.type)) for item in output if not pa.types.is_null(item.type)]
    return pa.schema(fields or [pa.field("_rescued_data", pa.string())])
