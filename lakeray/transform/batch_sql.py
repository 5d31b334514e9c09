"""One query of the user over a whole batch, in an engine that can look at nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext, SQLOptions
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakeray.errors import TransformError
from lakeray.transform import dialect
from lakeray.transform.engine import CLOCK_FUNCTIONS, VOLATILE

BATCH = "batch"
_PLAN_ONLY = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
_FORBIDDEN = CLOCK_FUNCTIONS | VOLATILE | {"input_file_name", "file_row_index", "version"}


def verdict(rule: str, sql: str, *, batch: Any, now: datetime, memory_bytes: int) -> bool | None:
    """The one value of the query ``sql`` over ``batch``, a ``pyarrow.dataset.Dataset``.

    Aggregates, windows and subqueries are allowed; ``now()`` is ``now``. The engine streams the batch and spills to the
    local disk beyond ``memory_bytes``. It has no other table, no file, no network. Raises TransformError, naming
    ``rule``, for a text that is not one query over ``batch``, for one that fails, and for an answer that is not one
    truth value.
    """
    query = _checked(rule, sql, now)
    context = SessionContext(
        SessionConfig().with_target_partitions(1).with_information_schema(False),
        RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(memory_bytes),
    )
    for name in ("range", "generate_series"):
        context.deregister_udtf(name)
    for name in set(context.udfs()) & _FORBIDDEN:
        context.deregister_udf(name)
    context.register_dataset(BATCH, batch)
    try:
        answer = context.sql_with_options(query, _PLAN_ONLY).to_arrow_table()
    except BaseException as error:  # DataFusion raises bare exceptions; a panic of its Rust is not even an Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            what = str(error).splitlines()[0].removeprefix("DataFusion error: ")[:300]
            raise _refused(rule, sql, f"cannot be answered: {what}") from None
        raise
    if answer.num_rows != 1 or answer.num_columns != 1 or not _truth(answer.schema.field(0).type):
        found = f"{answer.num_rows} rows of {', '.join(str(item.type) for item in answer.schema)}"
        raise _refused(rule, sql, f"gives {found}, not one true or false")
    value = answer.column(0)[0].as_py()
    return None if value is None else bool(value)


def _truth(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _checked(rule: str, sql: str, now: datetime) -> str:
    """The query with the clock put in, found to read ``batch`` alone."""
    instant = now.astimezone(UTC)
    stamp = f"""arrow_cast('{instant.replace(tzinfo=None).isoformat()}Z', 'Timestamp(Microsecond, Some("UTC"))')"""
    try:
        text = dialect.with_clock(sql, instant=stamp, day=f"CAST('{instant.date().isoformat()}' AS DATE)")
        trees = [tree for tree in dialect.ExpressionDialect().parse(text) if tree is not None]
    except (SqlglotError, dialect.NotAnExpression, RecursionError):
        raise _refused(rule, sql, "cannot be read as SQL") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise _refused(rule, sql, "is not one query")
    own = {BATCH, *(cte.alias for cte in trees[0].find_all(exp.CTE))}
    for table in trees[0].find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.db or table.name not in own:
            raise _refused(rule, sql, f"reads {table.sql()!r}; the only table is {BATCH}")
    return text


def _refused(rule: str, sql: str, what: str) -> TransformError:
    return TransformError(
        f"{rule}: the query {' '.join(sql.split())!r} {what}",
        hint="write one query that gives one true or false, as in SELECT count(*) > 0 FROM batch",
    )
