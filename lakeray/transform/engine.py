"""A DataFusion session that can look at one chunk of rows, at nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
from datafusion import DataFrame, SessionConfig, SessionContext, SQLOptions

from lakeray.transform import arithmetic

CHUNK = "__chunk"
CLOCK_FUNCTIONS = frozenset({"now", "current_timestamp", "current_date", "today"})
VOLATILE = frozenset({"random", "rand", "uuid", "current_time"})
_FORBIDDEN = CLOCK_FUNCTIONS | VOLATILE | {"input_file_name", "file_row_index", "version", "generate_series", "range"}
_PLAN_ONLY = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)


class EngineFailed(Exception):
    """DataFusion could not run a query; its text may quote values."""


class Engine:
    """Plans and runs projections over the one table ``CHUNK``.

    Aggregates, windows, table functions and everything that differs from one attempt to the next are taken out of the
    session. There is no catalog but this table, no url table, no information schema. Not for several threads at once.
    """

    def __init__(self) -> None:
        config = (
            SessionConfig()
            .with_target_partitions(1)
            .with_batch_size(65_536)
            .with_information_schema(False)
            .set("datafusion.sql_parser.map_string_types_to_utf8view", "false")
            .set("datafusion.sql_parser.enable_ident_normalization", "false")
        )
        self._context = SessionContext(config)
        self.aggregates = frozenset(self._context.udafs()) | frozenset(self._context.udwfs())
        for name in self._context.udafs():
            self._context.deregister_udaf(name)
        for name in self._context.udwfs():
            self._context.deregister_udwf(name)
        for name in ("range", "generate_series"):
            self._context.deregister_udtf(name)
        for name in set(self._context.udfs()) & _FORBIDDEN:
            self._context.deregister_udf(name)
        self.functions = frozenset(self._context.udfs())
        arithmetic.register(self._context)

    def put(self, table: pa.Table) -> None:
        """Make ``table`` the chunk."""
        self._context.deregister_table(CHUNK)
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        self._context.register_record_batches(CHUNK, [batches])

    def plan(self, query: str) -> DataFrame:
        """The plan of one query, which may only read. Raises whatever DataFusion raises."""
        return self._context.sql_with_options(query, _PLAN_ONLY)

    def types(self, expressions: Sequence[str], source: str = CHUNK) -> list[pa.DataType]:
        """The types of expressions over the chunk."""
        if not expressions:
            return []
        return [field.type for field in self.plan(projection(enumerate_names(expressions), source)).schema()]

    def run(self, query: str) -> pa.Table:
        """The rows of one query. Raises EngineFailed when a row, or a constant, cannot be computed."""
        try:
            return self.plan(query).to_arrow_table()
        except (
            BaseException
        ) as error:  # DataFusion raises bare exceptions; a panic of its Rust is not even an Exception
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise EngineFailed(str(error)) from None
            raise

    def shape(self, query: str) -> str:
        """The plan of a query as text, after optimisation where that is possible."""
        frame = self.plan(query)
        try:
            return str(frame.optimized_logical_plan().display_indent())
        except Exception:  # noqa: BLE001  constant expressions that fail are found when they run
            return str(frame.logical_plan().display_indent())


def enumerate_names(expressions: Iterable[str]) -> list[tuple[str, str]]:
    """Expressions with names that clash with nobody's."""
    return [(f"__{position}", expression) for position, expression in enumerate(expressions)]


def quoted(name: str) -> str:
    """``name`` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def projection(columns: Iterable[tuple[str, str]], source: str = CHUNK) -> str:
    """A query that gives each expression its name."""
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns)
    return f"SELECT {listed} FROM {source}"  # noqa: S608  made of allowed trees only
