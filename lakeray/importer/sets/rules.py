"""A batch is held to its set expectations before it is committed.

Those that quarantine come first, each on what the one before left; then the others look at what would be committed. One
that fails stops the batch; nothing of it is visible, its staged files are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import add
from statistics import fmean
from typing import NoReturn

import pyarrow as pa

from lakeray.delta.query import row_count
from lakeray.delta.table import open_table
from lakeray.errors import ExpectationFailed, ImportFailed, TransformError
from lakeray.failpoints import failpoint
from lakeray.importer.recording.history import earlier_results
from lakeray.importer.recording.summary import SetOutcome
from lakeray.importer.result import Result
from lakeray.importer.sets.batch_query import PythonTask, SqlTask
from lakeray.importer.sets.column_profile import (
    ColumnProfile,
    ProfileTask,
    decile_shift,
    stability_index,
)
from lakeray.importer.sets.duplicates import ReferenceTask
from lakeray.importer.sets.keys import FEW_ROWS, TableAt, shares
from lakeray.importer.sets.settle import Settling, deduplicate
from lakeray.importer.sets.staged_rows import Marked, count_marked, joined
from lakeray.spec.sets import SetExpect

MIN_HISTORY = 2
OF_ROWS = ("unique", "references", "range")
"""What is asked of rows that come out of quarantine too: the other kinds say what a source's batch is like as a whole,
which a handful of rows is not."""
BROADCAST_ROWS = 1_000_000
"""Referenced rows up to which every task streams all of them past its own files."""


def settle(settling: Settling) -> dict[str, SetOutcome]:
    """Deduplicate the batch and hold it to its set expectations; what they found, in the file's order.

    Raises ExpectationFailed for a violation with ``on_violation: fail``, TransformError for a rule that cannot be
    looked at.
    """
    step = settling.context.step
    try:
        if step.deduplicate is not None:
            deduplicate(settling, step.deduplicate)
        rules, found = _Rules(settling), {}
        asked = {
            name: rule
            for name, rule in step.expect_set.items()
            if settling.manifest.kind == "objects" or rule.kind in OF_ROWS
        }
        for name, rule in sorted(asked.items(), key=lambda item: item[1].on_violation != "quarantine"):
            found[name] = rules.outcome(name, rule)
            if rule.on_violation == "fail" and not found[name].passed:
                _fail(settling, name, found[name])
        settling.staged.forget_origin()
        failpoint("batch_settled")
    except BaseException:
        settling.discard()
        raise
    return {name: found[name] for name in asked}


def _fail(settling: Settling, name: str, found: SetOutcome) -> NoReturn:
    raise ExpectationFailed(
        f"the set expectation {name!r} is violated: {found.detail}",
        uri=settling.context.table.uri,
        hint="its on_violation is fail: nothing of this batch was committed; correct data or rule and run again",
    )


class _Rules:
    """One method for each kind of set expectation."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._profiles: dict[str, ColumnProfile] = {}
        self._history: list[Result] | None = None

    def outcome(self, name: str, rule: SetExpect) -> SetOutcome:
        """What the rule finds now; offending rows of one that quarantines are gone after it."""
        kinds: dict[str, Callable[[str, SetExpect], SetOutcome]] = {
            "unique": self._unique,
            "references": self._references,
            "row_count": self._row_count,
            "freshness": self._freshness,
            "range": self._range,
            "null_rate": self._null_rate,
            "distribution": self._distribution,
            "sql": self._sql,
            "python": self._python,
        }
        return kinds[rule.kind](name, rule)

    def _unique(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.unique is not None
        among = "the batch or the table" if rule.against == "table" else "the batch"
        table = self._settling.table if rule.against == "table" else None
        marks = self._settling.duplicates(f"expect_set:{name}", rule.unique, table=table)
        columns = ", ".join(rule.unique)
        return self._offenders(name, rule, marks, f"{columns} in which another row of {among} agrees")

    def _references(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.references is not None
        settling, column = self._settling, rule.references.column
        settling.check_columns(f"expect_set:{name}", [column])
        table_name, _, to = rule.references.to.partition(".")
        marks = self._unreferenced(f"expect_set:{name}", column, table_name, to)
        return self._offenders(name, rule, marks, f"a {column} that {rule.references.to} does not have")

    def _unreferenced(self, rule: str, column: str, table_name: str, to: str) -> Marked:
        settling = self._settling
        uri = settling.context.tables[table_name].uri
        handle = open_table(uri)
        if handle is None:
            hint = "import into it first: its step belongs into this one's `after`"
            raise ImportFailed(f"{rule}: the table {table_name} at {uri} is not there yet", uri=uri, hint=hint)
        if handle.schema.get_field_index(to) < 0:
            raise TransformError(f"{rule}: {table_name} has no column {to!r}", hint=f"{', '.join(handle.schema.names)}")
        staged, slots = settling.staged, settling.context.executor.slots
        parts = shares(staged, 1, memory_bytes=settling.context.task_memory_bytes, slots=slots)
        rows = row_count(handle)
        kind = handle.schema.field(to).type
        same = bool(kind == staged.schema.field(column).type)
        at = TableAt(uri=uri, version=handle.version)
        groups: list[tuple[int, ...] | None] = [None]
        if rows is not None and rows <= BROADCAST_ROWS and staged.files:
            count = min(len(staged.files), max(parts, slots if staged.count > FEW_ROWS else 1))
            groups = [tuple(range(first, len(staged.files), count)) for first in range(count)]
            parts = 1
        task = ReferenceTask(staged=staged, column=column, table=at, to=to, parts=parts, same_type=same)
        with settling.spread([column], [], parts) as spread:
            tasks = [
                replace(task, part=part, places=places, spread=spread) for places in groups for part in range(parts)
            ]
            return joined(settling.run(tasks))

    def _offenders(self, name: str, rule: SetExpect, marks: Marked, what: str) -> SetOutcome:
        count = count_marked(marks)
        detail = f"{count} rows have {what}" if count else f"no row has {what}"
        if rule.on_violation == "quarantine":
            self._settling.strike(marks, refused=(f"expect_set:{name}", f"violates {name}: has {what}"))
            self._profiles.clear()
        return self._told(rule, passed=not count, rows=count, detail=detail)

    def _row_count(self, name: str, rule: SetExpect) -> SetOutcome:  # noqa: ARG002
        limits = rule.row_count
        assert limits is not None
        rows = self._settling.rows
        wrong = []
        if limits.min is not None and rows.written < limits.min:
            wrong.append(f"fewer than {limits.min}")
        if limits.max is not None and rows.written > limits.max:
            wrong.append(f"more than {limits.max}")
        base = rows.read + rows.generated - rows.filtered
        if limits.of_source is not None and base and rows.written / base < limits.of_source:
            wrong.append(f"less than {limits.of_source:g} of the {base} that were read and not filtered")
        if limits.versus_history is not None:
            earlier = [result.rows.written for result in self._earlier(limits.versus_history.window)]
            mean = fmean(earlier) if len(earlier) >= MIN_HISTORY else None
            if mean is not None and abs(rows.written - mean) > limits.versus_history.tolerance * mean:
                wrong.append(f"too far from the {mean:.0f} that the last {len(earlier)} batches had on average")
        detail = f"{rows.written} rows" + (f", {' and '.join(wrong)}" if wrong else "")
        return self._told(rule, passed=not wrong, detail=detail, measured={"rows": float(rows.written)})

    def _freshness(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.freshness is not None
        newest = self._profile(name, rule.freshness.column).high
        if newest is None:
            return self._told(rule, passed=True, detail="no row has a time")
        if not isinstance(newest, date):  # a datetime is one too
            raise TransformError(
                f"expect_set:{name}: the column {rule.freshness.column} holds no times",
                hint="freshness needs a timestamp or date column",
            )
        if not isinstance(newest, datetime):
            newest = datetime(newest.year, newest.month, newest.day, tzinfo=UTC) + timedelta(days=1)
        newest = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
        age_s = (self._settling.manifest.created_at - newest).total_seconds()
        detail = (
            f"the newest {rule.freshness.column} is {max(age_s, 0):.0f} s old, allowed {rule.freshness.max_age:.0f}"
        )
        passed = age_s <= rule.freshness.max_age
        return self._told(rule, passed=passed, detail=detail, measured={"age_s": age_s})

    def _range(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.range is not None
        column = rule.range.column
        self._settling.check_columns(f"expect_set:{name}", [column])
        kind = self._settling.schema.field(column).type
        bounds = (_bound(name, rule.range.min, kind), _bound(name, rule.range.max, kind))
        found = self._profiled({column: bounds})[column]
        low = "" if rule.range.min is None else f" from {rule.range.min}"
        high = "" if rule.range.max is None else f" to {rule.range.max}"
        detail = f"{found.outside} rows have a {column} outside of the range{low}{high}"
        return self._told(rule, passed=not found.outside, rows=found.outside, detail=detail)

    def _null_rate(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.null_rate is not None
        found = self._profile(name, rule.null_rate.column)
        rate = found.nulls / found.rows if found.rows else 0.0
        detail = f"{rate:.4g} of the rows have no {rule.null_rate.column}, allowed {rule.null_rate.max:g}"
        return self._told(rule, passed=rate <= rule.null_rate.max, detail=detail, measured={"null_rate": rate})

    def _distribution(self, name: str, rule: SetExpect) -> SetOutcome:
        asked = rule.distribution
        assert asked is not None
        now = self._profile(name, asked.column)
        deciles = now.deciles()
        measured = {"count": float(now.count), "mean": now.mean, "stddev": now.stddev, **deciles}
        known = [result.set_expectations.get(name) for result in self._earlier(asked.window)]
        earlier = [item.measured for item in known if item is not None and item.measured.get("count")]
        if len(earlier) < MIN_HISTORY or not now.count:
            detail = f"{len(earlier)} earlier batches with numbers in {asked.column} to compare with"
            return self._told(rule, passed=True, detail=detail, measured=measured if now.count else {})
        if asked.metric == "psi":
            apart = stability_index(list(earlier), now)
        elif asked.metric == "quantiles":
            apart = decile_shift(list(earlier), deciles)
        else:
            before = fmean(item[asked.metric] for item in earlier)
            apart = abs(measured[asked.metric] - before) / (abs(before) or 1.0)
        detail = f"{asked.metric} of {asked.column} is {apart:.4g} away from {len(earlier)} earlier batches"
        passed = apart <= asked.tolerance
        return self._told(rule, passed=passed, detail=f"{detail}, allowed {asked.tolerance:g}", measured=measured)

    def _sql(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.sql is not None
        settling = self._settling
        task = SqlTask(
            staged=settling.staged,
            rule=f"expect_set:{name}",
            sql=rule.sql,
            now=settling.manifest.created_at,
            memory_bytes=settling.context.task_memory_bytes // 2,
        )
        (answer,) = settling.run([task])
        found = "null" if answer is None else str(answer).lower()
        return self._told(rule, passed=answer is True, detail=f"{' '.join(rule.sql.split())} is {found}")

    def _python(self, name: str, rule: SetExpect) -> SetOutcome:
        assert rule.python is not None
        task = PythonTask(staged=self._settling.staged, rule=f"expect_set:{name}", hook=rule.python)
        (answer,) = self._settling.run([task])
        detail = answer if isinstance(answer, str) else f"{rule.python} says {str(answer).lower()}"
        return self._told(rule, passed=answer is True, detail=detail)

    @staticmethod
    def _told(
        rule: SetExpect,
        *,
        passed: bool,
        detail: str,
        rows: int | None = None,
        measured: Mapping[str, float] | None = None,
    ) -> SetOutcome:
        return SetOutcome(
            kind=rule.kind,
            on_violation=rule.on_violation,
            passed=passed,
            rows=rows,
            detail=detail,
            measured=dict(measured or {}),
        )

    def _earlier(self, count: int) -> list[Result]:
        """Results of that many batches before this one, read once for all rules."""
        settling = self._settling
        if self._history is None:
            rules = settling.context.step.expect_set.values()
            histories = [rule.distribution or (rule.row_count and rule.row_count.versus_history) for rule in rules]
            most = max(history.window for history in histories if history)
            identity, batch = settling.context.identity(settling.handle), settling.manifest.batch
            self._history = earlier_results(identity, settling.handle, batch=batch, count=most)
        return self._history[:count]

    def _profile(self, name: str, column: str) -> ColumnProfile:
        """Of one column, together with all others that rules ask about."""
        self._settling.check_columns(f"expect_set:{name}", [column])
        if column not in self._profiles:
            asked = {column}
            for rule in self._settling.context.step.expect_set.values():
                part = rule.freshness or rule.null_rate or rule.distribution
                if part is not None and self._settling.schema.get_field_index(part.column) >= 0:
                    asked.add(part.column)
            self._profiles = self._profiled(dict.fromkeys(sorted(asked), (None, None)))
        return self._profiles[column]

    def _profiled(self, columns: Mapping[str, tuple[pa.Scalar | None, pa.Scalar | None]]) -> dict[str, ColumnProfile]:
        settling = self._settling
        staged, slots = settling.staged, settling.context.executor.slots
        count = max(1, min(len(staged.files), slots))
        tasks = [
            ProfileTask(
                staged=staged,
                places=tuple(range(first, len(staged.files), count)),
                columns=tuple(columns),
                bounds={name: bounds for name, bounds in columns.items() if bounds != (None, None)},
                seed=settling.manifest.seed,
            )
            for first in range(count)
        ]
        found = settling.run(tasks)
        return {name: reduce(add, (part[name] for part in found)) for name in columns}


def _bound(name: str, value: float | str | None, kind: pa.DataType) -> pa.Scalar | None:
    if value is None:
        return None
    try:
        return pa.scalar(value).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TransformError(
            f"expect_set:{name}: the bound {value!r} is none for a column of type {kind}", hint=str(error)[:200]
        ) from error
