"""An expression sees one row and the batch's clock: no file, table, setting, network, randomness or other row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from lakeray.errors import TransformError
from lakeray.transform.engine import CHUNK, Engine
from lakeray.transform.program import Expectation, Program, ProgramSpec

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "a": [1, 2, 3],
        "name": ["x", "it's", None],
        "at": pa.array([0, 1, 2], pa.timestamp("us", tz="UTC")),
        "order": [1, 2, 3],
        "Mixed Case": [1, 2, 3],
        "customer": [{"city": "B", "tags": ["t"]}] * 3,
    }
)


def program(**spec: Any) -> Program:
    return Program(ProgramSpec(**spec), now=NOW, seed=1, keys={})


def selected(sql: str, table: pa.Table = TABLE) -> list[Any]:
    made = program(select={"out": sql})
    made.output_schema(table.schema)
    done = made.run(table, pa.array(range(1, len(table) + 1), pa.int64()))
    assert len(done.quarantined) == 0, done.quarantined.to_pylist()
    return done.table["out"].to_pylist()


ATTACKS = [
    "SELECT * FROM 'file.parquet'",
    "(SELECT 1)",
    "(SELECT max(a) FROM __chunk)",
    "a IN (SELECT a FROM __chunk)",
    "EXISTS (SELECT 1 FROM information_schema.tables)",
    "(SELECT column1 FROM '/etc/passwd')",
    "a FROM '/etc/passwd'",
    "1) FROM '/etc/passwd' --",
    "1 AS x) FROM (SELECT 1",
    "1) UNION ALL SELECT (1",
    "1 UNION SELECT 2",
    "1; DROP TABLE __chunk",
    "1; SELECT 2",
    ";",
    "",
    "  -- nothing",
    "read_parquet('x.parquet')",
    "read_csv('/etc/passwd')",
    "a > (TABLE __chunk)",
    "VALUES (1)",
    "WITH x AS (SELECT 1) SELECT 1",
    "COPY __chunk TO '/tmp/x.parquet'",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO __chunk VALUES (1)",
    "DROP TABLE __chunk",
    "SET datafusion.execution.time_zone = '+05:00'",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "DESCRIBE __chunk",
    "PREPARE x AS SELECT 1",
    "count(*)",
    "sum(a)",
    "SUM (a)",
    "array_agg(a)",
    "first_value(a)",
    "sum(a) OVER ()",
    "row_number() OVER (ORDER BY a)",
    "lag(a) OVER ()",
    "a FILTER (WHERE a > 1)",
    "random()",
    "RANDOM ( )",
    "rand()",
    "uuid()",
    "Uuid()",
    "current_time",
    "current_user",
    "version()",
    "input_file_name()",
    "unnest([1, 2])",
    "UNNEST([1, 2])",
    "generate_series(1, 1000000000)",
    "range(1000000000)",
    "*",
    "__chunk.*",
    "a, name",
    "a AS b",
    "DISTINCT a",
    "@@version",
    "@x",
    "$1",
    ":x",
    "?",
    "no_such_function(a)",
    "__checked_add_int64(a, 1)",
    "__lenient_add_int64(a, 1)",
    "a ORDER BY a",
    "a LIMIT 1",
    "CAST(a AS regclass)",
    "name COLLATE de",
    "a = ANY(SELECT 1)",
    "a >= ALL (SELECT 1)",
    "a /* ",
    "'unclosed",
    "(" * 3000 + "a" + ")" * 3000,
]


@pytest.mark.parametrize("place", ["select", "where", "expect", "constraint"])
@pytest.mark.parametrize("sql", ATTACKS, ids=lambda sql: sql[:40])
def test_attacks_are_refused_before_a_row_is_read(sql: str, place: str) -> None:
    expectation = (Expectation(name="e", sql=sql, on_violation="warn"),)
    spec: dict[str, Any] = {
        "select": {"select": {"out": sql}},
        "where": {"where": sql},
        "expect": {"expectations": expectation},
        "constraint": {"constraints": expectation},
    }[place]
    with pytest.raises(TransformError, match=f"^{place}"):
        program(**spec).output_schema(TABLE.schema)


def test_the_engine_itself_refuses_what_would_reach_it(tmp_path: Any) -> None:
    """The second wall: what the tree would have kept out."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    engine = Engine()
    engine.put(TABLE)
    for query in [
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
        f"COPY {CHUNK} TO '{tmp_path}/out.parquet'",
        f"CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{secret}'",
        "CREATE TABLE x AS SELECT 1",
        f"INSERT INTO {CHUNK} SELECT * FROM {CHUNK}",
        f"DROP TABLE {CHUNK}",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * FROM information_schema.tables",
        "SHOW TABLES",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT * FROM range(3)",
        f"SELECT count(*) FROM {CHUNK}",
        "SELECT random()",
        "SELECT now()",
    ]:
        with pytest.raises(Exception, match=r"(?i)not |invalid"):
            engine.plan(query)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("now()", NOW),
        ("NOW ( )", NOW),
        ("Current_Timestamp", NOW),
        ("current_timestamp()", NOW),
        ("current_date", NOW.date()),
        ("today()", NOW.date()),
        ("'now()'", "now()"),
        ("'it''s now()'", "it's now()"),
        ("'x' || ' current_date'", "x current_date"),
        ("date_part('year', now())", 2026),
        ("CASE WHEN at < now() THEN 'past' END", "past"),
        ("at > now() - INTERVAL '1 day'", False),
    ],
)
def test_the_clock_is_the_batchs(sql: str, value: Any) -> None:
    assert selected(sql) == [value] * 3


def test_no_text_means_the_worlds_clock() -> None:
    for sql in ("CAST('now' AS TIMESTAMP)", "CAST('today' AS DATE)", "to_timestamp('now')"):
        with pytest.raises(TransformError, match="fails whatever the row"):
            selected(sql)


def test_a_column_called_like_the_clock_is_a_column() -> None:
    table = pa.table({"now": [5], "today": [6]})
    assert selected("now + today", table) == [11]
    assert selected('"now"', table) == [5]


VALID: list[tuple[str, Any]] = [
    ("a + 1", [2, 3, 4]),
    ("-a", [-1, -2, -3]),
    ("- -a", [1, 2, 3]),
    ("2 - (3 - a)", [0, 1, 2]),
    ("2 - 3 - a", [-2, -3, -4]),
    ("a * (a + 2) / 2 % 3", [1, 1, 1]),
    ("a / 2", [0, 1, 1]),
    ("a / 2.0", [0.5, 1.0, 1.5]),
    ("a::double", [1.0, 2.0, 3.0]),
    ("CAST(a AS VARCHAR) || '!'", ["1!", "2!", "3!"]),
    ("UPPER(name)", ["X", "IT'S", None]),
    ("name = 'it''s'", [False, True, None]),
    ("name IS NOT NULL", [True, True, False]),
    ("NOT a = 1 AND a < 3", [False, True, False]),
    ("NOT (a = 1 OR a = 2)", [False, False, True]),
    ("a NOT IN (1, 2)", [False, False, True]),
    ("a NOT BETWEEN 1 AND 2", [False, False, True]),
    ("name NOT LIKE 'it%'", [True, False, None]),
    ("name ILIKE 'IT%'", [False, True, None]),
    ("name ~ '^x$'", [True, False, None]),
    ("name !~ '^x$'", [False, True, None]),
    ("(a > 1) IS NOT TRUE", [True, False, False]),
    ("a IS DISTINCT FROM 2", [True, False, True]),
    ("CASE WHEN a > 2 THEN 'big' WHEN a > 1 THEN 'mid' ELSE 'low' END", ["low", "mid", "big"]),
    ("CASE a WHEN 1 THEN 'one' END", ["one", None, None]),
    ("coalesce(name, 'none')", ["x", "it's", "none"]),
    ("nullif(a, 2)", [1, None, 3]),
    ('"order" + "Mixed Case"', [2, 4, 6]),
    ("`Mixed Case`", [1, 2, 3]),
    ("customer.city", ["B"] * 3),
    ("customer['city']", ["B"] * 3),
    ('"customer"."city"', ["B"] * 3),
    ("customer.tags[1]", ["t"] * 3),
    ("substring(name from 1 for 2)", ["x", "it", None]),
    ("trim(both 'x' from name)", ["", "it's", None]),
    ("trim(name)", ["x", "it's", None]),
    ("position('t' in name)", [0, 2, None]),
    ("extract(year from at)", [1970] * 3),
    ("date_trunc('day', at)", [dt.datetime(1970, 1, 1, tzinfo=dt.UTC)] * 3),
    ("CAST(at AS DATE)", [dt.date(1970, 1, 1)] * 3),
    ("DATE '2020-01-31' + INTERVAL '1 month'", [dt.date(2020, 2, 29)] * 3),
    ("CAST('9999-12-31' AS TIMESTAMP)", [dt.datetime(9999, 12, 31, tzinfo=dt.UTC)] * 3),
    ("CAST('0001-01-01T00:00:00+00:00' AS TIMESTAMP WITH TIME ZONE)", [dt.datetime(1, 1, 1, tzinfo=dt.UTC)] * 3),
    ("TIMESTAMP '2020-01-01 10:00:00'", [dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)] * 3),
    ("[a, 2]", [[1, 2], [2, 2], [3, 2]]),
    ("array_length([a, 2])", [2, 2, 2]),
    ("named_struct('x', a)", [{"x": 1}, {"x": 2}, {"x": 3}]),
    ("regexp_replace(name, 'x', 'y')", ["y", "it's", None]),
    ("TRY_CAST(name AS INT)", [None] * 3),
    ("a -- a comment", [1, 2, 3]),
    ("a /* another */ + 1", [2, 3, 4]),
    ("'-- no comment /* '", ["-- no comment /* "] * 3),
    ("'a\\b'", ["a\\b"] * 3),
    ("a & 2 | 1", [1, 3, 3]),
    ("greatest(a, 2)", [2, 2, 3]),
]


@pytest.mark.parametrize(("sql", "values"), VALID, ids=[sql for sql, _ in VALID])
def test_what_people_write_works(sql: str, values: list[Any]) -> None:
    assert selected(sql) == values


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("amount > 0", "'amount'.*did you mean 'amout'"),
        ("AMOUT > 0", "'AMOUT'.*did you mean 'amout'"),
        ("zzz", "'zzz'.*columns: amout, s"),
        ("s.q", "Field q not found"),
        ("lenght(s.p)", r"lenght\(\).*did you mean 'length'"),
        ("sum(amout)", r"sum\(\), an aggregate"),
        ("random()", "differs from one attempt"),
        ("(SELECT 1)", "a subquery"),
        ("1 / 0", "fails whatever the row"),
        ("amout +", "a mistake at line 1, column 7: something is missing"),
        ("s + 1", "cannot be planned"),
    ],
)
def test_errors_name_the_expression_and_what_is_near(sql: str, said: str) -> None:
    schema = pa.schema([("amout", pa.int64()), ("s", pa.struct([("p", pa.string())]))])
    with pytest.raises(TransformError, match=rf"(?s)^select:x: the expression .*{said}"):
        program(select={"x": sql}).output_schema(schema)
    if not sql.startswith(("1 /", "sum", "random", "(")):
        with pytest.raises(TransformError):
            program(where=f"({sql}) IS NULL").output_schema(schema)


def test_a_condition_must_be_true_or_false() -> None:
    with pytest.raises(TransformError, match=r"where.*is int64, not true or false"):
        program(where="a").output_schema(TABLE.schema)
    with pytest.raises(TransformError, match=r"expect:e.*is string"):
        program(expectations=(Expectation(name="e", sql="name", on_violation="warn"),)).output_schema(TABLE.schema)
