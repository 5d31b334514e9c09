"""Values that no column of the table takes, kept where a person finds them again."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.schema.source import can_be_named
from lakeray.transform.coerce import Coercer, SchemaDrift
from lakeray.transform.contract import Contract
from lakeray.transform.delta_types import delta_type
from lakeray.transform.mask import Mask
from lakeray.transform.program import RESCUED
from lakeray.transform.record import json_text

Misfit = tuple[int, str, str]
"""Row index, column, reason."""


class Strangers:
    """Columns of a step's output that the table lacks and that it does not get.

    Where columns evolve these are only names that Delta cannot hold, or takes for a known one in another case;
    otherwise all but those that ``select`` asks for (``wanted``). A table without a column of its own yet takes all.
    """

    def __init__(self, contract: Contract, *, wanted: Container[str]) -> None:
        self._contract = contract
        self._wanted = wanted

    def set_aside(self, table: pa.Table, table_schema: pa.Schema) -> tuple[pa.Table, list[Misfit]]:
        """``table`` without them, and the rows to refuse for them: their values are rescued, left out, or the end of
        the import, as the contract says. Raises SchemaDrift under ``freeze``.
        """
        strange = self._strange(table, table_schema)
        if not strange:
            return table, []
        rest = table.drop_columns(strange)
        held = [name for name in strange if table[name].null_count < table.num_rows]
        rule = self._contract
        if not held or (rule.columns == "discard_value" and rule.lost == "drop"):
            return rest, []
        if rule.columns == "freeze":
            first = pc.index(table[held[0]].is_valid(), value=True).as_py()
            raise SchemaDrift.at(held[0], first, "the table has no such column")
        if rule.columns == "discard_row":
            return rest, Coercer(pa.schema([]), evolution=rule).run(table.select(held)).refused
        found = Coercer(pa.schema([]), evolution="rescue").run(table.select(held)).rescued
        assert found is not None
        return with_rescued(rest, found), []

    def _strange(self, table: pa.Table, table_schema: pa.Schema) -> list[str]:
        known = set(table_schema.names)
        if known.issuperset(table.column_names):
            return []
        taken = {name.casefold() for name in known}
        grows = self._contract.columns == "evolve" or known <= {RESCUED}
        strange = []
        for name in table.column_names:
            if name in known or name == RESCUED:
                continue
            if not can_be_named(name) or name.casefold() in taken or not (grows or name in self._wanted):
                strange.append(name)
            taken.add(name.casefold())
        return strange


def with_rescued(table: pa.Table, texts: pa.StringArray) -> pa.Table:
    """``table`` with every row's ``texts`` (JSON objects or null) in its rescued data too."""
    if table.schema.get_field_index(RESCUED) < 0:
        return table.append_column(pa.field(RESCUED, pa.string()), texts)
    index = table.schema.get_field_index(RESCUED)
    both = [_joined(*pair) for pair in zip(table[RESCUED].to_pylist(), texts.to_pylist(), strict=True)]
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
