"""Values that no column of the table takes, kept where a person finds them again."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.schema import can_be_named
from lakeray.transform.coerce import Coercer, Evolution, SchemaDrift
from lakeray.transform.delta_types import delta_type
from lakeray.transform.mask import Mask
from lakeray.transform.program import RESCUED
from lakeray.transform.record import json_text


class Strangers:
    """Columns of a step's output that the table lacks and that it does not get.

    With ``add_columns`` these are only names that Delta cannot hold, or takes for a known one in another case;
    otherwise all but those that ``select`` asks for (``wanted``). A table without a column of its own yet takes all.
    """

    def __init__(self, evolution: Evolution, *, wanted: Container[str]) -> None:
        self._evolution = evolution
        self._wanted = wanted

    def set_aside(self, table: pa.Table, table_schema: pa.Schema) -> pa.Table:
        """``table`` without them: their values are rescued, left out (``ignore``), or the end of the import. Raises
        SchemaDrift under ``fail``.
        """
        strange = self._strange(table, table_schema)
        if not strange:
            return table
        rest = table.drop_columns(strange)
        held = [name for name in strange if table[name].null_count < table.num_rows]
        if not held or self._evolution == "ignore":
            return rest
        if self._evolution == "fail":
            first = pc.index(table[held[0]].is_valid(), value=True).as_py()
            raise SchemaDrift.at(held[0], first, "the table has no such column")
        return _rescue(rest, table.select(held))

    def _strange(self, table: pa.Table, table_schema: pa.Schema) -> list[str]:
        known = set(table_schema.names)
        if known.issuperset(table.column_names):
            return []
        taken = {name.casefold() for name in known}
        grows = self._evolution == "add_columns" or known <= {RESCUED}
        strange = []
        for name in table.column_names:
            if name in known or name == RESCUED:
                continue
            if not can_be_named(name) or name.casefold() in taken or not (grows or name in self._wanted):
                strange.append(name)
            taken.add(name.casefold())
        return strange


def _rescue(table: pa.Table, values: pa.Table) -> pa.Table:
    """``table`` with every row's ``values`` in its rescued data."""
    found = Coercer(pa.schema([]), evolution="rescue").run(values).rescued
    assert found is not None
    if table.schema.get_field_index(RESCUED) < 0:
        return table.append_column(pa.field(RESCUED, pa.string()), found)
    index = table.schema.get_field_index(RESCUED)
    both = [_joined(*pair) for pair in zip(table[RESCUED].to_pylist(), found.to_pylist(), strict=True)]
    return table.set_column(index, pa.field(RESCUED, pa.string()), pa.array(both, pa.string()))


def _joined(one: str | None, other: str | None) -> str | None:
    return json_text({**json.loads(one), **json.loads(other)}) if one and other else one or other


def new_columns(table: pa.Table, table_schema: pa.Schema) -> list[pa.Field]:
    """The columns of ``table``, in types that Delta can write, that the table has to be given."""
    known = set(table_schema.names)
    new = []
    for item in table.schema:
        nothing = item.name == RESCUED and table[RESCUED].null_count == table.num_rows
        if item.name not in known and not nothing and not pa.types.is_null(item.type):
            new.append(pa.field(item.name, delta_type(item.type)))
    return new


def with_extras(
    texts: pa.StringArray, extras: pa.StringArray | None, rows: pa.Int64Array, *, masks: Mapping[str, Mask]
) -> pa.StringArray:
    """Record texts of ``rows`` completed by what their reader could not put into a column."""
    if extras is None:
        return texts
    found = []
    for text, extra in zip(texts.to_pylist(), extras.take(rows).to_pylist(), strict=True):
        values = json.loads(extra) if extra else {}
        shown = {name: masks[name].value(value) if name in masks else value for name, value in values.items()}
        found.append(json_text({**json.loads(text), **shown}) if shown else text)
    return pa.array(found, pa.string())
