"""A step's cleansing over chunks: which rules each column has, what they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from lakeray.errors import TransformError
from lakeray.spec.cleansing import CleanseRule, Outlier
from lakeray.spec.types import parse_type
from lakeray.spec.wrong import nearest
from lakeray.transform.cleanse.column import Count, cleansed
from lakeray.transform.cleanse.outliers import Bounds, OutlierRule
from lakeray.transform.cleanse.port import Rule
from lakeray.transform.cleanse.texts import text_rule
from lakeray.transform.cleanse.typed import Hinted, typed_rule
from lakeray.transform.delta_types import is_text
from lakeray.transform.mapping import Refusal, whole
from lakeray.transform.rules import OBJECT, RESCUED

EVERY = "*"
OF_TYPE = "type:"
FLAG = "_is_outlier"


@dataclass(frozen=True, kw_only=True, slots=True)
class CleansedTable:
    """``table`` has the rows that came, in their order; those of ``refused`` must be taken out by the caller.

    ``counts`` by column, then by rule.
    """

    table: pa.Table
    refused: list[Refusal] = field(default_factory=list)
    counts: dict[str, dict[str, Count]] = field(default_factory=dict)


class Cleansing:
    """``spec`` holds lists of rules by selector: a column's name, ``*``, ``type:<type>``.

    ``hints`` are types that columns get in the end. ``bounds`` are those that a batch's outlier rules found, by column
    and label; a rule without its bounds refuses nothing yet.
    """

    def __init__(
        self,
        spec: Mapping[str, list[CleanseRule]],
        *,
        hints: Mapping[str, pa.DataType] | None = None,
        bounds: Mapping[tuple[str, str], Bounds] | None = None,
    ) -> None:
        self._spec = spec
        self._hints = dict(hints or {})
        self._bounds = dict(bounds or {})
        self._rules: dict[tuple[str, pa.DataType], list[Rule]] = {}

    def run(self, table: pa.Table) -> CleansedTable:
        """``table`` cleansed. Raises TransformError for rules of a column that there is not."""
        self._check_names(table.schema)
        counts: dict[str, dict[str, Count]] = {}
        refused: list[Refusal] = []
        for place, item in enumerate(table.schema):
            rules = self._of(item)
            if not rules:
                continue
            values = whole(table.column(place))
            done = cleansed(values.cast(pa.string()) if is_text(values.type) else values, rules)
            table = table.set_column(place, item.name, done.values)
            if done.flags is not None:
                table = _beside(table, f"{item.name}{FLAG}", done.flags)
            if done.counts:
                counts[item.name] = done.counts
            for rule, rows in done.refused:
                refused.append(Refusal(rows=rows, rule=f"cleanse:{item.name}", reason=f"{rule.label}: {rule.reason}"))
        return CleansedTable(table=table, refused=refused, counts=counts)

    def batch_rules(self) -> dict[tuple[str, str], Outlier]:
        """The rules whose bounds the batch says, by column and label."""
        found: dict[tuple[str, str], Outlier] = {}
        for column in self._spec:
            for rule, label in self._labelled(self._spec[column]):
                if rule.outlier is not None and rule.outlier.between is None:
                    found[column, label] = rule.outlier
        return found

    @staticmethod
    def _labelled(rules: list[CleanseRule]) -> Iterator[tuple[CleanseRule, str]]:
        """Rules with what their counts are kept under: their kind, numbered from the second on."""
        seen: dict[str, int] = {}
        for rule in rules:
            seen[rule.kind] = seen.get(rule.kind, 0) + 1
            yield rule, rule.kind if seen[rule.kind] == 1 else f"{rule.kind}_{seen[rule.kind]}"

    def _check_names(self, schema: pa.Schema) -> None:
        for selector in self._spec:
            if selector != EVERY and not selector.startswith(OF_TYPE) and schema.get_field_index(selector) < 0:
                near = nearest(selector, schema.names)
                raise TransformError(
                    f"cleanse.{selector}: there is no column of that name",
                    hint=f"did you mean {near}?" if near else f"there are {', '.join(schema.names)}",
                )

    def _of(self, item: pa.Field) -> list[Rule]:
        """The rules of a column, in their order."""
        key = (item.name, item.type)
        if key not in self._rules:
            self._rules[key] = self._made(item)
        return self._rules[key]

    def _made(self, item: pa.Field) -> list[Rule]:
        if item.name in (RESCUED, OBJECT):
            return []
        made = [self._rule(item.name, label, rule) for rule, label in self._labelled(self._declared(item))]
        hint = self._hints.get(item.name)
        return made if hint is None or not made else [*made, Hinted("type", hint)]

    def _declared(self, item: pa.Field) -> list[CleanseRule]:
        found: list[CleanseRule] = []
        for selector, rules in self._spec.items():
            of_type = selector.startswith(OF_TYPE) and parse_type(selector.removeprefix(OF_TYPE)) == item.type
            if selector in (EVERY, item.name) or of_type:
                found.extend(rules)
        return found

    def _rule(self, column: str, label: str, rule: CleanseRule) -> Rule:
        if rule.outlier is not None:
            low, high = rule.outlier.between or (None, None)
            return OutlierRule(label, rule.outlier, self._bounds.get((column, label), (low, high)))
        made = text_rule(label, rule) or typed_rule(label, rule)
        assert made is not None
        return made


def _beside(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
