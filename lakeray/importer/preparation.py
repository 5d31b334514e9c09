"""What mapping and cleansing make of a chunk before the step's own expressions see it."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.importer.recording.summary import CleansingSummary
from lakeray.spec.cleansing import CleanseRule, Outlier
from lakeray.spec.paths import parse_path
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.transform.cleanse.column import Count
from lakeray.transform.cleanse.outliers import Bounds
from lakeray.transform.cleanse.table import EVERY, FLAG, OF_TYPE, Cleansing
from lakeray.transform.mapping import Mapping, Refusal

_TEXTUAL = ("csv", "tsv", "json")
CleansingCounts = dict[str, dict[str, CleansingSummary]]
"""By column, then by rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """``table`` and ``rows`` (record numbers) are those that go on; ``origin`` are the same rows as they were read.

    ``refused`` are the others: where ``rows`` of a refusal is true, in the input's order.
    """

    table: pa.Table
    rows: pa.Int64Array
    origin: pa.Table
    refused: list[Refusal]


class Preparation:
    """A step's mapping and cleansing; ``counts`` what its rules did so far."""

    def __init__(self, step: Step, source: Source, bounds: AnyMapping[tuple[str, str], Bounds] | None = None) -> None:
        self._mapping = None if step.mapping is None else Mapping(step.mapping)
        renamed = () if step.mapping is None else step.mapping.columns
        texts = text_columns(step, source)
        hints = {name: kind for name, kind in source.hints.items() if name in texts and name not in renamed}
        self._cleansing = Cleansing(step.cleanse, hints=hints, bounds=bounds) if step.cleanse else None
        self.counts: CleansingCounts = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is done at all."""
        return self._mapping is None and self._cleansing is None

    def batch_rules(self) -> dict[tuple[str, str], Outlier]:
        """The outlier rules whose bounds the batch says, by column and rule."""
        return {} if self._cleansing is None else self._cleansing.batch_rules()

    def run(self, table: pa.Table, rows: pa.Int64Array) -> Prepared:
        """A chunk mapped and cleansed. Raises TransformError for columns that there are not."""
        origin, refused = table, []
        if self._mapping is not None:
            mapped = self._mapping.run(table)
            table, refused = mapped.table, list(mapped.refused)
        if self._cleansing is not None:
            done = self._cleansing.run(table)
            table = done.table
            refused.extend(done.refused)
            self._count(done.counts)
        if refused:
            keep = pc.invert(_any([refusal.rows for refusal in refused]))
            table, rows, origin = table.filter(keep), rows.filter(keep), origin.filter(keep)
        return Prepared(table=table, rows=rows, origin=origin, refused=refused)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that ``run`` makes of ``schema``. Raises TransformError for columns that there are not."""
        return schema if self.empty else self.run(schema.empty_table(), pa.array([], pa.int64())).table.schema

    def _count(self, found: dict[str, dict[str, Count]]) -> None:
        for column, counts in found.items():
            new = {
                label: CleansingSummary(looked_at=item.looked_at, changed=item.changed, refused=item.refused)
                for label, item in counts.items()
            }
            self.counts = added(self.counts, {column: new})


def origins(step: Step) -> dict[str, str]:
    """The source's column of each column that the step's mapping makes of one."""
    columns = {} if step.mapping is None else step.mapping.columns
    return {name: str(parse_path(item.from_)[0]) for name, item in columns.items() if item.from_ is not None}


def added(one: CleansingCounts, other: CleansingCounts) -> CleansingCounts:
    """The sums of two counts."""
    total = {column: dict(rules) for column, rules in one.items()}
    for column, rules in other.items():
        known = total.setdefault(column, {})
        for label, item in rules.items():
            known[label] = known[label] + item if label in known else item
    return total


def first_refusals(refused: list[Refusal]) -> list[tuple[int, str, str]]:
    """``(row index, rule, reason)`` of each refused row, the first refusal of a row alone, by index."""
    found: dict[int, tuple[str, str]] = {}
    for refusal in refused:
        for index in pc.indices_nonzero(refusal.rows).to_pylist():
            found.setdefault(index, (refusal.rule, refusal.reason))
    return [(index, *found[index]) for index in sorted(found)]


def _any(flags: list[pa.BooleanArray]) -> pa.BooleanArray:
    found = flags[0]
    for other in flags[1:]:
        found = pc.or_(found, other)
    return found


def text_columns(step: Step, source: Source) -> frozenset[str]:
    """The source's columns that are read as text, whatever a sample or a hint says: rules for texts are about them.

    A number with foreign separators, or a date in a pattern of its own, would be set aside before any rule saw it.
    """
    if source.format not in _TEXTUAL:
        return frozenset()
    found: set[str] = set()
    columns = {} if step.mapping is None else step.mapping.columns
    for column in columns.values():
        path = () if column.from_ is None else parse_path(column.from_)
        if len(path) == 1 and column.cast is not None and (column.format is not None or column.timezone != "UTC"):
            found.add(str(path[0]))
    for name, rules in step.cleanse.items():
        if name == EVERY or name.startswith(OF_TYPE) or not any(map(_about_texts, rules)):
            continue
        mapped = columns.get(name)
        if mapped is None:
            found.add(name)
        elif mapped.from_ is not None and mapped.cast is None and len(parse_path(mapped.from_)) == 1:
            found.add(str(parse_path(mapped.from_)[0]))
    return frozenset(found)


def source_columns(step: Step, read: set[str]) -> set[str]:
    """The source's columns without which mapping and cleansing cannot be, nor the columns of ``read``, which the step's
    own expressions look at behind them; as far as the step alone says.
    """
    flags = {f"{name}{FLAG}" for name, rules in step.cleanse.items() if any(map(_flags, rules))}
    named = {name for name in step.cleanse if name != EVERY and not name.startswith(OF_TYPE)}
    named = (named | read) - flags
    mapping = step.mapping
    if mapping is None:
        return named
    found = set(mapping.flatten)
    for item in mapping.columns.values():
        optional = item.cast is not None or item.default is not None or item.keep_json
        if item.from_ is not None and not optional:
            found.add(str(parse_path(item.from_)[0]))
    if mapping.rest == "keep" and not mapping.flatten:  # else a name may be that of a struct's field
        found |= named - set(mapping.columns)
    return found


def _flags(rule: CleanseRule) -> bool:
    return rule.outlier is not None and rule.outlier.action == "flag"


def _about_texts(rule: CleanseRule) -> bool:
    return rule.kind != "outlier"


def read_as_text(schema: pa.Schema, step: Step, source: Source) -> pa.Schema:
    """``schema`` with the columns as texts that the step's rules for texts are about."""
    texts = text_columns(step, source)
    return pa.schema(
        [
            pa.field(item.name, pa.string()) if item.name in texts and not pt.is_nested(item.type) else item
            for item in schema
        ]
    )
