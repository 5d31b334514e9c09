"""One column on its way through its rules, every change counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.transform.cleanse.port import Cleaned, Rule, different, scattered
from lakeray.transform.delta_types import is_text

_MOST_ROUNDS = 8
_PEEK = 1024
_WORTH_IT = 4
"""Texts that come four times or more on average are looked at once each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many values a rule looked at (nulls are none), changed, and refused."""

    looked_at: int = 0
    changed: int = 0
    refused: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            looked_at=self.looked_at + other.looked_at,
            changed=self.changed + other.changed,
            refused=self.refused + other.refused,
        )


@dataclass(kw_only=True)
class CleansedColumn:
    """``refused``: rule and the rows that it does not let through. ``counts`` by label. ``flags``: marks beside."""

    values: pa.Array
    refused: list[tuple[Rule, pa.BooleanArray]] = field(default_factory=list)
    counts: dict[str, Count] = field(default_factory=dict)
    flags: pa.BooleanArray | None = None


def cleansed(values: pa.Array, rules: Sequence[Rule]) -> CleansedColumn:
    """``values`` after ``rules``.

    The rules that make a text of a text are gone through again over what they changed until they change nothing:
    cleansing twice is the same as once. Texts that come often are looked at once.
    """
    coded = _coded(values)
    if coded is None:
        return _Passage(values, rules, None).through()
    weights = np.bincount(np.asarray(coded.indices.drop_null()), minlength=len(coded.dictionary))
    done = _Passage(coded.dictionary, rules, weights).through()
    return CleansedColumn(
        values=done.values.take(coded.indices),
        refused=[(rule, _taken(rows, coded.indices)) for rule, rows in done.refused],
        counts=done.counts,
        flags=None if done.flags is None else done.flags.take(coded.indices),
    )


def _coded(values: pa.Array) -> pa.DictionaryArray | None:
    if len(values) < _PEEK or not is_text(values.type):
        return None
    sample = values.slice(len(values) // 2, _PEEK)
    few = pc.count_distinct(sample).as_py() * _WORTH_IT <= len(sample)
    return values.dictionary_encode() if few else None


def _taken(rows: pa.BooleanArray, indices: pa.Array) -> pa.BooleanArray:
    return pc.fill_null(rows.take(indices), fill_value=False)


class _Passage:
    def __init__(self, values: pa.Array, rules: Sequence[Rule], weights: np.ndarray | None) -> None:
        self._values = values
        self._rules = rules
        self._weights = weights
        self._done = CleansedColumn(values=values)

    def through(self) -> CleansedColumn:
        """The column after all rules."""
        done = self._done
        texts = [rule for rule in self._rules if rule.alone]
        if texts and is_text(self._values.type):
            self._texts(texts)
        for rule in self._rules:
            if rule.alone or not rule.takes(done.values.type):
                continue
            made = self._one(rule, done.values, self._weights)
            self._refuse(rule, made.refused)
            done.values = made.values
            done.flags = made.flags if made.flags is not None else done.flags
        return done

    def _texts(self, rules: list[Rule]) -> None:
        """The text rules, then again over the few that they changed, until all is at rest."""
        done = self._done
        moved: pa.BooleanArray | None = None
        for rule in rules:
            made = self._one(rule, done.values, self._weights)
            self._refuse(rule, made.refused)
            done.values = made.values
            if made.changed is not None:
                moved = made.changed if moved is None else pc.or_(moved, made.changed)
        places = _indices(moved)
        for _ in range(_MOST_ROUNDS):
            if not len(places):
                return
            places = self._again(rules, places)
        if len(places):
            self._refuse_restless(rules[-1], places)

    def _again(self, rules: list[Rule], places: pa.Array) -> pa.Array:
        """One more round over ``places``; those of them that changed again."""
        done = self._done
        before = some = done.values.take(places)
        for rule in rules:
            made = rule(some)
            if made.refused is not None:
                rows = scattered(made.refused, places, len(done.values))
                self._refuse(rule, rows)
                self._count(rule.label, Count(refused=self._sum(rows, self._weights)))
            some = made.values
        moved = different(before, some)
        if moved is None:
            return places.slice(0, 0)
        mask = scattered(moved, places, len(done.values))
        done.values = pc.replace_with_mask(done.values, mask, some.filter(moved))
        return places.filter(moved)

    def _refuse_restless(self, rule: Rule, places: pa.Array) -> None:
        done = self._done
        rows = scattered(pa.repeat(pa.scalar(True), len(places)), places, len(done.values))
        done.refused.append((_Restless(rule), rows))
        self._count(rule.label, Count(refused=self._sum(rows, self._weights)))
        done.values = pc.if_else(rows, pa.scalar(None, done.values.type), done.values)

    def _one(self, rule: Rule, values: pa.Array, weights: np.ndarray | None) -> Cleaned:
        """One rule over ``values``, counted; what it changed is known."""
        made = rule(values)
        changed = made.changed
        if changed is None:
            changed = different(values, made.values)
            if changed is not None and made.refused is not None:
                changed = pc.and_not(changed, made.refused)
        self._count(
            rule.label,
            Count(
                looked_at=len(values) - values.null_count if weights is None else self._sum(values.is_valid(), weights),
                changed=self._sum(changed, weights),
                refused=self._sum(made.refused, weights),
            ),
        )
        return replace(made, changed=changed)

    def _refuse(self, rule: Rule, rows: pa.BooleanArray | None) -> None:
        if rows is not None:
            self._done.refused.append((rule, rows))

    def _count(self, label: str, count: Count) -> None:
        self._done.counts[label] = self._done.counts.get(label, Count()) + count

    @staticmethod
    def _sum(rows: pa.BooleanArray | None, weights: np.ndarray | None) -> int:
        if rows is None:
            return 0
        if weights is None:
            return int(pc.sum(rows).as_py() or 0)
        return int(weights[np.asarray(pc.fill_null(rows, fill_value=False))].sum())


class _Restless:
    """Stands for a column's text rules together, where they do not come to rest."""

    alone = True
    reason = "the rules do not come to rest: one undoes what another does"

    def __init__(self, rule: Rule) -> None:
        self.label = rule.label

    def takes(self, kind: pa.DataType) -> bool:
        """Texts alone."""
        return is_text(kind)

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` as they are."""
        return Cleaned(values=values)


def _indices(rows: pa.BooleanArray | None) -> pa.Array:
    return pa.array([], pa.uint64()) if rows is None else pc.indices_nonzero(rows)
